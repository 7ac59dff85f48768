//! Listening and the limits on requests.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hm_metering::TrustedProxies;
use ipnet::IpNet;

use super::reader::Reader;

/// `[http]`.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Longest request body that is read, in bytes.
    pub body_limit_bytes: usize,
    /// A request that takes longer is answered 503.
    pub request_timeout: Duration,
    /// Connections served at the same time.
    pub max_connections: usize,
    /// How long requests in flight may take after a stop signal.
    pub shutdown_grace: Duration,
    /// Networks whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// Networks whose clients may read `/metrics`.
    pub metrics_networks: Vec<IpNet>,
    /// Origins whose pages may call the API; `*` for any.
    pub allowed_origins: Vec<String>,
}

impl HttpConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            listen: reader.parsed(
                "http.listen",
                "an address and port such as 127.0.0.1:8080",
                nowhere,
                |text| text.parse().ok(),
            ),
            body_limit_bytes: reader.size("http.body_limit_bytes", 1024..=16 * 1024 * 1024),
            request_timeout: reader.millis("http.request_timeout_ms", 100..=600_000),
            max_connections: reader.size("http.max_connections", 1..=1_000_000),
            shutdown_grace: reader.millis("http.shutdown_grace_ms", 0..=600_000),
            trusted_proxies: TrustedProxies::new(reader.list(
                "http.trusted_proxies",
                "a network such as 10.0.0.0/8",
                network,
            )),
            metrics_networks: reader.list("http.metrics_networks", "a network such as 10.0.0.0/8", network),
            allowed_origins: reader.list(
                "http.allowed_origins",
                "an origin such as https://example.com",
                origin,
            ),
        }
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn origin(text: &str) -> Option<String> {
    if text == "*" {
        return Some(text.to_owned());
    }
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))?;
    let plain = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/?#@".contains(&byte));
    plain.then(|| text.to_ascii_lowercase())
}
