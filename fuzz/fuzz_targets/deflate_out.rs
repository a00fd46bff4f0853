//! Messages sent in every way over a connection that compresses, into an output that is often full.
//!
//! - What was accepted for sending arrives at the other side, once, in order and whole, wherever the wire is cut; what was refused leaves
//!   no byte, and the same message may come again.
//! - It is also what a naive inflater makes of the frames, in the agreed window, and what `zlib-rs` makes of them by itself.
#![no_main]

mod naive;
#[path = "../../tests/ws_wire/mod.rs"]
mod wire;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use naive::{Reader, Steps, Told, accepted, sends};
use tautline::ws::{CloseCode, Config, Connection, Deflate, Delivery, Kind, Prepared, SendError, Text};
use tautline::{Buffers, Input, Output};
use wire::{NOW, Role, Seen, join_chunks};

fuzz_target!(|data: &[u8]| deflate_out(data));

fn deflate_out(data: &[u8]) {
    let mut steps = Steps::new(data, 40_000);
    let mode = steps.byte();
    let (server, client) = (steps.deflate(), steps.deflate());
    let offer = match mode >> 6 {
        0 => "permessage-deflate; client_max_window_bits=8".into(),
        1 => "permessage-deflate".into(),
        _ => client.offer(),
    };
    let deflate = accepted(&server, &offer).expect("a good offer");
    let limit = [40, 150, 700, 3000, 20_000, Output::LIMIT][usize::from(mode >> 1) % 6];
    let delivery = if mode & 32 == 0 { Delivery::Messages } else { Delivery::Chunks };
    let mut run = Run::new(Role::BOTH[usize::from(mode & 1)], deflate, limit);
    while let Some(step) = steps.next() {
        run.step(step, &mut steps);
    }
    run.end(delivery, &[1 + usize::from(mode) * 31, 1 + usize::from(mode >> 3)]);
}

/// A begun message: what it is, and what of it was accepted.
type Begun = Option<(Kind, Vec<u8>)>;

struct Run {
    role: Role,
    deflate: Deflate,
    ws: Connection,
    out: Output,
    wire: Vec<u8>,
    /// What was accepted for sending, but for pongs, of which a newer one may replace another.
    sent: Vec<Told>,
    begun: Begun,
    shared: Vec<Prepared>,
}

impl Run {
    fn new(role: Role, deflate: Deflate, limit: usize) -> Self {
        let ws = role.connect(Config::DEFAULT).with_deflate(deflate);
        let out = Output::with_limit(limit);
        Self { role, deflate, ws, out, wire: Vec::new(), sent: Vec::new(), begun: None, shared: Vec::new() }
    }

    fn step(&mut self, step: u8, steps: &mut Steps<'_>) {
        match step & 31 {
            0 | 1 => {
                let text = steps.text();
                let told = Told::Text(text.clone());
                self.send(step, told, |ws, out| ws.send_text(&text, out));
            }
            2 | 3 => {
                let bytes = steps.content();
                self.send(step, Told::Binary(bytes.clone()), |ws, out| ws.send_binary(&bytes, out));
            }
            4 => {
                let text = steps.text();
                let told = Told::Text(text.clone());
                let shared = Text::from(text);
                self.send(step, told, |ws, out| cause(ws.send_shared_text(shared.clone(), out), &shared));
            }
            5 => {
                let bytes = Bytes::from(steps.content());
                let told = Told::Binary(bytes.to_vec());
                self.send(step, told, |ws, out| cause(ws.send_shared_binary(bytes.clone(), out), &bytes));
            }
            6 => {
                let message =
                    if step & 32 == 0 { Prepared::text(&steps.text()) } else { Prepared::binary(&steps.content()) };
                self.shared.push(if step & 64 == 0 { message } else { message.uncompressed() });
            }
            7 | 8 => {
                let which = usize::from(steps.byte()) % self.shared.len().max(1);
                let Some(message) = self.shared.get(which).cloned() else { return };
                let told = Told::message(message.kind(), message.payload().to_vec());
                self.send(step, told, |ws, out| ws.send_prepared(&message, out));
            }
            9 => {
                let text = steps.text();
                let told = Told::Text(text.clone());
                self.send(step, told, |ws, out| ws.uncompressed().send_text(&text, out));
            }
            10 => {
                let bytes = Bytes::from(steps.content());
                let told = Told::Binary(bytes.to_vec());
                self.send(step, told, |ws, out| {
                    cause(ws.uncompressed().send_shared_binary(bytes.clone(), out), &bytes)
                });
            }
            11 => {
                let bytes = steps.content();
                self.send(step, Told::Binary(bytes.clone()), |ws, out| ws.uncompressed().send_binary(&bytes, out));
            }
            // The bytes of a text's fragments are any: what cannot be one is refused.
            12..=14 => {
                let (kind, bytes) = (steps.kind(), steps.content());
                let outcome = self.call(step, |ws, out| match step & 64 {
                    0 => ws.begin(kind, &bytes, out),
                    _ => ws.uncompressed().begin(kind, &bytes, out),
                });
                match outcome {
                    Ok(()) => assert!(self.begun.replace((kind, bytes)).is_none(), "begun in a begun message"),
                    Err(cause) => self.refused(cause, SendError::MessageOpen, self.begun.is_some()),
                }
            }
            15..=17 => {
                let bytes = steps.content();
                match self.call(step, |ws, out| ws.append(&bytes, out)) {
                    Ok(()) => self.begun.as_mut().expect("a begun message").1.extend(bytes),
                    Err(cause) => self.refused(cause, SendError::NoMessageOpen, self.begun.is_none()),
                }
            }
            18..=20 => {
                let bytes = steps.content();
                match self.call(step, |ws, out| ws.finish(&bytes, out)) {
                    Ok(()) => {
                        let (kind, mut message) = self.begun.take().expect("a begun message");
                        message.extend(bytes);
                        self.sent.push(Told::message(kind, message));
                    }
                    Err(cause) => self.refused(cause, SendError::NoMessageOpen, self.begun.is_none()),
                }
            }
            21 => {
                let payload = vec![b'p'; usize::from(steps.byte()) / 2];
                match self.call(step, |ws, out| ws.ping(&payload, out)) {
                    Ok(()) => self.sent.push(Told::Ping(payload)),
                    Err(cause) => self.refused(cause, SendError::LongControl, payload.len() > 125),
                }
            }
            22 => {
                let _ = self.ws.pong(&vec![b'q'; usize::from(steps.byte()) / 2], &mut self.out);
            }
            23 if step & 0xe0 == 0xe0 => {
                if self.ws.close(Some(CloseCode::NORMAL), "", NOW, &mut self.out).is_ok() {
                    self.sent.push(Told::Close(1000_u16.to_be_bytes().to_vec()));
                }
            }
            24 => self.out.set_blocked(),
            25 => self.out = self.out.take_unsent(),
            26 => {
                let mut scratch = Output::with_limit(self.out.limit());
                self.out.hand_compressors(&mut scratch);
                if step & 32 != 0 {
                    scratch.hand_compressors(&mut self.out);
                }
            }
            27 => {
                let n = usize::from(steps.pair()).min(self.out.len());
                self.write(n);
            }
            _ => self.write(self.out.len()),
        }
    }

    fn write(&mut self, n: usize) {
        let unsent = self.out.chunks().collect::<Vec<_>>().concat();
        self.wire.extend_from_slice(&unsent[..n]);
        self.out.advance(n);
    }

    /// Makes a call; where the output is full, mostly once more when it has drained.
    fn call(
        &mut self,
        step: u8,
        call: impl Fn(&mut Connection, &mut Output) -> Result<(), SendError>,
    ) -> Result<(), SendError> {
        let before = self.out.len();
        let outcome = call(&mut self.ws, &mut self.out);
        if outcome.is_ok() {
            return outcome;
        }
        assert_eq!(self.out.len(), before, "an error that leaves bytes");
        let Err(SendError::Full(full)) = outcome else { return outcome };
        assert!(full.limit == self.out.limit() && before + full.needed > full.limit, "full with room left");
        if step & 128 == 0 && !full.never_fits() {
            self.write(before);
            let again = call(&mut self.ws, &mut self.out);
            // A kept context was forgotten, so that it may have become longer, though hardly; else it fits now.
            assert!(again.is_ok() || matches!(again, Err(SendError::Full(full)) if full.never_fits()), "{again:?}");
            return again;
        }
        outcome
    }

    fn send(&mut self, step: u8, told: Told, call: impl Fn(&mut Connection, &mut Output) -> Result<(), SendError>) {
        match self.call(step, call) {
            Ok(()) => {
                assert!(self.begun.is_none(), "a message in a message");
                self.sent.push(told);
            }
            Err(cause) => self.refused(cause, SendError::MessageOpen, self.begun.is_some()),
        }
    }

    /// Whether `cause` is one to be: `other` where `is` says so.
    fn refused(&self, cause: SendError, other: SendError, is: bool) {
        match cause {
            SendError::Closed => assert!(!self.ws.is_open()),
            SendError::Full(_) | SendError::InvalidUtf8 => {}
            cause => assert!(cause == other && is, "{cause:?}"),
        }
    }

    /// Everything arrives, at our own other side and at a naive one.
    fn end(mut self, delivery: Delivery, cuts: &[usize]) {
        self.write(self.out.len());
        let mut reader = Reader::new(self.role, Some(&self.deflate));
        reader.take(&self.wire);
        assert!(reader.is_whole());
        let told: Vec<Told> = reader.told.iter().filter(|told| !matches!(told, Told::Pong(_))).cloned().collect();
        assert_eq!(told, self.sent);
        self.by_zlib(&reader);

        let mut peer = self.role.peer().connect(Config { delivery, ..Config::DEFAULT }).with_deflate(self.deflate);
        let (mut out, mut buffers, mut seen) = (Output::new(), Buffers::new(), Vec::new());
        let (mut rest, mut cuts) = (&self.wire[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (now, behind) = rest.split_at((*cuts.next().expect("endless")).min(rest.len()));
            rest = behind;
            let mut piece = now.to_vec();
            let mut input = Input::with_buffers(&mut piece, &mut buffers);
            while let Some(event) = peer.next_event(&mut input, &mut out, NOW).expect("nothing wrong") {
                seen.push(Seen::from(event));
            }
        }
        let arrived: Vec<Told> = join_chunks(seen)
            .into_iter()
            .filter_map(|seen| match seen {
                Seen::Text(text) => Some(Told::Text(text)),
                Seen::Binary(bytes) => Some(Told::Binary(bytes)),
                Seen::Ping(payload) => Some(Told::Ping(payload)),
                Seen::Closed { code, .. } => Some(Told::Close(code.to_be_bytes().to_vec())),
                _ => None,
            })
            .collect();
        assert_eq!(arrived, self.sent);
    }

    /// The compressed messages, by `zlib-rs` alone.
    fn by_zlib(&self, reader: &Reader) {
        let (_, kept) = sends(&self.deflate, self.role);
        let mut stream = zlib_rs::Inflate::new(false, 15);
        let messages = self.sent.iter().filter_map(|told| match told {
            Told::Text(text) => Some(text.as_bytes()),
            Told::Binary(bytes) => Some(&bytes[..]),
            _ => None,
        });
        for ((compressed, payload), message) in reader.payloads.iter().zip(messages) {
            if !compressed {
                assert_eq!(payload, message);
                continue;
            }
            let bytes = [&payload[..], &[0, 0, 0xff, 0xff]].concat();
            let mut room = vec![0; message.len() + 1];
            let before = stream.total_out();
            let status = stream.decompress(&bytes, &mut room, zlib_rs::InflateFlush::SyncFlush);
            assert!(matches!(status, Ok(zlib_rs::Status::Ok | zlib_rs::Status::BufError)), "{status:?}");
            assert_eq!(&room[..(stream.total_out() - before) as usize], message);
            if !kept {
                stream.reset(false);
            }
        }
    }
}

/// The cause, where the payload came back untouched.
fn cause<T: PartialEq + std::fmt::Debug>(
    outcome: Result<(), tautline::ws::Unsent<T>>,
    payload: &T,
) -> Result<(), SendError> {
    outcome.map_err(|unsent| {
        assert_eq!(unsent.payload, *payload);
        unsent.cause
    })
}
