//! Messages that go out compressed.

use super::super::connection::Connection;
use super::super::error::SendError;
use super::super::header::{FIN, Opcode, RSV1};
use super::super::prepared::Prepared;
use super::super::send::Sending;
use super::session::Sharing;
use crate::output::Output;

impl Connection {
    /// Whether a message of so many bytes would go out compressed.
    pub(in crate::ws) fn compresses(&self, len: usize) -> bool {
        self.sending == Sending::Deflated && self.session().is_some_and(|session| session.takes(len))
    }

    /// Sends a whole message, compressed where it is long enough.
    pub(in crate::ws) fn send_deflated(
        &mut self,
        opcode: Opcode,
        payload: &[u8],
        out: &mut Output,
    ) -> Result<(), SendError> {
        if !self.compresses(payload.len()) {
            return self.send_as_it_is(opcode, payload, out);
        }
        let Some(session) = self.session_mut() else { return Err(SendError::Closed) };
        let Some(mut deflater) = session.take_deflater(out) else { return Err(SendError::Closed) };
        let keeps = session.keeps_context();
        let window = 1usize << session.setting().map_or(0, |setting| setting.window);
        let mut scratch = out.deflaters().take_scratch();
        deflater.deflate_last(payload, &mut scratch);
        let packed = scratch.as_slice();
        // What a kept context has seen, the peer must see. What fills the window on its own leaves nothing before it to refer to, and where it
        // does not get shorter little in it: such a context is no loss, but the message's growth (at level 1, 5 % of noise) would be.
        let forgets = keeps && payload.len() >= window;
        let as_it_is = packed.len() >= payload.len() && (forgets || !keeps);
        let outcome = if as_it_is {
            self.send_as_it_is(opcode, payload, out)
        } else {
            self.frame(FIN | RSV1 | opcode as u8, packed, out)
        };
        if keeps && (outcome.is_err() || as_it_is) {
            // The peer's window never sees this message, so nothing may refer to it, and to nothing before it.
            deflater.reset();
        }
        out.deflaters().give_scratch(scratch);
        if let Some(session) = self.session_mut() {
            session.give_deflater(deflater, out);
        }
        outcome
    }

    /// Sends a message that was encoded once for many: the one compressed form for all that keep no context.
    pub(in crate::ws) fn send_prepared_deflated(
        &mut self,
        message: &Prepared,
        out: &mut Output,
    ) -> Result<(), SendError> {
        if let Some(sharing) = self.sharing() {
            let frame = message.frame_for(sharing, out.deflaters()).clone();
            return Ok(out.push_shared(&[], &frame)?);
        }
        if message.is_compressible() {
            return self.send_deflated(message.opcode(), message.payload(), out);
        }
        if self.masks() {
            return self.send_as_it_is(message.opcode(), message.payload(), out);
        }
        Ok(out.push_shared(&[], message.frame())?)
    }

    /// How messages for many are compressed for this connection, where it can take the same bytes as others: see
    /// [`Prepared::frame_for`].
    pub(crate) fn sharing(&self) -> Option<Sharing> {
        self.session().filter(|_| self.sending == Sending::Deflated)?.sharing()
    }

    /// Decides whether the message that begins goes out compressed.
    pub(in crate::ws) fn begin_deflated(&mut self, first: usize) {
        let compresses = self.compresses(first);
        if let Some(session) = self.session_mut() {
            session.begun = compresses;
        }
    }

    /// Notes that no message that is compressed has begun.
    pub(in crate::ws) fn begin_nothing(&mut self) {
        if let Some(session) = self.session_mut() {
            session.begun = false;
        }
    }

    /// Sends the next fragment of a message that goes out compressed. Each can be decompressed when it comes.
    pub(in crate::ws) fn fragment_deflated(
        &mut self,
        first: u8,
        payload: &[u8],
        out: &mut Output,
    ) -> Result<(), SendError> {
        let Some(session) = self.session_mut() else { return Err(SendError::Closed) };
        let Some(mut deflater) = session.take_deflater(out) else { return Err(SendError::Closed) };
        let mut scratch = out.deflaters().take_scratch();
        let last = first & FIN != 0;
        if last {
            deflater.deflate_last(payload, &mut scratch);
        } else {
            deflater.deflate(payload, &mut scratch);
        }
        let starts = first & !FIN != Opcode::Continuation as u8;
        let outcome = self.frame(first | if starts { RSV1 } else { 0 }, scratch.as_slice(), out);
        if outcome.is_err() {
            // Nothing may refer to what the peer does not see; it may come again.
            deflater.reset();
        }
        out.deflaters().give_scratch(scratch);
        if let Some(session) = self.session_mut() {
            session.begun = !(last && outcome.is_ok()) && (outcome.is_ok() || !starts);
            session.give_deflater(deflater, out);
        }
        outcome
    }
}
