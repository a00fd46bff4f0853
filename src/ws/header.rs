//! Frame headers in and out (RFC 6455 section 5.2). Every rule about a received header is in [`read`].

use super::config::Limits;
use super::error::Error;

/// The longest header: 2 bytes, 8 of length, 4 of mask.
pub(super) const MAX: usize = 14;

/// FIN, the first bit of a header.
pub(super) const FIN: u8 = 0x80;
/// The mask bit, the first bit of a header's second byte.
pub(super) const MASK: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// The first reserved bit: of a message's first frame it says that the message is compressed (RFC 7692 section 6).
pub(super) const RSV1: u8 = 0x40;

/// What a frame is for (RFC 6455 section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    pub(super) fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// A received header that passed every rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) fin: bool,
    /// Whether [`RSV1`] is set, where the rules let it be.
    pub(super) compressed: bool,
    /// The masking key, as it lies on the wire; zero where the frame is not masked.
    pub(super) key: [u8; 4],
    /// Payload length: within `Limits::frame`, so it fits where it will be counted.
    pub(super) payload: u64,
    /// Bytes of the header itself.
    pub(super) len: usize,
}

/// What the rules depend on besides the header's own bytes. Roles differ only in this data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    /// [`MASK`] where frames must be masked (they come from a client), zero where they must not be.
    pub(super) mask: u8,
    /// The reserved bits that a negotiated extension has given a meaning on the first frame of a message: [`RSV1`] with
    /// permessage-deflate.
    pub(super) extension_bits: u8,
    /// The fragmented message that is open: its bytes and frames so far.
    pub(super) open: Option<Progress>,
    pub(super) limits: &'a Limits,
}

/// How much of a message has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) bytes: u64,
    pub(super) fragments: u32,
}

/// Reads a header from the front of `bytes`: `Ok(None)` while it is incomplete and no rule is broken yet. A rule is broken as
/// soon as the bytes that break it are in. Looks at [`MAX`] bytes at most.
pub(super) fn read(bytes: &[u8], rules: Rules<'_>) -> Result<Option<Header>, Error> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };

    // 5.2: "If a nonzero value is received and none of the negotiated extensions defines the meaning of such a nonzero value,
    // the receiving endpoint MUST _Fail the WebSocket Connection_." RFC 7692 section 6.1: RSV1 only on a message's first frame.
    let opcode = match first & 0x0f {
        0 => Opcode::Continuation,
        1 => Opcode::Text,
        2 => Opcode::Binary,
        8 => Opcode::Close,
        9 => Opcode::Ping,
        10 => Opcode::Pong,
        // 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket Connection_."
        _ => return Err(Error::ReservedOpcode),
    };
    let starts_message = matches!(opcode, Opcode::Text | Opcode::Binary);
    let meaningful = if starts_message { rules.extension_bits } else { 0 };
    if first & RESERVED & !meaningful != 0 {
        return Err(Error::ReservedBit);
    }

    // 5.1: "The server MUST close the connection upon receiving a frame that is not masked." "A client MUST close a connection
    // if it detects a masked frame."
    if second & MASK != rules.mask {
        return Err(if rules.mask == MASK { Error::Unmasked } else { Error::Masked });
    }

    let fin = first & FIN != 0;
    let short = second & !MASK;
    if opcode.is_control() {
        // 5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented."
        if !fin {
            return Err(Error::FragmentedControl);
        }
        if short > 125 {
            return Err(Error::LongControl);
        }
        // 5.5.1: "If there is a body, the first two bytes of the body MUST be a 2-byte unsigned integer".
        if opcode == Opcode::Close && short == 1 {
            return Err(Error::CloseTooShort);
        }
    } else {
        // 5.4: a fragmented message is one text or binary frame without FIN, then continuations up to FIN; "the fragments of
        // one message MUST NOT be interleaved between the fragments of another message".
        match (rules.open, opcode) {
            (None, Opcode::Continuation) => return Err(Error::UnexpectedContinuation),
            (Some(_), Opcode::Text | Opcode::Binary) => return Err(Error::ExpectedContinuation),
            _ => {}
        }
        // Ours: a limit on the number of frames bounds the work per message where each is empty.
        if rules.open.is_some_and(|open| open.fragments >= rules.limits.fragments) {
            return Err(Error::TooManyFragments);
        }
    }

    // 5.2: "the minimal number of bytes MUST be used to encode the length", "the most significant bit MUST be 0".
    let (payload, rest) = match (short, rest) {
        (126, &[a, b, ref rest @ ..]) => {
            let payload = u16::from_be_bytes([a, b]);
            if payload < 126 {
                return Err(Error::LengthNotMinimal);
            }
            (u64::from(payload), rest)
        }
        (127, &[a, b, c, d, e, f, g, h, ref rest @ ..]) => {
            let payload = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            if payload >> 63 != 0 {
                return Err(Error::LengthOverflow);
            }
            if payload <= 0xffff {
                return Err(Error::LengthNotMinimal);
            }
            (payload, rest)
        }
        (126 | 127, _) => return Ok(None),
        (short, rest) => (u64::from(short), rest),
    };

    if !opcode.is_control() {
        // Ours, before any payload: 10.4 "Implementations that have ... limitations regarding the frame size or total message
        // size ... MUST protect themselves".
        if payload > rules.limits.frame {
            return Err(Error::FrameTooBig);
        }
        let before = rules.open.map_or(0, |open| open.bytes);
        if payload > rules.limits.message.saturating_sub(before) {
            return Err(Error::MessageTooBig);
        }
    }

    let (key, rest) = match (rules.mask, rest) {
        (MASK, &[a, b, c, d, ref rest @ ..]) => ([a, b, c, d], rest),
        (MASK, _) => return Ok(None),
        (_, rest) => ([0; 4], rest),
    };
    Ok(Some(Header { opcode, fin, compressed: first & RSV1 != 0, key, payload, len: bytes.len() - rest.len() }))
}

/// A header to send, in the shortest form.
#[derive(Clone, Copy)]
pub(super) struct Encoded {
    bytes: [u8; MAX],
    len: usize,
}

impl Encoded {
    /// The header of a frame whose first byte (FIN, reserved bits, opcode) is `first`; masked where there is a key.
    #[inline]
    pub(super) fn new(first: u8, payload: usize, key: Option<[u8; 4]>) -> Self {
        let mut bytes = [0; MAX];
        bytes[0] = first;
        let mut len = match payload {
            0..=125 => {
                bytes[1] = payload as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(payload as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
                10
            }
        };
        if let Some(key) = key {
            bytes[1] |= MASK;
            bytes[len..len + 4].copy_from_slice(&key);
            len += 4;
        }
        Self { bytes, len }
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    const LIMITS: Limits = Limits::DEFAULT;

    fn rules(mask: u8) -> Rules<'static> {
        Rules { mask, extension_bits: 0, open: None, limits: &LIMITS }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back_in_the_minimal_form(
            opcode in prop::sample::select(vec![Opcode::Text, Opcode::Binary]),
            fin: bool,
            payload in prop_oneof![0usize..130, 65_530usize..65_540, 0usize..1 << 20],
            key: Option<[u8; 4]>,
        ) {
            let first = if fin { FIN } else { 0 } | opcode as u8;
            let encoded = Encoded::new(first, payload, key);
            let bytes = encoded.as_slice();
            let minimal = match payload { 0..=125 => 2, 126..=65_535 => 4, _ => 10 } + key.map_or(0, |_| 4);
            prop_assert_eq!(bytes.len(), minimal);
            let rules = rules(if key.is_some() { MASK } else { 0 });
            for cut in 0..bytes.len() {
                prop_assert_eq!(read(&bytes[..cut], rules), Ok(None));
            }
            let header = Header { opcode, fin, compressed: false, key: key.unwrap_or_default(), payload: payload as u64, len: minimal };
            prop_assert_eq!(read(bytes, rules), Ok(Some(header)));
        }

        #[test]
        fn more_bytes_never_take_an_error_back(bytes in prop::collection::vec(any::<u8>(), 0..MAX), open: bool, mask: bool) {
            let open = open.then_some(Progress { bytes: 5, fragments: 2 });
            let rules = Rules { open, ..rules(if mask { MASK } else { 0 }) };
            let mut settled = None;
            for end in 0..=bytes.len() {
                let now = read(&bytes[..end], rules);
                if let Some(settled) = settled {
                    prop_assert_eq!(now, settled);
                }
                if now != Ok(None) {
                    settled = Some(now);
                }
            }
        }
    }
}
