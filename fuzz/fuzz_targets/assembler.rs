//! Fragmented messages over any cuts, some of their bytes read right behind what was assembled (`spare` and `filled`).
//!
//! After each read the machine has told what a naive assembler has, which collects all and asks `std::str::from_utf8`: the same messages,
//! and an error no later. Nothing beyond the limit is held, and no room is lent beyond what came.
#![no_main]

mod naive;
#[path = "../../tests/ws_wire/mod.rs"]
mod wire;

use libfuzzer_sys::fuzz_target;
use naive::Steps;
use tautline::ws::{Config, Delivery, Limits};
use tautline::{Buffers, Input, Output};
use wire::{BINARY, CONTINUATION, FIN, NOW, PING, Role, Seen, TEXT, join_chunks};

/// Large enough for room to be lent, which is from 4 KiB on.
const LIMITS: Limits =
    Limits { message: 60_000, frame: 50_000, fragments: 7, control_rate: 1_000_000, control_burst: 1_000_000 };

fuzz_target!(|data: &[u8]| assembler(data));

fn assembler(data: &[u8]) {
    let mut steps = Steps::new(data, 90_000);
    let mode = steps.byte();
    let role = Role::BOTH[usize::from(mode & 1)];
    let delivery = if mode & 2 == 0 { Delivery::Messages } else { Delivery::Chunks };
    let pooled = mode & 4 != 0;
    let reads: Vec<u16> = (0..1 + mode / 16).map(|_| steps.pair()).collect();
    let mut frames = Vec::new();
    let mut size = 0;
    while let (Some(how), true) = (steps.next(), size < 200_000 && frames.len() < 100) {
        let opcode = match how & 7 {
            0 | 1 => TEXT,
            2 => BINARY,
            3 => PING,
            _ => CONTINUATION,
        };
        let mut payload = if how & 8 == 0 { steps.content() } else { steps.text().into_bytes() };
        // A cut inside a character, or a byte that is wrong there.
        match how >> 4 & 3 {
            1 => payload.truncate(payload.len().saturating_sub(1)),
            2 => {
                let at = usize::from(steps.pair());
                if let Some(byte) = payload.get_mut(at) {
                    *byte = steps.byte();
                }
            }
            3 => payload = payload.repeat(1 + usize::from(steps.byte() >> 5)),
            _ => {}
        }
        if opcode == PING {
            payload.truncate(125);
        }
        let fin = if how & 64 != 0 || opcode == PING { FIN } else { 0 };
        size += payload.len();
        frames.push((fin | opcode, payload));
    }

    let mut ws = role.connect_at(Config { limits: LIMITS, delivery, ..Config::DEFAULT }, NOW);
    let wire: Vec<u8> = frames.iter().flat_map(|(first, payload)| role.frame(*first, payload)).collect();
    let mut naive = Naive::new(role, frames);
    let (mut out, mut buffers) = (Output::new(), Buffers::new());
    let (mut seen, mut held) = (Vec::<Seen>::new(), 0);
    let mut rest = &wire[..];
    // The naive assembler looks at all it has after each read.
    let least = 1 + wire.len() / 100;
    for read in reads.iter().cycle() {
        let mut n = usize::from(*read >> 1).max(least).min(rest.len());
        // As a vectored read does it: what there is room for goes there, and what follows into the usual buffer.
        let room = ws.spare().filter(|_| read & 1 == 0);
        if let Some(room) = room {
            assert!(room.len() <= held && room.len() <= LIMITS.frame as usize, "{} for {held}", room.len());
            let direct = n.min(room.len());
            room[..direct].copy_from_slice(&rest[..direct]);
            naive.take(direct);
            rest = &rest[direct..];
            n -= direct;
            if let Err(error) = ws.filled(direct, &mut out, NOW) {
                seen.push(Seen::Error(error));
            }
        }
        naive.take(n);
        let (now, behind) = rest.split_at(n);
        rest = behind;
        let mut piece = now.to_vec();
        let mut input = if pooled { Input::with_buffers(&mut piece, &mut buffers) } else { Input::new(&mut piece) };
        loop {
            let one = match ws.next_event(&mut input, &mut out, NOW) {
                Ok(Some(event)) => Seen::from(event),
                Ok(None) => break,
                Err(error) => Seen::Error(error),
            };
            assert!(!seen.last().is_some_and(Seen::is_closed), "{one:?} behind the end");
            seen.push(one);
        }
        assert!(input.is_empty());
        held = ws.held();

        let failed = seen.iter().find_map(|seen| match seen {
            Seen::Error(error) => Some(error.close_code().as_u16()),
            _ => None,
        });
        assert_eq!(failed, naive.failed);
        if failed.is_none() {
            assert_eq!(held, if delivery == Delivery::Messages { naive.message.len() } else { 0 });
        }
        if failed.is_some() || rest.is_empty() {
            break;
        }
    }
    let told: Vec<Seen> =
        join_chunks(seen).into_iter().filter(|seen| !matches!(seen, Seen::Error(_) | Seen::Closed { .. })).collect();
    assert_eq!(told, naive.told);
}

/// An assembler that knows the frames, takes them byte by byte, and keeps all of a message.
struct Naive {
    role: Role,
    frames: std::vec::IntoIter<(u8, Vec<u8>)>,
    /// The frame that has begun: its first byte, its header's length, its payload, and how many of its bytes came.
    frame: Option<(u8, usize, Vec<u8>, usize)>,
    kind: Option<u8>,
    fragments: u32,
    /// What the headers of the message announced.
    announced: usize,
    message: Vec<u8>,
    told: Vec<Seen>,
    failed: Option<u16>,
}

impl Naive {
    fn new(role: Role, frames: Vec<(u8, Vec<u8>)>) -> Self {
        Self {
            role,
            frames: frames.into_iter(),
            frame: None,
            kind: None,
            fragments: 0,
            announced: 0,
            message: Vec::new(),
            told: Vec::new(),
            failed: None,
        }
    }

    fn take(&mut self, mut n: usize) {
        while n > 0 && self.failed.is_none() {
            let (first, head, payload, came) = self.frame.take().unwrap_or_else(|| {
                let (first, payload) = self.frames.next().expect("no more bytes than frames have");
                let head = self.role.header(first, payload.len() as u64).len();
                (first, head, payload, 0)
            });
            // Of a header byte by byte, of a payload all.
            let now = if came < head { 1 } else { n.min(head + payload.len() - came) };
            n -= now;
            let to = came + now;
            if to <= head {
                self.failed = self.header(first, payload.len(), head, to).err();
            } else if first & 15 != PING {
                self.message.extend_from_slice(&payload[came - head..to - head]);
            }
            let text = self.kind == Some(TEXT) && first & 15 != PING;
            let ended = to == head + payload.len();
            if self.failed.is_none() && text && to >= head {
                let wrong = match std::str::from_utf8(&self.message) {
                    Ok(_) => false,
                    Err(e) => e.error_len().is_some() || ended && first & FIN != 0,
                };
                self.failed = wrong.then_some(1007);
            }
            if self.failed.is_some() {
                return;
            }
            if !ended {
                self.frame = Some((first, head, payload, to));
            } else if first & 15 == PING {
                self.told.push(Seen::Ping(payload));
            } else if first & FIN != 0 {
                let message = std::mem::take(&mut self.message);
                self.told.push(match self.kind.take() {
                    Some(TEXT) => Seen::Text(String::from_utf8(message).expect("seen")),
                    _ => Seen::Binary(message),
                });
            }
        }
    }

    /// The rules about a header of `head` bytes, at its first `came`: each as soon as what breaks it is there.
    fn header(&mut self, first: u8, len: usize, head: usize, came: usize) -> Result<(), u16> {
        let opcode = first & 15;
        let key = if self.role == Role::Server { 4 } else { 0 };
        if opcode == PING {
            return Ok(());
        }
        if came == 2 {
            if (opcode == CONTINUATION) != self.kind.is_some() {
                return Err(1002);
            }
            if opcode != CONTINUATION {
                (self.fragments, self.announced) = (0, 0);
            }
            if self.fragments == LIMITS.fragments {
                return Err(1008);
            }
        }
        if came == head - key && (len > LIMITS.frame as usize || self.announced + len > LIMITS.message as usize) {
            return Err(1009);
        }
        if came == head {
            if opcode != CONTINUATION {
                self.kind = Some(opcode);
            }
            self.fragments += 1;
            self.announced += len;
        }
        Ok(())
    }
}
