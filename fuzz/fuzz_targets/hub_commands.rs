//! Commands of clients: any text. Nothing panics; the commands and refusals are those of a naive reader that splits first and looks
//! then; line ends are alike; and what is read can be encoded and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tautline::hub::notice::Error;
use tautline::hub::{Command, CommandError, Commands, Cursor, Publish, check_key, check_name};

fuzz_target!(|data: &[u8]| commands(data));

fn commands(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read: Vec<_> = Commands::read(&text).collect();

    // LF for every line end changes nothing.
    let lines = text.replace("\r\n", "\n").replace('\r', "\n");
    assert_eq!(Commands::read(&lines).collect::<Vec<_>>(), read);

    let naive: Vec<Naive> =
        lines.strip_prefix('\u{feff}').unwrap_or(&lines).split("\n\n").filter_map(Naive::read).collect();
    assert_eq!(naive.len(), read.len());
    for (naive, one) in naive.iter().zip(read) {
        match one {
            Ok(command) => {
                naive.agrees(&command);
                let mut again = String::new();
                command.encode(&mut again).expect("what is read can be encoded");
                assert_eq!(Commands::read(&again).collect::<Vec<_>>(), [Ok(command)]);
            }
            Err(refusal) => {
                assert!(!naive.is_command(), "{naive:?}: {refusal:?}");
                assert!(refusal.topic.is_none_or(|topic| check_name(topic).is_ok()));
                assert!(refusal.key.is_none_or(|key| check_key(key).is_ok()));
                let block = Error::from(refusal).block();
                let block = std::str::from_utf8(&block).expect("a block is text");
                let first = format!("event: tautline.error\ndata: 400 {}", refusal.command);
                assert!(block.contains(&first) && block.ends_with("\n\n"));
                assert_eq!(block.lines().count(), 4 + usize::from(refusal.topic.is_some()));
            }
        }
    }
}

/// The fields of one block: event, topic, data, id, to, keep, slot.
#[derive(Debug)]
struct Naive([Option<String>; 7]);

const FIELDS: [&str; 7] = ["event", "topic", "data", "id", "to", "keep", "slot"];

impl Naive {
    fn read(block: &str) -> Option<Self> {
        let mut fields = <[Option<String>; 7]>::default();
        for line in block.split('\n') {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            let Some(at) = FIELDS.iter().position(|field| *field == name) else { continue };
            fields[at] = match fields[at].take() {
                Some(before) if name == "data" => Some(before + "\n" + value),
                _ => Some(value.to_owned()),
            };
        }
        fields.iter().any(Option::is_some).then_some(Self(fields))
    }

    fn topic(&self) -> &str {
        self.0[1].as_deref().unwrap_or("default")
    }

    fn is_command(&self) -> bool {
        let [event, _, data, id, to, keep, slot] = &self.0;
        let topic = check_name(self.topic()).is_ok();
        let cursor = |text: &str| Cursor::parse(text).is_ok();
        match event.as_deref().and_then(|event| event.strip_prefix("tautline.")) {
            Some("subscribe") => topic && data.as_deref().is_none_or(cursor),
            Some("unsubscribe" | "presence") => topic,
            Some("ack") => data.as_deref().is_some_and(cursor),
            Some("token") => data.as_ref().is_some_and(|data| !data.is_empty() && !data.contains('\n')),
            Some(_) => false,
            None => {
                topic
                    && (event.is_some() || data.is_some())
                    && id.as_ref().is_none_or(|id| check_key(id).is_ok() && keep.is_none())
                    && to.as_ref().is_none_or(|to| to == "others")
                    && keep.as_ref().is_none_or(|keep| keep == "no")
                    && slot.as_ref().is_none_or(|slot| (1..=128).contains(&slot.len()))
            }
        }
    }

    fn agrees(&self, command: &Command<'_>) {
        assert!(self.is_command(), "{self:?}: {command:?}");
        let [event, _, data, id, to, keep, slot] = &self.0;
        let cursor = data.as_deref().and_then(|data| Cursor::parse(data).ok());
        let name = match command {
            Command::Subscribe { topic, cursor: of } => {
                assert_eq!((*topic, *of), (self.topic(), cursor));
                "tautline.subscribe"
            }
            Command::Unsubscribe { topic } => {
                assert_eq!(*topic, self.topic());
                "tautline.unsubscribe"
            }
            Command::Presence { topic } => {
                assert_eq!(*topic, self.topic());
                "tautline.presence"
            }
            Command::Ack { cursor: of } => {
                assert_eq!(Some(*of), cursor);
                "tautline.ack"
            }
            Command::Token(token) => {
                assert_eq!(Some(*token), data.as_deref());
                "tautline.token"
            }
            Command::Publish(publish) => {
                assert_eq!(publish.check(), Ok::<(), CommandError>(()));
                let Publish { topic, event: of, data: text, key, audience, keep: kept, slot: into } = publish;
                assert_eq!((*topic, &**text), (self.topic(), data.as_deref().unwrap_or("")));
                assert_eq!(*of, event.as_deref().filter(|event| !event.is_empty()).unwrap_or("message"));
                assert_eq!((*key, *into), (id.as_deref(), slot.as_deref()));
                assert_eq!(*audience == tautline::hub::To::Others, to.is_some());
                assert_eq!(*kept == tautline::hub::Kept::Ephemeral, keep.is_some());
                return;
            }
        };
        assert_eq!(event.as_deref(), Some(name));
    }
}
