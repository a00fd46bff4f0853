//! Each implementation as a function from a case to its outcome.

mod child;
mod fastwebsockets;
mod pieces;
mod tautline;
mod tokio_websockets;
mod tungstenite;

pub use child::Child;
pub use fastwebsockets::fastwebsockets;
pub use tautline::{tautline, tautline_by_default};
pub use tokio_websockets::tokio_websockets;
pub use tungstenite::tungstenite;

use crate::case::{Case, End, Outcome};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic is an outcome, too.
pub fn caught(read: impl FnOnce(&Case) -> Outcome, case: &Case) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| read(case)))
        .unwrap_or_else(|_| Outcome { events: Vec::new(), end: End::Crash("panic".into()) })
}
