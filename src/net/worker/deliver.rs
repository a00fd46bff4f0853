//! What was published, on its way to this worker's subscribers.

use super::Worker;
use super::serve::{Cause, Sink};
use crate::http::server::Coding;
use crate::hub::{Pressure, SlowReader};
use crate::net::config::SlowPolicy;
use crate::net::handler::Handler;
use crate::net::hub::line;
use crate::net::hub::polls::Offered;
use crate::net::peer::{HttpLine, Mode, PeerId, Wire, flag};
use crate::net::publish::Published;
use crate::output::Output;
#[cfg(feature = "deflate")]
use crate::ws::Sharing;
use bytes::Bytes;
use std::boxed::Box;
use std::io::{ErrorKind, Write};
use std::sync::Arc;
use std::vec::Vec;

/// Publications delivered in one turn; with more the loop looks at its sockets first.
const BATCH: usize = 256;

/// Subscribers reached in one turn before the loop looks at its sockets: some 50 ms of sends. A publication goes to all of its
/// subscribers at once, however many they are.
const SENDS: usize = 10_000;

/// Up to this length publications to one topic are joined, so that each subscriber gets them in one write.
const JOINED: usize = 64 << 10;

/// Some publications to one topic and for all its subscribers, as each transport gets them.
struct Run<'a> {
    publications: &'a [Arc<Published>],
    /// As subscribers of the hub get them that are no case for the short way.
    offered: Offered<'a>,
    frames: Option<Bytes>,
    /// The frames for WebSockets that compress, by how they do.
    #[cfg(feature = "deflate")]
    deflated: Vec<(Sharing, Bytes)>,
    chunks: Option<(Bytes, u64)>,
}

impl<'a> Run<'a> {
    fn new(publications: &'a [Arc<Published>]) -> Self {
        Self {
            publications,
            offered: Offered::new(publications),
            frames: None,
            #[cfg(feature = "deflate")]
            deflated: Vec::new(),
            chunks: None,
        }
    }

    /// The frames for WebSockets.
    fn frames(&mut self) -> &Bytes {
        let publications = self.publications;
        self.frames.get_or_insert_with(|| join(publications, |publication| Some(publication.message().frame())))
    }

    /// The frames for WebSockets that compress alike, made with the compressors of `scratch`.
    #[cfg(feature = "deflate")]
    fn deflated(&mut self, sharing: Sharing, scratch: &mut Output) -> &Bytes {
        let at = match self.deflated.iter().position(|(made, _)| *made == sharing) {
            Some(at) => at,
            None => {
                let deflaters = scratch.deflaters();
                let frames =
                    join(self.publications, |publication| Some(publication.message().frame_for(sharing, deflaters)));
                self.deflated.push((sharing, frames));
                self.deflated.len() - 1
            }
        };
        &self.deflated[at].1
    }

    /// The chunks for event streams, and how many there are; empty where nothing is for them.
    fn chunks(&mut self) -> (&Bytes, u64) {
        let publications = self.publications;
        let (chunks, count) = self.chunks.get_or_insert_with(|| {
            let count = publications.iter().filter(|publication| publication.chunk().is_some()).count();
            (join(publications, |publication| publication.chunk()), count as u64)
        });
        (chunks, *count)
    }
}

/// One after the other; a single one is shared as it is.
fn join<'a>(publications: &'a [Arc<Published>], mut bytes: impl FnMut(&'a Published) -> Option<&'a Bytes>) -> Bytes {
    let mut all = publications.iter().filter_map(|publication| bytes(publication));
    match (all.next(), publications.len()) {
        (None, _) => Bytes::new(),
        (Some(one), 1) => one.clone(),
        (Some(first), _) => {
            let mut joined = first.to_vec();
            all.for_each(|next| joined.extend_from_slice(next));
            joined.into()
        }
    }
}

impl<H: Handler> Worker<H> {
    /// How many publications have been delivered on this worker.
    pub(super) fn delivered(&self) -> u64 {
        self.seen - self.batch.len() as u64
    }

    /// Delivers what was published since, by anyone, up to what one turn may take; whether there was something.
    pub(super) fn deliver(&mut self) -> bool {
        if self.batch.is_empty() && self.core.log.appended() != self.seen {
            let mut fresh = Vec::new();
            self.seen += self.core.log.read(self.reader, BATCH, &mut fresh) as u64;
            self.batch = fresh.into();
        }
        self.relieve();
        let began = self.delivered();
        let mut sends = 0;
        while sends < SENDS
            && let Some(first) = self.batch.front()
        {
            let mut len = first.len();
            let joined = |next: &&Arc<Published>| {
                len += next.len();
                next.topic() == first.topic()
                    && first.is_for_all()
                    && next.is_for_all()
                    && first.publication().is_some() == next.publication().is_some()
                    && len <= JOINED
            };
            let count = 1 + self.batch.iter().skip(1).take_while(joined).count();
            let run: Vec<_> = self.batch.drain(..count).collect();
            if let Some(last) = run.last() {
                sends += self.core.desk.topics().subscribers(last.topic()).len() + 1;
            }
            for published in &run {
                let position = published.cursor().position;
                match &self.core.hub {
                    Some(_) => self.core.desk.apply(position, published.clone()),
                    None => self.core.desk.pass(position),
                }
            }
            self.fan_out(&mut Run::new(&run));
            self.core.now = self.core.clock.now();
        }
        self.core.delivered = self.delivered();
        if self.delivered() != began {
            if self.core.hub.is_some() {
                self.plan_sweep();
                self.core.note_retained();
                let (peers, worker) = (&self.peers, self.core.worker);
                let id = |index| Some(PeerId { worker, index, generation: peers.get(index)?.generation });
                line::pump_overtaken(&mut self.core, id);
            }
            return true;
        }
        false
    }

    /// Makes room where everything together takes too much.
    fn relieve(&mut self) {
        let calm = self.core.pressure == Pressure::None && self.core.counters.held.read() == 0;
        if self.batch.is_empty() && calm {
            return;
        }
        let retained = self.core.desk.retained().bytes();
        self.core.pressure = self.shared.pressure(retained);
        match self.core.pressure {
            Pressure::None => {}
            Pressure::Histories(bytes) => _ = self.core.desk.shed(bytes),
            Pressure::Queues => _ = self.core.desk.shed(retained),
        }
    }

    /// Sends the same bytes to every subscriber: straight to the socket, and into its queue only where it blocks.
    fn fan_out(&mut self, run: &mut Run<'_>) {
        let Some(first) = run.publications.first().cloned() else { return };
        let except = first.except().filter(|id| id.worker == self.core.worker);
        let mut aside = std::mem::take(&mut self.aside);
        let count = run.publications.len() as u64;
        let (mut delivered, mut bytes) = (0, 0);
        let now = self.core.now;
        let session = first.publication().and_then(|publication| publication.except());
        let policy = first.publication().map(|_| self.core.desk.config().policies.of(first.topic()).slow);
        for &index in self.core.desk.topics().subscribers(first.topic()) {
            let Some(peer) = self.peers.get_mut(index) else { continue };
            if except.is_some_and(|id| id.index == index && id.generation == peer.generation) {
                continue;
            }
            if peer.meta.has(flag::HUB) {
                // The hub carries events, and nothing else.
                let kept_from = session.is_some() && self.core.desk.member(index).map(|(own, _)| own) == session;
                if policy.is_none() || kept_from {
                    continue;
                }
                if peer.meta.has(flag::ASIDE) {
                    aside.push(index);
                    continue;
                }
            }
            let queues = peer.cold.as_ref().is_some_and(|cold| cold.outbox.is_some());
            let (payload, messages) = match &mut peer.wire {
                Wire::WebSocket(ws) if !queues && ws.takes_message() => (run.frames(), count),
                #[cfg(feature = "deflate")]
                Wire::WebSocket(ws) if !queues => match ws.sharing() {
                    Some(sharing) => (run.deflated(sharing, &mut self.scratch), count),
                    None => {
                        aside.push(index);
                        continue;
                    }
                },
                Wire::Http(line) if !queues => match &mut **line {
                    HttpLine { http, mode: Mode::Stream(stream), .. } if http.coding() == Some(Coding::Chunked) => {
                        let (chunks, events) = run.chunks();
                        if !chunks.is_empty() {
                            stream.wrote(now);
                        }
                        (chunks, events)
                    }
                    _ => {
                        aside.push(index);
                        continue;
                    }
                },
                _ => {
                    aside.push(index);
                    continue;
                }
            };
            let Some(socket) = &peer.socket else { continue };
            if payload.is_empty() {
                continue;
            }
            delivered += messages;
            let sent = match Sink(socket).write(payload) {
                Ok(n) if n == payload.len() => {
                    bytes += n;
                    continue;
                }
                Ok(n) => n,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
                Err(_) => {
                    peer.meta.set(flag::BROKEN);
                    aside.push(index);
                    continue;
                }
            };
            bytes += sent;
            let rest = payload.slice(sent..);
            let mut outbox = Output::with_limit(self.core.settings.queue.limit);
            outbox.push_unsent(rest);
            self.core.counters.queued.add(outbox.len() as u64);
            peer.cold().outbox = Some(Box::new(outbox));
            let slow = match policy.filter(|_| peer.meta.has(flag::HUB)) {
                Some(SlowReader::Close) => Some(self.core.settings.queue.stall()),
                Some(SlowReader::FallBehind) => None,
                None => match self.core.settings.queue.slow {
                    SlowPolicy::Close { after } => Some(after),
                    SlowPolicy::Drop => None,
                },
            };
            let cold = peer.cold();
            if let Some(after) = slow {
                cold.stall = Some(now + after);
            }
            aside.push(index);
        }
        self.core.counters.messages_out.add(delivered);
        self.core.counters.bytes_out.add(bytes as u64);
        for index in aside.drain(..) {
            self.deliver_aside(index, run);
        }
        self.aside = aside;
    }

    /// A subscriber that blocks, holds a request, fails, or is otherwise no case for the short way.
    fn deliver_aside(&mut self, index: u32, run: &Run<'_>) {
        let Some(peer) = self.peers.get_mut(index) else { return };
        if peer.meta.has(flag::BROKEN) {
            self.serve(index, Cause::End);
            return;
        }
        if peer.cold.as_ref().is_some_and(|cold| cold.outbox.is_some()) && !peer.meta.has(flag::AWAITS_WRITABLE) {
            // It began to block just now, with what there is.
            self.settle(index, 0);
            return;
        }
        if peer.meta.has(flag::HUB) {
            self.serve(index, Cause::Offer(&run.offered));
            return;
        }
        for publication in run.publications {
            match &peer_kind(self.peers.get(index).map(|peer| &peer.wire)) {
                Kind::WebSocket => self.serve(index, Cause::Send(publication.message())),
                Kind::Stream => match publication.block() {
                    Some(block) => self.serve(index, Cause::SendBlock(block)),
                    None => continue,
                },
                Kind::Held => self.serve(index, Cause::Publication(publication)),
                Kind::None => return,
            }
        }
    }
}

/// How a peer is reached.
enum Kind {
    WebSocket,
    Stream,
    Held,
    None,
}

fn peer_kind(wire: Option<&Wire>) -> Kind {
    match wire {
        Some(Wire::WebSocket(_)) => Kind::WebSocket,
        Some(Wire::Http(line)) => match line.mode {
            Mode::Stream(_) => Kind::Stream,
            Mode::Held => Kind::Held,
            Mode::Plain | Mode::Body => Kind::None,
        },
        _ => Kind::None,
    }
}
