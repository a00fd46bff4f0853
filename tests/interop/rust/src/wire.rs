//! The language of puppets: one line, one command or event; bytes in hex, nothing as `-`.

use std::io::{BufRead, Write};
use std::sync::mpsc::{self, Receiver};

pub type Outcome = Result<(), Box<dyn std::error::Error>>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Binary,
}

pub enum Command {
    Connect(u16),
    Send(Kind, Vec<u8>),
    Begin(Kind, Vec<u8>),
    More(Vec<u8>),
    End(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    /// Code and reason, or neither.
    Close(Option<(u16, String)>),
    /// A text message that is none.
    BadText(Vec<u8>),
    /// A message that is not compressed whatever was agreed.
    Plain(Kind, Vec<u8>),
}

/// The commands, as they come. The channel ends with standard input.
pub fn commands() -> Receiver<Command> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || for_each_command(|command| sender.send(command).is_ok()));
    receiver
}

/// Calls `f` for each command until it says no.
pub fn for_each_command(mut f: impl FnMut(Command) -> bool) {
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { return };
        let Some(command) = parse(&line) else {
            say("cannot", &[&format!("understand {:.40}", line)]);
            continue;
        };
        if !f(command) {
            return;
        }
    }
}

fn parse(line: &str) -> Option<Command> {
    let words: Vec<_> = line.split_ascii_whitespace().collect();
    Some(match *words {
        ["connect", port] => Command::Connect(port.parse().ok()?),
        ["begin", kind, first] => Command::Begin(parse_kind(kind)?, from_hex(first)?),
        ["more", next] => Command::More(from_hex(next)?),
        ["end", last] => Command::End(from_hex(last)?),
        ["ping", payload] => Command::Ping(from_hex(payload)?),
        ["pong", payload] => Command::Pong(from_hex(payload)?),
        ["close"] => Command::Close(None),
        ["close", code, reason] => {
            Command::Close(Some((code.parse().ok()?, String::from_utf8(from_hex(reason)?).ok()?)))
        }
        ["badtext", bytes] => Command::BadText(from_hex(bytes)?),
        ["plain", kind, bytes] => Command::Plain(parse_kind(kind)?, from_hex(bytes)?),
        [kind, bytes] => Command::Send(parse_kind(kind)?, from_hex(bytes)?),
        _ => return None,
    })
}

fn parse_kind(word: &str) -> Option<Kind> {
    match word {
        "text" => Some(Kind::Text),
        "binary" => Some(Kind::Binary),
        _ => None,
    }
}

/// Says what happened.
pub fn say(event: &str, words: &[&str]) {
    let mut line = event.to_owned();
    for word in words {
        line.push(' ');
        line.push_str(word);
    }
    line.push('\n');
    let mut stdout = std::io::stdout().lock();
    // Nobody listens any more: the end of standard input is what ends a puppet.
    let _ = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
}

pub fn say_message(kind: Kind, payload: &[u8]) {
    say(if kind == Kind::Text { "text" } else { "binary" }, &[&hex(payload)]);
}

/// The end of a connection: what the other side's Close frame said.
pub fn say_closed(code: u16, reason: &[u8]) {
    say("closed", &[&code.to_string(), &hex(reason)]);
}

pub fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".into();
    }
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
    text
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text == "-" {
        return Some(Vec::new());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|&[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8)).collect()
}
