//! Serving one connection: read, feed, let the handler act, write, and see what is due next.

use super::Worker;
use super::feed::{feed_client, feed_http, feed_websocket};
use crate::Input;
use crate::http::Response;
use crate::hub::{Cursor, Pressure, SessionId, SlowReader};
use crate::net::config::SlowPolicy;
use crate::net::context::{Context, InPlace, Line, SendError};
use crate::net::core::{Command, Core};
use crate::net::counters::Transport;
use crate::net::handler::{ConnectError, Handler};
use crate::net::hub::line;
use crate::net::hub::polls::{self, Offered};
use crate::net::peer::{HttpLine, Kept, Mode, Peer, PeerId, Wire, flag};
use crate::net::publish::Published;
use crate::output::Output;
use crate::time::Instant;
use crate::ws::{self, CloseCode, Connection, Prepared};
use bytes::Bytes;
use socket2::Socket;
use std::boxed::Box;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

/// With so much to write, it is written before more is handled.
pub(super) const FLUSH: usize = 256 << 10;

/// What a connection is looked at for.
pub(super) enum Cause<'a> {
    /// So many bytes of the read buffer, behind so many that were read to where they stay.
    Read {
        ahead: usize,
        read: usize,
    },
    /// As `Read`, but feeding has begun, and some of the replies were sent.
    Begun {
        read: usize,
        taken: usize,
        replied: usize,
        sent: usize,
        fed: Fed,
    },
    /// Bytes that were read before and kept.
    Kept(Kept),
    /// The peer ended its side, or the socket failed.
    End,
    /// The worker ends, and with it the connection.
    Stop,
    /// A deadline has come.
    Timer,
    /// The socket takes bytes again, or may.
    Writable,
    /// Something that another connection, thread or worker asked for.
    Send(&'a Prepared),
    SendBlock(&'a Bytes),
    Close(CloseCode, &'a str),
    Publication(&'a Arc<Published>),
    /// Events of one topic for a subscriber of the hub's that is no case for the short way.
    Offer(&'a Offered<'a>),
    /// There may be room for what a subscriber has still to get.
    Pump,
    /// A newer poll of the session has come.
    Release,
    Acknowledge(SessionId, Cursor),
    /// A topic, or everything, is taken from it.
    Revoke(Option<&'a str>),
    /// Let go of it, in order.
    Drain(CloseCode),
    /// An outgoing connection was made, or not.
    Connected(io::Result<()>),
    /// Everything that waited was written, and the handler wanted to know.
    Emptied,
    /// Nothing but to look again.
    Look,
}

/// Why feeding stopped.
pub(super) enum Fed {
    /// The input is used up.
    Dry,
    /// Much is to be written first.
    Flush,
    /// The handler or the queue forbids more, or an answer is owed first.
    Paused,
    /// The connection is over, and the handler knows.
    Over,
    Upgraded(Connection),
    /// An event source wants a new connection.
    Connect,
    /// An event source has lost its connection, and waits.
    Disconnected,
}

impl<H: Handler> Worker<H> {
    /// The peer ended its side, or the socket failed.
    pub(super) fn end(&mut self, index: u32) {
        match self.peers.get(index).map(|peer| &peer.wire) {
            Some(Wire::Lingering(_)) => self.finish(index),
            _ => self.serve(index, Cause::End),
        }
    }

    /// A deadline has come, or may have.
    pub(super) fn time_out(&mut self, index: u32) {
        let now = self.core.now;
        match self.peers.get(index).map(|peer| &peer.wire) {
            Some(Wire::Lingering(until)) if *until <= now => self.remove(index),
            Some(Wire::Lingering(_)) => self.set_timer(index),
            _ => self.serve(index, Cause::Timer),
        }
    }

    /// Serves a connection for one cause, to the end: feeds, writes, and settles what comes next.
    pub(super) fn serve(&mut self, index: u32, cause: Cause<'_>) {
        let Self { handler, peers, core, scratch, buffer, buffers, wheel, .. } = self;
        let Some(peer) = peers.get_mut(index) else { return };
        peer.unpark(&core.settings.http, core.now);
        let id = PeerId { worker: core.worker, index, generation: peer.generation };
        let Peer { wire, state, cold, socket, meta, .. } = peer;
        let mut own = match cold {
            Some(cold) => cold.outbox.take(),
            None => None,
        };
        if let Some(own) = &mut own {
            core.counters.queued.sub(own.len() as u64);
            #[cfg(feature = "deflate")]
            scratch.hand_compressors(own);
        }
        let limit = core.settings.queue.limit;
        let writable = matches!(cause, Cause::Writable);
        let mut kept = Kept::default();
        let again = matches!(cause, Cause::Kept(_));
        let mut cause = Some(cause);
        let mut input = match &mut cause {
            Some(Cause::Read { ahead, read }) => {
                core.counters.bytes_in.add((*read + *ahead) as u64);
                Input::with_buffers(&mut buffer[..*read], buffers)
            }
            Some(Cause::Begun { read, taken, replied, .. }) => {
                let mut input = Input::with_buffers(&mut buffer[..*read], buffers);
                input.go_on(*taken, *replied);
                input
            }
            Some(Cause::Kept(bytes)) => {
                kept = std::mem::take(bytes);
                Input::with_buffers(&mut kept.bytes[kept.from..], buffers)
            }
            _ => Input::with_buffers(&mut [], buffers),
        };
        let mut opened = false;
        // Of the replies in the input.
        let mut sent = 0;
        let mut wrote = 0;
        let over = loop {
            let out = match &mut own {
                Some(own) => &mut **own,
                None => &mut *scratch,
            };
            let half = wire.most_waiting(limit);
            let line = match wire {
                Wire::WebSocket(ws) => Line::WebSocket(ws),
                Wire::Http(line) => Line::Http(line),
                Wire::Client(line) => Line::Client(line),
                Wire::Lingering(_) | Wire::Parked(_) | Wire::Resting(_) | Wire::Vacant(_) => Line::Over,
            };
            let mut cx =
                Context { id, line, state, cold, meta, socket: socket.as_ref(), out, in_place: InPlace::NONE, core };
            let fed = if let Some(Cause::Begun { sent: before, fed, .. }) =
                cause.take_if(|cause| matches!(cause, Cause::Begun { .. }))
            {
                (sent, wrote) = (before, before);
                fed
            } else {
                if let Some(cause) = cause.take() {
                    act(handler, &mut cx, cause);
                } else if std::mem::take(&mut opened) {
                    handler.opened(&mut cx);
                    line::opened(&mut cx);
                }
                match &cx.line {
                    Line::WebSocket(_) => feed_websocket(handler, &mut cx, &mut input, half),
                    Line::Http(_) => feed_http(handler, &mut cx, &mut input, half),
                    Line::Client(_) => feed_client(handler, &mut cx, &mut input),
                    Line::Over => Fed::Dry,
                }
            };
            match fed {
                Fed::Upgraded(connection) => {
                    if let Wire::Http(_) = wire {
                        core.counters.closed(Transport::Http, meta.age(core.now));
                    }
                    *wire = Wire::WebSocket(connection);
                    core.counters.opened(Transport::WebSocket);
                    meta.renew(core.now);
                    meta.set(flag::REPORTED);
                    opened = true;
                    continue;
                }
                Fed::Connect | Fed::Disconnected => {
                    scratch.clear();
                    #[cfg(feature = "deflate")]
                    if let Some(own) = &mut own {
                        own.hand_compressors(scratch);
                    }
                    own = None;
                    *socket = None;
                    // What the old connection still had to say is nothing to the new one.
                    input.skip_all();
                    if let Some(cold) = cold {
                        cold.kept = Kept::default();
                    }
                    meta.clear(flag::EOF | flag::BROKEN | flag::HANGUP | flag::READABLE | flag::REGISTERED);
                    if let Fed::Connect = fed {
                        self.connects.push(id);
                    }
                    break false;
                }
                Fed::Dry | Fed::Flush | Fed::Paused | Fed::Over => {}
            }
            let blocked = own.is_none() && scratch.is_blocked();
            let out = match &mut own {
                Some(own) => &mut **own,
                None => &mut *scratch,
            };
            // A peer that is known to block is written to when the socket says that it takes bytes again.
            let mut front = input.replies().get(std::mem::take(&mut sent)..).unwrap_or_default();
            if blocked {
                // A callback wrote early, and the socket blocked.
                own = Some(Box::new(out.take_unsent_behind(front)));
                input.clear_replies();
            } else if !(front.is_empty() && out.is_empty()) && (writable || !out.is_blocked()) {
                let before = front.len() + out.len();
                let written = match socket {
                    Some(socket) => out.write_behind(&mut front, &mut Sink(socket)),
                    None => Err(ErrorKind::NotConnected.into()),
                };
                wrote += before - front.len() - out.len();
                match written {
                    Ok(()) => input.clear_replies(),
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        own = match own {
                            Some(own) if front.is_empty() => Some(own),
                            Some(mut own) => {
                                #[cfg(feature = "deflate")]
                                own.hand_compressors(scratch);
                                Some(Box::new(own.take_unsent_behind(front)))
                            }
                            None => Some(Box::new(scratch.take_unsent_behind(front))),
                        };
                        input.clear_replies();
                    }
                    Err(_) => {
                        out.clear();
                        input.clear_replies();
                        meta.set(flag::BROKEN);
                        if !matches!(fed, Fed::Over) {
                            // The machine says how it ended.
                            cause = Some(Cause::End);
                            input.skip_all();
                            continue;
                        }
                    }
                }
            }
            match fed {
                Fed::Over => break true,
                Fed::Flush if own.as_ref().is_none_or(|own| own.len() <= half) => {}
                _ => break false,
            }
        };
        core.counters.bytes_out.add(wrote as u64);
        core.counters.messages_out.add(std::mem::take(&mut core.sent));
        let left = if over { 0 } else { input.rest().len() };
        let fresh = if left > 0 && !again { input.rest().to_vec() } else { Vec::new() };
        drop(input);
        if left > 0 {
            if !again {
                kept.bytes = fresh;
            }
            kept.from = kept.bytes.len() - left;
            cold.get_or_insert_default().kept = kept;
        }
        if wrote > 0
            && writable
            && let Wire::WebSocket(ws) = wire
        {
            ws.handle_drained(core.now);
        }
        if let Wire::Http(line) = wire
            && !line.http.owes_answer()
            && own.as_ref().is_none_or(|own| own.is_empty())
        {
            core.doors.rest(index);
        }
        #[cfg(feature = "deflate")]
        if let Some(own) = &mut own {
            own.hand_compressors(scratch);
        }
        if let Some(own) = own.filter(|own| !own.is_empty()) {
            core.counters.queued.add(own.len() as u64);
            cold.get_or_insert_default().outbox = Some(own);
        }
        let charge = if over { 0 } else { wire.charge() };
        if charge != cold.as_ref().map_or(0, |cold| cold.charged) {
            let cold = cold.get_or_insert_default();
            core.counters.held.sub(std::mem::replace(&mut cold.charged, charge) as u64);
            core.counters.held.add(charge as u64);
        }
        if over {
            self.finish(index);
        } else if writable || cold.is_some() {
            self.settle(index, wrote);
        } else {
            peer.rest();
            if let Some(at) = peer.poll_timeout() {
                wheel.set(peers, index, at);
            }
        }
    }

    /// What is left to see to for a peer that has something waiting, paused or timed.
    pub(super) fn settle(&mut self, index: u32, wrote: usize) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        let queue = &self.core.settings.queue;
        let (limit, now) = (queue.limit, self.core.now);
        let id = PeerId { worker: self.core.worker, index, generation: peer.generation };
        let queued = peer.queued();
        let held = match &peer.wire {
            Wire::WebSocket(ws) => ws.held(),
            _ => 0,
        };
        let over = matches!(peer.wire, Wire::Lingering(_));
        let wants_input = peer.wire.wants_input();
        let awaits = peer.meta.has(flag::AWAITS_WRITABLE);
        let mut emptied = false;
        if let Some(cold) = &mut peer.cold {
            // A message that is still arriving may come back as a reply of its own length, and its next read may double it. An answer
            // may be as long as the queue, so a request waits until the answers before it have left.
            let (throttled, resumed) = match &peer.wire {
                Wire::Http(line) if !matches!(line.mode, Mode::Stream(_)) => (queued > 0, queued == 0),
                wire if wire.most_waiting(limit) < limit / 2 => (queued > wire.most_waiting(limit), queued == 0),
                _ => (queued > 0 && queued + 2 * held > limit / 2, queued < limit / 4),
            };
            if throttled {
                cold.reading.throttled = true;
            } else if resumed {
                cold.reading.throttled = false;
            }
            // Whom no pong is asked of has no other way to be found out.
            let unwatched = match &peer.wire {
                Wire::Http(line) => matches!(line.mode, Mode::Stream(_)),
                Wire::WebSocket(ws) => ws.config().heartbeat.is_none(),
                _ => false,
            };
            if queued > 0
                && unwatched
                && let SlowPolicy::Close { after } = queue.slow
                && cold.stall.is_none()
            {
                cold.stall = Some(now + patience(&self.core, index, after));
            }
            if queued == 0 {
                cold.stall = None;
                emptied = cold.wants_writable || cold.lost > 0 || std::mem::take(&mut cold.pumps);
            } else if wrote > 0
                && cold.stall.is_some()
                && let SlowPolicy::Close { after } = queue.slow
            {
                cold.stall = Some(now + patience(&self.core, index, after));
            }
        }
        if over && peer.meta.has(flag::BROKEN) {
            self.remove(index);
            return;
        }
        // What is still to be written must arrive: the time to end the other side runs from the last byte that the socket took.
        if wrote > 0
            && let Wire::Lingering(until) = &mut peer.wire
        {
            *until = now + self.core.settings.linger;
        }
        peer.cool();
        peer.park();
        peer.rest();
        let resumed = !peer.is_paused()
            && (peer.meta.has(flag::READABLE)
                || (wants_input && peer.cold.as_ref().is_some_and(|cold| !cold.kept.is_empty())));
        if queued > 0 && !awaits {
            self.await_writable(index);
        } else if queued == 0 && awaits {
            self.forget_writable(index);
            if over {
                self.finish(index);
                return;
            }
        }
        if resumed {
            self.list(index);
        }
        if emptied {
            // Not from here: the handler may ask again, and again.
            self.core.commands.push(Command::Emptied(id));
        }
        self.set_timer(index);
    }

    /// The connection is over, and the handler was told. What is written must arrive: the peer's own end, or a deadline, closes it.
    pub(super) fn finish(&mut self, index: u32) {
        let now = self.core.now;
        let worker = self.core.worker;
        let Some(peer) = self.peers.get_mut(index) else { return };
        let id = PeerId { worker, index, generation: peer.generation };
        if !matches!(peer.wire, Wire::Lingering(_)) {
            peer.wire = Wire::Lingering(now + self.core.settings.linger);
            peer.state = H::State::default();
            peer.meta.clear(flag::HUB | flag::ASIDE);
            self.core.leave(id);
            if let Some(cold) = peer.cold.take()
                && let Some(outbox) = cold.outbox
            {
                peer.cold().outbox = Some(outbox);
            }
        }
        if peer.meta.has(flag::BROKEN) || (peer.queued() == 0 && peer.meta.has(flag::EOF)) {
            self.remove(index);
            return;
        }
        if peer.queued() > 0 {
            if !peer.meta.has(flag::AWAITS_WRITABLE) {
                self.await_writable(index);
            }
        } else {
            let shut = peer.socket.as_ref().map(|socket| socket.shutdown(Shutdown::Write));
            if !matches!(shut, Some(Ok(()))) {
                self.remove(index);
                return;
            }
            if peer.meta.has(flag::READABLE) {
                self.list(index);
            }
        }
        self.set_timer(index);
    }

    pub(super) fn set_timer(&mut self, index: u32) {
        if let Some(at) = self.peers.get_mut(index).and_then(|peer| peer.poll_timeout()) {
            self.wheel.set(&mut self.peers, index, at);
        }
    }
}

/// Does what the connection is looked at for.
fn act<H: Handler>(handler: &mut H, cx: &mut Context<'_, H::State>, cause: Cause<'_>) {
    let now = cx.core.now;
    match cause {
        Cause::Read { ahead: 0, .. } | Cause::Begun { .. } | Cause::Kept(_) | Cause::Writable | Cause::Look => {}
        Cause::Read { ahead, .. } => {
            if let Line::WebSocket(ws) = &mut cx.line {
                // What fails is reported by the next event.
                let _ = ws.filled(ahead, cx.out, now);
            }
        }
        Cause::End | Cause::Stop => match &mut cx.line {
            Line::WebSocket(ws) => ws.handle_eof(now),
            Line::Http(line) => line.http.handle_eof(now),
            // An event source would come back.
            Line::Client(line) if matches!(cause, Cause::Stop) => line.give_up(ConnectError::Stopped),
            Line::Client(line) => line.handle_eof(now),
            Line::Over => {}
        },
        Cause::Connected(outcome) => {
            if let Line::Client(line) = &mut cx.line {
                line.connected(outcome, cx.out, now);
            }
        }
        Cause::Emptied => {
            let waiting =
                cx.cold.as_mut().map(|cold| (std::mem::take(&mut cold.lost), std::mem::take(&mut cold.wants_writable)));
            let (lost, wanted) = waiting.unwrap_or_default();
            if lost > 0 {
                handler.lost(lost, cx);
            }
            if wanted {
                handler.writable(cx);
            }
            line::pump(cx);
        }
        Cause::Timer => act_on_time(handler, cx),
        Cause::Send(_) | Cause::SendBlock(_) if cx.core.pressure == Pressure::Queues && cx.out.is_blocked() => {
            // With nothing left to let go, whoever has something waiting is too slow.
            no_room(cx);
        }
        Cause::Send(message) => {
            if let Line::WebSocket(ws) = &mut cx.line {
                let outcome = ws.send_prepared(message, cx.out);
                account(cx, outcome.map_err(SendError::from));
            }
        }
        Cause::SendBlock(block) => {
            let outcome = cx.line.stream().and_then(|(http, stream)| Ok(stream.send_shared(http, block, cx.out, now)?));
            account(cx, outcome);
        }
        Cause::Offer(offered) => line::offer(cx, offered),
        Cause::Pump => line::pump(cx),
        Cause::Release => polls::release(cx),
        Cause::Acknowledge(session, cursor) => line::acknowledge(cx, session, cursor),
        Cause::Revoke(topic) => line::revoke(cx, topic),
        Cause::Close(code, reason) => cx.close(code, reason),
        Cause::Publication(publication) => {
            if let Line::Http(HttpLine { mode: Mode::Held, .. }) = cx.line {
                handler.publication(publication, cx);
            }
        }
        // One that only lingers was told of its end before.
        Cause::Drain(_) if matches!(cx.line, Line::Over) => {}
        Cause::Drain(code) => {
            handler.drained(cx);
            let random = cx.random();
            drain(cx, code, random);
        }
    }
}

/// Counts what another sent to this peer, or deals with a peer that has no room for it.
/// For how long the socket of a peer that no pong is asked of may take nothing. Whoever may fall behind in all its topics may do so for as
/// long as a client waits for the next block.
fn patience(core: &Core, index: u32, after: Duration) -> Duration {
    let closes = |topic| core.desk.config().policies.of(topic).slow == SlowReader::Close;
    match core.desk.member(index).is_some() && !core.desk.topics().topics_of(index).any(closes) {
        true => after.max(core.settings.stream.heartbeat * 5 / 2),
        false => after,
    }
}

fn account<S>(cx: &mut Context<'_, S>, outcome: Result<(), SendError>) {
    match outcome {
        Ok(()) => {
            cx.core.counters.messages_out.add(1);
            if cx.out.is_blocked()
                && let SlowPolicy::Close { after } = cx.core.settings.queue.slow
            {
                let at = cx.core.now + after;
                cx.cold.get_or_insert_default().stall.get_or_insert(at);
            }
        }
        Err(error) if error.full().is_some() => no_room(cx),
        // The handler is in the middle of a message of its own fragments, and may be for long.
        Err(SendError::WebSocket(ws::SendError::MessageOpen)) => {
            cx.core.counters.dropped.add(1);
            cx.cold.get_or_insert_default().lost += 1;
        }
        Err(_) => {}
    }
}

/// What others send a peer finds no room.
fn no_room<S>(cx: &mut Context<'_, S>) {
    cx.core.counters.dropped.add(1);
    match cx.core.settings.queue.slow {
        SlowPolicy::Close { .. } => give_up(cx),
        SlowPolicy::Drop => cx.cold.get_or_insert_default().lost += 1,
    }
}

/// Closes a peer that does not take what others send it.
pub(in crate::net) fn give_up<S>(cx: &mut Context<'_, S>) {
    cx.core.counters.slow_closed.add(1);
    if let Some(cold) = cx.cold {
        cold.stall = None;
    }
    match &mut cx.line {
        Line::Http(line) => line.http.abort(),
        _ => {
            let reason = line::reason(cx, "too slow");
            cx.close(CloseCode::TRY_AGAIN, &reason);
        }
    }
    if cx.meta.has(flag::HUB) {
        // Nothing more is for it; what its client still says is for nobody.
        line::leave(cx.id, cx.core, cx.cold, cx.meta);
        cx.meta.set(flag::HUB);
    }
}

fn act_on_time<H: Handler>(handler: &mut H, cx: &mut Context<'_, H::State>) {
    let now = cx.core.now;
    let due = |at: &Option<Instant>| at.is_some_and(|at| at <= now);
    if cx.cold.as_ref().is_some_and(|cold| due(&cold.timer)) {
        cx.clear_timer();
        handler.timer(cx);
        if let Line::Http(line) = &mut cx.line
            && matches!(line.mode, Mode::Held)
            && line.http.owes_answer()
            && cx.cold.as_ref().is_none_or(|cold| cold.timer.is_none())
        {
            answer(line, 204, &[], cx.out);
        }
    }
    line::handle_timeout(cx);
    if cx.cold.as_ref().is_some_and(|cold| due(&cold.stall)) {
        give_up(cx);
    }
    match &mut cx.line {
        Line::WebSocket(ws) => {
            let before = cx.out.len();
            ws.handle_timeout(now, cx.out);
            if cx.out.len() > before {
                // It was silent for a heartbeat.
                line::beat(cx);
            }
        }
        Line::Http(HttpLine { http, mode: Mode::Stream(stream), .. }) => {
            http.handle_timeout(now, cx.out);
            // A hub's has had its position by now, and needs no comment.
            stream.handle_timeout(http, now, cx.out);
        }
        Line::Http(line) => line.http.handle_timeout(now, cx.out),
        Line::Client(line) => line.handle_timeout(now, cx.out),
        Line::Over => {}
    }
}

/// Lets go of a connection in order.
fn drain<S>(cx: &mut Context<'_, S>, code: CloseCode, random: u64) {
    if cx.meta.has(flag::HUB)
        && let Line::Http(line) = &mut cx.line
        && matches!(line.mode, Mode::Held)
    {
        // The same answer as at the end of its time, and the last one.
        line.http.shut_down();
        polls::release(cx);
    }
    match &mut cx.line {
        Line::WebSocket(_) => {
            let reason = line::reason(cx, "service restart");
            cx.close(code, &reason);
        }
        Line::Http(line) => {
            if matches!(line.mode, Mode::Held | Mode::Body) && line.http.owes_answer() {
                line.http.shut_down();
                answer(line, 503, &[("Retry-After", "1")], cx.out);
            }
            let stream = &cx.core.settings.stream;
            let retry =
                stream.retry.map(|retry| retry.saturating_add(retry.saturating_mul((random % 1024) as u32) / 1024));
            line.close(retry, cx.out);
        }
        Line::Client(line) => line.close(),
        Line::Over => {}
    }
}

/// Answers a request in the loop's own name. Where there is no room the connection ends instead.
pub(super) fn answer(line: &mut HttpLine, status: u16, headers: &[(&str, &str)], out: &mut Output) {
    // That a hold is over is seen, and counted, where the line is fed.
    if !matches!(line.mode, Mode::Held) {
        line.mode = Mode::Plain;
    }
    if line.http.respond(&Response::new(status).headers(headers), &[], out).is_err() {
        line.http.abort();
    }
}

/// A socket to write to. Without SIGPIPE, which only Rust's own `main` switches off.
pub(in crate::net) struct Sink<'a>(pub(in crate::net) &'a Socket);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_with_flags(bytes, libc::MSG_NOSIGNAL)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.send_vectored_with_flags(slices, libc::MSG_NOSIGNAL)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
