//! The server's side of the WebSocket opening handshake (RFC 6455 section 4.2).
//!
//! Usable on its own: a server that parsed the request with something else hands over method, version and header lines, and
//! gets an [`Upgrade`] to accept or a [`Rejection`] to send. Both write themselves into an [`Output`](crate::Output), or are
//! plain data (status and header lines) for servers that write their own.
//!
//! ```
//! use tautline::Output;
//! use tautline::http::Version;
//! use tautline::http::upgrade::{Answer, Upgrade, UpgradeConfig};
//!
//! let head: [(&str, &[u8]); 6] = [
//!     ("Host", b"example.com"),
//!     ("Connection", b"Upgrade"),
//!     ("Upgrade", b"websocket"),
//!     ("Sec-WebSocket-Version", b"13"),
//!     ("Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
//!     ("Sec-WebSocket-Protocol", b"v2.chat, v1.chat"),
//! ];
//! let mut out = Output::new();
//! match Upgrade::check(&UpgradeConfig::default(), "GET", Version::Http11, head) {
//!     Ok(upgrade) => {
//!         let protocol = upgrade.choose_protocol(&["v1.chat"]);
//!         upgrade.accept(Answer { protocol, ..Answer::default() })?.write(&mut out)?;
//!     }
//!     Err(rejection) => rejection.write(&mut out),
//! }
//! # assert!(out.len() > 129);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod answer;
mod key;
mod list;
mod rejection;

pub use answer::{Accepted, Answer, AnswerError};
pub use key::{ACCEPT_LEN, KEY_LEN, accept_value, key_value};
pub use list::{Extension, Extensions, Param, Params, Tokens, Value};
pub use rejection::Rejection;

pub(crate) use answer::is_handshake_field;
pub(crate) use key::parse_key;
pub(crate) use list::{Lines, has_token, is_extension_list, is_token, is_token_list, trim};

use crate::http::field::is;
use crate::http::head::{RequestHead, Version};
use crate::http::origin::OriginPolicy;
use crate::http::url::Scheme;
use core::fmt;

/// What an upgrade has to satisfy beyond RFC 6455. Shared by all connections of a listener.
#[derive(Clone, Debug, Default)]
pub struct UpgradeConfig {
    /// Which origins may open a WebSocket. Default: the listener's own.
    pub origins: OriginPolicy,
    /// The scheme that the listener speaks itself: behind a proxy that ends TLS that is `http`. Default `http`.
    pub scheme: Scheme,
}

/// A request that may become a WebSocket. It borrows the request's head.
///
/// # Contract
///
/// [`check`](Self::check) looked at every rule of RFC 6455 section 4.2.1; what is left is the application's choice of
/// subprotocol, extensions and headers, which [`accept`](Self::accept) checks before a byte is written. To refuse instead,
/// write any other answer.
#[derive(Clone, Copy)]
#[must_use = "the client waits for an answer"]
pub struct Upgrade<'h> {
    key: &'h [u8; KEY_LEN],
    protocols: Lines<'h>,
    extensions: Lines<'h>,
}

impl<'h> Upgrade<'h> {
    /// Checks a request's head against RFC 6455 section 4.2.1 and the origin policy. One pass over the header lines, each
    /// looked at a bounded number of times; allocates nothing.
    ///
    /// The origin is compared with the Host field: for an absolute target (RFC 9112 section 3.2.2) pass the target's authority as
    /// the Host, as [`check_head`](Self::check_head) does.
    ///
    /// Method and names may be text or bytes; names may come in any case, values with or without the white space around them.
    ///
    /// # Errors
    /// The first rule broken, in the order of the rules below: the answer to send.
    #[inline]
    pub fn check<M, N, I>(config: &UpgradeConfig, method: M, version: Version, headers: I) -> Result<Self, Rejection>
    where
        M: AsRef<[u8]>,
        N: AsRef<[u8]>,
        I: IntoIterator<Item = (N, &'h [u8])>,
    {
        let mut fields = Fields::default();
        for (name, value) in headers {
            let name = name.as_ref();
            fields.take(name.len(), || name, || value);
        }
        fields.check(config, method.as_ref(), version)
    }

    /// As [`check`](Self::check), of a head that this crate read. Where its target is absolute the origin is compared with the
    /// target's authority ([`RequestHead::authority`]) instead of the Host field.
    #[inline]
    pub fn check_head(config: &UpgradeConfig, head: &'h RequestHead<'_>) -> Result<Self, Rejection> {
        let mut fields = Fields::default();
        for line in head.headers().lazy() {
            fields.take(line.name_len(), || line.name(), || line.value());
        }
        // "the origin server MUST ignore the received Host header field (if any) and instead replace it with the host
        // information of the request-target" (RFC 9112 section 3.2.2). That there is one Host was seen when the head was read.
        if let Some(authority) = head.target_authority() {
            fields.host.value = authority.as_bytes();
        }
        fields.check(config, head.method_bytes(), head.version())
    }

    /// The subprotocols the client offers, in its order of preference, over all its header lines.
    ///
    /// "The elements that comprise this value MUST ... all be unique strings" (RFC 6455 section 4.1) binds clients. Here a
    /// repeated element is passed on as it came: choosing is by name, so it makes no difference to the answer, and to refuse
    /// it would cost comparing all with all.
    pub fn protocols(&self) -> Tokens<'h> {
        Tokens::new(self.protocols)
    }

    /// The first of the client's subprotocols that is also one of `ours`: the client's preference wins. Case matters.
    pub fn choose_protocol(&self, ours: &[&str]) -> Option<&'h str> {
        self.protocols().find(|offered| ours.contains(offered))
    }

    /// The extensions the client offers, in its order of preference, over all its header lines.
    pub fn extensions(&self) -> Extensions<'h> {
        Extensions::new(self.extensions)
    }

    /// Accepts without a subprotocol, an extension or a header of the application's, which cannot fail.
    #[inline]
    pub fn accept_plain(&self) -> Accepted<'static> {
        Accepted::new(self.key, Answer::default())
    }

    /// Accepts, if `answer` may be given: then the connection is a WebSocket as soon as the answer is written.
    ///
    /// # Errors
    /// Nothing was written: the subprotocol or an extension was not offered, or a header line is malformed or not the
    /// application's to set.
    #[inline]
    pub fn accept<'a>(&self, answer: Answer<'a>) -> Result<Accepted<'a>, AnswerError> {
        answer.check(self)?;
        Ok(Accepted::new(self.key, answer))
    }
}

impl fmt::Debug for Upgrade<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upgrade").field("protocols", &self.protocols()).field("extensions", &self.extensions()).finish()
    }
}

/// The header lines that matter, as one pass finds them.
#[derive(Default)]
struct Fields<'h> {
    host: Once<'h>,
    origin: Once<'h>,
    key: Once<'h>,
    version: Once<'h>,
    upgrade: bool,
    connection: bool,
    body: bool,
    protocols: Lines<'h>,
    extensions: Lines<'h>,
}

/// The value of a name that may occur once.
#[derive(Clone, Copy, Default)]
struct Once<'h> {
    value: &'h [u8],
    count: usize,
}

impl<'h> Once<'h> {
    #[inline]
    fn take(&mut self, value: &'h [u8]) {
        self.value = value;
        self.count += 1;
    }
}

impl<'h> Fields<'h> {
    /// Sorts one header line in. The length of the name decides first: nearly all other lines end there.
    #[inline(always)]
    fn take<'n>(&mut self, name_len: usize, name: impl Fn() -> &'n [u8], value: impl Fn() -> &'h [u8]) {
        match name_len {
            4 if is(name(), b"host") => self.host.take(value()),
            6 if is(name(), b"origin") => self.origin.take(value()),
            7 if is(name(), b"upgrade") => self.upgrade |= names(value(), b"websocket"),
            10 if is(name(), b"connection") => self.connection |= names(value(), b"upgrade"),
            14 if is(name(), b"content-length") => self.body |= trim(value()) != b"0",
            17 if is(name(), b"sec-websocket-key") => self.key.take(value()),
            17 if is(name(), b"transfer-encoding") => self.body = true,
            21 if is(name(), b"sec-websocket-version") => self.version.take(value()),
            22 if is(name(), b"sec-websocket-protocol") => self.protocols.push(value()),
            24 if is(name(), b"sec-websocket-extensions") => self.extensions.push(value()),
            _ => {}
        }
    }

    /// All rules in one place, in the order in which they are reported.
    #[inline(always)]
    fn check(&self, config: &UpgradeConfig, method: &[u8], version: Version) -> Result<Upgrade<'h>, Rejection> {
        // "The method of the request MUST be GET" (4.1, item 2).
        if method != b"GET" {
            return Err(Rejection::Method);
        }
        // "An HTTP/1.1 or higher GET request" (4.2.1, item 1); RFC 9110 section 7.8 ignores Upgrade in HTTP/1.0.
        if version != Version::Http11 {
            return Err(Rejection::HttpVersion);
        }
        // "A |Host| header field containing the server's authority" (4.2.1, item 2); RFC 9112 section 3.2: just one.
        if self.host.count != 1 {
            return Err(Rejection::Host);
        }
        // "An |Upgrade| header field containing the value "websocket", treated as an ASCII case-insensitive value"
        // (4.2.1, item 3). RFC 9110 section 7.8 makes it a list.
        if !self.upgrade {
            return Err(Rejection::NoUpgrade);
        }
        // "A |Connection| header field that includes the token "Upgrade", treated as an ASCII case-insensitive value"
        // (4.2.1, item 4).
        if !self.connection {
            return Err(Rejection::NoConnection);
        }
        // "A |Sec-WebSocket-Version| header field, with a value of 13" (4.2.1, item 6); 4.4: "abort ... (such as 426
        // Upgrade Required) and a |Sec-WebSocket-Version| header field". It "MUST NOT appear more than once" (11.3.5).
        if self.version.count != 1 || (self.version.value != b"13" && trim(self.version.value) != b"13") {
            return Err(Rejection::Version);
        }
        // "A |Sec-WebSocket-Key| header field with a base64-encoded value that, when decoded, is 16 bytes in length"
        // (4.2.1, item 5). It "MUST NOT appear more than once in an HTTP request" (11.3.1).
        let key = match self.key.count {
            1 => parse_key(self.key.value).ok_or(Rejection::KeyMalformed)?,
            0 => return Err(Rejection::KeyMissing),
            _ => return Err(Rejection::KeyRepeated),
        };
        // A body would be taken for frames, and a proxy in between would see the stream differently than we do.
        if self.body {
            return Err(Rejection::Body);
        }
        // "If the server does not wish to accept this connection, it MUST return an appropriate HTTP error code (e.g.,
        // 403 Forbidden)" (4.2.2, item 4). RFC 6454 section 7.3: never more than one Origin.
        match self.origin.count {
            0 => {}
            1 => config.origins.check(config.scheme, self.origin.value, self.host.value)?,
            _ => return Err(Rejection::OriginRepeated),
        }
        // "Any violations of the ABNF grammar specified for the components of the handshake ... MUST stop" (4.2.1).
        if !self.protocols.all(is_token_list) {
            return Err(Rejection::Protocols);
        }
        if !self.extensions.all(is_extension_list) {
            return Err(Rejection::Extensions);
        }
        Ok(Upgrade { key, protocols: self.protocols, extensions: self.extensions })
    }
}

/// Whether a list of tokens has `token` among them, which nearly always is all there is.
#[inline(always)]
fn names<const N: usize>(list: &[u8], token: &[u8; N]) -> bool {
    is(list, token) || has_token(list, token)
}
