//! What a client asks for.

use crate::http::HeadLimits;
use crate::http::field::{self, FRAMING_FIELDS, FieldError};
use crate::http::origin::Origin;
use crate::http::upgrade::{Extensions, KEY_LEN, Lines, is_extension_list, is_handshake_field, is_token};
use crate::http::url::Url;
#[cfg(feature = "deflate")]
use crate::ws::deflate::{self, DeflateConfig, DeflateConfigError};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// What a client asks for, and what it puts up with. Shared by all handshakes that ask alike.
#[derive(Clone)]
pub struct HandshakeConfig {
    /// Header lines of the application's own, `Authorization` among them (which goes before the URL's user info). Not those of
    /// the handshake itself, nor `Host`, `Origin` and message framing, nor `Cookie` beside `cookies`. Default: none.
    pub headers: Vec<(String, String)>,
    /// Cookies: names and values (RFC 6265 section 4.2.1). Default: none.
    pub cookies: Vec<(String, String)>,
    /// Subprotocols, by preference, each once. Default: none.
    pub protocols: Vec<String>,
    /// The value of `Sec-WebSocket-Extensions`. Default: none. Whoever offers one has to speak it.
    pub extensions: Option<String>,
    /// The offer of permessage-deflate (RFC 7692), before `extensions`. Default: none. What the server makes of it is in
    /// [`Opened::deflate`](super::Opened::deflate).
    #[cfg(feature = "deflate")]
    pub deflate: Option<DeflateConfig>,
    /// The origin to name, for servers that let in only some. Default: none, as only pages have one.
    pub origin: Option<Origin>,
    /// How long the whole handshake may take. Default 10 s, as most clients; a server's own deadline is 5 s.
    pub timeout: Duration,
    /// Caps on the answer's head. Default: 8 KiB, 64 fields.
    pub head: HeadLimits,
    /// Bytes of body that are read of an answer that is not 101. Default 64 KiB: error pages and JSON fit.
    pub body: u64,
}

impl Default for HandshakeConfig {
    fn default() -> Self {
        Self {
            headers: Vec::new(),
            cookies: Vec::new(),
            protocols: Vec::new(),
            extensions: None,
            #[cfg(feature = "deflate")]
            deflate: None,
            origin: None,
            timeout: Duration::from_secs(10),
            head: HeadLimits::default(),
            body: 64 << 10,
        }
    }
}

impl HandshakeConfig {
    /// These settings if they can be sent, else what is wrong with them. Each handshake checks again.
    ///
    /// # Errors
    /// See [`HandshakeConfigError`].
    pub fn check(self) -> Result<Self, HandshakeConfigError> {
        self.verify().map(|()| self)
    }

    fn verify(&self) -> Result<(), HandshakeConfigError> {
        for (name, value) in &self.headers {
            field::check(&[(name, value)], &FRAMING_FIELDS).map_err(HandshakeConfigError::Header)?;
            let is = |ours: &str| name.eq_ignore_ascii_case(ours);
            // One Cookie line at most (RFC 6265 section 5.4).
            let second_cookie = is("cookie") && !self.cookies.is_empty();
            if is_handshake_field(name) || is("host") || is("origin") || second_cookie {
                return Err(HandshakeConfigError::Header(FieldError::Reserved));
            }
        }
        for (name, value) in &self.cookies {
            if !is_token(name.as_bytes()) || !value.bytes().all(is_cookie_octet) {
                return Err(HandshakeConfigError::Cookie);
            }
        }
        for (at, protocol) in self.protocols.iter().enumerate() {
            if !is_token(protocol.as_bytes()) {
                return Err(HandshakeConfigError::Protocol);
            }
            // "MUST all be unique strings" (RFC 6455 section 4.1, item 10).
            if self.protocols.iter().take(at).any(|earlier| earlier == protocol) {
                return Err(HandshakeConfigError::ProtocolRepeated);
            }
        }
        if let Some(extensions) = &self.extensions
            && (!is_extension_list(extensions.as_bytes()) || self.offered_extensions().next().is_none())
        {
            return Err(HandshakeConfigError::Extensions);
        }
        #[cfg(feature = "deflate")]
        if let Some(Err(error)) = self.deflate.map(DeflateConfig::check) {
            return Err(HandshakeConfigError::Deflate(error));
        }
        #[cfg(feature = "deflate")]
        if self.deflate.is_some() && self.offered_extensions().any(|offer| offer.name() == deflate::NAME) {
            return Err(HandshakeConfigError::Extensions);
        }
        if self.timeout.is_zero() {
            return Err(HandshakeConfigError::Timeout);
        }
        Ok(())
    }

    /// The request (RFC 6455 section 4.1) that opens a WebSocket at `url`.
    pub(super) fn request(&self, url: &Url, key: &[u8; KEY_LEN]) -> Result<Vec<u8>, HandshakeConfigError> {
        self.verify()?;
        if !url.scheme().is_websocket() {
            return Err(HandshakeConfigError::Scheme);
        }
        let mut request = Vec::with_capacity(512);
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| request.extend_from_slice(part.as_bytes()));
        put(&["GET ", url.target(), " HTTP/1.1\r\nHost: ", url.authority()]);
        put(&["\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"]);
        put(&["Sec-WebSocket-Key: ", core::str::from_utf8(key).unwrap_or_default(), "\r\n"]);
        if !self.protocols.is_empty() {
            put(&["Sec-WebSocket-Protocol: ", &self.protocols.join(", "), "\r\n"]);
        }
        #[cfg(feature = "deflate")]
        if let Some(deflate) = &self.deflate {
            put(&["Sec-WebSocket-Extensions: ", &deflate.offer(), "\r\n"]);
        }
        if let Some(extensions) = &self.extensions {
            put(&["Sec-WebSocket-Extensions: ", extensions, "\r\n"]);
        }
        if let Some(origin) = &self.origin {
            put(&["Origin: ", origin.as_str(), "\r\n"]);
        }
        let own = |wanted: &str| self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
        if let Some(basic) = url.basic_authorization().filter(|_| !own("authorization")) {
            put(&["Authorization: ", &basic, "\r\n"]);
        }
        for (at, (name, value)) in self.cookies.iter().enumerate() {
            put(&[if at == 0 { "Cookie: " } else { "; " }, name, "=", value]);
        }
        if !self.cookies.is_empty() {
            put(&["\r\n"]);
        }
        for (name, value) in &self.headers {
            put(&[name, ": ", value, "\r\n"]);
        }
        put(&["\r\n"]);
        Ok(request)
    }

    /// Whether an extension of this name was offered.
    pub(super) fn offers_extension(&self, name: &str) -> bool {
        #[cfg(feature = "deflate")]
        if self.deflate.is_some() && name == deflate::NAME {
            return true;
        }
        self.offered_extensions().any(|offered| offered.name() == name)
    }

    fn offered_extensions(&self) -> Extensions<'_> {
        let mut lines = Lines::default();
        lines.push(self.extensions.as_deref().unwrap_or_default().as_bytes());
        Extensions::new(lines)
    }
}

impl fmt::Debug for HandshakeConfig {
    /// Without values of headers and cookies: they hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |pairs: &[(String, String)]| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        f.debug_struct("HandshakeConfig")
            .field("headers", &names(&self.headers))
            .field("cookies", &names(&self.cookies))
            .field("protocols", &self.protocols)
            .field("extensions", &self.extensions)
            .field("origin", &self.origin)
            .field("timeout", &self.timeout)
            .field("head", &self.head)
            .field("body", &self.body)
            .finish()
    }
}

/// What cannot be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeConfigError {
    /// A header line is malformed, or not the application's to set.
    Header(FieldError),
    /// A cookie's name is no token, or its value holds what RFC 6265 section 4.1.1 excludes.
    Cookie,
    /// A subprotocol is no token.
    Protocol,
    /// A subprotocol is offered twice.
    ProtocolRepeated,
    /// The offer of extensions breaks RFC 6455 section 9.1, is empty, or has permessage-deflate beside `deflate`.
    Extensions,
    /// `deflate` is wrong.
    #[cfg(feature = "deflate")]
    Deflate(DeflateConfigError),
    /// The URL is not `ws` or `wss`.
    Scheme,
    /// The timeout is zero.
    Timeout,
}

impl fmt::Display for HandshakeConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Header(error) => return error.fmt(f),
            Self::Cookie => "cookie with a malformed name or value",
            Self::Protocol => "subprotocol is no token",
            Self::ProtocolRepeated => "subprotocol offered twice",
            Self::Extensions => "malformed offer of extensions",
            #[cfg(feature = "deflate")]
            Self::Deflate(error) => return error.fmt(f),
            Self::Scheme => "a WebSocket needs a URL with ws:// or wss://",
            Self::Timeout => "handshake timeout of zero",
        })
    }
}

impl core::error::Error for HandshakeConfigError {}

/// Whether a byte may stand in a cookie's value (RFC 6265 section 4.1.1).
fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}
