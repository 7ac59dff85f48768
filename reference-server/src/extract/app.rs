//! The application as an argument.

use std::fmt::Debug;

use salvo::extract::{Extractible, Metadata};
use salvo::oapi::{Components, EndpointArgRegister, Operation};
use salvo::{Depot, Request, Writer};

use crate::app::App;
use crate::error::AppError;

impl<'ex> Extractible<'ex> for App {
    fn metadata() -> &'static Metadata {
        static METADATA: Metadata = Metadata::new("");
        &METADATA
    }

    async fn extract(
        _req: &'ex mut Request,
        depot: &'ex mut Depot,
    ) -> Result<Self, impl Writer + Send + Debug + 'static> {
        Self::of(depot)
    }
}

impl App {
    /// The application that this request is for.
    ///
    /// # Errors
    ///
    /// A handler runs outside [`build_service`](crate::build_service).
    pub fn of(depot: &Depot) -> Result<Self, AppError> {
        depot
            .get_typed::<Self>()
            .cloned()
            .map_err(|_| AppError::internal("there is no application in the depot"))
    }
}

impl EndpointArgRegister for App {
    fn register(_components: &mut Components, _operation: &mut Operation, _arg: &str) {}
}
