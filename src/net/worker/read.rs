//! Reading from a connection, and serving it in the usual case.

use super::Worker;
use super::feed::feed_websocket;
use super::serve::{Cause, Fed, Sink};
use crate::Input;
use crate::net::context::{Context, InPlace, Line};
use crate::net::handler::Handler;
use crate::net::peer::{Peer, PeerId, Wire, flag};
use std::io::{ErrorKind, IoSliceMut, Read, Write};

impl<H: Handler> Worker<H> {
    /// Reads what there is, up to the turn's budget. One receive per ready peer and turn: a short read is the end.
    pub(super) fn readable(&mut self, index: u32) {
        let mut budget = self.core.settings.turn.bytes_per_peer;
        loop {
            let Some(peer) = self.peers.get_mut(index) else { return };
            if peer.is_paused() {
                return;
            }
            if peer.cold.as_ref().is_some_and(|cold| !cold.kept.is_empty()) {
                let hangup = peer.meta.has(flag::HANGUP);
                if peer.wire.wants_input() {
                    let kept = std::mem::take(&mut peer.cold().kept);
                    self.serve(index, Cause::Kept(kept));
                    continue;
                } else if hangup {
                    // What it pipelined is more than is read ahead; it is gone all the same.
                    peer.meta.set(flag::EOF);
                    peer.meta.clear(flag::READABLE);
                    self.serve(index, Cause::End);
                }
                return;
            }
            if !peer.meta.has(flag::READABLE) {
                return;
            }
            let Some(socket) = &peer.socket else { return };
            let spare = match &mut peer.wire {
                Wire::WebSocket(ws) => ws.spare(),
                _ => None,
            };
            let (outcome, ahead) = match spare {
                None => ((&mut &*socket).read(&mut self.buffer), 0),
                Some(spare) => {
                    let ahead = spare.len();
                    let slices = &mut [IoSliceMut::new(spare), IoSliceMut::new(&mut self.buffer)];
                    ((&mut &*socket).read_vectored(slices), ahead)
                }
            };
            let n = match outcome {
                Ok(n) if n > 0 => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    peer.meta.clear(flag::READABLE);
                    return;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                end => {
                    peer.meta.set(if end.is_ok() { flag::EOF } else { flag::EOF | flag::BROKEN });
                    peer.meta.clear(flag::READABLE);
                    self.end(index);
                    return;
                }
            };
            let drained = n < ahead + self.buffer.len() && !peer.meta.has(flag::HANGUP);
            if drained {
                peer.meta.clear(flag::READABLE);
            }
            if let Wire::Lingering(_) = peer.wire {
                // Dropped.
            } else {
                let ahead = ahead.min(n);
                self.serve_read(index, ahead, n - ahead);
            }
            if drained {
                return;
            }
            budget = budget.saturating_sub(n);
            if budget == 0 {
                self.list(index);
                return;
            }
        }
    }

    /// [`serve`](Self::serve) for nearly every read: a WebSocket that nothing waits for and nothing is unusual about, and everything that
    /// is to be sent leaves at once. Between two system calls little of this code is in the first-level cache, so it is kept short and
    /// in one piece. What turns out to be unusual is left to `serve`, where it is.
    #[inline]
    fn serve_read(&mut self, index: u32, ahead: usize, read: usize) {
        let Self { handler, peers, core, scratch, buffer, buffers, wheel, .. } = self;
        let Some(peer) = peers.get_mut(index) else { return };
        let id = PeerId { worker: core.worker, index, generation: peer.generation };
        let Peer { wire, state, cold, socket, meta, .. } = peer;
        let half = wire.most_waiting(core.settings.queue.limit);
        let (Wire::WebSocket(ws), Some(socket), None, 0) = (wire, &*socket, &*cold, ahead) else {
            return self.serve(index, Cause::Read { ahead, read });
        };
        core.counters.bytes_in.add(read as u64);
        let mut input = Input::with_buffers(&mut buffer[..read], buffers);
        let line = Line::WebSocket(ws);
        let mut cx =
            Context { id, line, state, cold, meta, socket: Some(socket), out: scratch, in_place: InPlace::NONE, core };
        let fed = feed_websocket(handler, &mut cx, &mut input, half);
        let mut sent = 0;
        if matches!(fed, Fed::Dry) && cold.is_none() && input.is_empty() {
            // Either all is replies in place, or there are none.
            let (replies, copies) = (input.replies(), scratch.copies());
            let bytes = if replies.is_empty() { copies } else { Some(replies).filter(|_| scratch.is_empty()) };
            if let Some(bytes) = bytes {
                sent = if bytes.is_empty() { 0 } else { Sink(socket).write(bytes).unwrap_or(0) };
                if sent == bytes.len() {
                    scratch.clear_copies();
                    core.counters.bytes_out.add(sent as u64);
                    core.counters.messages_out.add(std::mem::take(&mut core.sent));
                    drop(input);
                    if let Some(at) = peer.poll_timeout() {
                        wheel.set(peers, index, at);
                    }
                    return;
                }
            }
            if replies.is_empty() {
                core.counters.bytes_out.add(sent as u64);
                scratch.advance(std::mem::take(&mut sent));
            }
        }
        let (taken, replied) = (input.taken(), input.replies().len());
        drop(input);
        self.serve(index, Cause::Begun { read, taken, replied, sent, fed });
    }
}
