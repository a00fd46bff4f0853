//! Close codes and the end of a connection (RFC 6455 sections 5.5.1, 7.1 and 7.4).

use super::error::Error;
use core::fmt;
use core::num::NonZeroU16;

/// A close code that may stand in a Close frame: 1000 to 1003, 1007 to 1014 and 3000 to 4999 (RFC 6455 section 7.4 and the
/// IANA registry). No other value can be held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloseCode(NonZeroU16);

impl CloseCode {
    /// 1000: the purpose is fulfilled.
    pub const NORMAL: Self = Self::constant(1000);
    /// 1001: a server goes down, or a browser leaves the page.
    pub const GOING_AWAY: Self = Self::constant(1001);
    /// 1002: protocol error.
    pub const PROTOCOL: Self = Self::constant(1002);
    /// 1003: a type of data that cannot be accepted.
    pub const UNSUPPORTED: Self = Self::constant(1003);
    /// 1007: data that does not fit its type, such as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self::constant(1007);
    /// 1008: against the policy.
    pub const POLICY: Self = Self::constant(1008);
    /// 1009: too big.
    pub const TOO_BIG: Self = Self::constant(1009);
    /// 1010: the client expected an extension that the server did not negotiate.
    pub const MISSING_EXTENSION: Self = Self::constant(1010);
    /// 1011: the server met an unexpected condition.
    pub const INTERNAL: Self = Self::constant(1011);
    /// 1012: the service restarts (IANA registry).
    pub const RESTART: Self = Self::constant(1012);
    /// 1013: try again later (IANA registry).
    pub const TRY_AGAIN: Self = Self::constant(1013);
    /// 1014: a gateway got an invalid response (IANA registry).
    pub const BAD_GATEWAY: Self = Self::constant(1014);

    /// `code` as a code that may be sent, or `None` where it must not be (1004, 1005, 1006, 1015, unassigned ranges).
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => match NonZeroU16::new(code) {
                Some(code) => Some(Self(code)),
                None => None,
            },
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn as_u16(self) -> u16 {
        self.0.get()
    }

    const fn constant(code: u16) -> Self {
        match Self::new(code) {
            Some(code) => code,
            None => panic!("a constant of this file is out of range"),
        }
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<CloseCode> for u16 {
    fn from(code: CloseCode) -> Self {
        code.as_u16()
    }
}

/// Reported, never sent: the peer's Close frame had no code (RFC 6455 section 7.4.1).
pub const NO_CODE: u16 = 1005;

/// Reported, never sent: the connection ended without the peer's Close frame (RFC 6455 section 7.4.1).
pub const ABNORMAL: u16 = 1006;

/// The end of a connection; comes exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed<'i> {
    /// The code of the peer's Close frame, [`NO_CODE`] where it had none, [`ABNORMAL`] where none came; after an
    /// [`Error`] that error's [code](Error::close_code).
    pub code: u16,
    /// The reason in the peer's Close frame. Empty with [`Replies::Manual`](super::Replies::Manual), where
    /// [`Event::CloseReceived`](super::Event::CloseReceived) has told it.
    pub reason: &'i str,
    /// How it came about.
    pub ending: Ending,
}

impl Closed<'_> {
    /// Whether both sides sent a Close frame (RFC 6455 section 7.1.4).
    pub const fn was_clean(&self) -> bool {
        matches!(self.ending, Ending::Peer | Ending::Local | Ending::Idle)
    }
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// The peer closed and was answered.
    Peer,
    /// This side closed and the peer answered.
    Local,
    /// No message for [`Config::idle`](super::Config::idle): closed from here with 1001, and the peer answered.
    Idle,
    /// The peer broke a rule or a limit.
    Failed(Error),
    /// The peer's side of the transport ended before the close handshake was complete.
    Eof,
    /// A Close frame was sent and not answered within [`Config::close_timeout`](super::Config::close_timeout).
    CloseTimeout,
    /// A heartbeat was not answered within its deadline.
    PingTimeout,
}

/// The payload of a Close frame, taken apart: code and reason, or `None` where it is empty (RFC 6455 section 5.5.1).
pub(super) fn parse(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, Error> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(Error::CloseTooShort),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    let code = CloseCode::new(code).ok_or(Error::InvalidCloseCode)?;
    let reason = core::str::from_utf8(reason).map_err(|_| Error::InvalidCloseReason)?;
    Ok(Some((code, reason)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c2_c3_only_codes_that_may_be_sent_can_be_held() {
        let allowed = |code: u16| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        for code in 0..=u16::MAX {
            assert_eq!(CloseCode::new(code).map(CloseCode::as_u16), allowed(code).then_some(code));
        }
    }

    #[test]
    fn c1_c4_a_close_payload_is_taken_apart_or_refused_with_its_cause() {
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(b"\x03"), Err(Error::CloseTooShort));
        assert_eq!(parse(b"\x03\xe8"), Ok(Some((CloseCode::NORMAL, ""))));
        assert_eq!(parse(b"\x03\xe9bye"), Ok(Some((CloseCode::GOING_AWAY, "bye"))));
        assert_eq!(parse(b"\x03\xed"), Err(Error::InvalidCloseCode));
        assert_eq!(parse(b"\x03\xe8\xff"), Err(Error::InvalidCloseReason));
    }
}
