//! Whoever may ask about other people's keys: an operator, or a service with a key for that.

use std::fmt::Debug;

use salvo::extract::{Extractible, Metadata};
use salvo::http::HeaderValue;
use salvo::oapi::{Components, EndpointArgRegister, Operation, SecurityRequirement};
use salvo::{Depot, Request, Writer};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::reader::{Credential, credential, identify};
use crate::app::App;
use crate::error::AppError;

/// What a key needs to ask about others.
const SCOPE: &str = "keys:verify";

/// Who asks, and thereby how much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// Somebody with `ADMIN_KEY` in `X-Admin-Key`.
    Operator,
    /// A service whose key has the scope `keys:verify`.
    Service,
}

impl Asker {
    async fn of(app: &App, req: &Request) -> Result<Self, AppError> {
        if let Some(given) = req.headers().get("x-admin-key") {
            return match app.admin_key() {
                Some(key) if is_same(given, key.expose()) => Ok(Self::Operator),
                _ => Err(AppError::unauthorized(
                    "invalid_admin_key",
                    "The admin key is not valid.",
                )),
            };
        }
        let Credential::Key(key) = credential(app, req.headers())? else {
            return Err(AppError::unauthorized(
                "missing_api_key",
                "Send an API key with the scope `keys:verify`.",
            ));
        };
        let caller = identify(app, req, key).await?;
        if caller.has_scope(SCOPE) {
            Ok(Self::Service)
        } else {
            Err(AppError::forbidden(
                "missing_scope",
                "The API key lacks the scope `keys:verify`.",
            ))
        }
    }
}

/// Compares digests, so that the time tells neither the length nor a part of the key.
fn is_same(given: &HeaderValue, key: &str) -> bool {
    Sha256::digest(given.as_bytes())
        .ct_eq(&Sha256::digest(key.as_bytes()))
        .into()
}

impl<'ex> Extractible<'ex> for Asker {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    async fn extract(
        req: &'ex mut Request,
        depot: &'ex mut Depot,
    ) -> Result<Self, impl Writer + Send + Debug + 'static> {
        match App::of(depot) {
            Ok(app) => Self::of(&app, req).await,
            Err(error) => Err(error),
        }
    }
}

impl EndpointArgRegister for Asker {
    fn register(_components: &mut Components, operation: &mut Operation, _arg: &str) {
        let either =
            ["apiKey", "adminKey"].map(|scheme| SecurityRequirement::new(scheme, Vec::<String>::new()));
        operation.securities.get_or_insert_default().extend(either);
    }
}
