//! The client's address behind proxies: `X-Forwarded-For` and `Forwarded` (RFC 7239), as far as they can be believed.
//!
//! Anyone can send these fields, with anything in them. What can be believed is what a proxy that the embedder knows has appended,
//! at the right end: the address that this proxy saw. If that is a known proxy again, the entry to the left is its word, and so
//! on; the first address that is no known proxy is the client, and whatever stands to the left of it is that client's own tale.

use crate::http::Headers;
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::vec::Vec;

/// Which field the proxies append to. The other one is not looked at: a proxy that knows only one of the two passes the other on as
/// the client sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedField {
    /// `X-Forwarded-For`: a list of addresses. What nearly every proxy writes.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239): of each element the `for` parameter.
    Forwarded,
}

/// The proxies whose word counts, and the field in which they give it.
///
/// Made from text, addresses and CIDR ranges with commas or spaces between, and `unix` for whoever connects over a unix-domain
/// socket. It trusts nobody by default, and then no field is ever read.
///
/// Each proxy that is named must append to the field or set it. One that passes it on untouched makes this believe its clients.
///
/// ```
/// use tautline::net::{ForwardedField, TrustedProxies};
///
/// let proxies: TrustedProxies = "127.0.0.1, ::1, 10.0.0.0/8, fd00::/8".parse()?;
/// assert!(proxies.contains([10, 1, 2, 3].into()));
/// let proxies = TrustedProxies { field: ForwardedField::Forwarded, ..proxies };
/// # let _ = proxies;
/// # Ok::<(), tautline::net::ProxyListError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// Where the proxies write the address. Default: `X-Forwarded-For`.
    pub field: ForwardedField,
    /// Who they are.
    pub ranges: ProxyRanges,
}

/// The addresses of a [`TrustedProxies`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyRanges {
    ranges: Vec<Range>,
    unix: bool,
}

impl TrustedProxies {
    /// Whether `address` is one of the proxies. IPv4-mapped IPv6 addresses count as IPv4. O(ranges).
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.ranges.ranges.iter().any(|range| range.contains(address))
    }

    /// Whether whoever connected from `socket` (`None`: over a unix-domain socket) is one of the proxies.
    pub(crate) fn trusts(&self, socket: Option<IpAddr>) -> bool {
        socket.map_or(self.ranges.unix, |address| self.contains(address))
    }

    /// The client's address, for a request with these `headers` on a connection from `socket` (`None`: a unix-domain socket).
    ///
    /// The walk goes from the right and stops at the first address that is not one of the proxies, or at an entry that is no address
    /// (malformed, `unknown`, or hidden behind a name such as `_proxy`): then the answer is the last address before it. IPv4-mapped
    /// IPv6 addresses are given as IPv4, ports are left out. `None` only where `socket` is.
    ///
    /// O(field), and nothing but a comparison where `socket` is not one of the proxies.
    pub fn client(&self, socket: Option<IpAddr>, headers: &Headers<'_>) -> Option<IpAddr> {
        let socket = socket.map(|address| address.to_canonical());
        if !self.trusts(socket) {
            return socket;
        }
        let name = match self.field {
            ForwardedField::XForwardedFor => "x-forwarded-for",
            ForwardedField::Forwarded => "forwarded",
        };
        // Several fields of one name are one list (RFC 9110 section 5.3).
        let values: Vec<&[u8]> = headers.all(name).collect();
        let mut client = socket;
        for element in values.iter().rev().flat_map(|value| FromRight { rest: Some(value), separator: b',' }) {
            // Empty elements are ignored (RFC 9110 section 5.6.1.2).
            if element.trim_ascii().is_empty() {
                continue;
            }
            let hop = match self.field {
                ForwardedField::XForwardedFor => node_address(element),
                ForwardedField::Forwarded => element_address(element),
            };
            let Some(hop) = hop else { break };
            client = Some(hop);
            if !self.contains(hop) {
                break;
            }
        }
        client
    }
}

impl FromStr for TrustedProxies {
    type Err = ProxyListError;

    /// Reads a list such as `127.0.0.1, 10.0.0.0/8, unix`; an empty one trusts nobody. The field is the default one.
    fn from_str(text: &str) -> Result<Self, ProxyListError> {
        let mut ranges = ProxyRanges::default();
        let separators = |c: char| c == ',' || c.is_ascii_whitespace();
        for (item, text) in text.split(separators).filter(|item| !item.is_empty()).enumerate() {
            if text == "unix" {
                ranges.unix = true;
            } else {
                ranges.ranges.push(Range::parse(text).map_err(|cause| ProxyListError { item: item + 1, cause })?);
            }
        }
        Ok(Self { ranges, ..Self::default() })
    }
}

/// Why a list of proxies was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyListError {
    /// Which item of the list, counted from 1.
    pub item: usize,
    /// What is wrong with it.
    pub cause: ProxyListCause,
}

impl fmt::Display for ProxyListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "item {} of the list of proxies {}", self.item, self.cause)
    }
}

impl core::error::Error for ProxyListError {}

/// What is wrong with an item of a list of proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyListCause {
    /// Neither an IP address, with or without a prefix, nor `unix`. Names of hosts are not looked up.
    Address,
    /// A prefix that is no number, or more than 32 (IPv4) or 128 (IPv6).
    Prefix,
    /// Bits are set beyond the prefix, as in `10.0.0.1/8`: the address or the prefix is not what was meant.
    HostBits,
}

impl fmt::Display for ProxyListCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "is no IP address, no CIDR range and not `unix`",
            Self::Prefix => "has a prefix that is no number up to 32 (IPv4) or 128 (IPv6)",
            Self::HostBits => "is a range whose address has bits set beyond the prefix",
        })
    }
}

/// The addresses that share a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    base: IpAddr,
    prefix: u8,
}

impl Range {
    fn parse(text: &str) -> Result<Self, ProxyListCause> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let given: IpAddr = address.parse().map_err(|_| ProxyListCause::Address)?;
        let most = if given.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            // No sign, which `parse` would take.
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|prefix| *prefix <= most).ok_or(ProxyListCause::Prefix)?
            }
            Some(_) => return Err(ProxyListCause::Prefix),
            None => most,
        };
        let range = Self { base: given, prefix };
        if masked(given, prefix) != given {
            return Err(ProxyListCause::HostBits);
        }
        // Addresses are compared in their canonical form, so a range of mapped ones is a range of IPv4.
        Ok(match given.to_canonical() {
            base @ IpAddr::V4(_) if given.is_ipv6() && prefix >= 96 => Self { base, prefix: prefix - 96 },
            _ => range,
        })
    }

    fn contains(&self, address: IpAddr) -> bool {
        masked(address, self.prefix) == self.base
    }
}

/// The address with only its leading `prefix` bits.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix.into())).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

/// The parts of a list, the last one first, cut at `separator` outside of quoted strings.
///
/// It reads backwards, so that what stands on the left, which the client may have written, cannot change how the right is read. (A
/// reader from the left can be made to take everything behind `for="` for one unfinished string, the proxy's entry with it.) A
/// quote without a partner makes all that is left one part, which is no address.
struct FromRight<'v> {
    rest: Option<&'v [u8]>,
    separator: u8,
}

impl<'v> Iterator for FromRight<'v> {
    type Item = &'v [u8];

    fn next(&mut self) -> Option<&'v [u8]> {
        let value = self.rest.take()?;
        let mut quoted = false;
        let mut at = value.len();
        while let Some(before) = at.checked_sub(1) {
            match value[before] {
                // Escaped in a quoted string (RFC 9110 section 5.6.4) if an odd number of backslashes stands before it.
                b'"' => {
                    let slashes = value[..before].iter().rev().take_while(|b| **b == b'\\').count();
                    if !(quoted && slashes % 2 == 1) {
                        quoted = !quoted;
                    }
                    // They were looked at.
                    at = before - slashes;
                    continue;
                }
                b if b == self.separator && !quoted => {
                    self.rest = Some(&value[..before]);
                    return Some(&value[at..]);
                }
                _ => at = before,
            }
        }
        Some(value)
    }
}

/// The address in the `for` parameter of an element of `Forwarded` (RFC 7239 section 4).
fn element_address(element: &[u8]) -> Option<IpAddr> {
    let mut address = None;
    for pair in (FromRight { rest: Some(element), separator: b';' }) {
        let pair = pair.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let equals = pair.iter().position(|b| *b == b'=')?;
        let (name, value) = (&pair[..equals], &pair[equals + 1..]);
        if name.eq_ignore_ascii_case(b"for") {
            // "Each parameter MUST NOT occur more than once".
            if address.is_some() {
                return None;
            }
            address = Some(node_address(&unquoted(value)?)?);
        }
    }
    address
}

/// A token or a quoted string (RFC 9110 section 5.6.4) as what it stands for.
fn unquoted(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(value) = value.strip_prefix(b"\"") else { return Some(Cow::Borrowed(value)) };
    let value = value.strip_suffix(b"\"")?;
    if !value.contains(&b'\\') && !value.contains(&b'"') {
        return Some(Cow::Borrowed(value));
    }
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter();
    while let Some(b) = bytes.next() {
        match b {
            b'\\' => plain.push(*bytes.next()?),
            b'"' => return None,
            b => plain.push(*b),
        }
    }
    Some(Cow::Owned(plain))
}

/// The address of a node, with or without a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:80`. `unknown`, names with `_` and everything else are `None`.
fn node_address(node: &[u8]) -> Option<IpAddr> {
    let node = str::from_utf8(node.trim_ascii()).ok()?;
    let address = if let Some(rest) = node.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        if !port.is_empty() && !is_port(port.strip_prefix(':')?) {
            return None;
        }
        IpAddr::V6(address.parse::<Ipv6Addr>().ok()?)
    } else {
        match node.split_once(':') {
            Some((address, port)) if !port.contains(':') => {
                if !is_port(port) {
                    return None;
                }
                IpAddr::V4(address.parse().ok()?)
            }
            _ => node.parse().ok()?,
        }
    };
    Some(address.to_canonical())
}

/// A port, or a name that hides one (RFC 7239 section 6.3).
fn is_port(text: &str) -> bool {
    let hidden =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    match text.strip_prefix('_') {
        Some(name) => hidden(name),
        None => (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HeadLimits, RequestReader};
    use crate::input::Input;
    use proptest::prelude::*;
    use std::format;
    use std::string::{String, ToString};
    use std::vec;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Trusts 10/8, fd00::/8 and 192.0.2.1.
    fn proxies(field: ForwardedField) -> TrustedProxies {
        TrustedProxies { field, .."10.0.0.0/8, fd00::/8 192.0.2.1".parse().unwrap() }
    }

    /// What a request from `socket` with these field lines is taken to come from. `None` too where the head is refused.
    fn client_of(proxies: &TrustedProxies, socket: Option<&str>, fields: &[(&str, &[u8])]) -> Option<IpAddr> {
        let mut head = b"GET / HTTP/1.1\r\nHost: h\r\n".to_vec();
        for (name, value) in fields {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        let mut input = Input::new(&mut head);
        let mut reader = RequestReader::new();
        let request = reader.read(&HeadLimits::default(), &mut input).ok()??;
        proxies.client(socket.map(ip), &request.headers())
    }

    fn x_forwarded_for(value: &str) -> IpAddr {
        client_of(&proxies(ForwardedField::XForwardedFor), Some("10.0.0.1"), &[("X-Forwarded-For", value.as_bytes())])
            .unwrap()
    }

    fn forwarded(value: &str) -> IpAddr {
        client_of(&proxies(ForwardedField::Forwarded), Some("10.0.0.1"), &[("Forwarded", value.as_bytes())]).unwrap()
    }

    #[test]
    fn a_socket_that_is_no_proxy_is_the_client_whatever_it_says() {
        for (field, name, value) in [
            (ForwardedField::XForwardedFor, "X-Forwarded-For", "198.51.100.7"),
            (ForwardedField::Forwarded, "Forwarded", "for=198.51.100.7"),
        ] {
            for socket in ["203.0.113.9", "11.0.0.1", "192.0.2.2", "fe80::1"] {
                let client = client_of(&proxies(field), Some(socket), &[(name, value.as_bytes())]);
                assert_eq!(client, Some(ip(socket)));
            }
            let nobody = TrustedProxies { field, ..TrustedProxies::default() };
            assert_eq!(client_of(&nobody, Some("127.0.0.1"), &[(name, value.as_bytes())]), Some(ip("127.0.0.1")));
            assert_eq!(client_of(&nobody, None, &[(name, value.as_bytes())]), None);
        }
    }

    #[test]
    fn a_proxys_own_entry_counts_and_spoofed_ones_to_its_left_do_not() {
        assert_eq!(x_forwarded_for("198.51.100.7"), ip("198.51.100.7"));
        assert_eq!(x_forwarded_for("127.0.0.1, 10.9.9.9, 198.51.100.7"), ip("198.51.100.7"));
        assert_eq!(x_forwarded_for("1.1.1.1, 198.51.100.7, 10.0.0.2,192.0.2.1"), ip("198.51.100.7"));
        assert_eq!(forwarded("for=127.0.0.1, for=10.9.9.9;by=x, For=198.51.100.7;proto=https"), ip("198.51.100.7"));
        assert_eq!(forwarded("for=1.1.1.1, by=10.0.0.2;FOR=198.51.100.7,for=10.0.0.2"), ip("198.51.100.7"));
    }

    #[test]
    fn a_chain_of_nothing_but_proxies_ends_at_its_leftmost() {
        assert_eq!(x_forwarded_for("10.0.0.3, 10.0.0.2"), ip("10.0.0.3"));
        assert_eq!(x_forwarded_for(""), ip("10.0.0.1"));
        assert_eq!(client_of(&proxies(ForwardedField::Forwarded), Some("10.0.0.1"), &[]), Some(ip("10.0.0.1")));
    }

    #[test]
    fn several_fields_are_one_list_in_their_order() {
        let proxies = proxies(ForwardedField::XForwardedFor);
        let fields: [(&str, &[u8]); 4] = [
            ("X-Forwarded-For", b"1.1.1.1, 198.51.100.7"),
            ("Accept", b"*/*"),
            ("x-forwarded-for", b"10.0.0.3"),
            ("X-FORWARDED-FOR", b"10.0.0.2"),
        ];
        assert_eq!(client_of(&proxies, Some("10.0.0.1"), &fields), Some(ip("198.51.100.7")));
    }

    #[test]
    fn the_field_that_was_not_named_is_not_read() {
        let both: [(&str, &[u8]); 2] = [("X-Forwarded-For", b"198.51.100.7"), ("Forwarded", b"for=198.51.100.8")];
        let client = |field| client_of(&proxies(field), Some("10.0.0.1"), &both);
        assert_eq!(client(ForwardedField::XForwardedFor), Some(ip("198.51.100.7")));
        assert_eq!(client(ForwardedField::Forwarded), Some(ip("198.51.100.8")));
    }

    #[test]
    fn what_is_no_address_ends_the_walk_at_the_last_good_one() {
        for bad in [
            "unknown",
            "_x",
            "_SEVKISEK",
            "example.com",
            "1.2.3",
            "1.2.3.4.5",
            "256.1.1.1",
            "01.2.3.4",
            "1.2.3.4:",
            "1.2.3.4:x",
            "1.2.3.4:123456",
            "1.2.3.4/8",
            "[::1",
            "::1]",
            "[::1]80",
            "[::1]:",
            "[1.2.3.4]",
            "fe80::1%eth0",
            "1:2:3",
            "\u{e9}",
            "\"",
            "\"1.2.3.4\"x",
            "[]",
            ":",
            ":80",
            "1.2.3.4 5.6.7.8",
            "-1",
            "0x7f000001",
            "2130706433",
        ] {
            assert_eq!(x_forwarded_for(&format!("198.51.100.7, {bad}")), ip("10.0.0.1"), "{bad}");
            assert_eq!(x_forwarded_for(&format!("198.51.100.7, {bad}, 10.0.0.2")), ip("10.0.0.2"), "{bad}");
            assert_eq!(forwarded(&format!("for=198.51.100.7, for={bad}, for=10.0.0.2")), ip("10.0.0.2"), "{bad}");
            if !bad.contains('"') {
                assert_eq!(
                    forwarded(&format!("for=198.51.100.7, for=\"{bad}\", for=10.0.0.2")),
                    ip("10.0.0.2"),
                    "{bad}"
                );
            }
        }
        for bad in [
            "for",
            "for=",
            "for=\"\"",
            "by=1.2.3.4",
            "for 1.2.3.4",
            "for=1.2.3.4;for=1.2.3.4",
            "=1.2.3.4",
            "for =1.2.3.4",
        ] {
            assert_eq!(forwarded(&format!("for=198.51.100.7, {bad}, for=10.0.0.2")), ip("10.0.0.2"), "{bad}");
        }
    }

    #[test]
    fn every_form_of_an_address_is_read_and_ports_are_left_out() {
        for (text, address) in [
            ("198.51.100.7:4711", "198.51.100.7"),
            ("2001:db8:cafe::17", "2001:db8:cafe::17"),
            ("[2001:db8:cafe::17]", "2001:db8:cafe::17"),
            ("[2001:db8:cafe::17]:47011", "2001:db8:cafe::17"),
            ("198.51.100.7:_port", "198.51.100.7"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("[::ffff:198.51.100.7]:80", "198.51.100.7"),
        ] {
            assert_eq!(x_forwarded_for(text), ip(address), "{text}");
            assert_eq!(forwarded(&format!("for=\"{text}\"")), ip(address), "{text}");
        }
        // As RFC 7239 section 4 has them.
        assert_eq!(forwarded("For=\"[2001:db8:cafe::17]:4711\""), ip("2001:db8:cafe::17"));
        assert_eq!(forwarded("for=198.51.100.60;proto=http;by=203.0.113.43"), ip("198.51.100.60"));
        // Escapes that nobody needs are legal (RFC 9110 section 5.6.4).
        assert_eq!(forwarded("for=\"19\\8.51.100.7\""), ip("198.51.100.7"));
    }

    #[test]
    fn separators_in_quoted_strings_separate_nothing() {
        assert_eq!(forwarded("for=198.51.100.7;ext=\"a, for=1.1.1.1; b\\\", \\\\\""), ip("198.51.100.7"));
        assert_eq!(forwarded("for=198.51.100.7, for=10.0.0.2;x=\",\";by=\"[fd00::1]:80\" , ,"), ip("198.51.100.7"));
    }

    #[test]
    fn an_open_quote_on_the_left_swallows_no_entry_on_the_right() {
        for spoof in ["for=\"", "for=\"\\", "\"", "for=1.1.1.1;x=\"", "\"\"\"", "for=\"1.1.1.1\\\""] {
            assert_eq!(forwarded(&format!("{spoof}, for=198.51.100.7")), ip("198.51.100.7"), "{spoof}");
            assert_eq!(
                forwarded(&format!("{spoof}, for=198.51.100.7;by=\"[fd00::1]\"")),
                ip("198.51.100.7"),
                "{spoof}"
            );
            assert_eq!(forwarded(&format!("{spoof}, for=10.0.0.2")), ip("10.0.0.2"), "{spoof}");
        }
    }

    #[test]
    fn a_unix_socket_is_believed_only_if_it_is_named() {
        let fields: [(&str, &[u8]); 1] = [("X-Forwarded-For", b"198.51.100.7, 10.0.0.2")];
        assert_eq!(client_of(&proxies(ForwardedField::XForwardedFor), None, &fields), None);
        let named: TrustedProxies = "unix 10.0.0.0/8".parse().unwrap();
        assert_eq!(client_of(&named, None, &fields), Some(ip("198.51.100.7")));
        assert_eq!(client_of(&named, None, &[]), None);
        assert_eq!(client_of(&named, Some("127.0.0.1"), &fields), Some(ip("127.0.0.1")));
    }

    #[test]
    fn a_mapped_socket_address_counts_as_ipv4() {
        let proxies = proxies(ForwardedField::XForwardedFor);
        let fields: [(&str, &[u8]); 1] = [("X-Forwarded-For", b"198.51.100.7")];
        assert_eq!(client_of(&proxies, Some("::ffff:10.0.0.1"), &fields), Some(ip("198.51.100.7")));
        assert_eq!(client_of(&proxies, Some("::ffff:203.0.113.9"), &fields), Some(ip("203.0.113.9")));
        let mapped: TrustedProxies = "::ffff:10.0.0.0/104".parse().unwrap();
        assert!(mapped.contains(ip("10.255.0.1")) && mapped.contains(ip("::ffff:10.0.0.1")));
        assert!(!mapped.contains(ip("11.0.0.1")));
    }

    #[test]
    fn ranges_hold_what_shares_their_prefix() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("192.0.2.1/32", "192.0.2.1", "192.0.2.3"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("::1", "::1", "::2"),
            ("::1/128", "::1", "::3"),
        ] {
            let range: TrustedProxies = range.parse().unwrap();
            assert!(range.contains(ip(inside)), "{range:?} {inside}");
            assert!(!range.contains(ip(outside)), "{range:?} {outside}");
        }
    }

    #[test]
    fn a_list_that_cannot_be_meant_is_refused_with_its_item_and_cause() {
        use ProxyListCause::{Address, HostBits, Prefix};
        for (text, item, cause) in [
            ("localhost", 1, Address),
            ("10.0.0.0/8 10.0.0", 2, Address),
            ("/8", 1, Address),
            ("10.0.0.0:80", 1, Address),
            ("UNIX", 1, Address),
            ("10.0.0.0/33", 1, Prefix),
            ("::1, ::/129", 2, Prefix),
            ("10.0.0.0/", 1, Prefix),
            ("10.0.0.0/+8", 1, Prefix),
            ("10.0.0.0/8/8", 1, Prefix),
            ("10.0.0.0/999", 1, Prefix),
            ("unix,10.0.0.1/8", 2, HostBits),
            ("fd00::1/8", 1, HostBits),
            ("0.0.0.1/0", 1, HostBits),
        ] {
            assert_eq!(text.parse::<TrustedProxies>(), Err(ProxyListError { item, cause }), "{text}");
        }
        for nobody in ["", " ", ", ,\n"] {
            assert_eq!(nobody.parse::<TrustedProxies>(), Ok(TrustedProxies::default()));
        }
        let error = "10.0.0.1/8".parse::<TrustedProxies>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "item 1 of the list of proxies is a range whose address has bits set beyond the prefix"
        );
    }

    /// Bytes that may stand in a field, most of them with a meaning here.
    fn field_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            6 => prop::sample::select(b",;=\"\\[]:. _0123456789abcdeffor\t".to_vec()),
            1 => prop_oneof![0x20u8..0x7f, 0x80u8..=0xff],
        ];
        let word = prop::sample::select(vec![
            "for=", "for=\"", "1.2.3.4", "10.0.0.9", "::1", "[::1]", "unknown", ", ", "\\\"",
        ]);
        let part =
            prop_oneof![2 => prop::collection::vec(byte, 0..12), 1 => word.prop_map(|word| word.as_bytes().to_vec())];
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn nothing_that_a_client_writes_changes_what_the_proxies_saw(tale in field_bytes(), hops in 0usize..3) {
            for (field, name) in [
                (ForwardedField::XForwardedFor, "X-Forwarded-For"),
                (ForwardedField::Forwarded, "Forwarded"),
            ] {
                let prefix = if field == ForwardedField::Forwarded { "for=" } else { "" };
                let mut value = tale.clone();
                value.extend_from_slice(format!(", {prefix}198.51.100.7").as_bytes());
                for hop in 0..hops {
                    value.extend_from_slice(format!(", {prefix}10.0.0.{hop}").as_bytes());
                }
                let client = client_of(&proxies(field), Some("10.0.0.1"), &[(name, &value)]);
                prop_assert_eq!(client, Some(ip("198.51.100.7")), "{}", String::from_utf8_lossy(&value));
            }
        }

        #[test]
        fn hostile_values_never_panic_and_parts_join_to_the_whole(value in field_bytes()) {
            for separator in [b',', b';'] {
                let mut parts: Vec<&[u8]> = FromRight { rest: Some(&value), separator }.collect();
                parts.reverse();
                prop_assert_eq!(parts.join(&separator), value.clone());
            }
            for (field, name) in [
                (ForwardedField::XForwardedFor, "X-Forwarded-For"),
                (ForwardedField::Forwarded, "Forwarded"),
            ] {
                // Whatever it is: an address, since the socket has one and the head is well-formed.
                prop_assert!(client_of(&proxies(field), Some("10.0.0.1"), &[(name, &value)]).is_some());
            }
        }

        #[test]
        fn every_address_that_is_written_is_read_back(bits in any::<u128>(), v4 in any::<bool>(), port in any::<u16>()) {
            let address = if v4 { IpAddr::V4((bits as u32).into()) } else { IpAddr::V6(bits.into()) };
            let canonical = address.to_canonical();
            prop_assert_eq!(node_address(address.to_string().as_bytes()), Some(canonical));
            let with_port = std::net::SocketAddr::new(address, port).to_string();
            prop_assert_eq!(node_address(with_port.as_bytes()), Some(canonical));
            let element = format!("proto=https;for=\"{with_port}\"");
            prop_assert_eq!(element_address(element.as_bytes()), Some(canonical));
        }

        #[test]
        fn lists_of_any_text_never_panic(text in ".{0,60}") {
            let _ = text.parse::<TrustedProxies>();
        }
    }
}
