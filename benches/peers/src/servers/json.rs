//! Messages as an application sends them: JSON objects of one kind, each with other identifiers, names, numbers and times.

use std::fmt::Write;

use crate::random::Random;

const FIRST: [&str; 16] = [
    "Amélie", "Björn", "Chen", "Dolores", "Emeka", "Fatima", "Goran", "Hana", "Ines", "João", "Kwame", "Lena",
    "Mateusz", "Nia", "Oskar", "Priya",
];
const LAST: [&str; 16] = [
    "Abara", "Berg", "Castillo", "Dvořák", "Eriksen", "Fischer", "García", "Hughes", "Ivanova", "Jensen", "Kimura",
    "Lopez", "Müller", "Novak", "Okafor", "Patel",
];
const KINDS: [&str; 6] = ["created", "updated", "assigned", "shipped", "returned", "closed"];
const WORDS: [&str; 12] = [
    "order ",
    "invoice ",
    "delayed ",
    "customer ",
    "warehouse ",
    "pallet ",
    "before noon ",
    "damaged ",
    "confirm ",
    "carrier ",
    "express ",
    "signature ",
];

/// The `nth` message of `size` bytes, 100 at least.
pub fn message(nth: u64, size: usize) -> String {
    let mut random = Random::new(nth + 1);
    let mut text = String::with_capacity(2 * size);
    let time = 1_760_000_000_000 + nth * 731 + random.below(700) as u64;
    let _ = write!(
        text,
        r#"{{"type":"{}","seq":{},"time":{time},"to":"orders/{}","entries":["#,
        pick(&KINDS, &mut random),
        48_211_000 + nth,
        random.below(40)
    );
    /// The longest entry, and what stands behind the last one.
    const ENTRY: usize = 170;
    while text.len() < size * 2 / 3 && text.len() + ENTRY <= size {
        let comma = if text.ends_with('}') { "," } else { "" };
        let id = (random.below(1 << 31) as u64) << 20 | random.below(1 << 20) as u64;
        let _ = write!(
            text,
            r#"{comma}{{"id":"{id:013x}","customer":"{} {}","quantity":{},"price":{}.{:02},"position":[{}.{:05},{}.{:05}],"paid":{}}}"#,
            pick(&FIRST, &mut random),
            pick(&LAST, &mut random),
            1 + random.below(40),
            random.below(900),
            random.below(100),
            random.below(90),
            random.below(100_000),
            random.below(180),
            random.below(100_000),
            random.below(2) == 1,
        );
    }
    text.push_str(r#"],"note":""#);
    const END: &str = "\"}";
    while text.len() < size - END.len() {
        text.push_str(pick(&WORDS, &mut random));
    }
    // The note's words are ASCII.
    text.truncate(size - END.len());
    text.push_str(END);
    text
}

fn pick(of: &[&'static str], random: &mut Random) -> &'static str {
    of[random.below(of.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_of_one_size_and_no_two_are_the_same() {
        for size in [100, 160, 200, 256, 300, 512, 1024, 16384] {
            let messages: std::collections::HashSet<_> = (0..256).map(|nth| message(nth, size)).collect();
            assert_eq!(messages.len(), 256);
            for message in messages {
                assert!(message.len() == size && message.ends_with("\"}"), "{message}");
                assert_eq!(message.matches('"').count() % 2, 0, "{message}");
                assert_eq!(message.matches('{').count(), message.matches('}').count(), "{message}");
            }
        }
    }
}
