//! What can go wrong, as causes: by the peer's fault ([`Error`]) or in a call of the application's ([`SendError`]).

use super::close::CloseCode;
use crate::output::Full;
use core::fmt;

/// Why a connection was failed: something the peer sent.
///
/// When it is returned, the Close frame with [`close_code`](Self::close_code) is already in the output (unless one was sent
/// before), and [`Closed`](super::Closed) is the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Error {
    /// A reserved bit is set and no extension gives it a meaning (RFC 6455 section 5.2).
    ReservedBit,
    /// An opcode that is reserved: 3 to 7 or 11 to 15 (section 5.2).
    ReservedOpcode,
    /// A client's frame without a mask (section 5.1).
    Unmasked,
    /// A server's frame with a mask (section 5.1).
    Masked,
    /// A control frame that is a fragment (section 5.5).
    FragmentedControl,
    /// A control frame with more than 125 bytes of payload (section 5.5).
    LongControl,
    /// A continuation frame with no message open (section 5.4).
    UnexpectedContinuation,
    /// A text or binary frame while a fragmented message is open (section 5.4).
    ExpectedContinuation,
    /// A payload length in more bytes than it needs (section 5.2).
    LengthNotMinimal,
    /// A 64-bit payload length with its most significant bit set (section 5.2).
    LengthOverflow,
    /// A frame longer than [`Limits::frame`](super::Limits::frame).
    FrameTooBig,
    /// A message longer than [`Limits::message`](super::Limits::message), as it came or decompressed.
    MessageTooBig,
    /// A message of more fragments than [`Limits::fragments`](super::Limits::fragments).
    TooManyFragments,
    /// More control frames than [`Limits::control_rate`](super::Limits::control_rate) and
    /// [`Limits::control_burst`](super::Limits::control_burst) allow.
    TooManyControls,
    /// Text that is not UTF-8 (section 8.1).
    InvalidUtf8,
    /// A compressed message that is no DEFLATE stream, or not a whole one (RFC 7692 section 7.2.2).
    CorruptDeflate,
    /// A compressed message that refers further back than the agreed window (RFC 7692 section 7.1.2).
    BeyondWindow,
    /// A Close frame whose payload is a single byte (section 5.5.1).
    CloseTooShort,
    /// A Close frame with a code that must not be sent (section 7.4).
    InvalidCloseCode,
    /// A Close frame whose reason is not UTF-8 (section 5.5.1).
    InvalidCloseReason,
}

impl Error {
    /// The code of the Close frame that tells the peer (RFC 6455 section 7.4.1).
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::InvalidUtf8 | Self::InvalidCloseReason | Self::CorruptDeflate | Self::BeyondWindow => {
                CloseCode::INVALID_PAYLOAD
            }
            Self::FrameTooBig | Self::MessageTooBig => CloseCode::TOO_BIG,
            Self::TooManyFragments | Self::TooManyControls => CloseCode::POLICY,
            _ => CloseCode::PROTOCOL,
        }
    }

    /// The cause in words, the name of the limit included; also the reason text of the Close frame.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReservedBit => "reserved bit set",
            Self::ReservedOpcode => "reserved opcode",
            Self::Unmasked => "client frame not masked",
            Self::Masked => "server frame masked",
            Self::FragmentedControl => "fragmented control frame",
            Self::LongControl => "control frame over 125 bytes",
            Self::UnexpectedContinuation => "continuation without a message",
            Self::ExpectedContinuation => "new message inside a fragmented one",
            Self::LengthNotMinimal => "payload length not minimal",
            Self::LengthOverflow => "payload length over 63 bits",
            Self::FrameTooBig => "frame over the limit `frame`",
            Self::MessageTooBig => "message over the limit `message`",
            Self::TooManyFragments => "message over the limit `fragments`",
            Self::TooManyControls => "control frames over the limit `control_rate`",
            Self::InvalidUtf8 => "text is not UTF-8",
            Self::CorruptDeflate => "compressed message is corrupt",
            Self::BeyondWindow => "reference beyond the agreed window",
            Self::CloseTooShort => "close payload of one byte",
            Self::InvalidCloseCode => "invalid close code",
            Self::InvalidCloseReason => "close reason is not UTF-8",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for Error {}

/// Why a call wrote nothing. The connection is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// A Close frame was sent, or the connection has ended.
    Closed,
    /// A message begun with [`begin`](super::Connection::begin) is not finished: only control frames may go between.
    MessageOpen,
    /// There is no begun message to go on with.
    NoMessageOpen,
    /// Text that is not UTF-8, or that ends inside a character.
    InvalidUtf8,
    /// A ping or pong payload of more than 125 bytes.
    LongControl,
    /// A close reason of more than 123 bytes, or one without a code.
    CloseReason,
    /// The output is full: send again when it has drained, unless the message [never fits](Full::never_fits).
    Full(Full),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "connection closed or closing",
            Self::MessageOpen => "a begun message is not finished",
            Self::NoMessageOpen => "no message was begun",
            Self::InvalidUtf8 => "text is not UTF-8",
            Self::LongControl => "control payload over 125 bytes",
            Self::CloseReason => "close reason over 123 bytes or without a code",
            Self::Full(full) => return full.fmt(f),
        })
    }
}

impl core::error::Error for SendError {}

impl From<Full> for SendError {
    fn from(full: Full) -> Self {
        Self::Full(full)
    }
}

/// An owned payload that was not sent, given back with the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsent<T> {
    /// Why.
    pub cause: SendError,
    /// The payload, untouched.
    pub payload: T,
}

impl<T> fmt::Display for Unsent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl<T: fmt::Debug> core::error::Error for Unsent<T> {}
