//! How the body behind a head is delimited (RFC 9112 section 6.3).

use crate::http::field::is_token;
use crate::http::head::{HeadError, Headers, Version};

/// How the body behind a head is delimited (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body, and no length was announced.
    None,
    /// `Content-Length`: exactly this many bytes, also zero.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Everything until the peer ends its side. Responses only.
    UntilClose,
}

impl Framing {
    /// Whether no byte of a body follows.
    pub const fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Length(0))
    }
}

/// How the body is delimited (RFC 9112 section 6.3): `framed` says whether a Content-Length or a
/// Transfer-Encoding stands there, `otherwise` is how it is without.
#[inline]
pub(super) fn framing(
    framed: bool,
    headers: Headers<'_>,
    version: Version,
    otherwise: Framing,
) -> Result<Framing, HeadError> {
    if framed { framing_of(headers, version) } else { Ok(otherwise) }
}

/// The only reading of Content-Length and Transfer-Encoding that no other recipient can see differently: one of them, once.
#[inline(never)]
fn framing_of(headers: Headers<'_>, version: Version) -> Result<Framing, HeadError> {
    let (mut lengths, mut codings) = (headers.all("content-length"), headers.all("transfer-encoding"));
    match (lengths.next(), codings.next()) {
        (Some(_), Some(_)) => Err(HeadError::LengthAndEncoding),
        (Some(length), None) => {
            // Two equal lengths may be joined (section 6.3, rule 5); no sane client sends them, so they are refused too.
            let plain = !length.is_empty() && length.len() <= 19 && length.iter().all(u8::is_ascii_digit);
            if !plain || lengths.next().is_some() {
                return Err(HeadError::ContentLength);
            }
            // 19 digits always fit 64 bits.
            Ok(Framing::Length(length.iter().fold(0, |n, b| n * 10 + u64::from(b - b'0'))))
        }
        (None, Some(coding)) => {
            // "A server or client that receives an HTTP/1.0 message containing a Transfer-Encoding header field MUST treat
            // the message as if the framing is faulty" (section 6.1).
            if version == Version::Http10 || codings.next().is_some() {
                return Err(HeadError::TransferEncoding);
            }
            if coding.eq_ignore_ascii_case(b"chunked") {
                return Ok(Framing::Chunked);
            }
            Err(other_coding(coding))
        }
        (None, None) => Ok(Framing::None),
    }
}

/// 400 where chunked is there and not last, or where a coding is no token; 501 for codings we do not know.
#[cold]
fn other_coding(value: &[u8]) -> HeadError {
    let mut chunked = false;
    for member in value.split(|b| *b == b',') {
        let name = member.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        if chunked || name.is_empty() || !name.iter().all(|b| is_token(*b)) {
            return HeadError::TransferEncoding;
        }
        chunked = name.eq_ignore_ascii_case(b"chunked");
    }
    HeadError::CodingUnknown
}
