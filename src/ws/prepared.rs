//! Messages that are encoded once and sent to many peers.

use super::event::Kind;
use super::header::{Encoded, FIN, Opcode};
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

/// A message as a finished server frame, cheap to clone: the same bytes go to every peer.
///
/// Make one per broadcast and pass it to [`Connection::send_prepared`](super::Connection::send_prepared) of each connection, on any thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    frame: Bytes,
    payload: usize,
    kind: Kind,
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
        let opcode = opcode(kind);
        let header = Encoded::new(FIN | opcode as u8, payload.len(), None);
        let mut frame = Vec::with_capacity(header.as_slice().len() + payload.len());
        frame.extend_from_slice(header.as_slice());
        frame.extend_from_slice(payload);
        Self { frame: Bytes::from(frame), payload: header.as_slice().len(), kind }
    }

    /// The whole frame, header included, as a server sends it.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The message without its header.
    pub fn payload(&self) -> &[u8] {
        self.frame.get(self.payload..).unwrap_or_default()
    }

    /// Text or binary.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn opcode(&self) -> Opcode {
        opcode(self.kind)
    }
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
