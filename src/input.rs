//! The bytes just read, as one cursor that every parser takes from.
//!
//! A caller reads into any buffer, wraps what arrived in an [`Input`] and asks a state machine for events until there are none.
//! The head parser and the frame parser advance the same cursor, so bytes that follow a request head in the same read are
//! simply what is left. Events borrow the `Input`: their payload lies in the caller's buffer, or, where a message spans
//! several reads, in a buffer that the finished message brought along and that goes back to [`Buffers`] afterwards.

#[cfg(feature = "deflate")]
use crate::deflate::Inflater;
#[cfg(feature = "deflate")]
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::mem::ManuallyDrop;

/// A cursor over bytes just read. One read buffer per thread is enough for any number of connections.
///
/// The bytes are lent mutably because WebSocket payloads are unmasked where they lie.
pub struct Input<'b> {
    /// `bytes[at..]` is what is left; of what was taken, `bytes[..replied]` are replies by now.
    // INVARIANT: replied <= at <= bytes.len()
    bytes: &'b mut [u8],
    at: usize,
    replied: usize,
    /// Emptied by `drop`, which is one comparison on the way of each read: left to itself it would be a call.
    lent: ManuallyDrop<Lent>,
    buffers: Option<&'b mut Buffers>,
}

/// A message that was assembled over several reads, kept alive while an event lends it.
pub(crate) enum Lent {
    Nothing,
    Binary(Vec<u8>),
    Text(String),
    /// Bytes that should be text, and what they are read as where they are not.
    Collected(Vec<u8>, String),
}

impl Lent {
    /// Lends `text` instead of what was lent before.
    pub(crate) fn put_text(&mut self, text: String) -> &mut String {
        *self = Self::Text(text);
        match self {
            Self::Text(text) => text,
            _ => unreachable!("put just now"),
        }
    }
}

impl<'b> Input<'b> {
    /// A cursor at the start of `bytes`. Buffers for messages that span reads come from the allocator.
    #[inline]
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, at: 0, replied: 0, lent: ManuallyDrop::new(Lent::Nothing), buffers: None }
    }

    /// As [`new`](Self::new), with assembly buffers taken from and given back to `buffers` (one per thread).
    #[inline]
    pub fn with_buffers(bytes: &'b mut [u8], buffers: &'b mut Buffers) -> Self {
        Self { bytes, at: 0, replied: 0, lent: ManuallyDrop::new(Lent::Nothing), buffers: Some(buffers) }
    }

    /// What no parser has taken yet. A caller that stops early feeds these bytes first the next time.
    #[inline]
    pub fn rest(&self) -> &[u8] {
        // `get` keeps a panic path out of every parser.
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Whether every byte was taken.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.at
    }

    /// How many bytes were taken so far.
    #[inline]
    pub fn taken(&self) -> usize {
        self.at
    }

    /// Takes the next `n` bytes, or all that are left where there are fewer.
    #[inline]
    pub fn take(&mut self, n: usize) -> &mut [u8] {
        let from = self.at;
        self.skip(n);
        self.bytes.get_mut(from..self.at).unwrap_or_default()
    }

    /// The next `n` bytes, or all that are left where there are fewer, without taking them.
    #[inline]
    pub fn peek(&mut self, n: usize) -> &mut [u8] {
        let rest = self.bytes.get_mut(self.at..).unwrap_or_default();
        let n = n.min(rest.len());
        rest.get_mut(..n).unwrap_or_default()
    }

    /// Passes over the next `n` bytes, or all that are left where there are fewer.
    #[inline]
    pub fn skip(&mut self, n: usize) {
        self.at += n.min(self.bytes.len() - self.at);
    }

    /// Passes over everything that is left.
    #[inline]
    pub fn skip_all(&mut self) {
        self.at = self.bytes.len();
    }

    /// Takes `skipped + n` bytes and lends the last `n` of them, for a caller that has seen in [`rest`](Self::rest) that they
    /// are there; where they are not it takes nothing.
    #[inline(always)]
    pub(crate) fn take_seen(&mut self, skipped: usize, n: usize) -> &mut [u8] {
        // In the terms in which the caller has seen them, so that nothing is checked twice.
        match self.bytes.get_mut(self.at..).and_then(|rest| rest.get_mut(skipped..skipped + n)) {
            Some(lent) => {
                self.at += skipped + n;
                lent
            }
            None => &mut [],
        }
    }

    /// As [`take_seen`](Self::take_seen), but what it lends reaches back to `head` bytes behind the replies: to where the payload of the
    /// next reply belongs. A caller that moves the `n` bytes to the front of that can make them a reply with
    /// [`put_reply`](Self::put_reply), for which `head` must be shorter than what it skips.
    #[cfg(feature = "net")]
    #[inline(always)]
    pub(crate) fn take_seen_behind_replies(&mut self, skipped: usize, n: usize, head: usize) -> &mut [u8] {
        let to = self.at + skipped + n;
        match self.bytes.get_mut(self.replied + head..to) {
            Some(lent) => {
                self.at = to;
                lent
            }
            None => &mut [],
        }
    }

    /// Whether [`take_seen_wide`](Self::take_seen_wide) can.
    #[cfg(feature = "net")]
    #[inline(always)]
    pub(crate) fn has_wide_room<const WIDE: usize>(&self, skipped: usize, n: usize, head: usize) -> bool {
        let from = self.at + skipped;
        self.replied + head + WIDE <= from + n && from + WIDE <= self.bytes.len()
    }

    /// As [`take_seen_behind_replies`](Self::take_seen_behind_replies), for at most `WIDE` bytes: what it lends ends so many behind the
    /// start of the `n`, and so many at its front are free to be overwritten.
    #[cfg(feature = "net")]
    #[inline(always)]
    pub(crate) fn take_seen_wide<const WIDE: usize>(&mut self, skipped: usize, n: usize, head: usize) -> &mut [u8] {
        let from = self.at + skipped;
        match self.bytes.get_mut(self.replied + head..from + WIDE) {
            Some(lent) => {
                self.at = from + n;
                lent
            }
            None => &mut [],
        }
    }

    /// The address behind the replies.
    #[cfg(feature = "net")]
    #[inline(always)]
    pub(crate) fn reply_address(&self) -> usize {
        self.bytes.as_ptr().addr() + self.replied
    }

    /// Bytes of replies so far.
    #[cfg(feature = "net")]
    #[inline(always)]
    pub(crate) fn replied(&self) -> usize {
        self.replied
    }

    /// The replies so far: they are to be written before what is in the output.
    #[cfg(feature = "net")]
    #[inline]
    pub(crate) fn replies(&self) -> &[u8] {
        self.bytes.get(..self.replied).unwrap_or_default()
    }

    /// Writes `head` behind the replies, and makes it a reply together with the `n` bytes behind it. Nothing happens beyond what was taken.
    #[cfg(feature = "net")]
    #[inline(always)]
    pub(crate) fn put_reply<const HEAD: usize>(&mut self, head: [u8; HEAD], n: usize) {
        let end = self.replied + HEAD + n;
        debug_assert!(end <= self.at);
        if let Some(to) = self.bytes.get_mut(self.replied..end).and_then(|bytes| bytes.first_chunk_mut()) {
            *to = head;
            self.replied = end;
        }
    }

    /// A cursor over the same bytes that goes on where another one was.
    #[cfg(feature = "net")]
    pub(crate) fn go_on(&mut self, taken: usize, replied: usize) {
        self.at = taken.min(self.bytes.len());
        self.replied = replied.min(self.at);
    }

    /// As [`rest`](Self::rest), for whoever need not tell its absence from its end.
    #[inline(always)]
    pub(crate) fn some_rest(&self) -> Option<&[u8]> {
        self.bytes.get(self.at..)
    }

    /// Forgets the replies: they were written, or never will be.
    #[cfg(feature = "net")]
    #[inline]
    pub(crate) fn clear_replies(&mut self) {
        self.replied = 0;
    }

    /// As [`rest`](Self::rest), up to where [`taken`](Self::taken) would be `until`.
    #[inline]
    pub(crate) fn rest_until(&self, until: usize) -> &[u8] {
        let rest = self.rest();
        rest.get(..until.saturating_sub(self.taken())).unwrap_or(rest)
    }

    /// As [`rest_until`](Self::rest_until), to be rewritten in place.
    #[inline]
    pub(crate) fn rest_until_mut(&mut self, until: usize) -> &mut [u8] {
        let n = until.saturating_sub(self.taken());
        self.peek(n)
    }

    /// Gives back the last `n` bytes, of those that were taken last: somebody else takes them again.
    #[inline]
    pub(crate) fn untake(&mut self, n: usize) {
        self.at = self.at.saturating_sub(n).max(self.replied);
    }

    /// Takes the next `n` bytes. Lends them together with all that is behind them (a parser may look ahead), and with the place
    /// for a text that may have to be lent instead.
    #[inline]
    pub(crate) fn take_or_lend(&mut self, n: usize) -> (&[u8], &mut Lent) {
        let from = self.at;
        self.skip(n);
        (self.bytes.get(from..).unwrap_or_default(), &mut self.lent)
    }

    /// An empty growable buffer: a pooled one where the caller lent a pool.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        let mut buffer = self.take_stale_buffer();
        buffer.clear();
        buffer
    }

    /// As [`take_buffer`](Self::take_buffer), but not emptied: whoever overwrites what is there saves clearing the memory.
    pub(crate) fn take_stale_buffer(&mut self) -> Vec<u8> {
        self.buffers.as_mut().map(|buffers| buffers.take()).unwrap_or_default()
    }

    /// Gives a growable buffer back.
    pub(crate) fn give_buffer(&mut self, buffer: Vec<u8>) {
        if let Some(buffers) = self.buffers.as_mut() {
            buffers.give(buffer);
        }
    }

    /// A decompressor that has forgotten everything, with references of at most `2^window` bytes.
    #[cfg(feature = "deflate")]
    pub(crate) fn take_inflater(&mut self, window: u8) -> Box<Inflater> {
        match self.buffers.as_mut().and_then(|buffers| buffers.take_inflater()) {
            Some(mut inflater) => {
                inflater.hold_to(window);
                inflater
            }
            None => Box::new(Inflater::new(window)),
        }
    }

    /// Gives a decompressor back.
    #[cfg(feature = "deflate")]
    pub(crate) fn give_inflater(&mut self, inflater: Box<Inflater>) {
        if let Some(buffers) = self.buffers.as_mut() {
            buffers.give_inflater(inflater);
        }
    }

    /// Takes over an assembled binary message and lends it.
    pub(crate) fn lend_binary(&mut self, message: Vec<u8>) -> &[u8] {
        self.reclaim();
        *self.lent = Lent::Binary(message);
        match &*self.lent {
            Lent::Binary(message) => message,
            _ => &[],
        }
    }

    /// Takes over an assembled text and lends it.
    pub(crate) fn lend_text(&mut self, message: String) -> &str {
        self.reclaim();
        *self.lent = Lent::Text(message);
        match &*self.lent {
            Lent::Text(message) => message,
            _ => "",
        }
    }

    /// Takes over collected bytes and lends them, with the place for a text that may have to be lent instead.
    pub(crate) fn lend_collected(&mut self, bytes: Vec<u8>) -> (&[u8], &mut String) {
        self.reclaim();
        *self.lent = Lent::Collected(bytes, String::new());
        match &mut *self.lent {
            Lent::Collected(bytes, repaired) => (bytes, repaired),
            _ => unreachable!("lent just now"),
        }
    }

    /// Takes back what was lent: no event borrows the input any more once this can be called.
    #[inline]
    pub(crate) fn reclaim(&mut self) {
        if !matches!(*self.lent, Lent::Nothing) {
            self.take_back();
        }
    }

    #[inline(never)]
    fn take_back(&mut self) {
        match core::mem::replace(&mut *self.lent, Lent::Nothing) {
            Lent::Nothing => {}
            Lent::Binary(message) => self.give_buffer(message),
            Lent::Text(message) => self.give_buffer(message.into_bytes()),
            Lent::Collected(bytes, _) => self.give_buffer(bytes),
        }
    }
}

impl Drop for Input<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.reclaim();
    }
}

impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("taken", &self.taken()).field("left", &self.rest().len()).finish()
    }
}

/// Spare buffers for messages that span reads: one of these per thread, lent to every [`Input`] of that thread.
///
/// A connection holds a buffer only while a message is half-received. What it gives back is kept here, up to a bound. So is the state
/// that decompresses messages which stand for themselves (47 KiB each; one is mostly enough).
#[derive(Debug)]
pub struct Buffers {
    free: Vec<Vec<u8>>,
    #[cfg(feature = "deflate")]
    #[expect(clippy::vec_box, reason = "lent in the box that they came in")]
    inflaters: Vec<Box<Inflater>>,
    kept: usize,
    keep: usize,
}

impl Buffers {
    /// Bytes of capacity kept by default: a few messages of the default size limit (1 MiB). Freeing them at every turn instead
    /// makes large messages many times slower.
    pub const KEEP: usize = 4 << 20;

    /// Buffers kept at most, so that many tiny ones do not make a long list.
    const COUNT: usize = 64;

    /// An empty pool that keeps up to [`KEEP`](Self::KEEP) bytes. Allocates nothing yet.
    pub fn new() -> Self {
        Self::keeping(Self::KEEP)
    }

    /// An empty pool that keeps buffers of up to `bytes` capacity in all.
    pub fn keeping(bytes: usize) -> Self {
        Self {
            free: Vec::new(),
            #[cfg(feature = "deflate")]
            inflaters: Vec::new(),
            kept: 0,
            keep: bytes,
        }
    }

    /// Bytes of capacity that lie here unused.
    pub fn kept(&self) -> usize {
        self.kept
    }

    fn take(&mut self) -> Vec<u8> {
        let buffer = self.free.pop().unwrap_or_default();
        self.kept -= buffer.capacity();
        buffer
    }

    fn give(&mut self, buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity == 0 || self.free.len() == Self::COUNT || capacity > self.keep - self.kept {
            return;
        }
        self.kept += capacity;
        self.free.push(buffer);
    }

    #[cfg(feature = "deflate")]
    fn take_inflater(&mut self) -> Option<Box<Inflater>> {
        let inflater = self.inflaters.pop()?;
        self.kept -= Inflater::SIZE;
        Some(inflater)
    }

    #[cfg(feature = "deflate")]
    fn give_inflater(&mut self, mut inflater: Box<Inflater>) {
        if self.inflaters.len() == Self::COUNT || Inflater::SIZE > self.keep - self.kept {
            return;
        }
        inflater.reset();
        self.kept += Inflater::SIZE;
        self.inflaters.push(inflater);
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_hands_out_each_byte_once_and_never_overruns() {
        let mut bytes = *b"abcdef";
        let mut input = Input::new(&mut bytes);
        assert_eq!(input.take(2), b"ab");
        input.skip(1);
        assert_eq!(input.rest(), b"def");
        assert_eq!(input.taken(), 3);
        assert_eq!(input.take(usize::MAX), b"def");
        assert!(input.is_empty());
        assert_eq!(input.take(1), b"");
    }

    #[test]
    fn a_lent_message_goes_back_to_the_pool_when_the_input_ends() {
        let mut buffers = Buffers::new();
        let mut bytes = [];
        {
            let mut input = Input::with_buffers(&mut bytes, &mut buffers);
            let mut message = input.take_buffer();
            message.extend_from_slice(b"assembled");
            assert_eq!(input.lend_binary(message), b"assembled");
        }
        assert!(buffers.kept() >= 9);
        let kept = buffers.kept();
        let mut input = Input::with_buffers(&mut bytes, &mut buffers);
        let again = input.take_buffer();
        assert!(again.is_empty() && again.capacity() == kept);
    }

    #[test]
    fn a_pool_keeps_no_more_than_its_bound() {
        let mut buffers = Buffers::keeping(100);
        buffers.give(Vec::with_capacity(80));
        buffers.give(Vec::with_capacity(80));
        assert_eq!(buffers.kept(), 80);
        for _ in 0..1000 {
            buffers.give(Vec::with_capacity(1));
        }
        assert!(buffers.kept() <= 100);
    }
}
