//! What a connection takes from the heap, counted: nothing while it is idle, nothing per message that lies whole in the read
//! buffer, nothing on an announced length, and everything back afterwards (rows F7, F9, F24, K2 and what others call "no-grow").

mod counting;
mod ws_wire;

use counting::{counts, peak_of};
use std::sync::Arc;
use tautline::ws::{Config, Connection, Delivery, Event, Limits, Prepared};
use tautline::{Buffers, Input, Output};
use ws_wire::*;

/// Events without keeping them.
fn drain(ws: &mut Connection, bytes: &mut [u8], buffers: &mut Buffers, out: &mut Output) -> usize {
    let mut input = Input::with_buffers(bytes, buffers);
    let mut events = 0;
    loop {
        match ws.next_event(&mut input, out, NOW) {
            Ok(Some(_)) => events += 1,
            Ok(None) => return events,
            Err(_) => {}
        }
    }
}

fn echo(ws: &mut Connection, bytes: &mut [u8], out: &mut Output) -> usize {
    let mut input = Input::new(bytes);
    let mut events = 0;
    while let Some(event) = ws.next_event(&mut input, out, NOW).expect("valid") {
        events += 1;
        match event {
            Event::Text(text) => ws.send_text(text, out).expect("room"),
            Event::Binary(bytes) => ws.send_binary(bytes, out).expect("room"),
            _ => {}
        }
    }
    events
}

#[test]
fn the_counting_allocator_counts() {
    let before = counts();
    let vec = vec![1u8; 1000];
    assert_eq!((counts().calls, counts().live), (before.calls + 1, before.live + 1000));
    drop(vec);
    assert_eq!(counts().live, before.live);
}

#[test]
fn an_idle_connection_and_an_empty_output_hold_no_heap() {
    let config = Arc::new(Config::DEFAULT);
    let before = counts();
    let mut out = Output::new();
    for role in Role::BOTH {
        let mut ws = match role {
            Role::Server => Connection::server(config.clone(), [1; 16], NOW),
            Role::Client => Connection::client(config.clone(), [1; 16], NOW),
        };
        assert_eq!(counts(), before);
        drain(&mut ws, &mut [], &mut Buffers::new(), &mut out);
        assert_eq!(counts(), before);
    }
}

#[test]
fn messages_that_lie_whole_in_the_read_buffer_allocate_nothing_received_and_echoed() {
    for role in Role::BOTH {
        let mut read = Vec::new();
        for len in [0, 1, 16, 32, 33, 125, 126, 1000, 9000] {
            read.extend(role.frame(FIN | BINARY, &vec![0xfe; len]));
            read.extend(role.frame(FIN | TEXT, "é".repeat(len / 2).as_bytes()));
            read.extend(role.frame(FIN | TEXT, "a".repeat(len).as_bytes()));
            read.extend(role.frame(FIN | PING, &vec![b'p'; len.min(125)]));
            read.extend(role.frame(FIN | PONG, &vec![b'p'; len.min(125)]));
        }
        let mut ws = role.connect(config(|config| config.limits.control_burst = u32::MAX));
        let mut out = Output::new();
        let mut turn = read.clone();
        assert_eq!(echo(&mut ws, &mut turn, &mut out), 45, "warm-up");
        out.clear();
        let before = counts();
        for _ in 0..100 {
            turn.copy_from_slice(&read);
            assert_eq!(echo(&mut ws, &mut turn, &mut out), 45);
            out.advance(out.len());
        }
        assert_eq!(counts().calls, before.calls, "{role:?}");
    }
}

#[test]
fn chunks_allocate_nothing_but_for_what_stands_half_received() {
    for role in Role::BOTH {
        let read = role.frame(FIN | BINARY, &[7; 3000]);
        let mut ws = role.connect(config(|config| config.delivery = Delivery::Chunks));
        let (mut out, mut buffers) = (Output::new(), Buffers::new());
        let before = counts();
        for _ in 0..50 {
            let mut turn = read.clone();
            let (first, second) = turn.split_at_mut(1000);
            assert_eq!(drain(&mut ws, first, &mut buffers, &mut out), 1);
            assert!(counts().live - before.live < 512 + 3014, "{:?}", counts());
            assert_eq!(drain(&mut ws, second, &mut buffers, &mut out), 1);
        }
        assert_eq!(counts().live, before.live);
    }
}

#[test]
fn a_prepared_message_is_shared_not_copied() {
    let message = Prepared::binary(&[1; 100_000]);
    let mut peers: Vec<_> = (0..100).map(|_| (Role::Server.connect(Config::DEFAULT), Output::new())).collect();
    let grown = peak_of(|| {
        for (ws, out) in &mut peers {
            ws.send_prepared(&message, out).expect("room");
        }
    });
    assert!(grown < 100 * 1024, "{grown}");
    assert!(peers.iter().all(|(_, out)| out.len() == message.frame().len()));
}

#[test]
fn f07_f08_no_growth_on_an_announced_length() {
    for role in Role::BOTH {
        for delivery in [Delivery::Messages, Delivery::Chunks] {
            for len in [i64::MAX as u64, 1 << 40, (1 << 20) + 1, 1 << 20] {
                for first in [FIN | BINARY, FIN | TEXT, BINARY] {
                    let mut ws = role.connect(config(|config| config.delivery = delivery));
                    let (mut out, mut buffers) = (Output::new(), Buffers::new());
                    let mut head = header(first, Form::Bits64, len, role.key());
                    let ended = usize::from(len > 1 << 20);
                    let grown = peak_of(|| assert_eq!(drain(&mut ws, &mut head, &mut buffers, &mut out), ended));
                    assert!(grown <= 2048, "{len} {grown}");
                }
            }
        }
    }
}

#[test]
fn f09_a_thousand_connections_that_announce_the_cap_hold_less_than_a_kilobyte_each() {
    for role in Role::BOTH {
        for first in [FIN | BINARY, FIN | TEXT, TEXT] {
            let mut buffers = Buffers::new();
            let mut peers: Vec<_> = (0..1000).map(|_| (role.connect(Config::DEFAULT), Output::new())).collect();
            let mut head = role.header(first, 1 << 20);
            let before = counts().live;
            for (ws, out) in &mut peers {
                assert_eq!(drain(ws, &mut head, &mut buffers, out), 0);
            }
            let each = (counts().live - before) / 1000;
            assert!(each < 1024, "{each} bytes each");
            // Nor a little later, when some bytes came.
            for (ws, out) in &mut peers {
                drain(ws, &mut masked(&[b'a'; 10], role.key(), 0), &mut buffers, out);
            }
            let each = (counts().live - before) / 1000;
            assert!(each < 1024, "{each} bytes each");
            drop(peers);
        }
    }
}

#[test]
fn a_half_received_control_frame_holds_no_more_than_a_control_frame() {
    for role in Role::BOTH {
        let mut buffers = Buffers::new();
        let (mut other, mut ws) = (role.connect(Config::DEFAULT), role.connect(Config::DEFAULT));
        let mut out = Output::new();
        // Another connection's large message leaves its buffer in the pool.
        let mut message = role.frame(FIN | BINARY, &vec![1; 1 << 20]);
        let (first, second) = message.split_at_mut(1000);
        drain(&mut other, first, &mut buffers, &mut out);
        drain(&mut other, second, &mut buffers, &mut out);
        let kept = buffers.kept();
        assert!(kept >= 1 << 20);
        let mut ping = role.frame(FIN | PING, &[b'p'; 125]);
        let len = ping.len();
        drain(&mut ws, &mut ping[..len - 1], &mut buffers, &mut out);
        assert_eq!(buffers.kept(), kept, "a control frame needs no buffer of that size");
        assert_eq!(drain(&mut ws, &mut ping[len - 1..], &mut buffers, &mut out), 1);
    }
}

#[test]
fn f24_ten_megabytes_byte_by_byte_copy_each_byte_at_most_twice_and_allocate_per_message_not_per_read() {
    for (role, opcode, messages) in [(Role::Server, TEXT, 10), (Role::Client, BINARY, 2)] {
        let mut ws = role.connect(Config::DEFAULT);
        let (mut out, mut buffers) = (Output::new(), Buffers::new());
        let message = role.frame(FIN | opcode, &vec![b'a'; 1 << 20]);
        let before = counts();
        let mut events = 0;
        for _ in 0..messages {
            for &byte in &message {
                events += drain(&mut ws, &mut [byte], &mut buffers, &mut out);
            }
        }
        assert_eq!(events, messages);
        let after = counts();
        // Each payload byte is appended once; what a growing buffer moves comes on top.
        let received = (messages as u64) << 20;
        let copied = received + after.moved - before.moved;
        assert!(copied <= 2 * received, "{copied} bytes copied");
        assert!(after.calls - before.calls < 100, "{} allocations", after.calls - before.calls);
    }
}

#[test]
fn f24_one_message_of_ten_megabytes_byte_by_byte() {
    let mut ws = Role::Server.connect(config(|config| {
        config.limits = Limits { message: 10 << 20, frame: 10 << 20, ..Limits::DEFAULT };
    }));
    let (mut out, mut buffers) = (Output::new(), Buffers::new());
    let message = Role::Server.frame(FIN | BINARY, &vec![b'a'; 10 << 20]);
    let before = counts();
    let events: usize = message.iter().map(|&byte| drain(&mut ws, &mut [byte], &mut buffers, &mut out)).sum();
    assert_eq!(events, 1);
    let after = counts();
    assert!(after.calls - before.calls < 64, "{} allocations", after.calls - before.calls);
    // No more than twice the message was ever asked for.
    assert!(after.peak - before.live <= 3 * (10 << 20), "{}", after.peak - before.live);
}

#[test]
fn memory_is_back_after_a_message_after_an_error_and_after_the_end() {
    for role in Role::BOTH {
        for delivery in [Delivery::Messages, Delivery::Chunks] {
            let mut ws = role.connect(config(|config| config.delivery = delivery));
            let mut other = role.connect(Config::DEFAULT);
            let (mut out, mut none) = (Output::new(), Buffers::keeping(0));
            let before = counts().live;
            for opcode in [TEXT, BINARY] {
                let mut stream = [
                    role.frame(opcode, &[b'a'; 50_000]),
                    role.frame(FIN | PING, b"?"),
                    role.frame(FIN, &[b'b'; 50_000]),
                ]
                .concat();
                for piece in stream.chunks_mut(1000) {
                    drain(&mut ws, piece, &mut none, &mut out);
                }
                drop(stream);
                out = Output::new();
                assert_eq!(counts().live, before);
            }
            // Half a message, then its end: by an error, by the end of the file.
            let mut half = role.header(TEXT, 1 << 20);
            half.extend(masked(&[b'a'; 100_000], role.key(), 0));
            drain(&mut ws, &mut half.clone(), &mut none, &mut out);
            drain(&mut other, &mut half, &mut none, &mut out);
            drop(half);
            assert!(counts().live - before > 100_000);
            let mut bad = masked(&[0xff; 20], role.key(), 0);
            drain(&mut ws, &mut bad, &mut none, &mut out);
            drop(bad);
            assert!(ws.is_ended());
            other.handle_eof(NOW);
            drop(out);
            assert_eq!(counts().live, before);
        }
    }
}

#[test]
fn k2_a_hundred_thousand_pings_to_a_blocked_output_leave_one_pong() {
    for role in Role::BOTH {
        let mut ws = role.connect(config(|config| {
            (config.limits.control_rate, config.limits.control_burst) = (1_000_000, 1_000_000);
        }));
        let (mut out, mut buffers) = (Output::new(), Buffers::new());
        ws.send_text("stuck", &mut out).expect("room");
        out.set_blocked();
        let pings = role.frame(FIN | PING, &[b'p'; 125]).repeat(100);
        let mut read = pings.clone();
        let grown = peak_of(|| {
            for _ in 0..1000 {
                read.copy_from_slice(&pings);
                assert_eq!(drain(&mut ws, &mut read, &mut buffers, &mut out), 100);
            }
        });
        assert!(grown < 4096, "{grown} bytes for one pong");
        assert_eq!(frames_of(&out, role).len(), 2);
    }
}

#[test]
fn a_mistake_in_the_middle_of_a_flood_grows_nothing() {
    // The other rows that end in an error: whatever the cause, what was held is let go, and the answer is one Close frame.
    for role in Role::BOTH {
        let ends: [Vec<u8>; 5] = [
            role.frame(FIN | 0x40, b""),
            role.frame(FIN | TEXT, b"\xff"),
            role.frame(CONTINUATION, b"").repeat(1100),
            role.frame(FIN | PING, b"").repeat(1100),
            role.header(CONTINUATION, i64::MAX as u64),
        ];
        for end in ends {
            let mut ws = role.connect(Config::DEFAULT);
            let (mut out, mut buffers) = (Output::new(), Buffers::keeping(0));
            let mut start = role.frame(BINARY, &[1; 100_000]);
            let before = counts().live;
            drain(&mut ws, &mut start, &mut buffers, &mut out);
            let mut end = end.clone();
            drain(&mut ws, &mut end, &mut buffers, &mut out);
            assert!(ws.is_ended());
            let held = counts().live - before - end.capacity() as i64;
            assert!(held <= 64 << 10, "{held}");
        }
    }
}
