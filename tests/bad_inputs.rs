//! Every row of `docs/BAD_INPUTS.md` whose part exists has a test that carries its id.

use std::fs;
use std::path::{Path, PathBuf};

/// The families of rows whose part exists.
const FAMILIES: &str = "HFUCDKSLRQXB";

/// Rows of those families that wait: of B all but what concerns one process, for the links to other servers.
const WAITING: [&str; 7] = ["B1", "B3", "B4", "B5", "B6", "B7", "B8"];

#[test]
fn every_row_has_a_test_that_carries_its_id() {
    let table = fs::read_to_string("docs/BAD_INPUTS.md").unwrap();
    let rows = rows(&table);
    assert!(rows.len() > 100, "the table was read: {rows:?}");

    let tests = tests();
    let has_test = |row: &str| tests.iter().any(|(_, name)| carries(name, row));
    let missing: Vec<_> = rows.iter().filter(|(row, _)| !WAITING.contains(row) && !has_test(row)).collect();
    assert!(missing.is_empty(), "no test carries the id of {missing:?}");
    let needless: Vec<_> = WAITING.iter().filter(|row| has_test(row)).collect();
    assert!(needless.is_empty(), "{needless:?} wait no longer");
}

#[test]
fn the_tests_that_a_row_names_exist_and_carry_its_id() {
    let table = fs::read_to_string("docs/BAD_INPUTS.md").unwrap();
    let tests = tests();
    for (row, named) in rows(&table) {
        let named: Vec<&str> = named.split('`').filter(|name| name.contains("::")).collect();
        assert_eq!(named.is_empty(), WAITING.contains(&row), "{row} names its test");
        for name in named {
            let (file, function) = name.split_once("::").unwrap();
            let exists = tests.iter().any(|(path, test)| test == function && is_at(path, file));
            assert!(exists && carries(function, row), "{row} names {name}");
        }
    }
}

/// The rows of the families whose part exists: the id and the last column.
fn rows(table: &str) -> Vec<(&str, &str)> {
    let rows = table.split("## What others do").next().unwrap();
    rows.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .filter_map(|line| Some((line.split_once(" | ")?.0, line.rsplit_once(" | ")?.1)))
        .filter(|(id, _)| id.starts_with(|family| FAMILIES.contains(family)) && id[1..].parse::<u32>().is_ok())
        .collect()
}

/// Whether a file is the one that a row calls so: `http_head`, `example_server` for its `main.rs`, `src/ws/close`.
fn is_at(path: &Path, file: &str) -> bool {
    let at = if file.starts_with("src/") { PathBuf::from(file) } else { Path::new("tests").join(file) };
    path == at.with_extension("rs") || path == at.join("main.rs")
}

/// Whether a test's name has the row's id as a word: `h5_…`, `h05_…`, `…_h5_…`, or a range `h14_to_h21` around it.
fn carries(name: &str, row: &str) -> bool {
    let (family, number) = (row[..1].to_lowercase(), row[1..].parse::<u32>().unwrap());
    let words: Vec<&str> = name.split('_').collect();
    let id = |word: &str| word.strip_prefix(&*family)?.parse::<u32>().ok();
    let ranges =
        words.windows(3).filter(|three| three[1] == "to").filter_map(|three| Some(id(three[0])?..=id(three[2])?));
    words.iter().any(|word| id(word) == Some(number)) || ranges.into_iter().any(|range| range.contains(&number))
}

/// All tests: file and name.
fn tests() -> Vec<(PathBuf, String)> {
    let mut tests = Vec::new();
    for folder in ["tests", "src"] {
        collect(Path::new(folder), &mut tests);
    }
    tests
}

/// The names of all functions marked as tests below `folder`.
fn collect(folder: &Path, tests: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                match line.strip_prefix("fn ") {
                    Some(function) if marked => {
                        tests.extend(function.split('(').next().map(|name| (path.clone(), name.to_owned())));
                    }
                    _ => {}
                }
                marked = line == "#[test]" || (marked && line.starts_with("#["));
            }
        }
    }
}
