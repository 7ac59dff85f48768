//! Who somebody is: passwords, access tokens, refresh tokens, and limits on guessing.

pub mod access_token;
pub mod attempts;
pub mod password;
pub mod refresh_token;

pub use self::access_token::{AccessTokens, Identity};
pub use self::attempts::Attempts;
pub use self::password::Passwords;
pub use self::refresh_token::RefreshToken;
