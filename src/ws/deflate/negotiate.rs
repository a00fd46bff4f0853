//! Offers and answers (RFC 7692 section 7.1).

use crate::deflate::Setting;
use crate::http::upgrade::{Extension, Extensions, Param};
use alloc::string::String;
use core::fmt;

/// The extension's registered name (RFC 7692 section 9).
pub(in crate::ws) const NAME: &str = "permessage-deflate";

/// The parameters (RFC 7692 section 7.1).
const SERVER_NO_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_WINDOW: &str = "server_max_window_bits";
const CLIENT_WINDOW: &str = "client_max_window_bits";

/// The largest window, in bits; also the one that holds where none is named (section 7.1.2).
const LARGEST: u8 = 15;

/// The smallest window that a compressor here can be held to. RFC 7692 has 8 as well, which zlib cannot do for a stream without its header.
pub(in crate::ws) const SMALLEST: u8 = 9;

/// Whether a side compresses with what it sent before still in its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// "Context takeover": each message may refer to those before. Short messages that are alike get very short; both ends keep a window
    /// and its tables for as long as the connection lasts.
    Kept,
    /// "No context takeover": each message stands for itself. State is borrowed from the thread while one is compressed or received.
    None,
}

/// What a side asks for, grants and does with permessage-deflate (RFC 7692). Off wherever there is none of these.
///
/// Compression hides nothing: whoever sees the length of a message in which a secret stands beside text of an attacker's can guess the
/// secret. Send such messages by [`Connection::uncompressed`](super::super::Connection::uncompressed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateConfig {
    /// zlib's level, 1 (fast) to 9 (small). Default 1: on JSON of 1 KiB level 6 costs three times the time for messages a quarter shorter, with
    /// takeover seven times for a third (`docs/COMPRESSION.md` has more).
    pub level: u8,
    /// zlib's `memLevel`, 1 to 9. Default 5: as small as with zlib's default of 8 and faster, for 98 KiB less a compressor.
    pub memory: u8,
    /// Messages of fewer bytes are sent as they are. Default 128: below, a message on its own hardly gets shorter. With takeover those that
    /// are alike do, down to some 32 bytes.
    pub threshold: u32,
    /// Whether the server keeps its context. Default: no, as most peers of a server are idle.
    ///
    /// As a client: whether the server may keep it; if not, it is asked not to.
    pub server_takeover: Takeover,
    /// Whether the client keeps its context, for which the server keeps 47 KiB. Default: no.
    pub client_takeover: Takeover,
    /// The logarithm of the server's window, 9 to 15. Default 15.
    pub server_window: u8,
    /// The logarithm of the client's window, 9 to 15. Default 15. A server can limit it only where the client lets it.
    pub client_window: u8,
}

impl DeflateConfig {
    /// The default settings.
    pub const DEFAULT: Self = Self {
        level: 1,
        memory: 5,
        threshold: 128,
        server_takeover: Takeover::None,
        client_takeover: Takeover::None,
        server_window: LARGEST,
        client_window: LARGEST,
    };

    /// These settings if they can be used, else what is wrong with them. Settings that were not checked are brought into range.
    pub fn check(self) -> Result<Self, DeflateConfigError> {
        if !(1..=9).contains(&self.level) {
            return Err(DeflateConfigError::Level);
        }
        if !(1..=9).contains(&self.memory) {
            return Err(DeflateConfigError::Memory);
        }
        if [self.server_window, self.client_window].iter().any(|window| !(SMALLEST..=LARGEST).contains(window)) {
            return Err(DeflateConfigError::Window);
        }
        Ok(self)
    }

    fn settled(self) -> Self {
        Self {
            level: self.level.clamp(1, 9),
            memory: self.memory.clamp(1, 9),
            server_window: self.server_window.clamp(SMALLEST, LARGEST),
            client_window: self.client_window.clamp(SMALLEST, LARGEST),
            ..self
        }
    }

    /// A server's choice: the first of a client's offers that it can accept. Offers that break section 7.1, or ask for what is not to be
    /// had (a window of 256 bytes), are passed over. [`Deflate::answer`] says so to the client.
    pub fn accept(&self, offers: Extensions<'_>) -> Option<Deflate> {
        let config = self.settled();
        offers.filter(|offer| offer.name() == NAME).find_map(|offer| {
            let offer = Offer::read(&offer, Side::Client).ok()?;
            // 7.1.2.1: "A server declines an extension negotiation offer with this parameter if the server doesn't support it."
            let server_window = match offer.server_window {
                Some(least) if least < SMALLEST => return None,
                Some(most) => most.min(config.server_window),
                None => config.server_window,
            };
            // 7.1.2.2: in an answer only where the offer has it. One that names less than can be asked for binds the client all the same.
            let client_window = match offer.client_window {
                None => LARGEST,
                Some(window) => config.client_window.min(window.unwrap_or(LARGEST)),
            };
            Some(Deflate {
                server_takeover: config.server_takeover.and(offer.server_takeover),
                client_takeover: config.client_takeover.and(offer.client_takeover),
                server_window,
                client_window,
                answers_client_window: offer.client_window.is_some() && client_window < LARGEST,
                level: config.level,
                memory: config.memory,
                threshold: config.threshold,
            })
        })
    }

    /// A client's offer, for `Sec-WebSocket-Extensions`.
    pub fn offer(&self) -> String {
        let config = self.settled();
        let mut offer = String::from(NAME);
        push_takeovers(&mut offer, config.server_takeover, config.client_takeover);
        if config.server_window < LARGEST {
            push_window(&mut offer, SERVER_WINDOW, config.server_window);
        }
        if config.client_window < LARGEST {
            push_window(&mut offer, CLIENT_WINDOW, config.client_window);
        } else {
            offer.push_str("; ");
            offer.push_str(CLIENT_WINDOW);
        }
        offer
    }

    /// What a server's answer to [`offer`](Self::offer) means; `Ok(None)` where it does not accept.
    ///
    /// # Errors
    ///
    /// The answer is none to this offer: the client has to fail the connection (RFC 7692 section 7.1).
    pub(in crate::ws) fn confirm(&self, answer: Extensions<'_>) -> Result<Option<Deflate>, BadAnswer> {
        let config = self.settled();
        let mut answers = answer.filter(|extension| extension.name() == NAME);
        let Some(answer) = answers.next() else { return Ok(None) };
        if answers.next().is_some() {
            return Err(BadAnswer);
        }
        let answer = Offer::read(&answer, Side::Server)?;
        // 7.1.1.1: a server accepts this parameter "by including" it.
        if config.server_takeover == Takeover::None && answer.server_takeover == Takeover::Kept {
            return Err(BadAnswer);
        }
        // 7.1.2.1: accepted "by including the server_max_window_bits extension parameter with the same or smaller value".
        let server_window = answer.server_window.unwrap_or(LARGEST);
        if server_window > config.server_window {
            return Err(BadAnswer);
        }
        let client_window = match answer.client_window {
            None => config.client_window,
            Some(Some(window)) if window <= config.client_window => window,
            Some(_) => return Err(BadAnswer),
        };
        Ok(Some(Deflate {
            server_takeover: answer.server_takeover,
            client_takeover: config.client_takeover.and(answer.client_takeover),
            server_window,
            client_window,
            answers_client_window: answer.client_window.is_some(),
            level: config.level,
            memory: config.memory,
            threshold: config.threshold,
        }))
    }
}

impl Default for DeflateConfig {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Takeover {
    /// Only where both have it.
    fn and(self, other: Self) -> Self {
        if self == Self::Kept { other } else { Self::None }
    }
}

/// What is wrong with a [`DeflateConfig`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeflateConfigError {
    /// The level is not 1 to 9.
    Level,
    /// `memory` is not 1 to 9.
    Memory,
    /// A window is not 9 to 15.
    Window,
}

impl fmt::Display for DeflateConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Level => "`deflate.level` is not 1 to 9",
            Self::Memory => "`deflate.memory` is not 1 to 9",
            Self::Window => "`deflate.server_window` and `client_window` are 9 to 15",
        })
    }
}

impl core::error::Error for DeflateConfigError {}

/// permessage-deflate as the two sides of one connection agreed upon it. Give it to
/// [`Connection::with_deflate`](super::super::Connection::with_deflate).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deflate {
    server_takeover: Takeover,
    client_takeover: Takeover,
    server_window: u8,
    client_window: u8,
    /// Whether the answer names the client's window.
    answers_client_window: bool,
    level: u8,
    memory: u8,
    threshold: u32,
}

impl Deflate {
    /// A server's answer, for `Sec-WebSocket-Extensions` ([`Answer::extensions`](crate::http::upgrade::Answer::extensions)).
    pub fn answer(&self) -> String {
        let mut answer = String::from(NAME);
        push_takeovers(&mut answer, self.server_takeover, self.client_takeover);
        // 7.1.2.1: a server may say so unasked.
        if self.server_window < LARGEST {
            push_window(&mut answer, SERVER_WINDOW, self.server_window);
        }
        if self.answers_client_window {
            push_window(&mut answer, CLIENT_WINDOW, self.client_window);
        }
        answer
    }

    /// Whether the server keeps its context.
    pub const fn server_takeover(&self) -> Takeover {
        self.server_takeover
    }

    /// Whether the client keeps its context.
    pub const fn client_takeover(&self) -> Takeover {
        self.client_takeover
    }

    /// The logarithm of the window that the server keeps to, 8 to 15.
    pub const fn server_window(&self) -> u8 {
        self.server_window
    }

    /// The logarithm of the window that the client keeps to, 8 to 15.
    pub const fn client_window(&self) -> u8 {
        self.client_window
    }
}

impl Deflate {
    /// How the compressor of this side is made. `None` where it would need a window of 256 bytes: then nothing is compressed.
    pub(super) fn setting(&self, role: Role) -> Option<Setting> {
        let window = match role {
            Role::Server => self.server_window,
            Role::Client => self.client_window,
        };
        (window >= SMALLEST).then_some(Setting { window, level: self.level, memory: self.memory })
    }

    /// This side's takeover and the peer's.
    pub(super) fn takeovers(&self, role: Role) -> (Takeover, Takeover) {
        match role {
            Role::Server => (self.server_takeover, self.client_takeover),
            Role::Client => (self.client_takeover, self.server_takeover),
        }
    }

    /// The peer's window.
    pub(super) fn peers_window(&self, role: Role) -> u8 {
        match role {
            Role::Server => self.client_window,
            Role::Client => self.server_window,
        }
    }

    pub(super) fn threshold(&self) -> usize {
        self.threshold as usize
    }
}

/// Who this side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ws) enum Role {
    Server,
    Client,
}

/// An answer that is none to the offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ws) struct BadAnswer;

/// Who wrote a list of parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// The parameters of one offer or answer.
struct Offer {
    server_takeover: Takeover,
    client_takeover: Takeover,
    server_window: Option<u8>,
    /// `Some(None)`: without a value, which only an offer may have.
    client_window: Option<Option<u8>>,
}

impl Offer {
    /// Reads parameters. Every rule about them is here. Section 7.1 declines (or fails) what has an unknown parameter, an invalid value,
    /// or one twice.
    fn read(extension: &Extension<'_>, side: Side) -> Result<Self, BadAnswer> {
        let mut offer = Self {
            server_takeover: Takeover::Kept,
            client_takeover: Takeover::Kept,
            server_window: None,
            client_window: None,
        };
        for param in extension.params() {
            match (param.name, window(&param)?) {
                // 7.1.1: "This parameter has no value."
                (SERVER_NO_TAKEOVER, None) if offer.server_takeover == Takeover::Kept => {
                    offer.server_takeover = Takeover::None;
                }
                (CLIENT_NO_TAKEOVER, None) if offer.client_takeover == Takeover::Kept => {
                    offer.client_takeover = Takeover::None;
                }
                // 7.1.2.1: "This parameter has a decimal integer value without leading zeroes between 8 to 15, inclusive".
                (SERVER_WINDOW, Some(window)) if offer.server_window.is_none() => offer.server_window = Some(window),
                // 7.1.2.2: "This parameter has no value or a decimal integer value without leading zeroes between 8 to 15".
                (CLIENT_WINDOW, window)
                    if offer.client_window.is_none() && (window.is_some() || side == Side::Client) =>
                {
                    offer.client_window = Some(window);
                }
                _ => return Err(BadAnswer),
            }
        }
        Ok(offer)
    }
}

/// A parameter's value, if it has one: all that have are windows.
fn window(param: &Param<'_>) -> Result<Option<u8>, BadAnswer> {
    let Some(value) = param.value else { return Ok(None) };
    let mut bytes = value.bytes();
    let window = match (bytes.next(), bytes.next(), bytes.next()) {
        (Some(digit @ b'8'..=b'9'), None, None) => digit - b'0',
        (Some(b'1'), Some(digit @ b'0'..=b'5'), None) => 10 + digit - b'0',
        _ => return Err(BadAnswer),
    };
    Ok(Some(window))
}

fn push_takeovers(to: &mut String, server: Takeover, client: Takeover) {
    for (takeover, name) in [(server, SERVER_NO_TAKEOVER), (client, CLIENT_NO_TAKEOVER)] {
        if takeover == Takeover::None {
            to.push_str("; ");
            to.push_str(name);
        }
    }
}

fn push_window(to: &mut String, name: &str, window: u8) {
    to.push_str("; ");
    to.push_str(name);
    to.push('=');
    if window >= 10 {
        to.push('1');
    }
    to.push(char::from(b'0' + window % 10));
}
