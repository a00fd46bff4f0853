//! tungstenite on a stream that blocks at its end.

use super::pieces::Pieces;
use super::tautline::reason;
use crate::case::{Case, End, Outcome, Role, close_code_written};
use std::io::ErrorKind;
use tungstenite::protocol::{Role as Side, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

pub fn tungstenite(case: &Case) -> Outcome {
    let (pieces, written) = Pieces::new(case);
    let limit = usize::try_from(case.limit).ok();
    let config = WebSocketConfig::default().max_message_size(limit).max_frame_size(limit);
    let role = if case.role == Role::Server { Side::Server } else { Side::Client };
    let mut socket = WebSocket::from_raw_socket(pieces, role, Some(config));
    let mut outcome = Outcome::default();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => outcome.event('t', text.as_bytes()),
            Ok(Message::Binary(bytes)) => outcome.event('b', &bytes),
            Ok(Message::Ping(payload)) => outcome.event('i', &payload),
            Ok(Message::Pong(payload)) => outcome.event('o', &payload),
            Ok(Message::Close(close)) => {
                let (code, text) =
                    close.as_ref().map_or((1005, ""), |close| (u16::from(close.code), close.reason.as_str()));
                let reason = reason(text);
                let _ = socket.flush();
                outcome.end = End::Peer { code, reason, echo: close_code_written(&written.take(), case.role) };
                return outcome;
            }
            Ok(Message::Frame(_)) => unreachable!("never read"),
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return outcome,
            Err(_) => {
                let _ = socket.flush();
                outcome.end = End::Failed(close_code_written(&written.take(), case.role));
                return outcome;
            }
        }
    }
}
