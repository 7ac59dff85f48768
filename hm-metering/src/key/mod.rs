//! API keys as text: how they are made, checked without a look-up, shown, and turned into what a store keeps.
//!
//! A key is `{prefix}_{env}_{body}{crc}`, for example `hm_live_` and 39 characters:
//!
//! * the prefix is 2 to 16 lower-case letters and digits, `hm` unless set otherwise;
//! * the environment is `live` or `test`;
//! * the body is 33 base62 characters (`0-9A-Za-z`), 196 random bits from the operating system;
//! * the last six characters are the CRC-32 (IEEE 802.3, the one of zlib) of everything before them, in base62 with
//!   `0` padding on the left. It covers prefix and environment too, so that no single changed character passes.
//!
//! The checksum says "well formed", never "valid": anybody can compute it. It lets typing mistakes, garbage and
//! secret scanners be answered without asking a store.

#[cfg(feature = "argon2")]
mod argon2;
#[cfg(feature = "bcrypt")]
mod bcrypt;
mod digest;
mod format;
mod hasher;
mod secret;

#[cfg(feature = "argon2")]
pub use argon2::Argon2Hasher;
#[cfg(feature = "bcrypt")]
pub use bcrypt::LegacyBcrypt;
pub use digest::{KeyDigest, Pepper, PepperError, Peppers};
pub use format::{KeyEnv, KeyFormat, KeyFormatError, ParsedKey};
pub use hasher::{HashCheck, HashError, KeyHash, KeyHasher, SlowHash};
pub use secret::{IssuedKey, PresentedKey};
