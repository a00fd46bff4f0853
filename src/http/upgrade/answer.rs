//! The 101 that turns a connection into a WebSocket (RFC 6455 section 4.2.2).

use super::key::{ACCEPT_LEN, KEY_LEN, accept_value};
use super::list::{self, Lines};
use super::{Extensions, Upgrade};
use crate::http::field::{self, FRAMING_FIELDS, FieldError, Fill};
use crate::output::{Full, Output};
use core::fmt;

/// What the application puts into a 101.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answer<'a> {
    /// The subprotocol: one of those offered, byte for byte. Default: none.
    pub protocol: Option<&'a str>,
    /// The value of `Sec-WebSocket-Extensions`: extensions that were offered, with their parameters. Default: none.
    pub extensions: Option<&'a str>,
    /// Header lines of the application's own (`Set-Cookie`, say). Not those of the handshake itself, nor of message framing.
    pub headers: &'a [(&'a str, &'a str)],
}

impl Answer<'_> {
    /// Whether this may answer `upgrade`.
    #[inline]
    pub(super) fn check(&self, upgrade: &Upgrade<'_>) -> Result<(), AnswerError> {
        if self.is_plain() {
            return Ok(());
        }
        self.check_choices(upgrade)
    }

    /// Whether there is nothing in it.
    #[inline]
    fn is_plain(&self) -> bool {
        self.protocol.is_none() && self.extensions.is_none() && self.headers.is_empty()
    }

    fn check_choices(&self, upgrade: &Upgrade<'_>) -> Result<(), AnswerError> {
        // "The value chosen MUST be derived from the client's handshake, specifically by selecting one of the values"
        // (RFC 6455 section 4.2.2, item 5).
        if self.protocol.is_some_and(|chosen| !upgrade.protocols().any(|offered| offered == chosen)) {
            return Err(AnswerError::ProtocolNotOffered);
        }
        if let Some(chosen) = self.extensions {
            let mut lines = Lines::default();
            lines.push(chosen.as_bytes());
            if !list::is_extension_list(chosen.as_bytes()) || Extensions::new(lines).next().is_none() {
                return Err(AnswerError::ExtensionsMalformed);
            }
            // "a server MUST NOT accept an extension that was not requested" follows from 4.1, client item 5.
            let offered = |name: &str| upgrade.extensions().any(|offer| offer.name() == name);
            if !Extensions::new(lines).all(|extension| offered(extension.name())) {
                return Err(AnswerError::ExtensionNotOffered);
            }
        }
        Ok(check_headers(self.headers)?)
    }
}

/// Why an answer was not written. The caller's mistake; the peer saw nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerError {
    /// The client did not offer this subprotocol (case matters).
    ProtocolNotOffered,
    /// The client did not offer one of these extensions.
    ExtensionNotOffered,
    /// The value for `Sec-WebSocket-Extensions` is no list of extensions.
    ExtensionsMalformed,
    /// A header line is malformed, or not the application's to set: what delimits messages and connections, `Upgrade`, and
    /// `Sec-WebSocket-*`.
    Field(FieldError),
    /// The output has no room.
    Full(Full),
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProtocolNotOffered => "the client did not offer this subprotocol",
            Self::ExtensionNotOffered => "the client did not offer this extension",
            Self::ExtensionsMalformed => "malformed list of extensions",
            Self::Field(error) => return error.fmt(f),
            Self::Full(full) => return full.fmt(f),
        })
    }
}

impl core::error::Error for AnswerError {}

impl From<FieldError> for AnswerError {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl From<Full> for AnswerError {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

/// A 101 ready to be sent: every part was checked.
#[derive(Clone, Copy, Debug)]
#[must_use = "the client waits for an answer"]
pub struct Accepted<'a> {
    accept: [u8; ACCEPT_LEN],
    answer: Answer<'a>,
}

/// The 101 up to the accept value, which two line ends follow where no choices stand between them.
const BEFORE: &[u8; 97] = b"HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: ";

/// Where the accept value ends.
const ACCEPT_END: usize = BEFORE.len() + ACCEPT_LEN;

/// Length of the 101 without choices.
const PLAIN: usize = ACCEPT_END + 4;

impl<'a> Accepted<'a> {
    #[inline]
    pub(super) fn new(key: &[u8; KEY_LEN], answer: Answer<'a>) -> Self {
        Self { accept: accept_value(key), answer }
    }

    /// The status code: 101.
    pub fn status(&self) -> u16 {
        101
    }

    /// The answer's header lines, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let always: [(&str, &[u8]); 3] =
            [("Upgrade", b"websocket"), ("Connection", b"Upgrade"), ("Sec-WebSocket-Accept", &self.accept)];
        always.into_iter().chain(self.choices().map(|(name, value)| (name, value.as_bytes())))
    }

    /// Appends the answer.
    ///
    /// # Errors
    /// [`Full`]: nothing was written.
    #[inline]
    pub fn write(&self, out: &mut Output) -> Result<(), Full> {
        let choices = if self.answer.is_plain() {
            0
        } else {
            self.choices().map(|(name, value)| name.len() + value.len() + 4).sum()
        };
        let space = out.space(PLAIN + choices)?;
        // In pieces of known lengths, which need no call to copy. The last line end comes behind the choices.
        if let Some(plain) = space.first_chunk_mut::<PLAIN>() {
            plain[..BEFORE.len()].copy_from_slice(BEFORE);
            plain[BEFORE.len()..ACCEPT_END].copy_from_slice(&self.accept);
            plain[ACCEPT_END..].copy_from_slice(b"\r\n\r\n");
            if choices > 0 {
                self.write_choices(&mut space[PLAIN - 2..]);
            }
        }
        Ok(())
    }

    fn write_choices(&self, space: &mut [u8]) {
        let mut space = Fill::new(space);
        for choice in self.choices() {
            space.put_fields(&[choice]);
        }
        space.put(b"\r\n");
        debug_assert_eq!(space.left(), 0);
    }

    fn choices(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let protocol = self.answer.protocol.map(|value| ("Sec-WebSocket-Protocol", value));
        let extensions = self.answer.extensions.map(|value| ("Sec-WebSocket-Extensions", value));
        protocol.into_iter().chain(extensions).chain(self.answer.headers.iter().copied())
    }
}

/// Whether header lines are well-formed (RFC 9110 section 5.5) and the application's to set.
pub(super) fn check_headers(headers: &[(&str, &str)]) -> Result<(), FieldError> {
    field::check(headers, &FRAMING_FIELDS)?;
    if headers.iter().any(|(name, _)| is_handshake_field(name)) {
        return Err(FieldError::Reserved);
    }
    Ok(())
}

/// Whether the opening handshake itself sets this header, on either side.
pub(crate) fn is_handshake_field(name: &str) -> bool {
    const PREFIX: &[u8] = b"sec-websocket-";
    name.as_bytes().get(..PREFIX.len()).is_some_and(|prefix| prefix.eq_ignore_ascii_case(PREFIX))
}
