//! What compression costs in memory: nothing per message once a connection runs, little for one that keeps no context, what is documented
//! for one that does, and no more than a limit for a bomb. Rows D1 and D11 of the list of bad inputs, as far as they speak of memory.
#![cfg(feature = "deflate")]

mod counting;
mod deflating;
mod ws_wire;

use counting::{counts, peak_of};
use deflating::*;
use std::fmt::Write;
use std::sync::Arc;
use tautline::ws::{Config, Connection, DeflateConfig, Delivery, Error, Event, Takeover};
use tautline::{Buffers, Input, Output};
use ws_wire::*;
use zlib_rs::DeflateFlush;

/// The bit of a compressed message's first frame.
const RSV1: u8 = 0x40;

/// JSON of so many bytes, another one for each number.
fn json(nth: usize, len: usize) -> String {
    let mut text = String::from("[");
    while text.len() < len {
        let number = (nth + text.len()).wrapping_mul(2_654_435_761) % 1_000_003;
        write!(text, r#"{{"id":{number},"name":"user {}","on":{}}},"#, number % 97, number.is_multiple_of(2)).unwrap();
    }
    text.truncate(len);
    text
}

/// Both ends of a connection.
struct Pair {
    server: Connection,
    client: Connection,
}

/// What a thread has.
#[derive(Default)]
struct Thread {
    out: Output,
    buffers: Buffers,
}

impl Pair {
    fn new(config: &Arc<Config>, deflate: DeflateConfig) -> Self {
        let agreed = agree(deflate);
        Self {
            server: Connection::server(config.clone(), [1; 16], NOW).with_deflate(agreed),
            client: Connection::client(config.clone(), [2; 16], NOW).with_deflate(agreed),
        }
    }

    /// The client's message and the server's echo of it. `read` is a read buffer.
    fn echo(&mut self, text: &str, thread: &mut Thread, read: &mut [u8]) {
        self.serve(text, thread, read);
        let len = take(&mut thread.out, read);
        let mut input = Input::with_buffers(&mut read[..len], &mut thread.buffers);
        match self.client.next_event(&mut input, &mut thread.out, NOW) {
            Ok(Some(Event::Text(got))) => assert_eq!(got, text),
            other => panic!("{other:?}"),
        }
    }

    /// The server's part of that, and by how many bytes the heap is fuller behind it.
    fn serve(&mut self, text: &str, thread: &mut Thread, read: &mut [u8]) -> i64 {
        self.client.send_text(text, &mut thread.out).unwrap();
        let len = take(&mut thread.out, read);
        let before = counts().live;
        let mut input = Input::with_buffers(&mut read[..len], &mut thread.buffers);
        match self.server.next_event(&mut input, &mut thread.out, NOW) {
            Ok(Some(Event::Text(got))) => self.server.send_text(got, &mut thread.out).unwrap(),
            other => panic!("{other:?}"),
        }
        drop(input);
        counts().live - before
    }
}

/// Moves what waits in `out` into a read buffer.
fn take(out: &mut Output, read: &mut [u8]) -> usize {
    let mut len = 0;
    for chunk in out.chunks() {
        read[len..len + chunk.len()].copy_from_slice(chunk);
        len += chunk.len();
    }
    out.clear();
    len
}

#[test]
fn compressed_messages_allocate_nothing_once_a_connection_runs() {
    let takeovers = [Takeover::Kept, Takeover::None];
    let config = Arc::new(Config::DEFAULT);
    for (server_takeover, client_takeover) in takeovers.iter().flat_map(|&one| takeovers.map(|other| (one, other))) {
        for (level, window) in [(1, 15), (6, 15), (1, 11)] {
            let deflate = DeflateConfig {
                server_takeover,
                client_takeover,
                level,
                server_window: window,
                client_window: window,
                ..DeflateConfig::DEFAULT
            };
            let mut pairs: Vec<Pair> = (0..2).map(|_| Pair::new(&config, deflate)).collect();
            let (mut thread, mut read) = (Thread::default(), vec![0; 64 << 10]);
            let texts: Vec<String> =
                (0..24).map(|nth| json(nth, [16_000, 1024, 1024, 300, 9000, 20][nth % 6])).collect();
            for round in 0..4 {
                let before = counts().calls;
                for text in &texts {
                    pairs.iter_mut().for_each(|pair| pair.echo(text, &mut thread, &mut read));
                }
                let calls = counts().calls - before;
                assert!(round < 2 || calls == 0, "round {round}: {calls} calls, {deflate:?}");
            }
        }
    }
}

#[test]
fn d11_ten_thousand_idle_connections_without_takeover_cost_256_bytes_each_at_most() {
    const COUNT: usize = 10_000;
    let config = Arc::new(Config::DEFAULT);
    let agreed = agree(DeflateConfig { threshold: 0, ..DeflateConfig::DEFAULT });
    let (mut thread, mut read) = (Thread::default(), vec![0; 4096]);
    // What the thread keeps is there before.
    Pair::new(&config, FRESH).echo(&json(0, 1024), &mut thread, &mut read);
    let mut connections = Vec::with_capacity(COUNT);
    let before = counts().live;
    connections.extend((0..COUNT).map(|_| Connection::server(config.clone(), [1; 16], NOW).with_deflate(agreed)));
    let idle = counts().live - before;
    assert!(idle <= 256 * COUNT as i64, "{idle} for {COUNT}");
    // The same once each has received and sent something.
    let frame = Role::Server.frame(FIN | RSV1 | TEXT, &compressed(json(1, 1024).as_bytes()));
    for server in &mut connections {
        read[..frame.len()].copy_from_slice(&frame);
        let mut input = Input::with_buffers(&mut read[..frame.len()], &mut thread.buffers);
        match server.next_event(&mut input, &mut thread.out, NOW) {
            Ok(Some(Event::Text(text))) => server.send_text(text, &mut thread.out).unwrap(),
            other => panic!("{other:?}"),
        }
        thread.out.clear();
    }
    let used = counts().live - before;
    assert!(used <= 256 * COUNT as i64, "{used} for {COUNT}");
}

#[test]
fn d11_with_takeover_a_peer_costs_what_is_documented_for_its_window() {
    /// KiB of a compressor with windows of 9 to 15 bits, by `memory`.
    const COMPRESSOR: [(u8, [f64; 7]); 4] = [
        (1, [134.0, 136.0, 140.0, 148.0, 164.0, 196.0, 260.0]),
        (5, [147.0, 149.0, 153.0, 161.0, 177.0, 209.0, 273.0]),
        (8, [245.0, 247.0, 251.0, 259.0, 275.0, 307.0, 371.0]),
        (9, [357.0, 359.0, 363.0, 371.0, 387.0, 419.0, 483.0]),
    ];
    /// KiB of a decompressor for a peer with windows of 9 to 15 bits.
    const DECOMPRESSOR: [f64; 7] = [48.1, 48.1, 48.1, 48.1, 48.1, 48.1, 46.6];
    let config = Arc::new(Config::DEFAULT);
    let (mut thread, mut read) = (Thread::default(), vec![0; 64 << 10]);
    // By how much the second connection of its kind grows: what the thread has to spare is used up by the first.
    let mut grown = |deflate| {
        let mut pairs = [Pair::new(&config, deflate), Pair::new(&config, deflate)];
        let [_, grown] = pairs.each_mut().map(|pair| {
            let grown = pair.serve(&json(0, 1024), &mut thread, &mut read);
            thread.out.clear();
            grown
        });
        grown as f64 / 1024.0
    };
    let mut wrong = String::new();
    let mut compare = |what: &str, measured: f64, documented: f64| {
        if (measured - documented).abs() > documented / 100.0 {
            writeln!(wrong, "{what}: {measured:.1} KiB where {documented:.1} are documented").unwrap();
        }
    };
    for (memory, documented) in COMPRESSOR {
        for (window, documented) in (9..).zip(documented) {
            let base = DeflateConfig { memory, server_window: window, client_window: window, ..FRESH };
            let measured = grown(DeflateConfig { server_takeover: Takeover::Kept, ..base });
            compare(&format!("compressor of {window} bits, memory {memory}"), measured, documented);
            // As the documentation says it in words: four times the window, 7 x 64 bytes for each 2^memory, and the rest.
            let formula = (4 << window) + (448 << memory);
            compare(
                &format!("the rest with {window} bits, memory {memory}"),
                measured - f64::from(formula) / 1024.0,
                131.3,
            );
        }
    }
    for (window, documented) in (9..).zip(DECOMPRESSOR) {
        let base = DeflateConfig { server_window: window, client_window: window, ..FRESH };
        let measured = grown(DeflateConfig { client_takeover: Takeover::Kept, ..base });
        compare(&format!("decompressor for {window} bits"), measured, documented);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn d1_a_bomb_of_a_gigabyte_grows_a_connection_by_the_limit_and_a_decompressor() {
    // A megabyte of zeros, in some thousand bytes that refer to nothing before and end at a byte; over and over that comes to a gigabyte.
    let piece = Compressor::new(15).flushed(&vec![0; 1 << 20], DeflateFlush::SyncFlush);
    let mut payload = piece.repeat((1 << 20) / piece.len());
    assert!(payload.len() > 1_000_000 && payload.len() / piece.len() > 900);
    payload.extend([0]);
    for (role, deflate) in Role::BOTH.into_iter().flat_map(|role| [KEPT, FRESH].map(|deflate| (role, deflate))) {
        for (delivery, opcode) in [(Delivery::Messages, TEXT), (Delivery::Messages, BINARY), (Delivery::Chunks, BINARY)]
        {
            let config = config(|config| config.delivery = delivery);
            let limit = config.limits.message as i64;
            let wire = role.frame(FIN | RSV1 | opcode, &payload);
            for piece in [1000, 64 << 10] {
                let mut ws = role.connect(config).with_deflate(agree(deflate));
                let mut thread = Thread::default();
                let (mut read, mut error) = (vec![0; piece], None);
                let grown = peak_of(|| {
                    'reads: for bytes in wire.chunks(piece) {
                        let read = &mut read[..bytes.len()];
                        read.copy_from_slice(bytes);
                        let mut input = Input::with_buffers(read, &mut thread.buffers);
                        loop {
                            match ws.next_event(&mut input, &mut thread.out, NOW) {
                                Ok(Some(Event::Chunk(_))) => {}
                                Ok(Some(other)) => panic!("{other:?}"),
                                Ok(None) => break,
                                Err(cause) => {
                                    error = Some(cause);
                                    break 'reads;
                                }
                            }
                        }
                    }
                });
                assert_eq!(error, Some(Error::MessageTooBig));
                let held = if delivery == Delivery::Chunks { 16 << 10 } else { limit };
                let most = held + (64 << 10);
                assert!(grown <= most, "{grown} of {most} bytes: {role:?} {delivery:?} {opcode} {deflate:?} {piece}");
            }
        }
    }
}
