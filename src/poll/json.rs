//! Strings of JSON (RFC 8259 section 7).

use alloc::vec::Vec;

/// Appends `text` as a string, quotes included. Beyond what the RFC asks for, `<`, `>`, `&` and the line separators U+2028 and U+2029 are
/// escaped: then a body that is taken for HTML or for a script, whatever its headers say, holds neither. O(n).
pub(super) fn push_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (plain, special) = rest.split_at(plain_len(rest));
        out.extend_from_slice(plain);
        rest = match special {
            [] => break,
            [LEAD, 0x80, last @ (0xA8 | 0xA9), rest @ ..] => {
                out.extend_from_slice(if *last == 0xA8 { b"\\u2028" } else { b"\\u2029" });
                rest
            }
            // Another character that begins like the separators.
            [LEAD, rest @ ..] => {
                out.push(LEAD);
                rest
            }
            [byte, rest @ ..] => {
                push_escape(*byte, out);
                rest
            }
        };
    }
    out.push(b'"');
}

/// The first byte of U+2028 and U+2029 in UTF-8, and of all from U+2000 to U+2FFF.
const LEAD: u8 = 0xE2;

fn push_escape(byte: u8, out: &mut Vec<u8>) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0C => b'f',
        _ => {
            let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 15)];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Whether a byte does not simply stand for itself.
#[inline(always)]
const fn is_special(byte: u8) -> bool {
    byte < b' ' || matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&' | LEAD)
}

/// How many bytes at the front stand for themselves. Text mostly does: it is looked at in steps without a branch per byte.
fn plain_len(bytes: &[u8]) -> usize {
    const STEP: usize = 32;
    let mut at = 0;
    for chunk in bytes.chunks_exact(STEP) {
        // `|` and not `||`: comparisons of whole vectors.
        let special = chunk.iter().fold(false, |any, &b| {
            any | (b < b' ') | (b == b'"') | (b == b'\\') | (b == b'<') | (b == b'>') | (b == b'&') | (b == LEAD)
        });
        if special {
            break;
        }
        at += STEP;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use proptest::prelude::*;

    fn string(text: &str) -> String {
        let mut out = Vec::new();
        push_string(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// Character by character.
    fn naive(text: &str) -> String {
        let mut out = String::from("\"");
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    out.push_str(&alloc::format!("\\u{:04x}", u32::from(c)));
                }
                c => out.push(c),
            }
        }
        out.push('"');
        out
    }

    #[test]
    fn characters_are_escaped_alike_at_every_place_of_a_step() {
        for c in (0..0x800).chain(0x1FF0..0x3010).chain(0xFFF0..0x10010).filter_map(char::from_u32) {
            for before in [0, 1, 31, 32, 63] {
                let mut text = "x".repeat(before);
                text.push(c);
                text.push_str("tail");
                let json = string(&text);
                assert_eq!(json, naive(&text), "{c:?}");
            }
        }
    }

    #[test]
    fn what_a_page_or_a_script_would_act_on_does_not_stand_in_it() {
        let json = string("</script><!--&amp;\u{2028}\u{2029}\u{2027}\u{202a}\"\\\u{0}\u{7f}");
        assert_eq!(
            json,
            "\"\\u003c/script\\u003e\\u003c!--\\u0026amp;\\u2028\\u2029\u{2027}\u{202a}\\\"\\\\\\u0000\u{7f}\""
        );
    }

    proptest! {
        #[test]
        fn any_text_is_escaped_as_the_naive_twin_does(text in "(?s)[ -~]{0,40}.{0,40}[<>&\"\\\\\u{2027}-\u{202a}\u{0}-\u{20}é€𝄞a-z]{0,80}") {
            let json = string(&text);
            prop_assert_eq!(&json, &naive(&text));
        }
    }
}
