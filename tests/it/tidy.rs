//! The house rules: which room may import which, and that every file says what it is.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A room, and the rooms it may import. Rows in reading order; imports go up only.
const ROOMS: [(&str, &[&str]); 17] = [
    ("lead", &[]),
    ("stats", &[]),
    ("config", &["lead"]),
    ("recognise", &["lead", "config"]),
    ("score", &["lead", "stats"]),
    ("enrich", &["lead", "config"]),
    ("registry", &["lead", "config", "score"]),
    ("ledger", &["lead"]),
    ("rollout", &["lead", "config", "stats", "score", "registry", "ledger"]),
    ("telemetry", &["lead", "config"]),
    ("leadlog", &["lead", "config", "stats", "telemetry"]),
    (
        "proxy",
        &["lead", "config", "recognise", "score", "enrich", "registry", "rollout", "telemetry", "leadlog"],
    ),
    (
        "monitor",
        &["lead", "config", "stats", "score", "registry", "ledger", "rollout", "telemetry", "leadlog"],
    ),
    ("train", &["lead", "config", "stats", "score", "registry", "ledger", "leadlog"]),
    ("batch", &["lead", "config", "recognise", "score", "registry", "leadlog"]),
    (
        "admin",
        &[
            "lead",
            "stats",
            "config",
            "recognise",
            "score",
            "enrich",
            "registry",
            "ledger",
            "rollout",
            "telemetry",
            "leadlog",
            "monitor",
            "train",
        ],
    ),
    ("demo", &["lead", "config", "score", "registry", "proxy"]),
];

/// Rooms that know neither the network nor a runtime nor the clock.
const PURE: [&str; 5] = ["lead", "stats", "recognise", "score", "enrich"];

/// Crates that know one of them; not even their names appear.
const IMPURE_CRATES: [&str; 5] = ["tokio", "hyper", "rusqlite", "notify", "axum"];

/// Modules of std that do.
const IMPURE_STD: [&str; 3] = ["net", "fs", "env"];

/// Ways to ask for the time.
const CLOCKS: [&str; 2] = ["Instant::now", "SystemTime"];

#[test]
fn rooms_import_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    for (room, allowed) in ROOMS {
        for file in rust_files(&source().join(room)) {
            for imported in heads(&code(&file), "crate::") {
                // Reference data for unit tests is no room.
                if imported != room && imported != "goldens" && !allowed.contains(&imported.as_str()) {
                    wrong.push(format!("{} imports {imported}", relative(&file)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_table_names_every_room_in_reading_order() {
    let lib = fs::read_to_string(source().join("lib.rs")).unwrap();
    let listed: Vec<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let rooms: Vec<&str> = listed.iter().copied().filter(|room| source().join(room).is_dir()).collect();
    assert_eq!(rooms, ROOMS.map(|(room, _)| room));
    let folders =
        fs::read_dir(source()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let folders: BTreeSet<_> =
        folders.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(folders, rooms.iter().map(|room| (*room).to_owned()).collect());
    for (index, (room, allowed)) in ROOMS.iter().enumerate() {
        let above: Vec<&str> = ROOMS[..index].iter().map(|(room, _)| *room).collect();
        assert!(allowed.iter().all(|allowed| above.contains(allowed)), "{room} imports downwards");
    }
}

#[test]
fn pure_rooms_do_no_io_and_do_not_look_at_the_clock() {
    for room in PURE {
        for file in rust_files(&source().join(room)) {
            let code = code(&file);
            let code = code.split("#[cfg(test)]").next().unwrap();
            let found = impurities(code);
            let is_test_support =
                ["goldens.rs", "fixture.rs", "tests.rs"].iter().any(|name| relative(&file).ends_with(name));
            assert!(found.is_empty() || is_test_support, "{}: {found:?}", relative(&file));
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    let root = source().parent().unwrap().to_owned();
    let folders = ["src", "tests", "benches", "fuzz"].map(|folder| root.join(folder));
    let files: Vec<PathBuf> =
        folders.iter().filter(|folder| folder.exists()).flat_map(|folder| rust_files(folder)).collect();
    assert!(files.len() > 50);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} has no module doc", relative(&file));
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let found = |code: &str| heads(code, "crate::").into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(found("use crate::lead::Value;"), "lead");
    assert_eq!(found("use crate::{\n  config::{Field, a::B},\n  lead::Skip,\n};"), "config lead");
    assert_eq!(found("let x = crate::score::Scored {}; pub(crate) fn f() {}"), "score");
}

#[test]
fn impurities_are_found_in_every_form() {
    for (code, expected) in [
        ("use tokio::time;", "tokio"),
        ("use hyper as h;", "hyper"),
        ("extern crate axum;", "axum"),
        ("let x = rusqlite::Connection::open(p);", "rusqlite"),
        ("use std::fs;", "std::fs"),
        ("use std::{fmt, fs::File, io::{self}, net::{IpAddr}};", "std::fs std::net"),
        ("let now = std::time::Instant::now();", "Instant::now"),
        ("use std::{io, fmt}; let notifying = hyperbole + std::mem::take(x); condvar.notify_one();", ""),
    ] {
        assert_eq!(impurities(code).join(" "), expected, "{code}");
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn relative(file: &Path) -> String {
    file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().display().to_string()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // What cargo and the fuzzer make is not ours.
            if !path.ends_with("target") && !path.ends_with("artifacts") {
                files.extend(rust_files(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The file without its comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// What of the network, the disk, a runtime or the clock is named.
fn impurities(code: &str) -> Vec<String> {
    let words: BTreeSet<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let crates = IMPURE_CRATES.iter().filter(|name| words.contains(**name)).map(|name| (*name).to_owned());
    let modules = heads(code, "std::");
    let modules = modules.into_iter().filter(|module| IMPURE_STD.contains(&module.as_str()));
    let clocks = CLOCKS.iter().filter(|clock| code.contains(**clock)).map(|clock| (*clock).to_owned());
    crates.chain(modules.map(|module| format!("std::{module}"))).chain(clocks).collect()
}

/// The words that follow `root`, alone or in braces: rooms after `crate::`, modules after `std::`.
fn heads(code: &str, root: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for after in code.split(root).skip(1) {
        match after.strip_prefix('{') {
            None => found.extend([word(after)]),
            Some(group) => found.extend(group_heads(group)),
        }
    }
    found
}

/// The first word of every item at the top level of a brace group.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let (mut depth, mut at_start) = (0, true);
    for (index, c) in group.char_indices() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if depth == 0 && at_start && !c.is_whitespace() => {
                heads.push(word(&group[index..]));
                at_start = false;
            }
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
