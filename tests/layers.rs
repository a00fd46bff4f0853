//! Who may know whom: the lines that DESIGN draws between the folders, held by reading the source.

use std::fs;
use std::path::Path;

/// A line of a source file as it counts: path from `src/`, number, code without comments.
struct Line {
    file: String,
    number: usize,
    code: String,
}

impl Line {
    fn place(&self) -> String {
        format!("src/{}:{}: {}", self.file, self.number, self.code.trim())
    }
}

/// The code of every file under `src/`, up to each file's test module (tests are its last item), which may use anything.
fn code() -> Vec<Line> {
    let mut lines = Vec::new();
    for (file, text) in files() {
        let all: Vec<&str> = text.lines().collect();
        // A `use` over several lines counts as one.
        let mut statement: Option<Line> = None;
        for (i, line) in all.iter().enumerate() {
            if *line == "#[cfg(test)]" && all.get(i + 1).is_some_and(|next| next.starts_with("mod tests")) {
                break;
            }
            let code = without_comment(line);
            let mut one = match statement.take() {
                Some(mut begun) => {
                    begun.code.push_str(code.trim());
                    begun
                }
                None => Line { file: file.clone(), number: i + 1, code: code.to_owned() },
            };
            if one.code.trim_start().trim_start_matches("pub ").starts_with("use ") && !one.code.contains(';') {
                one.code.push(' ');
                statement = Some(one);
            } else {
                lines.push(one);
            }
        }
    }
    assert!(lines.len() > 1000, "the source was found");
    lines
}

/// Cuts a comment off. A `//` inside a string (an URL) is preceded by a colon.
fn without_comment(line: &str) -> &str {
    let mut from = 0;
    while let Some(at) = line[from..].find("//") {
        let at = from + at;
        if !line[..at].ends_with(':') {
            return &line[..at];
        }
        from = at + 2;
    }
    line
}

/// Every file under `src/`, by its path from there.
fn files() -> Vec<(String, String)> {
    fn walk(folder: &Path, root: &Path, files: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, root, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
                files.push((name, fs::read_to_string(&path).expect("UTF-8")));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &root, &mut files);
    files.sort();
    files
}

/// Whether `code` names `word` as a whole identifier or path.
fn names(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let after = code[at + word.len()..].chars().next();
        let ends = !word.ends_with(part) || !after.is_some_and(part);
        ends && !code[..at].chars().next_back().is_some_and(part)
    })
}

fn found(what: &str, lines: Vec<String>) {
    assert!(lines.is_empty(), "{what}:\n{}", lines.join("\n"));
}

#[test]
fn only_time_and_net_read_a_clock() {
    let clocks = ["std::time::Instant", "SystemTime", "Clock", "elapsed"];
    let lines = code()
        .iter()
        .filter(|line| line.file != "time.rs" && !line.file.starts_with("net/"))
        .filter(|line| clocks.iter().any(|clock| names(&line.code, clock)))
        .map(Line::place)
        .collect();
    found("a clock is read outside `time.rs` and `net/`", lines);
}

#[test]
fn only_net_names_sockets_threads_logs_and_randomness() {
    let foreign = [
        "std::net",
        "std::thread",
        "std::fs",
        "std::process",
        "std::env",
        "std::os",
        "mio::",
        "socket2::",
        "log::",
        "tracing::",
        "println!",
        "eprintln!",
        "print!",
        "eprint!",
        "dbg!",
        "rand::",
        "getrandom::",
        "RandomState",
        "thread_local",
        "Mutex",
        "RwLock",
        "stdin",
        "stdout",
    ];
    let lines = code()
        .iter()
        .filter(|line| !line.file.starts_with("net/"))
        .filter(|line| foreign.iter().any(|word| names(&line.code, word)))
        .map(Line::place)
        .collect();
    found("outside `net/` nothing does I/O, locks, logs or rolls dice", lines);
}

/// Files at the root of `src/` that every protocol stands on.
const FOUNDATION: [&str; 5] = ["input", "output", "time", "heartbeat", "backoff"];

/// What else a file may name of the crate.
fn also(file: &str) -> &'static [&'static str] {
    match file {
        // Pools of its state are lent with them.
        "input.rs" | "output.rs" => &["deflate"],
        "lib.rs" => &["http", "sse", "ws", "poll", "hub", "client", "net"],
        "ws/deflate/negotiate.rs" => &["http", "deflate"],
        _ if file.starts_with("ws/handshake") || file == "sse/server.rs" || file == "sse/client.rs" => &["http"],
        _ if file.starts_with("sse/server/") || file.starts_with("sse/client/") => &["http"],
        _ if file.starts_with("ws/") => &["payload", "deflate"],
        _ if file.starts_with("sse/") => &["payload"],
        _ if file.starts_with("poll/") => &["http"],
        _ if file.starts_with("hub/") => &["ws", "sse", "poll"],
        _ if file.starts_with("client/") => &["http", "sse", "ws", "poll", "hub"],
        _ if file.starts_with("net/") => &["http", "sse", "ws", "poll", "hub", "client"],
        _ => &[],
    }
}

/// The modules of the crate that a line names: `crate::a::…`, and `crate::{a::…, b}` on one line.
fn modules(code: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let mut depth = 0;
        let mut word = String::new();
        // Before the first `::` of each member of a list stands the module.
        let mut head = true;
        for c in rest.chars().chain([';']) {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                _ if c.is_alphanumeric() || c == '_' => {
                    if head {
                        word.push(c);
                    }
                    continue;
                }
                _ => {}
            }
            if head && !word.is_empty() {
                modules.push(std::mem::take(&mut word));
            }
            head = depth == 1 && (c == '{' || c == ',') || c == ' ' && head;
            if depth == 0 {
                break;
            }
        }
    }
    modules
}

#[test]
fn the_reader_of_paths_finds_the_modules() {
    assert_eq!(modules("use crate::input::Input;"), ["input"]);
    assert_eq!(modules("use crate::{input::Input, http, output::{Full, Output}};"), ["input", "http", "output"]);
    assert_eq!(modules("fn f(x: crate::ws::Event, y: crate::Output)"), ["ws", "Output"]);
    assert!(modules("use super::header;").is_empty());
    assert!(names("use std::thread;", "std::thread") && !names("catalog::log2", "log::") && names("log::warn!", "log"));
    assert_eq!(without_comment("let a = \"http://b\"; // c"), "let a = \"http://b\"; ");
}

#[test]
fn protocols_know_only_the_foundation_and_themselves() {
    let mut lines = Vec::new();
    for line in code() {
        let own = line.file.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        for module in modules(&line.code) {
            // `crate::Output` and the like are re-exports of the foundation.
            let type_of_root = module.starts_with(|c: char| c.is_uppercase());
            let known = type_of_root
                || module == own
                || FOUNDATION.contains(&module.as_str())
                || also(&line.file).contains(&module.as_str());
            if !known {
                lines.push(line.place());
            }
        }
        // `super::super::` would be a way around.
        let depth = line.file.matches('/').count();
        if line.code.matches("super::").count() > depth.max(1) {
            lines.push(line.place());
        }
    }
    found("a module names one that it must not know", lines);
}

#[test]
fn the_foundation_knows_no_protocol() {
    let known = |module: &str, file: &str| {
        module.starts_with(|c: char| c.is_uppercase()) || FOUNDATION.contains(&module) || also(file).contains(&module)
    };
    let lines = code()
        .iter()
        .filter(|line| FOUNDATION.contains(&line.file.trim_end_matches(".rs")))
        .filter(|line| modules(&line.code).iter().any(|module| !known(module, &line.file)))
        .map(Line::place)
        .collect();
    found("the foundation stands below every protocol", lines);
}

/// The one file that may hold unsafe code.
const LEAF: &str = "payload/leaf.rs";

#[test]
fn unsafe_code_stands_in_one_leaf_and_every_block_says_why() {
    let mut blocks = 0;
    for (file, text) in files() {
        let lines: Vec<&str> = text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let code = without_comment(line);
            if names(code, "unsafe_code") {
                let deny = file == "lib.rs" && code == "#![deny(unsafe_code)]";
                assert!(deny || file == LEAF, "src/{file}:{}: {line}", i + 1);
            }
            if !names(code, "unsafe") {
                continue;
            }
            blocks += 1;
            assert_eq!(file, LEAF, "src/{file}:{}: unsafe code outside the leaf", i + 1);
            let why = lines[..i]
                .iter()
                .rev()
                .take_while(|line| line.trim().starts_with("//"))
                .any(|line| line.contains("SAFETY:"));
            assert!(why, "src/{file}:{}: unsafe code without a SAFETY comment", i + 1);
        }
    }
    assert!(blocks > 0, "the leaf was found");
}

#[test]
fn the_core_is_no_std() {
    let (_, lib) = files().into_iter().find(|(file, _)| file == "lib.rs").expect("lib.rs");
    assert!(lib.contains("#![no_std]") && lib.contains("#![deny(unsafe_code)]"));
}

#[test]
fn no_file_has_over_800_lines() {
    let lines: Vec<String> = files()
        .iter()
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, count)| *count > 800)
        .map(|(file, count)| format!("src/{file}: {count}"))
        .collect();
    found("a file of more than 800 lines is two files", lines);
}
