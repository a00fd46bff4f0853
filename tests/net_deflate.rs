//! permessage-deflate over the loop: granted where the settings say so, and compressed once for many.
#![cfg(all(feature = "net", feature = "deflate"))]

mod counting;
mod deflating;
mod net_support;

use deflating::{Compressor, compressed, decompressed};
use net_support::wire::{Client, RSV1, TEXT};
use net_support::{On, Running, config, eventually, start};
use std::sync::Arc;
use tautline::net::{Accept, Audience, Config, Message};
use tautline::sse::Event;
use tautline::ws::{self, DeflateConfig, Prepared, Takeover};

const OFFER: &str = "permessage-deflate; client_max_window_bits";

fn deflating(deflate: DeflateConfig) -> Config {
    let mut config = config();
    config.ws.deflate = Some(deflate);
    config
}

fn open(server: &Running, target: &str, offer: &str) -> (Client, String) {
    Client::connect(server.address).upgrade_with(target, offer)
}

/// The next message and whether it came compressed. No context is kept.
fn message(client: &mut Client) -> (String, bool) {
    let frame = client.frame();
    let bytes = if frame.opcode & RSV1 == 0 { frame.payload } else { decompressed(&frame.payload) };
    assert_eq!(frame.opcode & !RSV1, TEXT);
    (String::from_utf8(bytes).unwrap(), frame.opcode & RSV1 != 0)
}

#[test]
fn it_is_granted_where_the_settings_say_so_and_nowhere_else() {
    let off = start(&config(), 1, On::default());
    assert_eq!(open(&off, "/", OFFER).1, "");
    let on = start(&deflating(DeflateConfig::DEFAULT), 1, On::default());
    let (_, answer) = open(&on, "/", OFFER);
    assert_eq!(answer, "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    assert_eq!(open(&on, "/", "x-other, permessage-deflate; server_max_window_bits=8").1, "");
    // Who offers nothing is answered and served as before.
    let mut plain = Client::websocket(on.address, "/");
    plain.send_text(&"a".repeat(1000));
    plain.expect_text(&"a".repeat(1000));
}

#[test]
fn a_handler_may_choose_other_settings_for_a_connection() {
    let on = On {
        request: |_, head, cx| {
            let deflate = (head.path() == "/deflate").then_some(DeflateConfig::DEFAULT);
            let config = Some(Arc::new(ws::Config { deflate, ..ws::Config::DEFAULT }));
            let _ = cx.accept(head, &Accept { config, ..Accept::default() }).unwrap();
        },
        ..On::default()
    };
    let server = start(&deflating(DeflateConfig::DEFAULT), 1, on);
    assert_ne!(open(&server, "/deflate", OFFER).1, "");
    assert_eq!(open(&server, "/", OFFER).1, "");
}

#[test]
fn messages_go_back_compressed_whether_they_came_so_or_not() {
    let server = start(&deflating(DeflateConfig::DEFAULT), 1, On::default());
    let (mut client, _) = open(&server, "/", OFFER);
    let long = "a line of some length ".repeat(30);
    client.write(&net_support::wire::frame(0x80 | RSV1 | TEXT, &compressed(long.as_bytes())));
    assert_eq!(message(&mut client), (long.clone(), true));
    // In place it would go back as it came.
    client.send_text(&long);
    assert_eq!(message(&mut client), (long.clone(), true));
    client.send_text("short");
    assert_eq!(message(&mut client), ("short".into(), false));
    // Several in one write.
    let frames =
        [&long[..200], &long, "x", &long[..300]].map(|text| net_support::wire::frame(0x80 | TEXT, text.as_bytes()));
    client.write(&frames.concat());
    for (text, packed) in [(&long[..200], true), (&long, true), ("x", false), (&long[..300], true)] {
        assert_eq!(message(&mut client), (text.to_owned(), packed));
    }
}

#[test]
fn a_message_that_is_marked_is_not_compressed() {
    let on = On { message: |_, message, cx| cx.send_uncompressed(message).unwrap(), ..On::default() };
    let server = start(&deflating(DeflateConfig::DEFAULT), 1, on);
    let (mut client, _) = open(&server, "/", OFFER);
    client.send_text(&"secret ".repeat(100));
    assert_eq!(message(&mut client), ("secret ".repeat(100), false));
}

#[test]
fn a_context_that_is_kept_goes_on_from_message_to_message() {
    let deflate = DeflateConfig {
        threshold: 0,
        server_takeover: Takeover::Kept,
        client_takeover: Takeover::Kept,
        ..DeflateConfig::DEFAULT
    };
    let server = start(&deflating(deflate), 1, On::default());
    let (mut client, answer) = open(&server, "/", OFFER);
    assert_eq!(answer, "permessage-deflate");
    let (mut compressor, text) = (Compressor::new(15), "not like anything else 0123456789".repeat(2));
    let mut inflate = zlib_rs::Inflate::new(false, 15);
    let mut lengths = Vec::new();
    for _ in 0..3 {
        let payload = compressor.message(text.as_bytes());
        client.write(&net_support::wire::frame(0x80 | RSV1 | TEXT, &payload));
        let frame = client.frame();
        assert_eq!(frame.opcode, RSV1 | TEXT);
        let mut made = vec![0; 1000];
        let before = inflate.total_out();
        let payload = [&frame.payload[..], &[0, 0, 0xff, 0xff]].concat();
        inflate.decompress(&payload, &mut made, zlib_rs::InflateFlush::SyncFlush).unwrap();
        made.truncate((inflate.total_out() - before) as usize);
        assert_eq!(made, text.as_bytes());
        lengths.push(frame.payload.len());
    }
    assert!(lengths[1] < 20 && lengths[2] < 20 && lengths[0] > 20, "{lengths:?}");
}

#[test]
fn a_publication_reaches_compressing_and_other_subscribers_of_all_workers() {
    let on = On {
        message: |_, message, cx| {
            let text = std::str::from_utf8(message.as_bytes()).unwrap().to_owned();
            match text.strip_prefix("raw ") {
                Some(raw) => {
                    cx.broadcast("a", Message::Text(raw), Audience::All).unwrap();
                    cx.broadcast("a", Prepared::text(raw).uncompressed(), Audience::All).unwrap();
                }
                None => drop(cx.publish("a", &Event::new(&text)).unwrap()),
            }
        },
        ..On::default()
    };
    let mut deflate = DeflateConfig { threshold: 200, ..DeflateConfig::DEFAULT };
    for workers in [1, 2] {
        for takeover in [Takeover::None, Takeover::Kept] {
            deflate.server_takeover = takeover;
            let server = start(&deflating(deflate), workers, on);
            let offers = [OFFER, "permessage-deflate; server_max_window_bits=10", OFFER, OFFER];
            let mut packed: Vec<_> = offers.iter().map(|offer| open(&server, "/ws?topic=a", offer).0).collect();
            let mut plain = Client::websocket(server.address, "/ws?topic=a");
            eventually("all are open", || server.totals().transports.iter().map(|one| one.open()).sum::<u64>() == 5);
            let long = "a publication of some length ".repeat(20);
            plain.send_text("raw short");
            plain.send_text(&format!("raw {long}"));
            plain.send_text(&long);
            // Three in one turn may come in one write, but they are three messages.
            for text in ["short", "short", &long, &long] {
                plain.expect_text(text);
            }
            assert!(plain.frame().text().contains(&long));
            let mut wires = Vec::new();
            for client in &mut packed {
                for _ in 0..2 {
                    client.expect_text("short");
                }
                let second = client.frame();
                assert_eq!(second.opcode, RSV1 | TEXT);
                assert_eq!(decompressed(&second.payload), long.as_bytes());
                // One that is not to be.
                client.expect_text(&long);
                let third = client.frame();
                assert_eq!(third.opcode, RSV1 | TEXT);
                if takeover == Takeover::None {
                    assert!(String::from_utf8(decompressed(&third.payload)).unwrap().contains(&long));
                } else {
                    assert!(third.payload.len() < 120, "it refers to the second");
                }
                wires.push((second.payload, third.payload));
            }
            assert!(wires[0] == wires[2] && wires[0] == wires[3]);
        }
    }
}

#[test]
fn a_subscriber_that_reads_late_gets_all_of_it_in_order() {
    let on = On { message: |_, message, cx| cx.broadcast("a", message, Audience::All).unwrap(), ..On::default() };
    for takeover in [Takeover::None, Takeover::Kept] {
        let deflate = DeflateConfig { server_takeover: takeover, threshold: 0, ..DeflateConfig::DEFAULT };
        let mut config = deflating(deflate);
        config.queue.limit = 64 << 20;
        let server = start(&config, 1, on);
        let (mut late, _) = Client::connect_small(server.address, 4096).upgrade_with("/ws?topic=a", OFFER);
        let mut sender = Client::websocket(server.address, "/");
        // Hardly to be compressed, so that the socket blocks.
        let mut state = 1u32;
        let texts: Vec<String> = (0..300)
            .map(|_| {
                (0..40_000 / 8)
                    .map(|_| {
                        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        format!("{state:08x}")
                    })
                    .collect()
            })
            .collect();
        for text in &texts {
            sender.send_text(text);
        }
        eventually("all are on their way", || server.totals().messages_out >= 300);
        let mut inflate = zlib_rs::Inflate::new(false, 15);
        for text in &texts {
            let frame = late.frame();
            assert_eq!(frame.opcode, RSV1 | TEXT);
            if takeover == Takeover::None {
                inflate.reset(false);
            }
            let (mut made, before) = (vec![0; 50_000], inflate.total_out());
            let payload = [&frame.payload[..], &[0, 0, 0xff, 0xff]].concat();
            inflate.decompress(&payload, &mut made, zlib_rs::InflateFlush::SyncFlush).unwrap();
            made.truncate((inflate.total_out() - before) as usize);
            assert_eq!(made, text.as_bytes());
        }
    }
}

#[test]
fn a_full_queue_is_written_before_a_message_is_refused_however_it_is_sent() {
    let four = [
        On { message: |_, message, cx| (0..4).for_each(|_| cx.send(message).unwrap()), ..On::default() },
        On { message: |_, message, cx| (0..4).for_each(|_| cx.send_uncompressed(message).unwrap()), ..On::default() },
        On {
            message: |_, message, cx| (0..4).for_each(|_| cx.send_prepared(&message.prepare()).unwrap()),
            ..On::default()
        },
    ];
    for on in four {
        let mut config = config();
        config.queue.limit = 100_000;
        let server = start(&config, 1, on);
        let mut client = Client::websocket(server.address, "/");
        let text = "x".repeat(40_000);
        client.send_text(&text);
        for _ in 0..4 {
            client.expect_text(&text);
        }
    }
}

#[test]
fn replies_find_room_although_messages_come_to_more_than_was_read() {
    // Each message is a megabyte, in a kilobyte; the replies are not compressed.
    let on = On { message: |_, message, cx| cx.send(message).unwrap(), ..On::default() };
    let server = start(&deflating(DeflateConfig { threshold: u32::MAX, ..DeflateConfig::DEFAULT }), 1, on);
    let (mut client, _) = Client::connect_small(server.address, 8192).upgrade_with("/", OFFER);
    let text = "z".repeat(1_000_000);
    let frame = net_support::wire::frame(0x80 | RSV1 | TEXT, &compressed(text.as_bytes()));
    client.write(&frame.repeat(40));
    for nth in 0..40 {
        assert_eq!(client.frame().text().len(), text.len(), "{nth}");
    }
    // And what is small goes on as before.
    client.send_text("small");
    client.expect_text("small");
    client.send_close(1000);
    assert_eq!(client.close_frame(), 1000);
}

#[test]
fn those_whom_a_handler_sends_to_one_by_one_share_the_threads_compressors() {
    let on = On {
        opened: |script, cx| {
            script.remember(script.log.count("known").to_string(), cx);
            script.log.push("known");
        },
        ..On::default()
    };
    let server = start(&deflating(DeflateConfig::DEFAULT), 1, on);
    let mut clients: Vec<_> = (0..40).map(|_| open(&server, "/", OFFER).0).collect();
    server.log.wait("known", 40);
    let text = "to each on its own ".repeat(60);
    let sent = text.clone();
    let grown = server.ask(0, move |script, control| {
        counting::peak_of(|| {
            for nth in 0..40 {
                let peer = script.id(&nth.to_string());
                control.with_peer(peer, |cx| cx.send(Message::Text(&sent)).unwrap()).unwrap();
            }
        })
    });
    assert!(grown < 600 << 10, "{grown} bytes, where one compressor has 273 KiB");
    for client in &mut clients {
        assert_eq!(message(client), (text.clone(), true));
    }
}
