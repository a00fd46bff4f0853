//! Runtime-free engine for real-time transports.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod backoff;
pub mod heartbeat;
pub mod http;
pub mod input;
pub mod output;
pub mod sse;
pub mod time;
pub mod ws;

pub use input::{Buffers, Input};
pub use output::{Full, Output};
pub use time::Instant;
