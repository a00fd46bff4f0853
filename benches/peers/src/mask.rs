//! Mask: unmask a payload where it lies.
//!
//! Only peers that export a function for it are here: nexus-web and fastwebsockets. In tokio-websockets, wtx and
//! tungstenite it is private, and embedded-websocket unmasks while it copies; the receive cells contain theirs.
//!
//! # To enter
//!
//! Implement [`Mask`] and add one line to [`Masked::contestants`]:
//!
//! ```ignore
//! impl Mask for Masking {
//!     const NAME: &'static str = "tautline";
//!     fn mask(payload: &mut [u8], key: [u8; 4]);
//! }
//! field.enter::<tautline_ws::Masking>();
//! ```

use std::hint::black_box;
use std::marker::PhantomData;

use crate::cell::{Bench, Cell, Contestant, Scale, Standing, Work};
use crate::corpus::{Content, Random, size_name};
use crate::{floors, peers, tautline_ws};

pub trait Mask {
    const NAME: &'static str;
    const STANDING: Standing = Standing::Counts;

    fn mask(payload: &mut [u8], key: [u8; 4]);
}

pub struct Masked {
    plain: Vec<u8>,
    key: [u8; 4],
    repeats: u64,
}

impl Masked {
    fn new(len: usize, _: Scale) -> Self {
        let mut random = Random::new(len as u64);
        Masked {
            plain: Content::Binary.payload(len, &mut random),
            key: random.key(),
            // Even, so that a pass leaves the payload as it found it.
            repeats: ((128 << 10) / len as u64).max(2) & !1,
        }
    }
}

impl Bench for Masked {
    fn operations(&self) -> u64 {
        self.repeats
    }

    fn bytes(&self) -> u64 {
        self.repeats * self.plain.len() as u64
    }

    fn contestants<'b>(&'b self, wanted: &dyn Fn(&str) -> bool) -> Vec<Contestant<'b>> {
        let mut field = Field { masked: self, wanted, entered: Vec::new() };
        field.enter::<floors::Words>();
        field.enter::<tautline_ws::Masking>();
        field.enter::<peers::nexus_web::Masking>();
        field.enter::<peers::fastwebsockets::Masking>();
        field.entered
    }
}

struct Field<'b, 'f> {
    masked: &'b Masked,
    wanted: &'f dyn Fn(&str) -> bool,
    entered: Vec<Contestant<'b>>,
}

impl Field<'_, '_> {
    fn enter<M: Mask + 'static>(&mut self) {
        if (self.wanted)(M::NAME) {
            self.entered.push(Contestant {
                name: M::NAME,
                standing: M::STANDING,
                work: Box::new(Masking::<M> {
                    masked: self.masked,
                    payload: self.masked.plain.clone(),
                    _mask: PhantomData,
                }),
            });
        }
    }
}

struct Masking<'b, M> {
    masked: &'b Masked,
    payload: Vec<u8>,
    _mask: PhantomData<M>,
}

impl<M: Mask> Work for Masking<'_, M> {
    fn run(&mut self, passes: u64) -> Result<(), String> {
        for _ in 0..passes * self.masked.repeats {
            M::mask(black_box(&mut self.payload), black_box(self.masked.key));
        }
        if self.payload == self.masked.plain { Ok(()) } else { Err("masking twice is not the identity".into()) }
    }

    fn verify(&mut self) -> Result<(), String> {
        // Every alignment and every short rest, against the definition in RFC 6455 section 5.3.
        for start in 0..self.payload.len().min(9) {
            for end in (start..=self.payload.len()).rev().take(9) {
                let mut payload = self.masked.plain[start..end].to_vec();
                M::mask(&mut payload, self.masked.key);
                let plain = &self.masked.plain[start..end];
                if payload.iter().enumerate().any(|(i, byte)| *byte != plain[i] ^ self.masked.key[i % 4]) {
                    return Err(format!("wrong bytes at length {}", end - start));
                }
            }
        }
        Ok(())
    }
}

pub fn cells() -> Vec<Cell> {
    [16, 125, 1 << 10, 64 << 10]
        .map(|size| Cell {
            name: format!("mask-{}", size_name(size)),
            table: "Unmask in place",
            column: size_name(size),
            bar: None,
            open: Box::new(move |scale| Box::new(Masked::new(size, scale))),
        })
        .into()
}
