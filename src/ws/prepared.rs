//! Messages that are encoded once and sent to many peers.

#[cfg(feature = "deflate")]
use super::deflate::{SMALLEST, Sharing};
use super::event::Kind;
#[cfg(feature = "deflate")]
use super::header::RSV1;
use super::header::{Encoded, FIN, Opcode};
#[cfg(feature = "deflate")]
use crate::deflate::Deflaters;
#[cfg(feature = "deflate")]
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
#[cfg(feature = "deflate")]
use std::sync::OnceLock;

/// A message as a finished server frame, cheap to clone: the same bytes go to every peer.
///
/// Make one per broadcast and pass it to [`Connection::send_prepared`](super::Connection::send_prepared) of each connection, on any thread.
/// For peers with permessage-deflate it is compressed when the first of them gets it: once for each window that was agreed upon, and shared
/// by all that keep no context.
#[derive(Clone, Debug)]
pub struct Prepared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    frame: Bytes,
    /// Where the payload begins.
    payload: usize,
    kind: Kind,
    #[cfg(feature = "deflate")]
    deflated: Deflated,
}

/// The compressed forms.
#[cfg(feature = "deflate")]
#[derive(Debug)]
enum Deflated {
    Never,
    /// Frames for each window from 9 to 15 bits; `None` where it would not be shorter.
    Shared(OnceLock<Box<[OnceLock<Option<Bytes>>; 7]>>),
}

impl Prepared {
    /// A text message. Costs one copy.
    pub fn text(text: &str) -> Self {
        Self::new(Kind::Text, text.as_bytes())
    }

    /// A binary message. Costs one copy.
    pub fn binary(payload: &[u8]) -> Self {
        Self::new(Kind::Binary, payload)
    }

    fn new(kind: Kind, payload: &[u8]) -> Self {
        let (frame, payload) = framed(FIN | opcode(kind) as u8, payload);
        Self(Arc::new(Inner {
            frame,
            payload,
            kind,
            #[cfg(feature = "deflate")]
            deflated: Deflated::Shared(OnceLock::new()),
        }))
    }

    /// The same message, never to be compressed: see [`Connection::uncompressed`](super::Connection::uncompressed).
    #[cfg(feature = "deflate")]
    #[must_use]
    pub fn uncompressed(&self) -> Self {
        let Inner { frame, payload, kind, .. } = &*self.0;
        Self(Arc::new(Inner { frame: frame.clone(), payload: *payload, kind: *kind, deflated: Deflated::Never }))
    }

    /// Whether it may be compressed.
    #[cfg(feature = "deflate")]
    pub(super) fn is_compressible(&self) -> bool {
        matches!(self.0.deflated, Deflated::Shared(_))
    }

    /// The frame as servers send it to all that compress like this: compressed by whoever asks first.
    ///
    /// Peers of one window may be configured for different levels: any of their compressors' outputs is right for all of them.
    #[cfg(feature = "deflate")]
    pub(crate) fn frame_for(&self, sharing: Sharing, deflaters: &mut Deflaters) -> &Bytes {
        let Deflated::Shared(forms) = &self.0.deflated else { return self.frame() };
        let payload = self.payload();
        if payload.len() < sharing.threshold {
            return self.frame();
        }
        let forms = forms.get_or_init(Box::default);
        let window = usize::from(sharing.setting.window - SMALLEST);
        let Some(form) = forms.get(window) else { return self.frame() };
        let deflated = form.get_or_init(|| {
            let mut deflater = deflaters.take(sharing.setting);
            let mut scratch = deflaters.take_scratch();
            deflater.deflate_last(payload, &mut scratch);
            let packed = scratch.as_slice();
            let shorter = packed.len() < payload.len();
            let frame = shorter.then(|| framed(FIN | RSV1 | self.opcode() as u8, packed).0);
            deflaters.give_scratch(scratch);
            deflaters.give(deflater);
            frame
        });
        deflated.as_ref().unwrap_or(self.frame())
    }

    /// The whole frame, header included, as a server sends it.
    pub fn frame(&self) -> &Bytes {
        &self.0.frame
    }

    /// The message without its header.
    pub fn payload(&self) -> &[u8] {
        self.0.frame.get(self.0.payload..).unwrap_or_default()
    }

    /// Text or binary.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    pub(super) fn opcode(&self) -> Opcode {
        opcode(self.0.kind)
    }
}

impl PartialEq for Prepared {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(feature = "deflate")]
        if self.is_compressible() != other.is_compressible() {
            return false;
        }
        self.frame() == other.frame()
    }
}

impl Eq for Prepared {}

/// A server's frame, and where its payload begins.
fn framed(first: u8, payload: &[u8]) -> (Bytes, usize) {
    let header = Encoded::new(first, payload.len(), None);
    let mut frame = Vec::with_capacity(header.as_slice().len() + payload.len());
    frame.extend_from_slice(header.as_slice());
    frame.extend_from_slice(payload);
    (Bytes::from(frame), header.as_slice().len())
}

fn opcode(kind: Kind) -> Opcode {
    match kind {
        Kind::Text => Opcode::Text,
        Kind::Binary => Opcode::Binary,
    }
}

/// Shared bytes that are UTF-8: what [`Connection::send_shared_text`](super::Connection::send_shared_text) takes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
// INVARIANT: the bytes are UTF-8.
pub struct Text(Bytes);

impl Text {
    /// `bytes` as text, or back again where they are not UTF-8. Costs one check.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, Bytes> {
        if simdutf8::basic::from_utf8(&bytes).is_ok() { Ok(Self(bytes)) } else { Err(bytes) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn as_shared(&self) -> &Bytes {
        &self.0
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }
}

impl From<Text> for Bytes {
    fn from(text: Text) -> Self {
        text.0
    }
}
