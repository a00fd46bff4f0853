//! nexus-web 0.8: a sans-IO frame reader and writer around one contiguous buffer each.

use nexus_web::ws::{ClientBuilder, FrameReader, FrameWriter, Message, Role as NexusRole, apply_mask};

use crate::cell::{Refused, Standing};
use crate::feed::{Feed, Memory};
use crate::mask::Mask;
use crate::recv::{Receive, Sink, Wire};
use crate::send::{Role, Sender as Send};
use crate::upgrade::Upgrade;

const NAME: &str = "nexus-web";

pub struct Receiver<'w> {
    feed: Feed<'w>,
    reader: FrameReader,
}

impl<'w> Receive<'w> for Receiver<'w> {
    const NAME: &'static str = NAME;

    fn new(feed: Feed<'w>) -> Self {
        // Room for one whole read behind a header that the previous read cut. The default of 1 MiB leaves the cache.
        let reader = FrameReader::builder().role(NexusRole::Server).buffer_capacity(feed.step() + 64).build();
        Receiver { feed, reader }
    }

    fn receive(&mut self, sink: &mut impl Sink) -> Result<(), Refused> {
        loop {
            // At most a header's first bytes are left: a payload that is cut moves to a buffer of its own.
            self.reader.compact();
            let Some(read) = self.feed.read(self.reader.spare()) else {
                return Ok(());
            };
            self.reader.filled(read);
            while let Some(message) = self.reader.next().map_err(|_| Refused)? {
                match message {
                    Message::Text(text) => sink.text(text),
                    Message::Binary(payload) => sink.binary(payload),
                    _ => {}
                }
            }
        }
    }

    fn standing(wire: &Wire) -> Standing {
        // `make_message` takes what it put together from several reads for validated, but only fragments were. At the
        // smaller sizes one frame in hundreds is affected; there the row counts, in the peer's favour.
        if wire.is_text() && wire.straddles() {
            Standing::Invalid("hands out unvalidated text where a frame straddles reads")
        } else {
            Standing::Counts
        }
    }
}

/// Appends to one slice: `encode_binary` writes header and payload in one go. Its `WriteBuf` holds one frame at a time.
pub struct Sender {
    writer: FrameWriter,
    out: Vec<u8>,
    len: usize,
}

impl Send for Sender {
    const NAME: &'static str = NAME;

    fn new(role: Role, capacity: usize) -> Self {
        let role = match role {
            Role::Server => NexusRole::Server,
            Role::Client => NexusRole::Client,
        };
        Sender { writer: FrameWriter::new(role), out: vec![0; capacity], len: 0 }
    }

    #[inline]
    fn send(&mut self, payload: &[u8]) {
        self.len += self.writer.encode_binary(payload, &mut self.out[self.len..]);
    }

    fn clear(&mut self) -> usize {
        std::mem::take(&mut self.len)
    }

    fn take(&mut self) -> Vec<u8> {
        let len = self.clear();
        self.out[..len].to_vec()
    }
}

pub struct Masking;

impl Mask for Masking {
    const NAME: &'static str = NAME;

    #[inline]
    fn mask(payload: &mut [u8], key: [u8; 4]) {
        apply_mask(payload, key);
    }
}

/// `Client::accept` is its only server handshake; it allocates a connection, here with the smallest sensible buffers.
pub struct Handshake {
    answer: Vec<u8>,
}

impl Upgrade for Handshake {
    const NAME: &'static str = NAME;

    fn new() -> Self {
        Handshake { answer: Vec::with_capacity(512) }
    }

    fn upgrade(&mut self, request: &mut [u8]) -> Result<&[u8], Refused> {
        let feed = Feed::new(request, request.len());
        self.answer.clear();
        let mut socket = Memory { feed, out: std::mem::take(&mut self.answer) };
        let accepted =
            ClientBuilder::new().buffer_capacity(1 << 10).write_buffer_capacity(1 << 10).accept(&mut socket).map(drop);
        self.answer = socket.out;
        accepted.map(|()| &self.answer[..]).map_err(|_| Refused)
    }
}
