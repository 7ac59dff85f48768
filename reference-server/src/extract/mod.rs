//! What handlers ask for as arguments.

mod app;
mod asker;
mod bearer;
mod caller;
mod client;
mod json;
mod reader;

pub use self::asker::Asker;
pub use self::bearer::bearer_token;
pub use self::caller::{Caller, invalid_token};
pub use self::client::Client;
pub(crate) use self::client::client_address;
pub use self::json::{BodyLimit, JsonBody, OptionalJsonBody};
pub use self::reader::UsageReader;
