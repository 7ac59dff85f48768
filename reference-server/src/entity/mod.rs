//! Tables of the server itself; the others are in `hm_metering_seaorm::entity`.

pub mod refresh_token;
pub mod session;
