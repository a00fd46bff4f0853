//! Bytes on their way to the peer: ordered, bounded, owned or shared.
//!
//! The caller owns the [`Output`]. One scratch `Output` per thread serves every connection of that thread: all replies of a turn
//! gather in it and leave in one write. A peer whose socket blocks takes over the unsent bytes with
//! [`take_unsent`](Output::take_unsent), and the scratch goes on to the next peer.
//!
//! Small payloads are copied into one contiguous buffer; large shared ones ([`Bytes`]) are queued by reference.

#[cfg(feature = "deflate")]
use crate::deflate::Deflaters;
#[cfg(feature = "deflate")]
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use bytes::{Buf, Bytes};
use core::fmt;

/// The shortest shared payload that is queued by reference while the socket takes bytes: below, one contiguous send is
/// cheaper than a vectored one (measured: 7.4 against 8.6 microseconds of server time for an echo at 16 KiB less a header).
pub const BY_REFERENCE: usize = 16 << 10;

/// While the socket blocks, a reference costs less memory than a copy from about this size on (a queue entry is 40 bytes).
const BY_REFERENCE_BLOCKED: usize = 64;

/// The longest control frame: 2 bytes of header, 4 of mask, 125 of payload (RFC 6455 section 5.5).
const CONTROL_FRAME: usize = 131;

/// Room beyond the bound for one last answer: a Close frame, or an HTTP refusal with a few headers of the application's.
pub const LAST_ANSWER: usize = 2048;

/// The first growth of the contiguous buffer; most turns of most peers fit.
const FIRST: usize = 1024;

/// Bytes to write, in order, up to a limit.
///
/// On a non-blocking socket the turn of one peer ends like this; the peer keeps what the socket did not take, and the thread its
/// scratch:
///
/// ```
/// # use std::io::{ErrorKind, Result, Write};
/// # use tautline::Output;
/// # struct Peer<S> { socket: S, waiting: Option<Output> }
/// fn flush<S: Write>(peer: &mut Peer<S>, scratch: &mut Output) -> Result<()> {
///     // A peer that still has bytes waiting was given its own output in this turn, instead of the scratch.
///     let out = peer.waiting.as_mut().unwrap_or(scratch);
///     match out.write_to(&mut peer.socket) {
///         Ok(()) => peer.waiting = None,
///         // Go on when the socket is writable again.
///         Err(e) if e.kind() == ErrorKind::WouldBlock => {
///             if peer.waiting.is_none() {
///                 peer.waiting = Some(scratch.take_unsent());
///             }
///         }
///         Err(e) => return Err(e),
///     }
///     Ok(())
/// }
/// # let mut peer = Peer { socket: Vec::new(), waiting: None };
/// # let mut scratch = Output::new();
/// # scratch.push(b"hi").unwrap();
/// # flush(&mut peer, &mut scratch).unwrap();
/// # assert_eq!(peer.socket, b"hi");
/// ```
///
/// # Contract
///
/// - State machines append; only the caller takes: [`write_to`](Self::write_to), or [`chunks`](Self::chunks) and then
///   [`advance`](Self::advance) by what the socket took. A partial write moves nothing.
/// - What does not fit is refused whole, with [`Full`]. Beyond the limit there is room for one pong and for one last answer
///   (Close frame or refusal), so that the protocol's own duties never fail.
/// - When the socket would block, the caller says so ([`set_blocked`](Self::set_blocked); `write_to` does it itself). From then
///   until everything is written a newer pong replaces an unsent one (RFC 6455 section 5.5.3), and shared payloads are queued by
///   reference at nearly any size.
pub struct Output {
    /// `bytes[start..end]` is unsent. The rest is slack: `bytes.len()` is how far `end` may go before the slow path looks at
    /// the limit, so that one bounds check covers capacity and limit.
    // INVARIANT: start <= end <= bytes.len(); bytes.len() - start + shared_len <= limit, but for a last pong and a last answer.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Payloads by reference; each stands before `bytes[at]`.
    // INVARIANT: `at` ascends and lies in start..=end.
    shared: VecDeque<Shared>,
    shared_len: usize,
    limit: usize,
    /// Entries of `shared` that are gone, so that `pong` can name one for good.
    popped: u64,
    /// The entry of `shared` that is a wholly unsent pong.
    pong: Option<u64>,
    blocked: bool,
    /// The thread's compressors, where this is the thread's scratch.
    #[cfg(feature = "deflate")]
    deflaters: Option<Box<Deflaters>>,
}

struct Shared {
    at: usize,
    bytes: Bytes,
}

/// The output is full: what stood in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// The output's limit in bytes.
    pub limit: usize,
    /// What was to be appended, its header included.
    pub needed: usize,
}

impl Full {
    /// Whether it would not even fit into an empty output, so that waiting for the socket is of no use.
    pub const fn never_fits(&self) -> bool {
        self.needed > self.limit
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "output full: {} more bytes, limit of {} unsent bytes", self.needed, self.limit)
    }
}

impl core::error::Error for Full {}

impl Output {
    /// The default limit: 1 MiB of unsent bytes per connection, and the head of a message or response of that size, so that whatever
    /// the default limits let in can be sent back.
    pub const LIMIT: usize = (1 << 20) + (8 << 10);

    /// An empty output with the default [`LIMIT`](Self::LIMIT). Allocates nothing yet.
    pub fn new() -> Self {
        Self::with_limit(Self::LIMIT)
    }

    /// An empty output that holds up to `limit` unsent bytes. Allocates nothing yet.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            end: 0,
            shared: VecDeque::new(),
            shared_len: 0,
            limit,
            popped: 0,
            pong: None,
            blocked: false,
            #[cfg(feature = "deflate")]
            deflaters: None,
        }
    }

    /// Unsent bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.end - self.start + self.shared_len
    }

    /// Whether everything was written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The limit in unsent bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// How many more bytes fit.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.len())
    }

    /// Whether the socket was last seen to block with bytes left here.
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Says that the socket would block. Ends by itself when everything is written.
    pub fn set_blocked(&mut self) {
        self.blocked = !self.is_empty();
    }

    /// Forgets everything unsent. The buffer stays for reuse.
    pub fn clear(&mut self) {
        self.popped += self.shared.len() as u64;
        self.shared.clear();
        self.shared_len = 0;
        self.settle();
    }

    /// Appends `bytes` by copy, or refuses them whole.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.space(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Appends the next `n` bytes as a slice to be overwritten in full, or refuses. Its present content is unspecified.
    #[inline]
    pub fn space(&mut self, n: usize) -> Result<&mut [u8], Full> {
        if n > self.bytes.len() - self.end {
            self.grow(n)?;
        }
        let from = self.end;
        self.end += n;
        Ok(&mut self.bytes[from..self.end])
    }

    /// The next `N` bytes as an array to write to, if they fit without growing. [`commit`](Self::commit) says how many of them
    /// count.
    #[inline(always)]
    pub(crate) fn window<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.bytes.get_mut(self.end..)?.first_chunk_mut()
    }

    /// Appends the first `n` bytes of the last [`window`](Self::window).
    #[inline(always)]
    pub(crate) fn commit(&mut self, n: usize) {
        debug_assert!(n <= self.bytes.len() - self.end);
        self.end += n;
    }

    /// Appends a shared payload behind `head`: by reference if it is long (16 KiB and more, or 64 bytes and more while the
    /// socket blocks), by copy otherwise. Refuses both or none.
    pub fn push_shared(&mut self, head: &[u8], payload: &Bytes) -> Result<(), Full> {
        let by_reference = if self.blocked { BY_REFERENCE_BLOCKED } else { BY_REFERENCE };
        if payload.len() < by_reference {
            let space = self.space(head.len() + payload.len())?;
            let (first, second) = space.split_at_mut(head.len());
            first.copy_from_slice(head);
            second.copy_from_slice(payload);
            return Ok(());
        }
        if head.len() + payload.len() > self.room() {
            return Err(self.full(head.len() + payload.len()));
        }
        self.push(head)?;
        self.refer(payload.clone());
        Ok(())
    }

    /// Queues, by reference, what a socket did not take of shared bytes that were written to it without this output, and marks
    /// the output as blocked. Those bytes are on their way already, so no limit applies; further ones meet it.
    pub fn push_unsent(&mut self, rest: Bytes) {
        if !rest.is_empty() {
            self.refer(rest);
        }
        self.set_blocked();
    }

    /// Appends a pong. While the socket blocks, or where the limit is reached, it replaces a pong that no byte was sent of (in its place, if
    /// the limit lets it), and may lie beyond the limit. O(1), or O(shared payloads) where it does not fit in place.
    pub(crate) fn push_pong(&mut self, frame: &[u8]) {
        debug_assert!(frame.len() <= CONTROL_FRAME);
        if !self.blocked && self.push(frame).is_ok() {
            // One that waits in front of this one lies within the limit now, and keeps its place before it.
            self.pong = None;
            return;
        }
        let frame = Bytes::copy_from_slice(frame);
        if let Some(at) = self.pong.map(|entry| (entry - self.popped) as usize) {
            let replaced = self.shared[at].bytes.len();
            self.shared_len -= replaced;
            if frame.len() <= replaced.max(self.room()) {
                self.shared_len += frame.len();
                self.shared[at].bytes = frame;
                self.shrink_slack();
                return;
            }
            // Only at the end it may lie beyond the limit. Further in front its rest could, once it is half written, and the next pong
            // besides it.
            self.shared.remove(at);
        }
        self.pong = Some(self.popped + self.shared.len() as u64);
        self.refer(frame);
    }

    /// Appends the last answer of a connection (Close frame, refusal), beyond the limit where it must be. The caller sends
    /// at most one of at most [`LAST_ANSWER`] bytes; a longer one is held to the limit.
    pub(crate) fn push_last(&mut self, answer: &[u8]) -> Result<(), Full> {
        if answer.len() > LAST_ANSWER {
            return self.push(answer);
        }
        if self.push(answer).is_err() {
            self.refer(Bytes::copy_from_slice(answer));
        }
        Ok(())
    }

    /// The unsent bytes in order, as slices for a vectored write, none of them empty.
    #[inline]
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let (mut from, mut shared) = (self.start, self.shared.iter());
        let mut referred: &[u8] = &[];
        core::iter::from_fn(move || {
            loop {
                if !referred.is_empty() {
                    return Some(core::mem::take(&mut referred));
                }
                let to = match shared.next() {
                    Some(entry) => {
                        referred = &entry.bytes;
                        entry.at
                    }
                    None if from == self.end => return None,
                    None => self.end,
                };
                let copied = &self.bytes[from..to];
                from = to;
                if !copied.is_empty() {
                    return Some(copied);
                }
            }
        })
    }

    /// All that is unsent, where it is in one piece.
    #[inline]
    #[cfg(feature = "net")]
    pub(crate) fn copies(&self) -> Option<&[u8]> {
        if self.shared.is_empty() { self.bytes.get(self.start..self.end) } else { None }
    }

    /// As [`clear`](Self::clear), where nothing is shared.
    #[inline]
    #[cfg(feature = "net")]
    pub(crate) fn clear_copies(&mut self) {
        debug_assert!(self.shared.is_empty());
        self.settle();
    }

    /// Drops the first `n` unsent bytes: the socket took them. Moves nothing; O(shared payloads passed).
    pub fn advance(&mut self, mut n: usize) {
        while let Some(front) = self.shared.front_mut() {
            let copied = front.at - self.start;
            if n <= copied {
                break;
            }
            n -= copied;
            self.start = front.at;
            if n < front.bytes.len() {
                front.bytes.advance(n);
                self.shared_len -= n;
                if self.pong == Some(self.popped) {
                    self.pong = None;
                }
                return;
            }
            n -= front.bytes.len();
            self.shared_len -= front.bytes.len();
            self.shared.pop_front();
            self.popped += 1;
            if self.pong.is_some_and(|entry| entry < self.popped) {
                self.pong = None;
            }
        }
        self.start = self.end.min(self.start + n);
        if self.is_empty() {
            self.settle();
        }
    }

    /// Moves everything unsent into an `Output` of its own, compact, with the same limit, and marked as blocked. This one is
    /// empty afterwards and keeps its buffer. Costs one copy of the copied bytes; shared payloads move by reference.
    pub fn take_unsent(&mut self) -> Self {
        self.take_unsent_behind(&[])
    }

    /// As [`take_unsent`](Self::take_unsent), behind a copy of `front`. That is on its way already, so no limit applies to it;
    /// what is appended later meets it.
    pub(crate) fn take_unsent_behind(&mut self, front: &[u8]) -> Self {
        let mut taken = Self::with_limit(self.limit);
        taken.bytes = [front, &self.bytes[self.start..self.end]].concat();
        taken.end = taken.bytes.len();
        taken.shared = core::mem::take(&mut self.shared);
        for entry in &mut taken.shared {
            entry.at = entry.at - self.start + front.len();
        }
        taken.shared_len = core::mem::take(&mut self.shared_len);
        (taken.popped, taken.pong) = (self.popped, self.pong);
        taken.set_blocked();
        self.popped += taken.shared.len() as u64;
        self.settle();
        taken
    }

    /// Writes until everything is written or the sink would block: that comes back as the error `WouldBlock`, with the rest
    /// kept here. One write call for copied bytes, vectored where shared payloads wait. Feature `std`.
    #[cfg(feature = "std")]
    #[inline]
    pub fn write_to(&mut self, sink: &mut impl std::io::Write) -> std::io::Result<()> {
        self.write_behind(&mut &[][..], sink)
    }

    /// As [`write_to`](Self::write_to), behind `front`, of which the unsent rest is left.
    #[cfg(feature = "std")]
    pub(crate) fn write_behind(&mut self, front: &mut &[u8], sink: &mut impl std::io::Write) -> std::io::Result<()> {
        use std::io::{Error, ErrorKind};
        while !(front.is_empty() && self.is_empty()) {
            let outcome = if self.is_empty() {
                sink.write(front)
            } else if front.is_empty() && self.shared.is_empty() {
                sink.write(&self.bytes[self.start..self.end])
            } else {
                self.write_slices(front, sink)
            };
            match outcome {
                Ok(0) => return Err(Error::from(ErrorKind::WriteZero)),
                Ok(n) => {
                    let ahead = n.min(front.len());
                    *front = &front[ahead..];
                    self.advance(n - ahead);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    if e.kind() == ErrorKind::WouldBlock {
                        self.set_blocked();
                    }
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    #[cfg(feature = "std")]
    fn write_slices(&self, front: &[u8], sink: &mut impl std::io::Write) -> std::io::Result<usize> {
        use std::io::IoSlice;
        /// Slices per vectored write; beyond some dozens the kernel's cost is per byte.
        const SLICES: usize = 64;
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        let front = core::iter::once(front).filter(|front| !front.is_empty());
        for (slice, chunk) in slices.iter_mut().zip(front.chain(self.chunks())) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        sink.write_vectored(&slices[..count])
    }

    /// Hands the compressors that were used with this output over to `to`: a thread's scratch has them, and a peer with an output of its
    /// own uses them for a turn. An output without them makes its own, some hundred KiB. Feature `deflate`.
    #[cfg(feature = "deflate")]
    pub fn hand_compressors(&mut self, to: &mut Self) {
        if self.deflaters.is_some() {
            to.deflaters = self.deflaters.take();
        }
    }

    #[cfg(feature = "deflate")]
    pub(crate) fn deflaters(&mut self) -> &mut Deflaters {
        self.deflaters.get_or_insert_default()
    }

    /// The refusal of an item of `needed` bytes.
    pub(crate) fn full(&self, needed: usize) -> Full {
        Full { limit: self.limit, needed }
    }

    /// Queues `payload` by reference, at the present end.
    fn refer(&mut self, payload: Bytes) {
        self.shared_len += payload.len();
        self.shared.push_back(Shared { at: self.end, bytes: payload });
        self.shrink_slack();
    }

    /// Less may be copied when more is shared: the slack shrinks so that `space` sees it.
    fn shrink_slack(&mut self) {
        let most = self.start.saturating_add(self.limit.saturating_sub(self.shared_len));
        self.bytes.truncate(most.max(self.end));
    }

    /// Makes room for `n` more copied bytes, within the limit.
    #[cold]
    fn grow(&mut self, n: usize) -> Result<(), Full> {
        if n > self.room() {
            return Err(self.full(n));
        }
        if self.end + n > self.bytes.capacity() && self.start > self.end - self.start {
            // More than half of the buffer was sent: moving the lesser half pays for itself.
            self.bytes.copy_within(self.start..self.end, 0);
            for entry in &mut self.shared {
                entry.at -= self.start;
            }
            self.end -= self.start;
            self.start = 0;
        }
        let most = self.start.saturating_add(self.limit.saturating_sub(self.shared_len));
        let wanted = (self.end + n).max(self.bytes.len() * 2).max(FIRST).min(most);
        self.bytes.resize(wanted.max(self.end + n), 0);
        Ok(())
    }

    /// Starts over at the front of the buffer, once nothing is unsent.
    #[inline]
    fn settle(&mut self) {
        self.start = 0;
        self.end = 0;
        self.pong = None;
        self.blocked = false;
        if self.bytes.len() > self.limit {
            self.bytes.truncate(self.limit);
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("unsent", &self.len())
            .field("limit", &self.limit)
            .field("blocked", &self.blocked)
            .finish()
    }
}
