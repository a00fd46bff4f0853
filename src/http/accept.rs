//! How much a request wants an answer in some media type: its `Accept` fields (RFC 9110 section 12.5.1).

/// How much a media type is wanted: compared first by its weight, then by how precisely it was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Preference {
    /// In thousandths; 0 excludes the type.
    weight: u16,
    rank: Rank,
}

/// How precise a range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// No range matches, or there is none at all.
    Unnamed,
    /// `*/*`
    Anything,
    /// `text/*`
    Family,
    /// The type itself.
    Itself,
}

/// The weight of a range without any (RFC 9110 section 12.4.2).
const WHOLE: u16 = 1000;

impl Preference {
    /// How much `media` (`type/subtype`) is wanted according to all `Accept` fields of a request: the most specific range that matches
    /// decides. Without any range everything is accepted. A weight that is no number counts as none, and does not keep a client
    /// out. O(bytes).
    pub(crate) fn of<'v>(media: &str, fields: impl Iterator<Item = &'v [u8]>) -> Self {
        let family = media.split('/').next().unwrap_or_default().as_bytes();
        let mut any = false;
        let mut best: Option<Self> = None;
        for range in fields.flat_map(|field| field.split(|byte| *byte == b',')) {
            let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            if name.is_empty() {
                continue;
            }
            any = true;
            let rank = match name.strip_suffix(b"/*") {
                Some(b"*") => Rank::Anything,
                Some(name) if name.eq_ignore_ascii_case(family) => Rank::Family,
                None if name.eq_ignore_ascii_case(media.as_bytes()) => Rank::Itself,
                _ => continue,
            };
            let weight = parts
                .find_map(|part| match part {
                    [b'q' | b'Q', b'=', weight @ ..] => Some(thousandths(weight)),
                    _ => None,
                })
                .unwrap_or(WHOLE);
            // Of two ranges alike (with other parameters, say) the one that wants it more stands.
            let this = Self { weight, rank };
            best = best.filter(|best| (best.rank, best.weight) >= (rank, weight)).or(Some(this));
        }
        let otherwise = if any { 0 } else { WHOLE };
        best.unwrap_or(Self { weight: otherwise, rank: Rank::Unnamed })
    }

    /// Whether the type may be sent at all.
    pub(crate) const fn accepts(self) -> bool {
        self.weight > 0
    }
}

/// A weight (RFC 9110 section 12.4.2) in thousandths, however many decimals it has; what is little is still more than nothing.
fn thousandths(weight: &[u8]) -> u16 {
    let decimals = match weight {
        [b'0'] => return 0,
        [b'0', b'.', decimals @ ..] if decimals.iter().all(u8::is_ascii_digit) => decimals,
        _ => return WHOLE,
    };
    let digit = |at: usize| u16::from(decimals.get(at).map_or(0, |digit| digit - b'0'));
    let more = decimals.iter().any(|digit| *digit != b'0');
    (digit(0) * 100 + digit(1) * 10 + digit(2)).max(more.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(media: &str, value: &str) -> Preference {
        Preference::of(media, [value.as_bytes()].into_iter())
    }

    #[test]
    fn s9_accept_is_read_with_ranges_and_weights() {
        let accepts = |value: &str| of("text/event-stream", value).accepts();
        for value in
            ["", "*/*", "text/*", "text/event-stream", "Text/Event-Stream;q=0.5", "application/json, */*;q=0.1", ", ,"]
        {
            assert!(accepts(value), "{value}");
        }
        for value in [
            "application/json",
            "text/html",
            "text/event-stream;q=0",
            "text/event-stream;q=0.",
            "text/event-stream ; charset=utf-8 ; Q=0.0000",
            "text/event-stream; q=0.000, */*",
            "*/*;q=0",
            "text/*;q=0,*/*",
            "text/event-streams",
            "*/event-stream",
            "tex/*",
        ] {
            assert!(!accepts(value), "{value}");
        }
        // Weights that are none, or not zero.
        for weight in ["", ".", "..", "00", ".0", "0x", "0.001", "0.0001", "0.0x", "-0", " 0", "1", "1.000"] {
            assert!(accepts(&["text/event-stream;q=", weight].concat()), "{weight}");
        }
        assert!(Preference::of("text/event-stream", [].into_iter()).accepts());
        assert!(Preference::of("text/event-stream", [&b"text/html"[..], b"text/event-stream"].into_iter()).accepts());
    }

    #[test]
    fn of_two_types_the_greater_weight_wins_then_the_more_precise_name() {
        let cmp = |value: &str| of("text/event-stream", value).cmp(&of("application/json", value));
        use core::cmp::Ordering::{Equal, Greater, Less};
        for (value, order) in [
            ("", Equal),
            ("*/*", Equal),
            ("text/event-stream, application/json", Equal),
            ("text/event-stream;q=0.5, application/json;q=0.51", Less),
            ("text/event-stream;q=0.501, application/json;q=0.5", Greater),
            ("text/event-stream, */*", Greater),
            ("text/event-stream;q=0.1, */*", Less),
            ("text/*, */*", Greater),
            ("application/*, text/event-stream", Greater),
            ("application/json;q=0, */*;q=0.1", Greater),
            ("text/event-stream;q=0.3, text/event-stream;level=1;q=0.9, application/json;q=0.5", Greater),
        ] {
            assert_eq!(cmp(value), order, "{value}");
        }
    }
}
