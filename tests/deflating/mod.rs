//! Agreements about permessage-deflate, and compressed payloads made without this crate.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::sync::Arc;
use tautline::http::Version;
use tautline::http::origin::OriginPolicy;
use tautline::http::upgrade::{Upgrade, UpgradeConfig};
use tautline::http::url::Url;
use tautline::ws::{
    ClientHandshake, Deflate, DeflateConfig, HandshakeConfig, HandshakeError, HandshakeEvent, Takeover,
};
use tautline::{Input, Instant, Output};
use zlib_rs::{DeflateFlush, Inflate, InflateFlush};

/// Both sides keep their context.
pub const KEPT: DeflateConfig = DeflateConfig {
    server_takeover: Takeover::Kept,
    client_takeover: Takeover::Kept,
    threshold: 0,
    ..DeflateConfig::DEFAULT
};

/// Neither side does.
pub const FRESH: DeflateConfig = DeflateConfig { threshold: 0, ..DeflateConfig::DEFAULT };

/// What a server with `config` makes of a client's `offers`, given as header lines.
pub fn accept(config: &DeflateConfig, offers: &[&str]) -> Option<Deflate> {
    let mut head: Vec<(&str, &[u8])> = vec![
        ("Host", b"a"),
        ("Connection", b"Upgrade"),
        ("Upgrade", b"websocket"),
        ("Sec-WebSocket-Version", b"13"),
        ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    head.extend(offers.iter().map(|offer| ("Sec-WebSocket-Extensions", offer.as_bytes())));
    let policy = UpgradeConfig { origins: OriginPolicy::Any, ..UpgradeConfig::default() };
    let upgrade = Upgrade::check(&policy, "GET", Version::Http11, head).expect("a good head");
    config.accept(upgrade.extensions())
}

/// What a client that offers `config` makes of a server's `answer`.
pub fn confirm(config: DeflateConfig, answer: &str) -> Result<Option<Deflate>, HandshakeError> {
    let config = HandshakeConfig { deflate: Some(config), ..HandshakeConfig::default() };
    let url = Url::parse("ws://example.com/").unwrap();
    let mut handshake =
        ClientHandshake::new(&url, Arc::new(config), *b"the sample nonce", Instant::ORIGIN).expect("a good config");
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Extensions: {answer}\r\n\r\n"
    )
    .into_bytes();
    let (mut input, mut out) = (Input::new(&mut head), Output::new());
    match handshake.next_event(&mut input, &mut out, Instant::ORIGIN)? {
        Some(HandshakeEvent::Open(opened)) => Ok(opened.deflate()),
        other => panic!("{other:?}"),
    }
}

/// What both sides come to where each has `config`.
pub fn agree(config: DeflateConfig) -> Deflate {
    accept(&config, &[&config.offer()]).expect("what is offered is accepted")
}

/// A compressor that keeps its context, at zlib's own settings.
pub struct Compressor(zlib_rs::Deflate);

impl Compressor {
    pub fn new(window: u8) -> Self {
        Self(zlib_rs::Deflate::new(6, false, window))
    }

    /// Compresses and flushes; the tail is still there.
    pub fn flushed(&mut self, bytes: &[u8], flush: DeflateFlush) -> Vec<u8> {
        let mut made = vec![0; bytes.len() + bytes.len() / 8 + 64];
        let before = self.0.total_out();
        self.0.compress(bytes, &mut made, flush).unwrap();
        made.truncate((self.0.total_out() - before) as usize);
        made
    }

    /// A message's payload (RFC 7692 section 7.2.1).
    pub fn message(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut made = self.flushed(bytes, DeflateFlush::SyncFlush);
        assert!(made.ends_with(&[0, 0, 0xff, 0xff]));
        made.truncate(made.len() - 4);
        made
    }
}

/// A message's payload on its own.
pub fn compressed(bytes: &[u8]) -> Vec<u8> {
    Compressor::new(15).message(bytes)
}

/// What a payload on its own comes to.
pub fn decompressed(payload: &[u8]) -> Vec<u8> {
    let (mut inflate, mut made) = (Inflate::new(false, 15), vec![0; 4 << 20]);
    inflate.decompress(&[payload, &[0, 0, 0xff, 0xff]].concat(), &mut made, InflateFlush::SyncFlush).unwrap();
    made.truncate(inflate.total_out() as usize);
    made
}
