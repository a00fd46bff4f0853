//! Who a client is across its connections, and the token that proves it.

use crate::hub::cursor::LogId;
use core::fmt;
use siphasher::sip128::{Hasher128, SipHasher24};

/// A client across its connections: 128 random bits that the server gives on first attach.
///
/// It is no secret (an entry for the log names its origin by it), since a client shows it only together with its MAC, as a
/// [`SessionToken`]. Debug output is its first 8 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({:08x}..)", self.0 >> 96)
    }
}

/// Makes and checks the tokens of a server's sessions. There is nothing to look up: a token says by itself whose it is.
///
/// A token is [`SessionToken::LEN`] lower-case hex digits: 32 of the [`SessionId`], 16 of a MAC over it, the log and the user
/// (SipHash-2-4 with 128 bits of output, of which the first 64), and 8 of the log. It is valid for one user (or for nobody, where
/// nobody was authenticated) as long as the log is, which is as long as the server runs.
///
/// Sixty-four bits hold against a forger who has to ask the server about each guess, and nobody else can tell a good guess.
#[derive(Clone, Copy)]
pub struct SessionKeys {
    secret: [u8; 16],
    log: LogId,
}

impl SessionKeys {
    /// Keys of one log. `secret` must be random, and the same for all workers that give out tokens of this log.
    pub const fn new(secret: [u8; 16], log: LogId) -> Self {
        Self { secret, log }
    }

    /// The token of a new session. `random` becomes its id and must not be guessable; `user` is who was authenticated. O(user).
    pub fn mint(&self, random: u128, user: Option<&str>) -> SessionToken {
        let mut token = SessionToken { digits: [0; SessionToken::LEN] };
        let (id, rest) = token.digits.split_at_mut(ID_DIGITS);
        let (mac, log) = rest.split_at_mut(MAC_DIGITS);
        write_hex(id, random);
        write_hex(mac, self.mac(SessionId(random), user).into());
        write_hex(log, self.log.0.into());
        token
    }

    /// The session that a token names, where it is `user`'s. O(user); the MAC is compared in constant time.
    ///
    /// # Errors
    ///
    /// [`SessionError`] says what it is instead.
    pub fn check(&self, token: &str, user: Option<&str>) -> Result<SessionId, SessionError> {
        let digits = token.as_bytes();
        if digits.len() != SessionToken::LEN {
            return Err(SessionError::Malformed);
        }
        let (id, rest) = digits.split_at(ID_DIGITS);
        let (mac, log) = rest.split_at(MAC_DIGITS);
        let (Some(id), Some(mac), Some(log)) = (read_hex(id), read_hex(mac), read_hex(log)) else {
            return Err(SessionError::Malformed);
        };
        if log != u128::from(self.log.0) {
            return Err(SessionError::OtherLog);
        }
        let id = SessionId(id);
        // One difference of two words, whatever their bits.
        if mac ^ u128::from(self.mac(id, user)) != 0 {
            return Err(SessionError::Forged);
        }
        Ok(id)
    }

    /// A number for a user in place of the name: 128 bits that nobody without the secret can make two names meet in. O(user).
    pub fn user(&self, user: &str) -> u128 {
        let mut bytes = Input::new(&self.secret, Use::UserNumber);
        bytes.add(user.as_bytes());
        bytes.digest()
    }

    fn mac(&self, id: SessionId, user: Option<&str>) -> u64 {
        let mut input = Input::new(&self.secret, if user.is_some() { Use::UserToken } else { Use::NobodyToken });
        input.add(&id.0.to_le_bytes());
        input.add(&self.log.0.to_le_bytes());
        input.add(user.unwrap_or_default().as_bytes());
        input.digest() as u64
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeys").field("log", &self.log).finish_non_exhaustive()
    }
}

/// A session's token, as text held in place. It is shown to nobody but its client: there is no `Display`, and Debug hides it.
#[derive(Clone, Copy)]
pub struct SessionToken {
    /// Lower-case hex digits.
    digits: [u8; Self::LEN],
}

impl SessionToken {
    /// The length of every token in bytes.
    pub const LEN: usize = ID_DIGITS + MAC_DIGITS + LOG_DIGITS;

    /// The token, to be given to its client.
    pub fn as_str(&self) -> &str {
        // They are ASCII.
        core::str::from_utf8(&self.digits).unwrap_or_default()
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

/// Why a token names no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// It is not [`SessionToken::LEN`] lower-case hex digits.
    Malformed,
    /// It is of another log: the server was restarted, or another process answers. The client did nothing wrong; it is given a new
    /// session, and its cursor will be one of an unknown log.
    OtherLog,
    /// Its MAC is not this server's for this user: another user's session, or one made up.
    Forged,
}

impl SessionError {
    /// The status of the answer: 400, 403, or, where a new session is not given instead, 404.
    pub const fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::OtherLog => 404,
            Self::Forged => 403,
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "session token is not 56 lower-case hex digits",
            Self::OtherLog => "session of another log",
            Self::Forged => "session of another user",
        })
    }
}

impl core::error::Error for SessionError {}

const ID_DIGITS: usize = 32;
const MAC_DIGITS: usize = 16;
const LOG_DIGITS: usize = 8;

/// What a hash is for: its first byte, so that no hash for one purpose is one for another.
#[derive(Clone, Copy)]
enum Use {
    NobodyToken,
    UserToken,
    UserNumber,
}

/// The bytes of one hash. They are hashed as they are; `core::hash` would add lengths and ends of its own.
struct Input(SipHasher24);

impl Input {
    fn new(secret: &[u8; 16], purpose: Use) -> Self {
        let mut input = Self(SipHasher24::new_with_key(secret));
        input.add(&[purpose as u8]);
        input
    }

    fn add(&mut self, bytes: &[u8]) {
        core::hash::Hasher::write(&mut self.0, bytes);
    }

    fn digest(&self) -> u128 {
        self.0.finish128().as_u128()
    }
}

/// Writes the lowest bits of a number, four for each digit.
fn write_hex(digits: &mut [u8], mut number: u128) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[number as usize & 15];
        number >>= 4;
    }
}

/// Reads at most 32 lower-case digits.
fn read_hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;
    use proptest::prelude::*;

    const KEYS: SessionKeys = SessionKeys::new(*b"0123456789abcdef", LogId(0xbeef));

    #[test]
    fn a_token_is_56_digits_and_names_its_session_to_its_user_alone() {
        let token = KEYS.mint(7, Some("ann"));
        let text = token.as_str();
        assert_eq!(text.len(), 56);
        assert!(text.starts_with("00000000000000000000000000000007") && text.ends_with("0000beef"), "{text}");
        assert_eq!(KEYS.check(text, Some("ann")), Ok(SessionId(7)));
        for other in [Some("bob"), Some("an"), Some("ann\0"), Some(""), None] {
            assert_eq!(KEYS.check(text, other), Err(SessionError::Forged), "{other:?}");
        }
        // Nobody is not a user with an empty name.
        let nobodys = KEYS.mint(7, None);
        assert_eq!(KEYS.check(nobodys.as_str(), None), Ok(SessionId(7)));
        assert_eq!(KEYS.check(nobodys.as_str(), Some("")), Err(SessionError::Forged));
        assert_eq!(KEYS.check(KEYS.mint(7, Some("")).as_str(), None), Err(SessionError::Forged));
    }

    #[test]
    fn l11_the_session_of_another_user_is_403() {
        let status = |text: &str, user| KEYS.check(text, user).map_err(SessionError::status);
        let token = KEYS.mint(1 << 100, Some("ann"));
        assert_eq!(status(token.as_str(), Some("bob")), Err(403));
        assert_eq!(status(token.as_str(), None), Err(403));
        assert_eq!(status("", None), Err(400));
        assert_eq!(status(&token.as_str().to_uppercase(), Some("ann")), Err(400));
    }

    #[test]
    fn another_secret_forges_nothing_and_another_log_is_told_apart() {
        let token = KEYS.mint(9, Some("ann"));
        let secret = SessionKeys::new(*b"0123456789abcdeg", LogId(0xbeef));
        assert_eq!(secret.check(token.as_str(), Some("ann")), Err(SessionError::Forged));
        let log = SessionKeys::new(*b"0123456789abcdef", LogId(0xbef0));
        assert_eq!(log.check(token.as_str(), Some("ann")), Err(SessionError::OtherLog));
        // The log's digits cannot be exchanged.
        let moved = format!("{}0000bef0", &token.as_str()[..48]);
        assert_eq!(log.check(&moved, Some("ann")), Err(SessionError::Forged));
    }

    #[test]
    fn the_mac_is_siphash_2_4() {
        // By OpenSSL, of the bytes 01, the id and the log (both little-endian), "ann":
        // openssl mac -macopt hexkey:30313233343536373839616263646566 -macopt size:16 -in FILE SIPHASH
        let openssl = 0x026c4904be3cfc603ff6d98a17e97a26_u128.swap_bytes() as u64;
        assert_eq!(KEYS.mac(SessionId(7), Some("ann")), openssl);
        assert_eq!(KEYS.mint(7, Some("ann")).as_str()[32..48], format!("{openssl:016x}"));
    }

    #[test]
    fn what_is_no_token_is_malformed() {
        let token = KEYS.mint(u128::MAX, None);
        let text = token.as_str();
        for wrong in [&text[1..], &format!("{text}0"), &format!(" {}", &text[1..]), &text.replacen('f', "g", 1)] {
            assert_eq!(KEYS.check(wrong, None), Err(SessionError::Malformed), "{wrong}");
        }
        // 56 bytes, but not of ASCII: a cut inside a character would panic.
        assert_eq!(KEYS.check(&"é".repeat(28), None), Err(SessionError::Malformed));
        assert_eq!(KEYS.check(&"0".repeat(1 << 20), None), Err(SessionError::Malformed));
    }

    #[test]
    fn debug_output_shows_no_token() {
        let token = KEYS.mint(0xdead_beef << 96 | 0x1234_5678, Some("ann"));
        assert_eq!(format!("{token:?}"), "SessionToken(..)");
        assert_eq!(format!("{:?}", SessionId(0xdead_beef << 96 | 0x1234_5678)), "SessionId(deadbeef..)");
        assert_eq!(format!("{KEYS:?}"), "SessionKeys { log: LogId(48879), .. }");
    }

    #[test]
    fn a_user_number_is_neither_a_mac_nor_anothers() {
        assert_ne!(KEYS.user("ann"), KEYS.user("anm"));
        assert_eq!(KEYS.user("ann"), KEYS.user("ann"));
        assert_ne!(KEYS.user("ann"), SessionKeys::new([0; 16], LogId(0xbeef)).user("ann"));
        assert_ne!(KEYS.user("") as u64, KEYS.mac(SessionId(0), None));
    }

    proptest! {
        #[test]
        fn any_changed_digit_is_refused(id: u128, user: Option<String>, at in 0usize..56, with in 0u8..16) {
            let token = KEYS.mint(id, user.as_deref());
            prop_assert_eq!(KEYS.check(token.as_str(), user.as_deref()), Ok(SessionId(id)));
            let mut digits = token.digits;
            digits[at] = b"0123456789abcdef"[usize::from(with)];
            prop_assume!(digits != token.digits);
            let changed = SessionToken { digits };
            let wrong = if at < 48 { SessionError::Forged } else { SessionError::OtherLog };
            prop_assert_eq!(KEYS.check(changed.as_str(), user.as_deref()), Err(wrong));
        }

        #[test]
        fn no_text_panics(text: String, user: Option<String>) {
            prop_assert!(KEYS.check(&text, user.as_deref()).is_err());
        }
    }
}
