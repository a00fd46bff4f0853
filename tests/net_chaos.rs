//! Peers that reset, half-close, stall and flood at random: at the end every slot is free, every open was closed, and memory is back
//! at its base.
//!
//! Some seconds by default; `cargo test --release --test net_chaos -- --ignored` goes on for a minute.
#![cfg(feature = "net")]

mod counting;
mod net_support;

use net_support::wire::{self, Client, upgrade_request};
use net_support::{WAIT, eventually, loopback};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tautline::heartbeat::HeartbeatConfig;
use tautline::http::{RequestHead, Response};
use tautline::net::{
    Accept, Audience, Config, Context, Ended, Handle, Handler, Linger, ListenAddress, ListenConfig, Message,
    PerAddressLimit, Published, QueueConfig, Server, SlowPolicy, SocketBuffers, StreamOpened, Transport, Upgraded,
    Worker,
};
use tautline::sse::Event;

/// Client threads.
const THREADS: u64 = 6;

/// What a connection has open that is owed a `closed`.
const OPEN: u64 = 1;

/// Does a bit of everything, as the peers ask for it by their first byte.
struct Wild;

impl Handler for Wild {
    type State = u64;

    fn request(&mut self, head: &RequestHead<'_>, cx: &mut Context<'_, u64>) {
        let opened = match head.path() {
            "/ws" => {
                cx.subscribe("ws").unwrap();
                matches!(cx.accept(head, &Accept::default()), Ok(Upgraded::Yes))
            }
            "/events" => {
                let opened = matches!(cx.open_stream(head, &[]), Ok(StreamOpened::Yes));
                if opened {
                    cx.subscribe("all").unwrap();
                }
                opened
            }
            "/hold" => {
                let _ = cx.subscribe("all");
                let most = 50 + cx.random() % 200;
                cx.hold(Duration::from_millis(most));
                true
            }
            "/body" => {
                cx.read_body();
                return;
            }
            _ => {
                let _ = cx.respond(&Response::new(200), &[b'r'; 3000]);
                return;
            }
        };
        if opened && head.path() != "/ws" {
            assert_eq!(std::mem::replace(cx.state(), OPEN), 0, "opened twice");
        }
    }

    fn body(&mut self, body: &[u8], cx: &mut Context<'_, u64>) {
        let _ = cx.respond(&Response::new(200), body);
    }

    fn opened(&mut self, cx: &mut Context<'_, u64>) {
        assert_eq!(std::mem::replace(cx.state(), OPEN), 0, "opened twice");
        let _ = cx.subscribe("all");
    }

    fn message(&mut self, message: Message<'_>, cx: &mut Context<'_, u64>) {
        assert_eq!(*cx.state(), OPEN, "a message of one that is not open");
        match message.as_bytes().first() {
            Some(b'p') => {
                let _ = cx.publish("all", &Event::new("published by one of the peers"));
            }
            Some(b'b') => drop(cx.broadcast("all", message, Audience::Others)),
            Some(b'z') => {
                cx.pause();
                let rest = cx.random() % 50;
                cx.set_timer(Duration::from_millis(rest));
            }
            Some(b'c') => cx.close(net_support::code(4000), "as you wish"),
            Some(b'w') => cx.notify_writable(),
            Some(b'u') => drop(cx.unsubscribe("all")),
            // The closing of a slow one may be under way.
            _ => drop(cx.send(message)),
        }
    }

    fn writable(&mut self, cx: &mut Context<'_, u64>) {
        let _ = cx.send(Message::Text("written"));
    }

    fn publication(&mut self, publication: &Published, cx: &mut Context<'_, u64>) {
        let block = publication.block().cloned().unwrap_or_default();
        if cx.respond_shared(&Response::new(200), &block).is_ok() {
            *cx.state() = 0;
        }
    }

    fn timer(&mut self, cx: &mut Context<'_, u64>) {
        cx.resume();
        // A hold that has lasted long enough.
        if cx.respond(&Response::new(204), b"").is_ok() {
            *cx.state() = 0;
        }
    }

    fn closed(&mut self, _: &Ended<'_>, cx: &mut Context<'_, u64>) {
        assert_eq!(std::mem::replace(cx.state(), 0), OPEN, "closed without being open");
    }
}

/// Short deadlines, so that all of them pass many times, and small buffers, so that much blocks.
fn config() -> Config {
    let mut config = Config { linger: Linger(Duration::from_millis(200)), ..Config::default() };
    config.http.head_deadline = Duration::from_millis(200);
    config.http.body_deadline = Duration::from_millis(300);
    config.http.idle_deadline = Duration::from_millis(300);
    config.ws.close_timeout = Duration::from_millis(200);
    config.ws.limits.message = 256 << 10;
    config.ws.limits.frame = 256 << 10;
    config.ws.heartbeat = Some(HeartbeatConfig {
        interval: Duration::from_millis(100),
        deadline: Duration::from_millis(200),
        jitter_percent: 10,
    });
    config.stream.heartbeat = Duration::from_millis(100);
    let slow = SlowPolicy::Close { after: Duration::from_millis(150) };
    config.queue = QueueConfig { limit: 1 << 20, slow };
    config.peers.per_address = Some(PerAddressLimit::new(NonZeroU32::new(10_000).unwrap()));
    config
}

fn listen() -> ListenConfig {
    ListenConfig { buffers: SocketBuffers { send: Some(32 << 10), receive: Some(32 << 10) }, ..loopback() }
}

/// xorshift64*: any numbers do.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % below
    }

    fn payload(&mut self) -> Vec<u8> {
        let len = [0, 1, 10, 125, 126, 2000, 65_535, 65_536, 100_000][self.roll(9) as usize];
        let mut payload = vec![b'.'; len];
        if let Some(first) = payload.first_mut() {
            *first = *b"pbzcwueeeeeeeeee".get(self.roll(16) as usize).unwrap();
        }
        payload
    }
}

/// One connection's life. Errors are what it is about: whatever the server does to it is fine, as long as it does not hang.
fn live(address: SocketAddr, dice: &mut Dice) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(Duration::from_millis(50)))?;
    stream.set_read_timeout(Some(Duration::from_millis(1 + dice.roll(40))))?;
    let mut sink = vec![0; 64 << 10];
    let hello = match dice.roll(10) {
        0..=4 => upgrade_request("/ws"),
        5 => "GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n".into(),
        6 => "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1 + dice.roll(20) as usize),
        7 => "GET /x HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1 + dice.roll(2000) as usize),
        8 => "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n".into(),
        _ => "GET / HTTP/1.1\r\nHo".into(),
    };
    // Cut anywhere.
    let cut = dice.roll(hello.len() as u64) as usize;
    stream.write_all(&hello.as_bytes()[..cut])?;
    stream.write_all(&hello.as_bytes()[cut..])?;
    for _ in 0..dice.roll(12) {
        match dice.roll(8) {
            0 => drop(stream.read(&mut sink)),
            1 => thread::sleep(Duration::from_millis(dice.roll(30))),
            2 => stream.write_all(&wire::frame(0x89, b"ping"))?,
            3 => {
                // A flood.
                let message = wire::frame(0x82, &dice.payload());
                for _ in 0..dice.roll(100) {
                    stream.write_all(&message)?;
                }
            }
            4 => {
                // A message in fragments, or half of one.
                stream.write_all(&wire::frame(0x02, b"efirst"))?;
                stream.write_all(&wire::frame(0x89, b""))?;
                if dice.roll(3) > 0 {
                    stream.write_all(&wire::frame(0x80, &dice.payload()))?;
                }
            }
            5 => {
                let message = wire::frame(0x82, &dice.payload());
                stream.write_all(&message[..dice.roll(message.len() as u64) as usize])?;
            }
            _ => stream.write_all(&wire::frame(0x82, &dice.payload()))?,
        }
    }
    match dice.roll(8) {
        0 | 1 => socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
        2 => {
            stream.shutdown(Shutdown::Write)?;
            thread::sleep(Duration::from_millis(dice.roll(50)));
        }
        3 => {
            stream.write_all(&wire::frame(0x88, &1000_u16.to_be_bytes()))?;
            while stream.read(&mut sink)? > 0 {}
        }
        4 => {
            stream.write_all(&wire::frame(0x88, &1000_u16.to_be_bytes()))?;
            stream.write_all(&dice.payload())?;
        }
        // A stall, longer than most deadlines.
        5 if dice.roll(4) == 0 => thread::sleep(Duration::from_millis(400)),
        6 => stream.write_all(&[0xff; 300])?,
        _ => {}
    }
    Ok(())
}

/// Lives until then, on several threads. How many there were.
fn rage(address: SocketAddr, seed: u64, until: Instant) -> u64 {
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            thread::spawn(move || {
                let mut dice = Dice(seed * THREADS + number + 1);
                let mut lives = 0;
                while Instant::now() < until {
                    let _ = live(address, &mut dice);
                    lives += 1;
                }
                lives
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).sum()
}

fn check_counters<H: Handler>(handle: &Handle<H>) {
    let totals = handle.totals();
    for transport in [Transport::WebSocket, Transport::EventStream, Transport::LongPoll] {
        let of = totals.transport(transport);
        assert!(of.opened > 10, "{transport:?}: {of:?}");
        assert_eq!(of.opened, of.closed, "{transport:?}");
    }
    assert_eq!(totals.transport(Transport::Http).open(), 0);
    assert_eq!(totals.open(), 0);
    assert_eq!(totals.queued, 0);
    assert!(totals.slow_closed > 0 || totals.accepted < 500, "slow ones were among them");
}

/// One worker on a thread of the test's own, which says how it stands after each turn.
fn chaos_of_one_worker(phase: Duration) {
    let (ready, address) = std::sync::mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    let (live_bytes, peers) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicUsize::new(0)));
    let turns = Arc::new(AtomicU64::new(0));
    let worker = {
        let (stop, live_bytes, peers, turns) = (stop.clone(), live_bytes.clone(), peers.clone(), turns.clone());
        thread::spawn(move || {
            let mut poll = mio::Poll::new().unwrap();
            let mut events = mio::Events::with_capacity(256);
            let mut worker = Worker::new(&config(), Wild, poll.registry()).unwrap();
            let ListenAddress::Tcp(address) = worker.listen(&listen()).unwrap() else { panic!("it is TCP") };
            ready.send((address, worker.handle())).unwrap();
            while !stop.load(Ordering::Acquire) {
                let most = Duration::from_millis(20);
                let timeout = worker.timeout().map_or(most, |timeout| timeout.min(most));
                if poll.poll(&mut events, Some(timeout)).is_ok() {
                    worker.turn(&events);
                }
                if worker.is_empty() {
                    // What is kept for reuse differs by chance; what was lost would stay.
                    worker.trim();
                }
                live_bytes.store(counting::counts().live, Ordering::Release);
                peers.store(worker.len(), Ordering::Release);
                turns.fetch_add(1, Ordering::Release);
            }
        })
    };
    let (address, handle) = address.recv_timeout(WAIT).unwrap();
    let bytes_at_rest = || {
        eventually("every slot is free", || peers.load(Ordering::Acquire) == 0 || worker.is_finished());
        assert!(!worker.is_finished(), "the worker panicked");
        // Some turns more, in which it could give something back.
        let seen = turns.load(Ordering::Acquire);
        eventually("it turns", || turns.load(Ordering::Acquire) > seen + 5);
        live_bytes.load(Ordering::Acquire)
    };
    // The first run fills what is kept for reuse.
    rage(address, 1, Instant::now() + phase / 3);
    let base = bytes_at_rest();
    let lives = rage(address, 2, Instant::now() + phase);
    let after = bytes_at_rest();
    check_counters(&handle);
    // It serves as on the first day.
    let mut client = Client::websocket(address, "/ws");
    client.send_text("echo");
    loop {
        let frame = client.frame();
        if frame.opcode == wire::TEXT {
            assert_eq!(frame.text(), "echo");
            break;
        }
    }
    stop.store(true, Ordering::Release);
    worker.join().unwrap();
    println!("{lives} lives, {base} bytes before, {after} after");
    // The slab's last chunk, tables that have grown; a leak would be in proportion to the lives.
    let slack = 64 << 10;
    assert!(after - base < slack, "{base} bytes before {lives} lives, {after} after");
}

/// Several workers, with what goes between them.
fn chaos_of_several_workers(phase: Duration) {
    let server = Server::start(&config(), &[listen()], NonZeroUsize::new(3), |_| Wild).unwrap();
    let ListenAddress::Tcp(address) = server.addresses()[0] else { panic!("it is TCP") };
    let handle = server.handle();
    rage(address, 3, Instant::now() + phase);
    let peers = |worker| {
        let (sender, answer) = std::sync::mpsc::channel();
        handle
            .call(worker, move |_, control| {
                let _ = sender.send(control.peers());
            })
            .unwrap();
        answer.recv_timeout(WAIT).expect("the worker answers")
    };
    eventually("every slot is free", || (0..3).map(peers).sum::<usize>() == 0);
    check_counters(&handle);
    handle.drain(Default::default());
    server.join();
}

#[test]
fn peers_that_reset_half_close_stall_and_flood_for_some_seconds_leave_nothing_behind() {
    chaos_of_one_worker(Duration::from_secs(3));
}

#[test]
fn several_workers_survive_them_too() {
    chaos_of_several_workers(Duration::from_secs(3));
}

#[test]
#[ignore = "takes a minute: cargo test --release --test net_chaos -- --ignored"]
fn peers_that_reset_half_close_stall_and_flood_for_a_minute_leave_nothing_behind() {
    chaos_of_one_worker(Duration::from_secs(60));
}
