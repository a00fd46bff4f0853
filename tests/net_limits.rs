//! Limits on connections, and what a loop must do at the limits of the system and of a turn.
#![cfg(feature = "net")]

mod net_support;

use net_support::wire::{self, BINARY, Client, End, TEXT, upgrade_request};
use net_support::{On, Running, WAIT, config, eventually, eventually_eq, loopback, start, start_at};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use tautline::heartbeat::HeartbeatConfig;
use tautline::net::{AcceptRate, Config, ListenConfig, PeerLimits, PerAddressLimit, PortSharing, TurnConfig};

fn n(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn limited(peers: PeerLimits) -> Config {
    Config { peers, ..config() }
}

/// Whether a new connection from there is served.
fn is_served(server: &Running, from: &str) -> Option<Client> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let from: SocketAddr = format!("{from}:0").parse().unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let mut client = Client::over(socket.into());
    // One that is closed at once may take the request as a reset.
    let _ = client.stream.write_all(upgrade_request("/ws").as_bytes());
    match client.until(b"\r\n\r\n") {
        Ok(head) => {
            assert!(head.starts_with(b"HTTP/1.1 101"));
            Some(client)
        }
        Err(End::Eof | End::Reset) => None,
    }
}

#[test]
fn a_worker_takes_as_many_peers_as_it_may_and_more_when_some_are_gone() {
    let server = start(&limited(PeerLimits { most: Some(5), ..PeerLimits::default() }), 1, On::default());
    for round in 1..=3 {
        let held: Vec<_> = (0..5).map(|_| is_served(&server, "127.0.0.1").expect("there is room")).collect();
        assert!(is_served(&server, "127.0.0.1").is_none());
        assert_eq!(server.totals().refused, round);
        drop(held);
        server.wait_for_no_peers();
    }
}

#[test]
fn an_address_has_as_many_peers_as_it_may_on_all_workers_together_and_others_are_not_concerned() {
    let per_address = Some(PerAddressLimit::new(n(3)));
    let server = start(&limited(PeerLimits { per_address, ..PeerLimits::default() }), 3, On::default());
    for _ in 0..3 {
        let held: Vec<_> = (0..3).map(|_| is_served(&server, "127.0.0.1").expect("there is room")).collect();
        assert!(is_served(&server, "127.0.0.1").is_none());
        let mut other = is_served(&server, "127.0.0.2").expect("another address");
        other.send_text("x");
        other.expect_text("x");
        drop((held, other));
        server.wait_for_no_peers();
    }
    assert_eq!(server.totals().refused, 3);
}

#[test]
fn connections_beyond_the_accept_rate_wait_and_none_is_refused() {
    let accept_rate = Some(AcceptRate { per_second: n(50), burst: n(2) });
    let server = start(&limited(PeerLimits { accept_rate, ..PeerLimits::default() }), 1, On::default());
    let mut clients: Vec<_> = (0..30)
        .map(|_| {
            let mut client = Client::connect(server.address);
            client.get("/x");
            client
        })
        .collect();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!((server.totals().accepted, server.totals().refused), (30, 0));
    let turns = server.totals().turns;
    assert!(turns < 1000, "{turns} turns: waiting is no spinning");
}

// Out of file descriptors.

/// Not a test by itself: the process with few descriptors, which the next test starts. It says how it stands when it is asked.
#[test]
fn child_with_few_descriptors() {
    if std::env::var_os("NET_LIMITS_CHILD").is_none() {
        return;
    }
    let server = start(&config(), 1, On::default());
    println!("\nnet: {}", server.address);
    for line in std::io::stdin().lock().lines() {
        if line.unwrap() == "quit" {
            break;
        }
        let totals = server.totals();
        println!("\nnet: {} {} {}", totals.turns, totals.accepted, totals.accept_errors);
    }
}

#[test]
fn without_file_descriptors_accepting_rests_without_spinning_and_goes_on_when_there_are_some() {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" --exact child_with_few_descriptors --nocapture --test-threads=1"])
        .arg(std::env::current_exe().unwrap())
        .env("NET_LIMITS_CHILD", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let (sender, lines) = std::sync::mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reading = thread::spawn(move || {
        for line in output.lines() {
            if let Some(line) = line.unwrap().strip_prefix("net: ") {
                let _ = sender.send(line.to_owned());
            }
        }
    });
    let address: SocketAddr = lines.recv_timeout(WAIT).unwrap().parse().unwrap();
    let mut ask = || -> [u64; 3] {
        writeln!(input, "how").unwrap();
        let line = lines.recv_timeout(WAIT).unwrap();
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    };
    let mut clients: Vec<_> = (0..120)
        .map(|_| {
            let mut client = Client::connect(address);
            client.write(upgrade_request("/ws").as_bytes());
            client
        })
        .collect();
    eventually("accepting failed", || ask()[2] > 0);
    let [turns, accepted, _] = ask();
    assert!(accepted < 64, "{accepted}");
    thread::sleep(Duration::from_secs(1));
    let [later, still, errors] = ask();
    assert_eq!(accepted, still);
    assert!(later - turns < 60, "{} turns in a second, of which {errors} failed to accept", later - turns);
    // Those that are in are served.
    for client in &mut clients[..accepted as usize] {
        assert_eq!(client.response().status, 101);
        client.send_text("in");
        client.expect_text("in");
    }
    // Room for all that wait, batch by batch, without a further connection to wake anyone.
    let mut waiting = clients.split_off(accepted as usize);
    drop(clients);
    while !waiting.is_empty() {
        let rest = waiting.split_off(waiting.len().min(20));
        for client in &mut waiting {
            assert_eq!(client.response().status, 101);
        }
        waiting = rest;
    }
    writeln!(input, "quit").unwrap();
    drop(input);
    assert!(child.wait().unwrap().success());
    reading.join().unwrap();
}

// What a turn leaves for the next.

fn with_turn(turn: TurnConfig) -> Config {
    Config { turn, ..config() }
}

#[test]
fn q8_what_a_turns_budget_leaves_in_the_kernel_is_read_without_a_further_edge() {
    let small = TurnConfig { read_buffer: 512, bytes_per_peer: 512, ..TurnConfig::default() };
    for turn in [small, TurnConfig { bytes_per_peer: 1, ..TurnConfig::default() }, TurnConfig::default()] {
        let server = start(&with_turn(turn), 1, On::default());
        let mut client = Client::websocket(server.address, "/ws");
        let mut other = Client::websocket(server.address, "/ws");
        let mut all = Vec::new();
        (0..20_000_u32).for_each(|number| all.extend(wire::frame(0x80 | BINARY, &number.to_be_bytes())));
        // And one that is assembled from many reads.
        all.extend(wire::frame(0x80 | BINARY, &vec![5; 900_000]));
        let mut writer = client.stream.try_clone().unwrap();
        let writing = thread::spawn(move || writer.write_all(&all).unwrap());
        // The other one has its turns meanwhile.
        for _ in 0..10 {
            other.send_text("between");
            other.expect_text("between");
        }
        for number in 0..20_000_u32 {
            assert_eq!(client.frame().payload, number.to_be_bytes());
        }
        assert_eq!(client.frame().payload, vec![5; 900_000]);
        writing.join().unwrap();
    }
}

#[test]
fn q8_what_was_sent_before_the_end_is_handled_before_the_end_is_seen() {
    let turn = TurnConfig { read_buffer: 512, bytes_per_peer: 512, ..TurnConfig::default() };
    let server = start(&with_turn(turn), 1, On::default());
    for round in 1..=10 {
        let mut client = Client::websocket(server.address, "/ws");
        let mut all = Vec::new();
        (0..3000_u32).for_each(|number| all.extend(wire::frame(0x80 | BINARY, &number.to_be_bytes())));
        client.write(&all);
        client.finish();
        for number in 0..3000_u32 {
            assert_eq!(client.frame().payload, number.to_be_bytes());
        }
        client.expect_eof();
        assert_eq!(server.totals().messages_in, 3000 * round);
    }
    server.log.wait("closed websocket 1006", 10);
}

#[test]
fn q8_a_read_of_exactly_the_buffers_length_is_not_taken_for_the_end() {
    let turn = TurnConfig { read_buffer: 1024, bytes_per_peer: 4096, ..TurnConfig::default() };
    let server = start(&with_turn(turn), 1, On::default());
    let mut client = Client::websocket(server.address, "/ws");
    // Frames of 1024 and 4096 bytes in all, alone in their segment; and of one byte more and less.
    for size in [1023, 1024, 1025, 2048, 4095, 4096, 4097, 8192] {
        let payload = vec![b'x'; size - 8];
        client.send(BINARY, &payload);
        assert_eq!(client.frame().payload, payload);
    }
}

#[test]
fn q9_deadlines_that_fall_due_together_are_all_met_a_few_in_each_turn() {
    let mut config = with_turn(TurnConfig { timers: 1, accepts: 1, ..TurnConfig::default() });
    let interval = Duration::from_millis(300);
    config.ws.heartbeat = Some(HeartbeatConfig { interval, deadline: 2 * WAIT, jitter_percent: 0 });
    let server = start(&config, 1, On::default());
    let mut clients: Vec<_> = (0..200)
        .map(|_| {
            let mut client = Client::connect(server.address);
            client.write(upgrade_request("/ws").as_bytes());
            client
        })
        .collect();
    // One accept in a turn: none is forgotten.
    clients.iter_mut().for_each(|client| assert_eq!(client.response().status, 101));
    for client in &mut clients {
        let ping = client.frame();
        assert_eq!(ping.opcode, wire::PING);
        client.send(wire::PONG, &ping.payload);
    }
    eventually_eq(200, || server.totals().round_trips.count());
}

// Addresses.

#[test]
fn a_unix_socket_serves_all_workers_has_no_address_and_its_file_goes_with_the_server() {
    let folder = std::env::temp_dir().join(format!("tautline-net-limits-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let on = On {
        message: |_, message, cx| {
            assert_eq!(cx.remote_address(), None);
            cx.send(message).unwrap();
        },
        ..On::default()
    };
    for _ in 0..2 {
        // A file that an earlier server left is replaced.
        let server = start_at(&config(), 3, ListenConfig::new(path.clone()), on);
        for _ in 0..30 {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream.set_read_timeout(Some(WAIT)).unwrap();
            stream.write_all(upgrade_request("/ws").as_bytes()).unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            assert!(head.starts_with(b"HTTP/1.1 101"));
            stream.write_all(&wire::frame(0x80 | TEXT, b"hello")).unwrap();
            let mut echo = [0; 7];
            stream.read_exact(&mut echo).unwrap();
            assert_eq!(&echo, b"\x81\x05hello");
        }
        server.log.wait("closed", 30);
        server.wait_for_no_peers();
        drop(server.server);
        drop(server.handle);
        assert!(!path.exists());
        std::fs::write(folder.join("other"), "").unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_second_server_on_the_same_port_is_refused_unless_both_share_it() {
    let server = start(&config(), 2, On::default());
    let again = ListenConfig::new(server.address);
    let second = std::panic::catch_unwind(|| start_at(&config(), 2, again, On::default()));
    assert!(second.is_err());
    drop(server);
    let shared = ListenConfig { sharing: PortSharing::Shared, ..loopback() };
    let first = start_at(&config(), 1, shared, On::default());
    let second = ListenConfig { sharing: PortSharing::Shared, ..ListenConfig::new(first.address) };
    let second = start_at(&config(), 1, second, On::default());
    for _ in 0..40 {
        drop(Client::websocket(first.address, "/ws"));
    }
    let accepted = [first.totals().accepted, second.totals().accepted];
    assert_eq!(accepted.iter().sum::<u64>(), 40);
    assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
}
