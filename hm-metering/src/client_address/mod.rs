//! The client's address, as far as it can be believed.

mod entries;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr};

use http::Extensions;
use http::header::{FORWARDED, HeaderMap, HeaderName};
pub use ipnet::IpNet;
use serde::Deserialize;

use entries::{entries, forwarded_for, parse};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How many entries are read at most. A chain of proxies is a few long.
const ENTRIES_MAX: usize = 32;
/// How many bytes are read at most, over all entries.
const BYTES_MAX: usize = 8_192;

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

/// The header in which proxies say whom they speak for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`: addresses separated by commas.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239): the parameter `for` of each element.
    Forwarded,
}

/// The proxies whose word about the client's address is believed. None, unless said.
///
/// Exactly one header is read: `X-Forwarded-For`, or the one that [`TrustedProxies::header`] names. The other one is
/// never looked at, not even where the first is missing: a proxy that writes one of the two passes the other on as the
/// client wrote it.
///
/// ```
/// use hm_metering::TrustedProxies;
/// use hm_metering::client_address::ForwardedHeader;
///
/// let proxies = TrustedProxies::new(["10.0.0.0/8".parse()?]).header(ForwardedHeader::Forwarded);
/// let mut headers = http::HeaderMap::new();
/// headers.insert("forwarded", r#"for=6.6.6.6, for="[2001:db8::5]:4711";proto=https"#.parse()?);
/// assert_eq!(proxies.client_of("10.0.0.1".parse()?, &headers).to_string(), "2001:db8::5");
/// assert_eq!(proxies.client_of("192.0.2.1".parse()?, &headers).to_string(), "192.0.2.1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Security
/// Whoever connects from one of these addresses can claim to be any client. List only addresses that nobody but your own
/// proxies can connect from, and let those proxies append to the header that is read, or replace it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<IpNet>")]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    header: ForwardedHeader,
}

impl From<Vec<IpNet>> for TrustedProxies {
    fn from(networks: Vec<IpNet>) -> Self {
        Self {
            networks,
            header: ForwardedHeader::default(),
        }
    }
}

impl TrustedProxies {
    /// Believes the proxies in these networks, by their `X-Forwarded-For`.
    #[must_use]
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self::from(Vec::from_iter(networks))
    }

    /// Which header these proxies write, and the only one that is read.
    #[must_use]
    pub const fn header(mut self, header: ForwardedHeader) -> Self {
        self.header = header;
        self
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The client of a request that came from `peer`.
    ///
    /// The header is read from right to left, over all of its lines: each trusted proxy vouches for the address to its
    /// left. The first one that is not trusted is the client. What stands further left was written by the client itself
    /// and counts for nothing, and so does everything from an entry that names no address on: one that is empty,
    /// `unknown`, obfuscated or malformed. The last address before it is then the client.
    ///
    /// At most 32 entries and 8,192 bytes are read; what lies beyond counts for nothing.
    #[must_use]
    pub fn client_of(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return client;
        }
        let (name, quoted) = match self.header {
            ForwardedHeader::XForwardedFor => (X_FORWARDED_FOR, false),
            ForwardedHeader::Forwarded => (FORWARDED, true),
        };
        let mut bytes_left = BYTES_MAX;
        let lines = headers.get_all(name).iter().rev();
        for entry in lines
            .flat_map(|line| entries(line.as_bytes(), quoted))
            .take(ENTRIES_MAX)
        {
            let Some(left) = bytes_left.checked_sub(entry.len()) else {
                return client;
            };
            bytes_left = left;
            let address = match self.header {
                ForwardedHeader::XForwardedFor => parse(entry),
                ForwardedHeader::Forwarded => forwarded_for(entry),
            };
            let Some(address) = address else {
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

/// The part of an address that one client holds: all of an IPv4 address, the first 64 bits of an IPv6 address.
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address @ IpAddr::V4(_) => address,
    }
}
