//! permessage-deflate (RFC 7692): what a side asks for and grants, what two sides agree upon, and the state of a connection that compresses.

mod negotiate;
mod send;
mod session;

pub(super) use negotiate::{BadAnswer, NAME, Role, SMALLEST};
pub use negotiate::{Deflate, DeflateConfig, DeflateConfigError, Takeover};
pub(crate) use session::Sharing;
pub(super) use session::{Passed, Session};
