//! HTTP/1.1 for both roles (RFC 9110, RFC 9112): heads, bodies, responses, and one connection of each side.
//!
//! The parts can be taken one at a time. [`head`] reads request and response heads from an [`Input`](crate::Input) under caps,
//! [`body`] reads what follows them, [`response`] and [`request`] write. [`Server`] and [`Client`] put them together into the
//! state machine of one connection.
//!
//! [`upgrade`] decides whether a request becomes a WebSocket, [`origin`] and [`cors`] which web pages may talk to a server, and
//! [`url`] is what a client connects to.
//!
//! Strictness is one policy for both roles: what RFC 9112 lets a recipient repair (bare LF, line folding, repeated lengths) is
//! refused, because each of those repairs has been the half of a request smuggling attack. HTTP/1.2 and above are refused too,
//! with 505, where RFC 9110 section 2.5 would have them read as HTTP/1.1: nobody ever defined or sent them, so whoever does is
//! probing for two recipients that disagree.
//!
//! Header names that the engine writes are spelled as in their RFCs, for peers that compare them by the letter.

pub(crate) mod accept;
pub mod body;
pub mod client;
pub mod cors;
pub mod credentials;
mod error;
pub(crate) mod field;
mod framing;
pub mod head;
mod headers;
mod lines;
pub mod origin;
pub mod request;
pub mod response;
pub mod server;
pub mod target;
pub mod upgrade;
pub mod url;

pub use body::{BodyError, BodyEvent, BodyReader};
pub use client::{Client, ClientConfig};
pub use error::{Closed, Deadline, Error};
pub use field::FieldError;
pub use head::{
    Framing, HeadError, HeadLimits, Headers, RequestHead, RequestReader, ResponseHead, ResponseReader, Version,
};
pub use request::{Request, RequestError};
pub use response::{Response, ResponseError};
pub use server::{PreparedAnswer, Server, ServerConfig, Suspended};
