//! What happens around requests: id, access log, counting, headers, panics, unreadable targets, time limit, demo.

pub mod access_log;
pub mod catch_panic;
pub mod cors;
pub mod count;
pub mod demo;
pub mod not_served;
pub mod readable_target;
pub mod request_id;
pub mod security_headers;
pub mod timeout;
