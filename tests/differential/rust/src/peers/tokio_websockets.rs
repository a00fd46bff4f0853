//! tokio-websockets, polled by hand: nothing is pending but the stream's end.

use super::pieces::Pieces;
use super::tautline::reason;
use crate::case::{Case, End, Outcome, Role, close_code_written};
use futures_core::Stream;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio_websockets::{ClientBuilder, Limits, ServerBuilder};

pub fn tokio_websockets(case: &Case) -> Outcome {
    let (pieces, written) = Pieces::new(case);
    let limits = Limits::default().max_payload_len(Some(case.limit as usize));
    let mut stream = match case.role {
        Role::Server => ServerBuilder::new().limits(limits).serve(pieces),
        Role::Client => ClientBuilder::new().limits(limits).take_over(pieces),
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut outcome = Outcome::default();
    let mut poll = || Pin::new(&mut stream).poll_next(&mut cx);
    loop {
        match poll() {
            Poll::Pending => return outcome,
            Poll::Ready(None) => {
                outcome.end = End::Crash("no more messages, and no reason".into());
                return outcome;
            }
            Poll::Ready(Some(Err(_))) => {
                // What it owes is written when it is asked once more.
                let _ = poll();
                outcome.end = End::Failed(close_code_written(&written.take(), case.role));
                return outcome;
            }
            Poll::Ready(Some(Ok(message))) => {
                let payload = &**message.as_payload();
                if message.is_text() {
                    outcome.event('t', payload);
                } else if message.is_binary() {
                    outcome.event('b', payload);
                } else if message.is_ping() {
                    outcome.event('i', payload);
                } else if message.is_pong() {
                    outcome.event('o', payload);
                } else {
                    let (code, text) =
                        message.as_close().map_or((1005, ""), |(code, reason)| (u16::from(code), reason));
                    let reason = reason(text);
                    let _ = poll();
                    outcome.end = End::Peer { code, reason, echo: close_code_written(&written.take(), case.role) };
                    return outcome;
                }
            }
        }
    }
}
