//! The networks that a key may be used from.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The networks that a key may be used from; empty for any.
///
/// It is written as a list of texts, `["203.0.113.0/24", "2001:db8::/32"]`. Each network is kept by its first address,
/// and an IPv4 network that is written as IPv6 (`::ffff:203.0.113.0/120`) as IPv4, as the addresses of clients are.
///
/// ```
/// # use hm_metering::keys::IpAllow;
/// let office = IpAllow::new(["203.0.113.7/24".parse()?])?;
/// assert!(office.allows(Some("203.0.113.200".parse()?)));
/// assert!(!office.allows(Some("198.51.100.1".parse()?)));
/// // Nobody knows where the request came from, for example because the server does not say.
/// assert!(!office.allows(None));
/// assert!(IpAllow::default().allows(None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<IpNet>", into = "Vec<IpNet>")]
pub struct IpAllow(Vec<IpNet>);

/// More networks than a key may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a key may name {} networks at most", IpAllow::MAX)]
pub struct TooManyNetworks;

impl IpAllow {
    pub(crate) const ANY: &Self = &Self(Vec::new());

    /// How many networks there may be.
    pub const MAX: usize = 64;

    /// These networks, in this order.
    ///
    /// # Errors
    /// [`TooManyNetworks`], beyond [`IpAllow::MAX`].
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Result<Self, TooManyNetworks> {
        let networks: Vec<IpNet> = networks.into_iter().take(Self::MAX + 1).map(canonical).collect();
        if networks.len() > Self::MAX {
            return Err(TooManyNetworks);
        }
        Ok(Self(networks))
    }

    /// Whether a client at this address may use the key. One whose address is not known may only if any may.
    #[must_use]
    pub fn allows(&self, client: Option<IpAddr>) -> bool {
        self.is_empty()
            || client.is_some_and(|client| {
                let client = client.to_canonical();
                self.0.iter().any(|network| network.contains(&client))
            })
    }

    /// Whether any client may use the key.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The networks.
    #[must_use]
    pub const fn networks(&self) -> &[IpNet] {
        self.0.as_slice()
    }
}

impl TryFrom<Vec<IpNet>> for IpAllow {
    type Error = TooManyNetworks;

    fn try_from(networks: Vec<IpNet>) -> Result<Self, TooManyNetworks> {
        Self::new(networks)
    }
}

impl From<IpAllow> for Vec<IpNet> {
    fn from(allow: IpAllow) -> Self {
        allow.0
    }
}

fn canonical(network: IpNet) -> IpNet {
    let network = network.trunc();
    if let IpNet::V6(six) = network
        && let Some(prefix) = six.prefix_len().checked_sub(96)
        && let Some(address) = six.addr().to_ipv4_mapped()
        && let Ok(four) = Ipv4Net::new(address, prefix)
    {
        return IpNet::V4(four);
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(networks: &[&str]) -> IpAllow {
        IpAllow::new(networks.iter().map(|text| text.parse().unwrap())).unwrap()
    }

    #[test]
    fn an_address_is_allowed_in_the_form_it_comes_in() {
        for list in [["203.0.113.7/24"], ["::ffff:203.0.113.7/120"]] {
            let list = allow(&list);
            assert_eq!(list, allow(&["203.0.113.0/24"]));
            for (client, allowed) in [
                ("203.0.113.0", true),
                ("203.0.113.255", true),
                ("::ffff:203.0.113.9", true),
                ("203.0.114.0", false),
                ("::203.0.113.9", false),
            ] {
                assert_eq!(list.allows(Some(client.parse().unwrap())), allowed, "{client}");
            }
        }
        let six = allow(&["2001:db8::/32", "198.51.100.1/32"]);
        assert!(six.allows(Some("2001:db8:ffff::1".parse().unwrap())));
        assert!(six.allows(Some("198.51.100.1".parse().unwrap())));
        assert!(!six.allows(Some("2001:db9::".parse().unwrap())));
    }

    #[test]
    fn any_address_of_one_family_is_not_any_address() {
        let four = allow(&["0.0.0.0/0"]);
        assert!(four.allows(Some("8.8.8.8".parse().unwrap())));
        assert!(!four.allows(Some("2001:db8::1".parse().unwrap())));
        assert!(!four.allows(None));
    }

    #[test]
    fn the_list_is_bounded_wherever_it_comes_from() {
        let network: IpNet = "203.0.113.0/24".parse().unwrap();
        assert!(IpAllow::new(vec![network; IpAllow::MAX]).is_ok());
        assert_eq!(IpAllow::new(std::iter::repeat(network)), Err(TooManyNetworks));
        let text = serde_json::to_string(&vec![network; IpAllow::MAX + 1]).unwrap();
        assert!(serde_json::from_str::<IpAllow>(&text).is_err());
        assert!(serde_json::from_str::<IpAllow>(r#"["203.0.113.0/33"]"#).is_err());
        let list = allow(&["203.0.113.7/24", "2001:db8::/32"]);
        let text = serde_json::to_string(&list).unwrap();
        assert_eq!(text, r#"["203.0.113.0/24","2001:db8::/32"]"#);
        assert_eq!(serde_json::from_str::<IpAllow>(&text).unwrap(), list);
    }
}
