//! What happens around every request, from the outside in: id, access log, headers, panics, time limit.

pub mod access_log;
pub mod catch_panic;
pub mod cors;
pub mod demo;
pub mod not_served;
pub mod readable_target;
pub mod request_id;
pub mod security_headers;
pub mod timeout;
