//! What happened, as numbers that any thread may read while the workers go on.

use crate::ws;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::vec;
use std::vec::Vec;

/// What a connection is at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP, from accept on: between requests, or in one. Not any more what became a WebSocket or an event stream.
    Http,
    /// A WebSocket.
    WebSocket,
    /// An event stream.
    EventStream,
    /// A held request. Its connection is counted as [`Http`](Self::Http) besides.
    LongPoll,
}

impl Transport {
    /// All of them, in the order of [`Totals::transports`].
    pub const ALL: [Self; 4] = [Self::Http, Self::WebSocket, Self::EventStream, Self::LongPoll];

    /// A name for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::WebSocket => "websocket",
            Self::EventStream => "event_stream",
            Self::LongPoll => "long_poll",
        }
    }
}

/// A number that one thread writes and any thread reads. No lock and no locked instruction.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Buckets of a [`Histogram`]: eight to each doubling, so a value is known to an eighth.
const STEPS: usize = 8;
const BUCKETS: usize = 8 + (64 - 3) * STEPS;

/// A distribution of durations. Buckets grow with their values: each is an eighth of a doubling wide, from nanoseconds to centuries.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: std::boxed::Box<[Count]>,
    sum: Count,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Count::default()).collect(), sum: Count::default() }
    }
}

impl Histogram {
    pub(crate) fn record(&self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)].add(1);
        self.sum.add(nanos);
    }

    fn add_to(&self, total: &mut Distribution) {
        for (total, count) in total.buckets.iter_mut().zip(&self.buckets) {
            *total += count.read();
        }
        total.sum += u128::from(self.sum.read());
    }
}

/// The bucket of a value: its highest four bits.
fn bucket(nanos: u64) -> usize {
    if nanos < STEPS as u64 {
        return nanos as usize;
    }
    let doubling = 63 - nanos.leading_zeros() as usize;
    let step = (nanos >> (doubling - 3)) as usize & (STEPS - 1);
    STEPS + (doubling - 3) * STEPS + step
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (doubling, step) = ((bucket - STEPS) / STEPS, (bucket - STEPS) % STEPS);
    let base = (STEPS + step) as u128;
    u64::try_from(((base + 1) << doubling) - 1).unwrap_or(u64::MAX)
}

/// A distribution as it was read.
#[derive(Clone, Debug)]
pub struct Distribution {
    buckets: Vec<u64>,
    sum: u128,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], sum: 0 }
    }
}

impl Distribution {
    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.sum).unwrap_or(u64::MAX))
    }

    /// Their mean; `None` without values.
    pub fn mean(&self) -> Option<Duration> {
        let count = u128::from(self.count());
        (count > 0).then(|| Duration::from_nanos(u64::try_from(self.sum / count).unwrap_or(u64::MAX)))
    }

    /// The value under which `share` of all values lie (0.95, say), to an eighth upwards; `None` without values.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let rank = ((count as f64 * share).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let at = self.buckets.iter().position(|n| {
            seen += n;
            seen >= rank
        })?;
        Some(Duration::from_nanos(upper(at)))
    }

    /// How many values are at most so long. To an eighth.
    pub fn at_most(&self, value: Duration) -> u64 {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.buckets.iter().enumerate().take_while(|(i, _)| upper(*i) <= nanos).map(|(_, n)| n).sum()
    }
}

/// What one worker counts. See [`Totals`] for what each means.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) accepted: Count,
    pub(crate) refused: Count,
    pub(crate) accept_errors: Count,
    pub(crate) outgoing: Count,
    pub(crate) gone: Count,
    pub(crate) requests: Count,
    pub(crate) messages_in: Count,
    pub(crate) messages_out: Count,
    pub(crate) bytes_in: Count,
    pub(crate) bytes_out: Count,
    pub(crate) dropped: Count,
    pub(crate) slow_closed: Count,
    pub(crate) turns: Count,
    /// Bytes that wait for sockets.
    pub(crate) queued: Count,
    /// Bytes of bodies and messages that are not whole yet.
    pub(crate) held: Count,
    /// What this worker's replica of the hub retains: topics, publications, their bytes.
    pub(crate) retained: [Count; 3],
    lines: [Line; 4],
    closes: CloseCounts,
    round_trips: Histogram,
    pub(crate) lag: Histogram,
}

/// What is counted per transport.
#[derive(Debug, Default)]
struct Line {
    opened: Count,
    closed: Count,
    reconnected: Count,
    failed: Count,
    durations: Histogram,
}

/// Close codes: those that have a name one by one, the application's by class.
#[derive(Debug)]
struct CloseCounts([Count; CLOSE_CODES.len()]);

impl Default for CloseCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Count::default()))
    }
}

/// The codes that are counted one by one; 3000 and 4000 stand for the thousand that begins there.
const CLOSE_CODES: [u16; 16] =
    [1000, 1001, 1002, 1003, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000];

impl Counters {
    pub(crate) fn opened(&self, transport: Transport) {
        self.lines[transport as usize].opened.add(1);
    }

    pub(crate) fn reconnected(&self, transport: Transport) {
        self.lines[transport as usize].reconnected.add(1);
    }

    pub(crate) fn failed(&self, transport: Transport) {
        self.lines[transport as usize].failed.add(1);
    }

    pub(crate) fn closed(&self, transport: Transport, age: Duration) {
        let line = &self.lines[transport as usize];
        line.closed.add(1);
        line.durations.record(age);
    }

    pub(crate) fn websocket_closed(&self, closed: &ws::Closed<'_>, age: Duration) {
        self.closed(Transport::WebSocket, age);
        if !closed.was_clean() {
            self.failed(Transport::WebSocket);
        }
        let code = match closed.code {
            3000..=3999 => 3000,
            4000..=4999 => 4000,
            code => code,
        };
        if let Some(at) = CLOSE_CODES.iter().position(|known| *known == code) {
            self.closes.0[at].add(1);
        }
    }

    pub(crate) fn round_trip(&self, round_trip: Duration) {
        self.round_trips.record(round_trip);
    }

    fn add_to(&self, totals: &mut Totals) {
        for (total, count) in [
            (&mut totals.accepted, &self.accepted),
            (&mut totals.refused, &self.refused),
            (&mut totals.accept_errors, &self.accept_errors),
            (&mut totals.outgoing, &self.outgoing),
            (&mut totals.gone, &self.gone),
            (&mut totals.requests, &self.requests),
            (&mut totals.messages_in, &self.messages_in),
            (&mut totals.messages_out, &self.messages_out),
            (&mut totals.bytes_in, &self.bytes_in),
            (&mut totals.bytes_out, &self.bytes_out),
            (&mut totals.dropped, &self.dropped),
            (&mut totals.slow_closed, &self.slow_closed),
            (&mut totals.turns, &self.turns),
        ] {
            *total += count.read();
        }
        for (total, line) in totals.transports.iter_mut().zip(&self.lines) {
            total.opened += line.opened.read();
            total.closed += line.closed.read();
            total.reconnected += line.reconnected.read();
            total.failed += line.failed.read();
            line.durations.add_to(&mut total.durations);
        }
        for (total, count) in totals.closes.iter_mut().zip(&self.closes.0) {
            total.1 += count.read();
        }
        self.round_trips.add_to(&mut totals.round_trips);
        self.lag.add_to(&mut totals.lag);
    }
}

/// The sums over all workers, as they were when they were read: each number by itself is right, while the workers go on.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once, and requests of proxies answered with 429, because of a limit.
    pub refused: u64,
    /// Times that accepting failed: no file descriptor, say.
    pub accept_errors: u64,
    /// Outgoing connections begun; an event source is one, however often it comes back.
    pub outgoing: u64,
    /// Connections that are gone, outgoing and refused ones included. Between its end and this a connection waits for the other side's end.
    pub gone: u64,
    /// HTTP requests, upgrades included.
    pub requests: u64,
    /// WebSocket messages received.
    pub messages_in: u64,
    /// Messages and events sent, publications by receiver.
    pub messages_out: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes that sockets took.
    pub bytes_out: u64,
    /// Publications and broadcasts.
    pub publications: u64,
    /// Messages of others that did not fit into a peer's queue.
    pub dropped: u64,
    /// Peers closed because they did not take what others sent.
    pub slow_closed: u64,
    /// Turns of the loops.
    pub turns: u64,
    /// By transport, in the order of [`Transport::ALL`].
    pub transports: [TransportTotals; 4],
    /// WebSockets ended, by close code; 3000 and 4000 stand for the thousand that begins there.
    pub closes: Vec<(u16, u64)>,
    /// Round trips of heartbeat pings.
    pub round_trips: Distribution,
    /// How long the turns took: so late may the next event have been served.
    pub lag: Distribution,
    /// Bytes that wait for sockets at present.
    pub queued: u64,
    /// Bytes of bodies and messages that are not whole yet, of connections that hold 16 KiB and more of one.
    pub held: u64,
}

/// What a hub holds at present: see [`Handle::hub`](super::Handle::hub). Without a hub all of it is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubTotals {
    /// Topics of which something is or, not long ago, was retained.
    pub topics: u64,
    /// Publications retained.
    pub events: u64,
    /// What those take of memory in bytes, as [`RetainedLimits::bytes`](crate::hub::RetainedLimits::bytes) counts it.
    pub bytes: u64,
    /// Sessions whose poll is held, but for those that are new with it.
    pub parked: u64,
}

impl HubTotals {
    /// What the workers retain. Each has the same, but for what one of them has not delivered yet; publications are shared.
    pub(crate) fn of<'a>(workers: impl IntoIterator<Item = &'a Counters>) -> Self {
        let mut most = [0; 3];
        for worker in workers {
            for (most, count) in most.iter_mut().zip(&worker.retained) {
                *most = count.read().max(*most);
            }
        }
        let [topics, events, bytes] = most;
        Self { topics, events, bytes, parked: 0 }
    }
}

/// What is counted per transport.
#[derive(Clone, Debug, Default)]
pub struct TransportTotals {
    /// Begun.
    pub opened: u64,
    /// Ended.
    pub closed: u64,
    /// Begun with a cursor: a client that came back.
    pub reconnected: u64,
    /// Ended by an error or a deadline, or given up as too slow; of WebSockets also those that ended without a Close frame, of HTTP
    /// requests that broke the protocol or got no answer.
    pub failed: u64,
    /// How long they lasted, WebSockets and HTTP connections to a quarter of a second.
    pub durations: Distribution,
}

impl TransportTotals {
    /// Open at present.
    pub fn open(&self) -> u64 {
        self.opened.saturating_sub(self.closed)
    }
}

impl Totals {
    pub(crate) fn of<'a>(workers: impl IntoIterator<Item = &'a Counters>) -> Self {
        let mut totals = Self {
            accepted: 0,
            refused: 0,
            accept_errors: 0,
            outgoing: 0,
            gone: 0,
            requests: 0,
            messages_in: 0,
            messages_out: 0,
            bytes_in: 0,
            bytes_out: 0,
            publications: 0,
            dropped: 0,
            slow_closed: 0,
            turns: 0,
            transports: Default::default(),
            closes: CLOSE_CODES.iter().map(|code| (*code, 0)).collect(),
            round_trips: Distribution::default(),
            lag: Distribution::default(),
            queued: 0,
            held: 0,
        };
        for worker in workers {
            worker.add_to(&mut totals);
            totals.queued += worker.queued.read();
            totals.held += worker.held.read();
        }
        totals
    }

    /// Connections open at present, incoming and outgoing, those included that wait for the other side's end.
    pub fn open(&self) -> u64 {
        // Each number is read by itself, so for a moment they may not fit together.
        (self.accepted + self.outgoing).saturating_sub(self.gone)
    }

    /// The counts of one transport.
    pub fn transport(&self, transport: Transport) -> &TransportTotals {
        &self.transports[transport as usize]
    }
}
