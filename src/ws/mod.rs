//! WebSocket (RFC 6455), both roles, without I/O.
//!
//! [`Connection`] is one connection after its opening handshake: bytes in, [`Event`]s out; calls in, bytes out; time in, deadlines
//! out. Roles differ only in data: a server expects masks and sends none, a client the other way round.
//!
//! | file | what is there |
//! |---|---|
//! | `handshake` | [`ClientHandshake`]: the client's opening handshake (the server's is [`http::upgrade`](crate::http::upgrade)) |
//! | `connection` | [`Connection`]: its state, the fast way in, deadlines |
//! | `receive` | every other way in: frames in pieces, messages in fragments, control frames |
//! | `send` | every way out |
//! | `header` | frame headers; each rule about a received one, with its RFC section |
//! | `prepared` | a message encoded once for many peers |
//! | `close` | close codes, and how a connection ends |
//! | `config`, `error`, `event` | settings and limits, causes, what is reported |

mod close;
mod config;
mod connection;
mod error;
mod event;
mod handshake;
mod header;
mod prepared;
mod receive;
mod send;

pub use crate::payload::apply_mask;
pub use close::{ABNORMAL, CloseCode, Closed, Ending, NO_CODE};
pub use config::{Config, ConfigError, Delivery, Limits, Replies};
pub use connection::{Connection, Seed};
pub use error::{Error, SendError, Unsent};
pub use event::{Chunk, Event, Kind, Part};
pub use handshake::{
    ClientHandshake, HandshakeConfig, HandshakeConfigError, HandshakeError, HandshakeEvent, Opened, Refusal,
};
pub use prepared::{Prepared, Text};
