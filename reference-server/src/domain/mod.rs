//! Rules without HTTP.

pub mod accounts;
pub mod audit;
pub mod email;
pub mod error;
pub mod keys;
pub mod names;
pub mod permission;
pub mod sessions;
pub mod sign_in;
pub mod usage;

pub use self::accounts::Member;
pub use self::email::Email;
pub use self::error::DomainError;
