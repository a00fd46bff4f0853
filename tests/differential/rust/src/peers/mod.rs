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
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// A panic is an outcome, too, and its message would only be in the way.
pub fn caught(read: impl FnOnce(&Case) -> Outcome, case: &Case) -> Outcome {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !READING.get() {
                loud(panic);
            }
        }));
    });
    READING.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| read(case)))
        .unwrap_or_else(|_| Outcome { events: Vec::new(), end: End::Crash("panic".into()) });
    READING.set(false);
    outcome
}

thread_local! {
    /// An implementation is at work on this thread.
    static READING: Cell<bool> = const { Cell::new(false) };
}
