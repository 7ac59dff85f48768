//! Where a request comes from.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};

use hm_metering::TrustedProxies;
use hm_metering::client_address::network_of;
use salvo::extract::{Extractible, Metadata};
use salvo::oapi::{Components, EndpointArgRegister, Operation};
use salvo::{Depot, Request, Writer};

use crate::app::App;
use crate::middleware::request_id::request_id;

/// Who sent the request, as far as the network tells: for login limits and the audit log.
#[derive(Clone, Debug)]
pub struct Client {
    /// The address that tells clients apart: not that of a trusted proxy in front of us, and of IPv6 the network only.
    pub network: IpAddr,
    /// The name of the request.
    pub request_id: String,
}

impl Client {
    fn of(req: &Request, proxies: &TrustedProxies) -> Self {
        // A request without a network address comes from a local socket.
        let address = client_address(req, proxies).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Self {
            network: network_of(address),
            request_id: request_id(req).to_owned(),
        }
    }
}

/// The client's address, as far as it can be believed.
pub(crate) fn client_address(req: &Request, proxies: &TrustedProxies) -> Option<IpAddr> {
    let peer = req.remote_addr().ip()?;
    Some(proxies.client_of(peer, req.headers()))
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
