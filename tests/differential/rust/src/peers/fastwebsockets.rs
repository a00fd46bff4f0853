//! fastwebsockets with its collector of fragments, polled by hand.

use super::pieces::Pieces;
use super::tautline::reason;
use crate::case::{Case, End, Outcome, PONG, Role, close_code_written, frames_written};
use fastwebsockets::{FragmentCollector, OpCode, Role as Side, WebSocket};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

pub fn fastwebsockets(case: &Case) -> Outcome {
    let (pieces, written) = Pieces::new(case);
    let mut socket =
        WebSocket::after_handshake(pieces, if case.role == Role::Server { Side::Server } else { Side::Client });
    socket.set_max_message_size(case.limit as usize);
    let mut socket = FragmentCollector::new(socket);
    let mut cx = Context::from_waker(Waker::noop());
    let mut outcome = Outcome::default();
    let mut pings = 0;
    loop {
        let polled = pin!(socket.read_frame()).poll(&mut cx);
        // Pings are answered and not reported.
        let wire = written.take();
        while let Some(pong) = frames_written(&wire).filter(|(first, _)| first & 15 == PONG).nth(pings) {
            outcome.event('i', &pong.1);
            pings += 1;
        }
        let frame = match polled {
            Poll::Pending => return outcome,
            Poll::Ready(Ok(frame)) => frame,
            Poll::Ready(Err(_)) => {
                outcome.end = End::Failed(close_code_written(&written.take(), case.role));
                return outcome;
            }
        };
        match frame.opcode {
            OpCode::Text => outcome.event('t', &frame.payload),
            OpCode::Binary => outcome.event('b', &frame.payload),
            OpCode::Pong => outcome.event('o', &frame.payload),
            OpCode::Ping => outcome.event('i', &frame.payload),
            OpCode::Close => {
                let code = frame.payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code));
                let text = String::from_utf8_lossy(frame.payload.get(2..).unwrap_or_default()).into_owned();
                let echo = close_code_written(&written.take(), case.role);
                outcome.end = End::Peer { code, reason: reason(&text), echo };
                return outcome;
            }
            OpCode::Continuation => outcome.end = End::Crash("a continuation".into()),
        }
    }
}
