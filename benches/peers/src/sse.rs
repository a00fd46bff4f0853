//! Event streams, as a client: chunks of a response body in, events out.
//!
//! # To enter
//!
//! Implement [`Parse`] and add one line to [`Body::contestants`]:
//!
//! ```ignore
//! impl<'w> Parse<'w> for Parser<'w> {
//!     const NAME: &'static str = "tautline";
//!     fn new(feed: Feed<'w>) -> Self;
//!     fn parse(&mut self, sink: &mut impl EventSink) -> Result<(), Refused>;
//! }
//! field.enter::<tautline_sse::Parser>();
//! ```
//!
//! # The rules
//!
//! - Bytes come from [`Feed`] by one copy into the contestant's own buffer, in reads of a fixed size.
//! - Data, event name and id are handed over as `&str`, valid UTF-8, for each event.
//! - A stream lives through all passes; it ends with a whole event.

use crate::cell::{Bar, Bench, Cell, Contestant, Digest, Reference, Refused, Scale, Standing, Totals, Work};
use crate::corpus::{Content, Random};
use crate::feed::Feed;
use crate::{floors, peers, tautline_sse};

pub trait Parse<'w>: Sized {
    const NAME: &'static str;
    const STANDING: Standing = Standing::Counts;

    fn new(feed: Feed<'w>) -> Self;

    /// Reads and delivers until the feed would block.
    fn parse(&mut self, sink: &mut impl EventSink) -> Result<(), Refused>;
}

/// Where events go.
pub trait EventSink {
    /// `name` is `"message"` or empty where the stream named none; `id` is empty where the event has none.
    fn event(&mut self, name: &str, id: &str, data: &str);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One token of a language model's answer, about 48 bytes in all.
    Token,
    /// Id, name and three lines of data, about 110 bytes.
    Multi,
    /// One line of 16 KiB.
    Big,
}

pub struct Body {
    bytes: Vec<u8>,
    step: usize,
    once: Totals,
    digest: Digest,
}

impl Body {
    fn new(shape: Shape, step: usize, scale: Scale) -> Self {
        let target = if scale == Scale::Full && step > 1 { 512 << 10 } else { 64 << 10 };
        let mut random = Random::new(17);
        let mut body = Body { bytes: Vec::new(), step, once: Totals::default(), digest: Digest::default() };
        let mut count = 0;
        while body.bytes.len() < target {
            count += 1;
            let (name, id, data) = match shape {
                Shape::Token => {
                    let token = letters(13 + random.below(14) as usize, &mut random);
                    ("message", String::new(), format!("{{\"i\":{},\"t\":\"{token}\"}}", 10_000_000 + count))
                }
                Shape::Multi => {
                    let lines: [String; 3] =
                        std::array::from_fn(|_| letters(12 + random.below(16) as usize, &mut random));
                    ("update", (1_755_000_000 + count).to_string(), lines.join("\n"))
                }
                Shape::Big => ("message", String::new(), letters(16 << 10, &mut random)),
            };
            body.push(name, &id, &data);
        }
        body
    }

    fn push(&mut self, name: &str, id: &str, data: &str) {
        if !id.is_empty() {
            self.bytes.extend_from_slice(format!("id: {id}\n").as_bytes());
        }
        if name != "message" {
            self.bytes.extend_from_slice(format!("event: {name}\n").as_bytes());
        }
        for line in data.split('\n') {
            self.bytes.extend_from_slice(format!("data: {line}\n").as_bytes());
        }
        self.bytes.push(b'\n');
        self.once.event(name, id, data);
        self.digest.event(name, id, data);
    }
}

fn letters(len: usize, random: &mut Random) -> String {
    String::from_utf8(Content::Ascii.payload(len, random)).expect("ASCII")
}

impl Bench for Body {
    fn operations(&self) -> u64 {
        self.once.messages
    }

    /// Bytes of the stream, framing included: with events this small the rate of the data alone would say little.
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn contestants<'b>(&'b self, wanted: &dyn Fn(&str) -> bool) -> Vec<Contestant<'b>> {
        let mut field = Field { body: self, wanted, entered: Vec::new() };
        if wanted(floors::MEMCPY) {
            field.entered.push(Contestant {
                name: floors::MEMCPY,
                standing: Standing::Floor,
                work: Box::new(floors::ReadOnly::new(Feed::new(&self.bytes, self.step))),
            });
        }
        field.enter::<tautline_sse::Parser>();
        field.enter::<peers::sse_core::Parser>();
        field.enter::<peers::sse_stream::Parser>();
        field.entered
    }
}

struct Field<'b, 'f> {
    body: &'b Body,
    wanted: &'f dyn Fn(&str) -> bool,
    entered: Vec<Contestant<'b>>,
}

impl<'b> Field<'b, '_> {
    fn enter<P: Parse<'b> + 'b>(&mut self) {
        if (self.wanted)(P::NAME) {
            let parser = P::new(Feed::new(&self.body.bytes, self.body.step));
            self.entered.push(Contestant {
                name: P::NAME,
                standing: P::STANDING,
                work: Box::new(Parsing { body: self.body, parser }),
            });
        }
    }
}

struct Parsing<'b, P> {
    body: &'b Body,
    parser: P,
}

impl<'b, P: Parse<'b>> Work for Parsing<'b, P> {
    fn run(&mut self, passes: u64) -> Result<(), String> {
        let mut totals = Totals::default();
        for _ in 0..passes {
            self.parser.parse(&mut totals).map_err(|_| "refused a good stream")?;
        }
        totals.expect(self.body.once, passes)
    }

    fn verify(&mut self) -> Result<(), String> {
        let mut digest = Digest::default();
        self.parser.parse(&mut digest).map_err(|_| "refused a good stream")?;
        if digest == self.body.digest { Ok(()) } else { Err("delivered other events than were sent".into()) }
    }
}

impl EventSink for Totals {
    #[inline]
    fn event(&mut self, name: &str, id: &str, data: &str) {
        std::hint::black_box((name, id));
        self.add(data.as_bytes());
    }
}

impl EventSink for Digest {
    fn event(&mut self, name: &str, id: &str, data: &str) {
        self.add(0, if name.is_empty() { "message" } else { name }.as_bytes());
        self.add(1, id.as_bytes());
        self.add(2, data.as_bytes());
    }
}

pub fn cells() -> Vec<Cell> {
    let token = [1460, 16384, 1].map(|step| ("token", Shape::Token, step, 0.5));
    let multi = [1460, 16384].map(|step| ("multi", Shape::Multi, step, 0.5));
    let big = [1460, 16384].map(|step| ("big16k", Shape::Big, step, 0.9));
    let cell = |(name, shape, step, max)| Cell {
        name: format!("sse-{name}-{step}"),
        table: "Event stream parse",
        column: format!("{name}-{step}"),
        bar: (step > 1).then_some(Bar { reference: Reference::FastestPeer, max }),
        open: Box::new(move |scale| Box::new(Body::new(shape, step, scale))),
    };
    token.into_iter().chain(multi).chain(big).map(cell).collect()
}
