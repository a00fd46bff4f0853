//! Every row of `docs/BAD_INPUTS.md` whose part exists has a test that carries its id.

use std::fs;
use std::path::Path;

/// The families of rows whose part exists.
const FAMILIES: &str = "HFUCKDSRQ";

/// Rows of those families that wait: S11 and S14 for the hub.
const WAITING: [&str; 2] = ["S11", "S14"];

#[test]
fn every_row_has_a_test_that_carries_its_id() {
    let table = fs::read_to_string("docs/BAD_INPUTS.md").unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .map(|(id, _)| id.trim())
        .filter(|id| id.starts_with(|family| FAMILIES.contains(family)) && id[1..].parse::<u32>().is_ok())
        .collect();
    assert!(rows.len() > 100, "the table was read: {rows:?}");

    let mut tests = Vec::new();
    for folder in ["tests", "src"] {
        collect(Path::new(folder), &mut tests);
    }
    let missing: Vec<_> = rows.iter().filter(|row| !WAITING.contains(row) && !has_test(row, &tests)).collect();
    assert!(missing.is_empty(), "no test carries the id of {missing:?}");
    let needless: Vec<_> = WAITING.iter().filter(|row| has_test(row, &tests)).collect();
    assert!(needless.is_empty(), "{needless:?} wait no longer");
}

/// Whether a test's name has the row's id as a word: `h5_…`, `h05_…`, `…_h5_…`, or a range `h14_to_h21` around it.
fn has_test(row: &str, tests: &[String]) -> bool {
    let (family, number) = (row[..1].to_lowercase(), row[1..].parse::<u32>().unwrap());
    tests.iter().any(|name| {
        let words: Vec<&str> = name.split('_').collect();
        let id = |word: &str| word.strip_prefix(&*family)?.parse::<u32>().ok();
        let ranges =
            words.windows(3).filter(|three| three[1] == "to").filter_map(|three| Some(id(three[0])?..=id(three[2])?));
        words.iter().any(|word| id(word) == Some(number)) || ranges.into_iter().any(|range| range.contains(&number))
    })
}

/// The names of all functions marked as tests below `folder`.
fn collect(folder: &Path, tests: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, tests);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut marked = false;
            for line in text.lines().map(str::trim) {
                match line.strip_prefix("fn ") {
                    Some(function) if marked => tests.extend(function.split('(').next().map(str::to_owned)),
                    _ => {}
                }
                marked = line == "#[test]" || (marked && line.starts_with("#["));
            }
        }
    }
}
