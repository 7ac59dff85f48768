//! Whom a key speaks for, where nothing is metered.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::time::timeout;

use super::directory::{Caller, Known};
use super::fill::Filled;
use super::{Meter, SOON};
use crate::key::PresentedKey;
use crate::keys::InvalidKey;
use crate::principal::Principal;
use crate::refusal::{Refusal, RefusalKind};

impl Meter {
    /// Whom `key` speaks for when `client` presents it, for routes that take keys and cost nothing, such as a report of
    /// what was used. It is answered from memory where a metered request would be, and looked up within the same budget for
    /// unknown keys. The key's dates and networks are checked; scopes are up to the caller. No limit is looked at, nothing is
    /// charged, and there is no event.
    ///
    /// Dropping the future gives up waiting and nothing else.
    ///
    /// # Errors
    /// The refusal that a metered route would answer: the key is not accepted
    /// ([`InvalidKey`](RefusalKind::InvalidKey)) or not from this address
    /// ([`AddressNotAllowed`](RefusalKind::AddressNotAllowed)), or nobody can tell in time
    /// ([`Unavailable`](RefusalKind::Unavailable)).
    pub async fn identify(&self, key: &PresentedKey, client: Option<IpAddr>) -> Result<Principal, Refusal> {
        let engine = &self.0;
        let (now, fingerprint) = (engine.now(), engine.fingerprints.of(key.expose().as_bytes()));
        let caller = match engine.directory.look_up(fingerprint, now.monotonic) {
            Known::Caller(caller) if !caller.has_moved(now.wall) => caller,
            Known::Invalid(reason) => return Err(not_accepted(reason)),
            Known::Caller(_) | Known::Nothing => {
                if !engine.verifier.is_well_formed(key.expose()) {
                    return Err(not_accepted(InvalidKey::Malformed));
                }
                let fill = Arc::clone(&engine.filler).fill(fingerprint, key.clone());
                match timeout(engine.wait_at_most, fill).await {
                    Ok(Filled::Caller(caller)) => caller,
                    Ok(Filled::Invalid(reason)) => return Err(not_accepted(reason)),
                    Ok(Filled::Unavailable) | Err(_) => {
                        return Err(Refusal::new(RefusalKind::Unavailable).with_retry_after(SOON));
                    }
                }
            }
        };
        self.check(&caller, client)
    }

    fn check(&self, caller: &Arc<Caller>, client: Option<IpAddr>) -> Result<Principal, Refusal> {
        caller.check_dates(self.0.clock.now()).map_err(not_accepted)?;
        caller.check_address(|| client)?;
        Ok(caller.principal())
    }
}

fn not_accepted(reason: InvalidKey) -> Refusal {
    Refusal::new(RefusalKind::InvalidKey(reason))
}
