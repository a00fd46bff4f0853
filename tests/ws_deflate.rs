//! permessage-deflate on a connection (RFC 7692): what is sent comes back, whatever the cut, and what is wrong is told.
#![cfg(feature = "deflate")]

use proptest::prelude::*;
use std::sync::Arc;
use tautline::http::upgrade::{Upgrade, UpgradeConfig};
use tautline::http::{Version, origin::OriginPolicy};
use tautline::ws::{Config, Connection, Deflate, DeflateConfig, Delivery, Event, Kind, Takeover};
use tautline::{Buffers, Input, Instant, Output};

const NOW: Instant = Instant::from_millis(1);

/// What a server with `config` makes of a client's `offers`.
fn accepted(config: &DeflateConfig, offers: &str) -> Option<Deflate> {
    let head: [(&str, &[u8]); 6] = [
        ("Host", b"a"),
        ("Connection", b"Upgrade"),
        ("Upgrade", b"websocket"),
        ("Sec-WebSocket-Version", b"13"),
        ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Extensions", offers.as_bytes()),
    ];
    let policy = UpgradeConfig { origins: OriginPolicy::Any, ..UpgradeConfig::default() };
    let upgrade = Upgrade::check(&policy, "GET", Version::Http11, head).expect("a good head");
    config.accept(upgrade.extensions())
}

fn pair(config: Config, deflate: DeflateConfig) -> (Connection, Connection) {
    let agreed = accepted(&deflate, &deflate.offer()).expect("accepted");
    let config = Arc::new(config);
    let server = Connection::server(config.clone(), [1; 16], NOW).with_deflate(agreed);
    let client = Connection::client(config, [2; 16], NOW).with_deflate(agreed);
    (server, client)
}

/// What comes of `wire`, cut into pieces of these lengths, one after the other and again.
fn receive(to: &mut Connection, wire: &[u8], cuts: &[usize]) -> (Vec<(Kind, Vec<u8>)>, Option<u16>) {
    let (mut got, mut out, mut buffers) = (Vec::new(), Output::new(), Buffers::new());
    let mut cuts = cuts.iter().cycle();
    let mut rest = wire;
    let mut open: Option<(Kind, Vec<u8>)> = None;
    while !rest.is_empty() {
        let (now, behind) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
        rest = behind;
        let mut bytes = now.to_vec();
        let mut input = Input::with_buffers(&mut bytes, &mut buffers);
        loop {
            match to.next_event(&mut input, &mut out, NOW) {
                Ok(Some(Event::Text(text))) => got.push((Kind::Text, text.as_bytes().to_vec())),
                Ok(Some(Event::Binary(bytes))) => got.push((Kind::Binary, bytes.to_vec())),
                Ok(Some(Event::Chunk(chunk))) => {
                    let (_, bytes) = open.get_or_insert((chunk.kind, Vec::new()));
                    bytes.extend_from_slice(chunk.data);
                    if chunk.part.is_last() {
                        got.push(open.take().unwrap());
                    }
                }
                Ok(Some(Event::Closed(closed))) => return (got, Some(closed.code)),
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => break,
            }
        }
    }
    (got, None)
}

fn bytes(out: &mut Output) -> Vec<u8> {
    let bytes = out.chunks().collect::<Vec<_>>().concat();
    out.clear();
    bytes
}

fn config() -> impl Strategy<Value = DeflateConfig> {
    let takeover = || prop_oneof![Just(Takeover::Kept), Just(Takeover::None)];
    (1u8..=9, 1u8..=9, prop_oneof![Just(0u32), Just(20)], takeover(), takeover(), 9u8..=15, 9u8..=15).prop_map(
        |(level, memory, threshold, server_takeover, client_takeover, server_window, client_window)| DeflateConfig {
            level,
            memory,
            threshold,
            server_takeover,
            client_takeover,
            server_window,
            client_window,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_arrives_whatever_was_agreed_and_wherever_it_is_cut(
        deflate in config(),
        messages in prop::collection::vec((any::<bool>(), "[ -~é漢]{0,80}", 0usize..40, 0usize..4), 1..12),
        cuts in prop::collection::vec(prop_oneof![1usize..8, 1usize..3000], 1..6),
        chunks: bool,
    ) {
        let delivery = if chunks { Delivery::Chunks } else { Delivery::Messages };
        let (mut server, mut client) = pair(Config { delivery, ..Config::DEFAULT }, deflate);
        for from_server in [true, false] {
            let (from, to) = if from_server { (&mut server, &mut client) } else { (&mut client, &mut server) };
            let (mut out, mut expected) = (Output::new(), Vec::new());
            for (text, part, times, how) in &messages {
                let message = part.repeat(*times);
                let kind = if *text { Kind::Text } else { Kind::Binary };
                expected.push((kind, message.as_bytes().to_vec()));
                match how {
                    0 => {
                        from.begin(kind, part.repeat(times / 2).as_bytes(), &mut out).unwrap();
                        from.append(&[], &mut out).unwrap();
                        from.append(part.repeat(times - times / 2).as_bytes(), &mut out).unwrap();
                        from.finish(&[], &mut out).unwrap();
                    }
                    1 => match kind {
                        Kind::Text => from.uncompressed().send_text(&message, &mut out).unwrap(),
                        Kind::Binary => from.uncompressed().send_binary(message.as_bytes(), &mut out).unwrap(),
                    },
                    _ => match kind {
                        Kind::Text => from.send_text(&message, &mut out).unwrap(),
                        Kind::Binary => from.send_binary(message.as_bytes(), &mut out).unwrap(),
                    },
                }
            }
            let (got, closed) = receive(to, &bytes(&mut out), &cuts);
            prop_assert_eq!(closed, None);
            prop_assert_eq!(got, expected);
        }
    }
}
