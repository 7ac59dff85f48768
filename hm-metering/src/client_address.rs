//! The client's address, as far as it can be believed.

use std::net::{IpAddr, Ipv6Addr};

use http::Extensions;
use http::header::{HeaderMap, HeaderName};
pub use ipnet::IpNet;
use serde::Deserialize;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of the connection's other end, in a request's extensions. Servers put it there; with the feature `axum`,
/// `ConnectInfo<SocketAddr>` does as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub IpAddr);

impl PeerAddress {
    /// The peer as something before has put it into a request's extensions.
    pub(crate) fn of(extensions: &Extensions) -> Option<IpAddr> {
        let peer = extensions.get::<Self>().map(|peer| peer.0);
        #[cfg(feature = "axum")]
        let peer = peer.or_else(|| {
            let info = extensions.get::<::axum::extract::ConnectInfo<std::net::SocketAddr>>();
            info.map(|info| info.0.ip())
        });
        peer
    }
}

/// The proxies whose word about the client's address is believed. None, unless said.
///
/// # Security
/// Whoever connects from one of these addresses can claim to be any client. List only addresses that nobody but your own
/// proxies can connect from, and let those proxies append to `X-Forwarded-For`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Believes the proxies in these networks.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client of a request that came from `peer`.
    ///
    /// `X-Forwarded-For` is read from right to left: each trusted proxy vouches for the address to its left. The first
    /// one that is not trusted is the client. What stands further left was written by the client itself and counts for
    /// nothing, and so does everything from a text that is no address on.
    #[must_use]
    pub fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        // A line that is no text is one entry that is no address.
        let lines = headers
            .get_all(X_FORWARDED_FOR)
            .iter()
            .rev()
            .map(|line| line.to_str().unwrap_or_default());
        for text in lines.flat_map(|line| line.rsplit(',')) {
            let Some(address) = parse(text.trim()) else {
                return client;
            };
            client = address;
            if !self.trusts(client) {
                return client;
            }
        }
        client
    }
}

/// An address, with or without a port, IPv6 in brackets or not.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map(|(address, _)| address);
    let address = match bare {
        Some(address) => address.parse().ok(),
        None => text.parse().ok().or_else(|| {
            text.rsplit_once(':')
                .and_then(|(address, _)| address.parse().ok())
        }),
    };
    address.map(|address: IpAddr| address.to_canonical())
}

/// The part of an address that one client holds: all of an IPv4 address, the first 64 bits of an IPv6 address.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let proxies = TrustedProxies::new(["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(X_FORWARDED_FOR, line.parse().unwrap());
        }
        proxies.client_of(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_stranger_can_claim_nothing() {
        assert_eq!(client("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(client("203.0.113.9", &["10.0.0.1, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(client("::ffff:203.0.113.9", &[]), "203.0.113.9");
    }

    #[test]
    fn a_trusted_proxy_vouches_for_the_address_to_its_left() {
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            client("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.7"]),
            "198.51.100.1"
        );
        assert_eq!(
            client("10.0.0.1", &["1.1.1.1", "198.51.100.1", "10.0.0.7"]),
            "198.51.100.1"
        );
        assert_eq!(client("fd00::1", &["[2001:db8::5]:443"]), "2001:db8::5");
        assert_eq!(client("10.0.0.1", &["198.51.100.1:8080"]), "198.51.100.1");
    }

    #[test]
    fn without_a_sound_word_the_proxy_is_the_client() {
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["1.2.3.4, junk, 10.0.0.9"]), "10.0.0.9");
        assert_eq!(client("10.0.0.1", &[""]), "10.0.0.1");
    }

    #[test]
    fn a_line_that_is_no_text_hides_nothing_to_its_right() {
        let proxies = TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        headers.append(X_FORWARDED_FOR, "6.6.6.6".parse().unwrap());
        headers.append(X_FORWARDED_FOR, http::HeaderValue::from_bytes(&[0xff]).unwrap());
        headers.append(X_FORWARDED_FOR, "203.0.113.9".parse().unwrap());
        assert_eq!(
            proxies
                .client_of("10.0.0.1".parse().unwrap(), &headers)
                .to_string(),
            "203.0.113.9"
        );
        headers.append(X_FORWARDED_FOR, "10.0.0.2".parse().unwrap());
        assert_eq!(
            proxies
                .client_of("10.0.0.1".parse().unwrap(), &headers)
                .to_string(),
            "203.0.113.9"
        );
    }

    #[test]
    fn an_ipv6_client_holds_its_first_64_bits() {
        let network = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("203.0.113.9"), "203.0.113.9");
        assert_eq!(network("::ffff:203.0.113.9"), "203.0.113.9");
    }
}
