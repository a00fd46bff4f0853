//! Receive, as a server: masked frames in; parse, unmask, validate, deliver.
//!
//! # To enter
//!
//! Implement [`Receive`] and add one line to [`Wire::contestants`]:
//!
//! ```ignore
//! impl<'w> Receive<'w> for Receiver<'w> {
//!     const NAME: &'static str = "tautline";
//!     fn new(feed: Feed<'w>) -> Self;
//!     fn receive(&mut self, sink: &mut impl Sink) -> Result<(), Refused>;
//! }
//! field.enter::<tautline_ws::Receiver>();
//! ```
//!
//! # The rules
//!
//! - Bytes come from [`Feed`] by one copy into the contestant's own buffer, in reads of at most 64 KiB.
//! - Whole messages are delivered: [`Sink::text`] takes a `&str`, so text has been proved UTF-8 by then. A peer that
//!   leaves this to its caller pays for `std::str::from_utf8` in its adapter, as its users do.
//! - A connection lives through all passes. Nothing fragmented, compressed or of control is on the wire, but every
//!   contestant must be able to handle fragments and control frames there; only floors need not.

use crate::cell::{Bar, Bench, Cell, Contestant, Digest, Reference, Refused, Scale, Standing, Totals, Work};
use crate::corpus::{Content, Random, frame_len, push_frame, size_name};
use crate::feed::Feed;
use crate::{floors, peers, tautline_ws};

/// A server's receiving half.
pub trait Receive<'w>: Sized {
    const NAME: &'static str;

    fn new(feed: Feed<'w>) -> Self;

    /// Reads and delivers until the feed would block.
    fn receive(&mut self, sink: &mut impl Sink) -> Result<(), Refused>;

    /// What the row counts for on a wire such as this one.
    fn standing(_: &Wire) -> Standing {
        Standing::Counts
    }
}

/// Where messages go.
pub trait Sink {
    fn text(&mut self, text: &str);
    fn binary(&mut self, payload: &[u8]);
}

/// Frames, back to back, and how they are read.
pub struct Wire {
    bytes: Vec<u8>,
    step: usize,
    frame_len: usize,
    content: Content,
    once: Totals,
    digest: Digest,
}

impl Wire {
    fn new(payload_len: usize, content: Content, reads: Reads, scale: Scale) -> Self {
        // One in a few thousand 16-byte frames straddles two reads, one in four of 16 KiB, every one of 1 MiB.
        let target = match (scale, payload_len) {
            (Scale::Small, _) | (Scale::Full, 0..1024) => 256 << 10,
            (Scale::Full, _) => 1 << 20,
        };
        let frame_len = frame_len(payload_len, true);
        let count = match scale {
            Scale::Full => (target / frame_len).max(2),
            Scale::Small => (target / frame_len).max(1),
        };
        let mut random = Random::new(payload_len as u64);
        let mut wire = Wire {
            bytes: Vec::with_capacity(count * frame_len),
            step: match reads {
                Reads::Bulk => 64 << 10,
                Reads::OneFrame => frame_len,
            },
            frame_len,
            content,
            once: Totals::default(),
            digest: Digest::default(),
        };
        for _ in 0..count {
            let payload = content.payload(payload_len, &mut random);
            push_frame(&mut wire.bytes, content.is_text(), &payload, Some(random.key()));
            wire.once.add(&payload);
            wire.digest.add(u8::from(content.is_text()), &payload);
        }
        wire
    }

    pub fn is_text(&self) -> bool {
        self.content.is_text()
    }

    /// Whether reads end inside a good part of the frames, not just in one of hundreds.
    pub fn straddles(&self) -> bool {
        self.frame_len >= 16 << 10 && !self.step.is_multiple_of(self.frame_len)
    }

    /// The same wire with one byte of one text that cannot occur in UTF-8: in a frame that straddles reads where
    /// [`Wire::straddles`], else in the second frame.
    fn spoilt(&self) -> Vec<u8> {
        let frame = if self.straddles() { self.step / self.frame_len } else { 1 };
        let mut bytes = self.bytes.clone();
        let middle = frame * self.frame_len + self.frame_len / 2;
        // A masked byte is its plain byte xor the key's, so this makes the plain byte 0xff whatever the key is.
        bytes[middle] ^= 0xff ^ self.plain_at(frame, middle);
        bytes
    }

    fn plain_at(&self, frame: usize, at: usize) -> u8 {
        let start = frame * self.frame_len;
        let header = self.frame_len - self.payload_len();
        let key = &self.bytes[start + header - 4..start + header];
        self.bytes[at] ^ key[(at - start - header) % 4]
    }

    fn payload_len(&self) -> usize {
        (self.once.bytes / self.once.messages) as usize
    }
}

impl Bench for Wire {
    fn operations(&self) -> u64 {
        self.once.messages
    }

    fn bytes(&self) -> u64 {
        self.once.bytes
    }

    fn contestants<'b>(&'b self, wanted: &dyn Fn(&str) -> bool) -> Vec<Contestant<'b>> {
        let mut field = Field { wire: self, wanted, entered: Vec::new() };
        if wanted(floors::MEMCPY) {
            field.entered.push(Contestant {
                name: floors::MEMCPY,
                standing: Standing::Floor,
                work: Box::new(floors::ReadOnly::new(Feed::new(&self.bytes, self.step))),
            });
        }
        field.enter::<floors::Fused>();
        field.enter::<tautline_ws::Receiver>();
        field.enter::<peers::nexus_web::Receiver>();
        field.enter::<peers::embedded_websocket::Receiver>();
        field.enter::<peers::tokio_websockets::Receiver>();
        field.enter::<peers::wtx::Receiver>();
        field.enter::<peers::fastwebsockets::Receiver>();
        field.enter::<peers::tungstenite::Receiver>();
        field.entered
    }
}

struct Field<'b, 'f> {
    wire: &'b Wire,
    wanted: &'f dyn Fn(&str) -> bool,
    entered: Vec<Contestant<'b>>,
}

impl<'b> Field<'b, '_> {
    fn enter<R: Receive<'b> + 'b>(&mut self) {
        if (self.wanted)(R::NAME) {
            self.entered.push(Contestant {
                name: R::NAME,
                standing: R::standing(self.wire),
                work: Box::new(Receiving {
                    wire: self.wire,
                    receiver: R::new(Feed::new(&self.wire.bytes, self.wire.step)),
                }),
            });
        }
    }
}

struct Receiving<'b, R> {
    wire: &'b Wire,
    receiver: R,
}

impl<'b, R: Receive<'b>> Work for Receiving<'b, R> {
    fn run(&mut self, passes: u64) -> Result<(), String> {
        let mut totals = Totals::default();
        for _ in 0..passes {
            self.receiver.receive(&mut totals).map_err(|_| "refused good frames")?;
        }
        totals.expect(self.wire.once, passes)
    }

    fn verify(&mut self) -> Result<(), String> {
        let mut digest = Digest::default();
        self.receiver.receive(&mut digest).map_err(|_| "refused good frames")?;
        if digest != self.wire.digest {
            return Err("delivered other messages than were sent".into());
        }
        if self.wire.is_text() && R::standing(self.wire) == Standing::Counts {
            return refuses_spoilt_text::<R>(self.wire);
        }
        Ok(())
    }
}

/// A row that counts in a text cell must refuse a text that is not UTF-8.
fn refuses_spoilt_text<'b, R: Receive<'b>>(wire: &'b Wire) -> Result<(), String> {
    // Leaked, because `R` is a receiver for exactly the lifetime `'b`; this runs once per process and cell.
    let spoilt: &'static [u8] = wire.spoilt().leak();
    match R::new(Feed::new(spoilt, wire.step)).receive(&mut Digest::default()) {
        Err(Refused) => Ok(()),
        Ok(()) => Err("took bytes for text that are not UTF-8".into()),
    }
}

impl Sink for Totals {
    #[inline]
    fn text(&mut self, text: &str) {
        self.add(text.as_bytes());
    }

    #[inline]
    fn binary(&mut self, payload: &[u8]) {
        self.add(payload);
    }
}

impl Sink for Digest {
    fn text(&mut self, text: &str) {
        self.add(1, text.as_bytes());
    }

    fn binary(&mut self, payload: &[u8]) {
        self.add(0, payload);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    Bulk,
    OneFrame,
}

pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    let bulk: &[usize] = &[16, 125, 1 << 10, 16 << 10, 1 << 20];
    for (reads, prefix, sizes) in [(Reads::Bulk, "recv", bulk), (Reads::OneFrame, "recv1", &bulk[..3])] {
        for content in Content::ALL {
            for &size in sizes {
                let column = format!("{}-{}", size_name(size), content.name());
                cells.push(Cell {
                    name: format!("{prefix}-{column}"),
                    table: match (reads, content) {
                        (Reads::Bulk, Content::Ascii) => "WebSocket receive, ASCII text",
                        (Reads::Bulk, Content::Utf8) => "WebSocket receive, multi-byte text",
                        (Reads::Bulk, Content::Binary) => "WebSocket receive, binary",
                        (Reads::OneFrame, _) => "WebSocket receive, one frame per read",
                    },
                    column,
                    bar: Some(bar(size, content)),
                    open: Box::new(move |scale| Box::new(Wire::new(size, content, reads, scale))),
                });
            }
        }
    }
    cells
}

fn bar(size: usize, content: Content) -> Bar {
    let (reference, max) = match size {
        16 => (Reference::Named("nexus-web"), 0.35),
        125 => (Reference::Named("nexus-web"), 0.45),
        1024 => (Reference::FastestPeer, 0.95),
        _ if content == Content::Utf8 => (Reference::FastestPeer, 1.10),
        _ => (Reference::FastestPeer, 1.05),
    };
    Bar { reference, max }
}
