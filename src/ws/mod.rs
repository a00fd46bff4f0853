//! To come.

mod handshake;

pub use handshake::{
    ClientHandshake, HandshakeConfig, HandshakeConfigError, HandshakeError, HandshakeEvent, Opened, Refusal,
};
