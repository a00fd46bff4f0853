//! HTTP/1.1 as far as real-time transports need it.

pub mod cors;
pub mod origin;
pub mod upgrade;
pub mod url;
