//! Where a request comes from.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use salvo::extract::{Extractible, Metadata};
use salvo::oapi::{Components, EndpointArgRegister, Operation};
use salvo::{Depot, Request, Writer};

use crate::app::App;
use crate::middleware::request_id::RequestId;

/// Who sent the request, as far as the network tells: for login limits and the audit log.
#[derive(Clone, Debug)]
pub struct Client {
    /// The address of the client, not of a trusted proxy in front of us.
    pub address: IpAddr,
    /// The name of the request.
    pub request_id: String,
}

impl Client {
    fn of(req: &Request, trusted: &[IpNet]) -> Self {
        // A request without a network address comes from a test or a local socket.
        let peer = req.remote_addr().ip().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let forwarded = req.headers().get_all("x-forwarded-for");
        let forwarded: Vec<_> = forwarded.iter().filter_map(|value| value.to_str().ok()).collect();
        Self {
            address: client_address(peer, &forwarded, trusted),
            request_id: req
                .extensions()
                .get::<RequestId>()
                .map_or("", RequestId::as_str)
                .to_owned(),
        }
    }
}

/// The last address that no trusted proxy added. `X-Forwarded-For` counts only when a trusted peer sent it, and is read
/// from right to left, because everything left of an untrusted entry can be made up.
#[must_use]
pub fn client_address(peer: IpAddr, forwarded: &[&str], trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let mut client = peer.to_canonical();
    for entry in forwarded.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !is_trusted(client) {
            break;
        }
        let Ok(address) = entry.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
    }
    client
}

impl<'ex> Extractible<'ex> for Client {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    async fn extract(
        req: &'ex mut Request,
        depot: &'ex mut Depot,
    ) -> Result<Self, impl Writer + Send + Debug + 'static> {
        App::of(depot).map(|app| Self::of(req, &app.config().http.trusted_proxies))
    }
}

impl EndpointArgRegister for Client {
    fn register(_components: &mut Components, _operation: &mut Operation, _arg: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_header_from_a_stranger_is_ignored() {
        assert_eq!(
            client_address(ip("203.0.113.9"), &["1.2.3.4"], &[]),
            ip("203.0.113.9")
        );
    }

    #[test]
    fn trusted_proxies_are_skipped_from_right_to_left() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let lines = ["6.6.6.6, 198.51.100.7", "10.0.0.2"];
        assert_eq!(
            client_address(ip("10.0.0.1"), &lines, &trusted),
            ip("198.51.100.7")
        );
    }

    #[test]
    fn garbage_ends_the_walk() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        assert_eq!(
            client_address(ip("10.0.0.1"), &["1.2.3.4, what"], &trusted),
            ip("10.0.0.1")
        );
        assert_eq!(
            client_address(ip("::ffff:10.0.0.1"), &["1.2.3.4"], &trusted),
            ip("1.2.3.4")
        );
    }
}
