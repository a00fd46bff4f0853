//! Messages that are to come back.

use super::{Job, Member, STAMP_TEXT, State, Window, read_stamp_text, stamp_text};
use crate::latency::Latency;
use serde_json::{Value, json};
use std::thread;
use std::time::Duration;
use tautline::Instant;
use tautline::net::{Context, Control, Handle, Message, PeerId};
use tautline::time::Clock;

/// The schedule wakes no more often than this, however many messages a second it holds: those due meanwhile leave together.
const STEP: Duration = Duration::from_micros(100);

/// The schedule of messages: message number `n` of this process is due `n / rate` after the beginning, on connection `n % connections`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Nanoseconds from one message to the next.
    gap: f64,
    connections: u64,
}

impl Pace {
    pub(super) fn new(rate: f64, connections: u64) -> Self {
        Self { gap: 1e9 / rate, connections }
    }

    /// When message number `n` is due.
    fn due(&self, begun: Instant, n: u64) -> Instant {
        begun + Duration::from_nanos((n as f64 * self.gap) as u64)
    }

    /// How many messages are due by `now`.
    fn count(&self, window: &Window, now: Instant) -> u64 {
        let now = window.until.map_or(now, |until| until.min(now));
        if now < window.begun {
            return 0;
        }
        (now.saturating_duration_since(window.begun).as_nanos() as f64 / self.gap) as u64 + 1
    }

    /// How many of the first `count` messages are one connection's.
    fn of_line(&self, count: u64, line: u64) -> u64 {
        (count + self.connections - 1 - line) / self.connections
    }

    /// Wakes the worker whenever something is due, from a thread of its own: a poll's timeout is in milliseconds.
    pub(super) fn start(self, window: Window, clock: Clock, handle: Handle<Member>) {
        thread::spawn(move || {
            loop {
                let now = clock.now();
                if window.is_over(now) {
                    break;
                }
                let next = self.due(window.begun, self.count(&window, now));
                thread::sleep(next.saturating_duration_since(now).clamp(STEP, Duration::from_millis(100)));
                // An error says that the loop has ended, and then nobody waits for this.
                let _ = handle.call(0, |member, control| member.pace(control));
            }
        });
    }
}

/// One connection.
struct Line {
    id: PeerId,
    sent: u64,
    in_flight: u32,
}

/// The messages of this process.
pub(super) struct Echoes {
    clock: Clock,
    lines: Vec<Line>,
    /// The message; the time goes in front.
    message: Vec<u8>,
    text: bool,
    most: u32,
    pace: Option<Pace>,
    /// Messages of the schedule that were looked at.
    looked: u64,
    /// Messages still to be sent, where they are counted.
    left: Option<u64>,
    window: Option<Window>,
    outstanding: u64,
    /// Connections that are open.
    live: usize,
    received: u64,
    /// Of these, those that came while measuring.
    measured: u64,
    /// When the last of them came.
    last: Instant,
    wrong: u64,
    /// Under way on connections that were lost.
    lost: u64,
    latency: Latency,
    /// How late this program itself was: from when messages were due until it came to them. Not the time for which they waited for others.
    late: Latency,
}

impl Echoes {
    pub(super) fn new(job: &Job, clock: Clock) -> Self {
        Self {
            clock,
            lines: Vec::new(),
            message: (0..job.size).map(|at| b'a' + (at % 26) as u8).collect(),
            text: job.text,
            most: job.in_flight,
            pace: job.pace(),
            looked: 0,
            left: job.messages,
            window: None,
            outstanding: 0,
            live: 0,
            received: 0,
            measured: 0,
            last: Instant::ORIGIN,
            wrong: 0,
            lost: 0,
            latency: Latency::new(),
            late: Latency::new(),
        }
    }

    /// A connection is open: its number.
    pub(super) fn add(&mut self, id: PeerId) -> u64 {
        self.lines.push(Line { id, sent: 0, in_flight: 0 });
        self.live += 1;
        self.lines.len() as u64 - 1
    }

    /// Connection `number` is lost, and what was under way on it.
    pub(super) fn lose(&mut self, number: u64) {
        let under_way = std::mem::replace(&mut self.lines[number as usize].in_flight, u32::MAX);
        self.outstanding -= u64::from(under_way);
        self.lost += u64::from(under_way);
        self.live -= 1;
    }

    pub(super) fn go(&mut self, window: Window, control: &mut Control<'_, Member>) {
        self.window = Some(window);
        if self.pace.is_some() {
            return;
        }
        for number in 0..self.lines.len() {
            for _ in 0..self.most {
                let now = self.clock.now();
                if self.may_send(number, now) {
                    self.stamp(now);
                    control.send_to(self.lines[number].id, self.as_message().prepare());
                }
            }
        }
    }

    /// Sends what the schedule says; what a connection has no room for waits, and its time counts.
    pub(super) fn pace(&mut self, control: &mut Control<'_, Member>) {
        let (Some(pace), Some(window)) = (self.pace, self.window) else { return };
        let now = self.clock.now();
        // More connections were wanted than are open: their messages have nobody to send them.
        let count = pace.count(&window, now);
        while self.looked < count {
            let number = (self.looked % pace.connections) as usize;
            self.looked += 1;
            if let Some(due) = self.due(number, now) {
                if window.holds(due) {
                    self.late.record(now.as_nanos().saturating_sub(due.as_nanos()));
                }
                self.stamp(due);
                control.send_to(self.lines[number].id, self.as_message().prepare());
            }
        }
    }

    /// A message came. Says whether it was the last of all.
    pub(super) fn reply(&mut self, message: Message<'_>, cx: &mut Context<'_, State>) -> bool {
        let number = cx.state().value() as usize;
        let now = self.clock.now();
        let Some(sent) = self.read(message) else {
            self.wrong += 1;
            return false;
        };
        let (Some(window), Some(line)) = (self.window, self.lines.get_mut(number)) else { return false };
        line.in_flight = line.in_flight.saturating_sub(1);
        self.outstanding = self.outstanding.saturating_sub(1);
        self.received += 1;
        if window.holds(now) {
            self.measured += 1;
            self.last = now;
        }
        if window.holds(sent) {
            self.latency.record(now.as_nanos().saturating_sub(sent.as_nanos()));
        }
        let next = match self.pace {
            Some(_) => self.due(number, now),
            None => self.may_send(number, now).then_some(now),
        };
        if let Some(time) = next {
            self.stamp(time);
            if cx.send(self.as_message()).is_err() {
                self.lines[number].in_flight -= 1;
                self.outstanding -= 1;
                self.lost += 1;
            }
        }
        self.outstanding == 0 && self.is_done()
    }

    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Whether nothing is to be sent and nothing under way. With nobody left to send it that is so whatever was wanted.
    pub(super) fn is_done(&self) -> bool {
        let Some(window) = &self.window else { return false };
        if self.live == 0 {
            return true;
        }
        let now = self.clock.now();
        let sent_all = match (self.left, self.pace) {
            (Some(left), _) => left == 0,
            (None, Some(pace)) => {
                let count = pace.count(window, now);
                let behind = |(number, line): (usize, &Line)| {
                    line.in_flight != u32::MAX && line.sent < pace.of_line(count, number as u64)
                };
                window.is_over(now) && !self.lines.iter().enumerate().any(behind)
            }
            (None, None) => window.is_over(now),
        };
        sent_all && self.outstanding == 0
    }

    pub(super) fn end(&self, end: &mut Value) {
        let from = self.window.map_or(Instant::ORIGIN, |window| window.from);
        let fields = json!({
            "measured": self.measured,
            "wrong": self.wrong,
            "unanswered": self.outstanding + self.lost + self.unsent(),
            "elapsed_ns": u64::try_from(self.last.saturating_duration_since(from).as_nanos()).unwrap_or(0),
            "latency": self.latency.to_json(),
            "late": self.late.to_json(),
        });
        if let (Value::Object(end), Value::Object(fields)) = (end, fields) {
            end.extend(fields);
        }
    }

    /// Messages that were due and never left.
    fn unsent(&self) -> u64 {
        if let Some(left) = self.left {
            return left;
        }
        let (Some(pace), Some(window)) = (self.pace, &self.window) else { return 0 };
        let count = pace.count(window, self.clock.now());
        let lines = self.lines.iter().enumerate();
        lines.map(|(number, line)| pace.of_line(count, number as u64).saturating_sub(line.sent)).sum()
    }

    /// Counts a message as sent, if one may be.
    fn may_send(&mut self, number: usize, now: Instant) -> bool {
        let Some(line) = self.lines.get_mut(number).filter(|line| line.in_flight < self.most) else { return false };
        if self.window.is_none_or(|window| window.is_over(now)) {
            return false;
        }
        if let Some(left) = &mut self.left {
            let Some(less) = left.checked_sub(1) else { return false };
            *left = less;
        }
        line.in_flight += 1;
        line.sent += 1;
        self.outstanding += 1;
        true
    }

    /// When the next message of a connection was due, if it was by now and may be sent; it counts as sent then.
    fn due(&mut self, number: usize, now: Instant) -> Option<Instant> {
        let (pace, window) = (self.pace?, self.window?);
        let line = self.lines.get_mut(number).filter(|line| line.in_flight < self.most)?;
        if line.sent >= pace.of_line(pace.count(&window, now), number as u64) {
            return None;
        }
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(1)?;
        }
        let due = pace.due(window.begun, line.sent * pace.connections + number as u64);
        line.in_flight += 1;
        line.sent += 1;
        self.outstanding += 1;
        Some(due)
    }

    fn stamp(&mut self, time: Instant) {
        let nanos = time.as_nanos();
        if self.text {
            self.message[..STAMP_TEXT].copy_from_slice(&stamp_text(nanos));
        } else {
            self.message[..8].copy_from_slice(&nanos.to_le_bytes());
        }
    }

    fn as_message(&self) -> Message<'_> {
        if self.text {
            Message::Text(std::str::from_utf8(&self.message).expect("letters and hexadecimal digits"))
        } else {
            Message::Binary(&self.message)
        }
    }

    /// When a message was sent, or due; `None` if it is not one of ours as it was.
    fn read(&self, message: Message<'_>) -> Option<Instant> {
        let bytes = message.as_bytes();
        let is_text = matches!(message, Message::Text(_));
        let stamp = if self.text { STAMP_TEXT } else { 8 };
        if is_text != self.text || bytes.len() != self.message.len() || bytes[stamp..] != self.message[stamp..] {
            return None;
        }
        let nanos = match self.text {
            true => read_stamp_text(bytes)?,
            false => u64::from_le_bytes(*bytes.first_chunk()?),
        };
        Some(Instant::from_nanos(nanos))
    }
}
