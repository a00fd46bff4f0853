//! What every contestant reads from, and the ends that async and blocking peers want.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A prepared wire, handed out in reads.
///
/// A read never crosses a multiple of `step` bytes: a step of 64 KiB makes frames straddle reads as a busy socket does, and
/// a step of one frame gives one frame per read. At the end of the wire the next read would block, once; then the
/// wire starts again, so one connection lives through all passes.
#[derive(Clone)]
pub struct Feed<'w> {
    wire: &'w [u8],
    step: usize,
    at: usize,
    cut: usize,
}

impl<'w> Feed<'w> {
    pub fn new(wire: &'w [u8], step: usize) -> Self {
        Feed { wire, step, at: 0, cut: step }
    }

    /// The longest read: what a contestant may size its buffer by.
    pub fn step(&self) -> usize {
        self.step
    }

    /// The next read as a slice of the wire, at most `room` bytes; `None` where a socket would block.
    ///
    /// The caller owes one copy of it into its own buffer: that copy is what a read costs, and everybody pays it.
    #[inline]
    pub fn take(&mut self, room: usize) -> Option<&'w [u8]> {
        if self.at == self.wire.len() {
            self.at = 0;
            self.cut = self.step;
            return None;
        }
        let end = self.cut.min(self.wire.len()).min(self.at + room);
        let read = &self.wire[self.at..end];
        self.at = end;
        if end == self.cut {
            self.cut += self.step;
        }
        Some(read)
    }

    /// Reads into `into`; `None` where a socket would block.
    #[inline]
    pub fn read(&mut self, into: &mut [u8]) -> Option<usize> {
        let read = self.take(into.len())?;
        into[..read.len()].copy_from_slice(read);
        Some(read.len())
    }
}

/// A socket in memory: reads come from a [`Feed`], writes gather in `out`.
pub struct Memory<'w> {
    pub feed: Feed<'w>,
    pub out: Vec<u8>,
}

impl<'w> Memory<'w> {
    pub fn new(feed: Feed<'w>) -> Self {
        Memory { feed, out: Vec::new() }
    }

    /// A socket that is only written to, with room for `capacity` bytes before it would have to grow.
    pub fn sink(capacity: usize) -> Self {
        Memory { feed: Feed::new(&[], 1), out: Vec::with_capacity(capacity) }
    }
}

impl io::Read for Memory<'_> {
    #[inline]
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.feed.read(into).ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }
}

impl io::Write for Memory<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Memory<'_> {
    #[inline]
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.feed.take(into.remaining()) {
            Some(read) => {
                into.put_slice(read);
                Poll::Ready(Ok(()))
            }
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for Memory<'_> {
    #[inline]
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.out.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let before = self.out.len();
        for part in parts {
            self.out.extend_from_slice(part);
        }
        Poll::Ready(Ok(self.out.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl wtx::stream::StreamReader for Memory<'_> {
    #[inline]
    async fn read(&mut self, into: &mut [u8]) -> wtx::Result<usize> {
        poll_fn(|_| match self.feed.read(into) {
            Some(read) => Poll::Ready(Ok(read)),
            None => Poll::Pending,
        })
        .await
    }
}

impl wtx::stream::StreamWriter for Memory<'_> {
    #[inline]
    async fn write_all(&mut self, bytes: &[u8]) -> wtx::Result<()> {
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    #[inline]
    async fn write_all_vectored(&mut self, parts: &[&[u8]]) -> wtx::Result<()> {
        for part in parts {
            self.out.extend_from_slice(part);
        }
        Ok(())
    }
}

/// Polls a future once, with no runtime and a waker that does nothing: [`Memory`] is pending only where the feed ends.
#[inline]
pub fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
