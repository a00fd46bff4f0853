//! HTTP/1.1 for both roles (RFC 9110, RFC 9112): heads, bodies, responses, and one connection of each side.
//!
//! The parts can be taken one at a time. [`head`] reads request and response heads from an [`Input`](crate::Input) under caps.
//!
//! Strictness is one policy for both roles: what RFC 9112 lets a recipient repair (bare LF, line folding, repeated lengths) is
//! refused, because each of those repairs has been the half of a request smuggling attack.

pub mod cors;
pub(crate) mod field;
mod framing;
pub mod head;
mod lines;
pub mod origin;
pub mod target;
pub mod upgrade;
pub mod url;

pub use field::FieldError;
pub use head::{
    Framing, HeadError, HeadLimits, Headers, RequestHead, RequestReader, ResponseHead, ResponseReader, Version,
};
