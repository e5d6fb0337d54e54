//! Which functions a sidecar runs: `.cargo/order.ld` tells the linker to lay them side by side.
//!
//! The kernel maps a program's file 64 KiB at a time around each page that is used, and a quarter of the functions, spread
//! over all of the file, keep more than half of it resident. What is new since the script was written only lies elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use super::{gates, peers::Place};

/// Where the linker finds it; `build.rs` names it.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.cargo/order.ld");

/// A sidecar runs more functions than that.
const LEAST: usize = 500;

/// Functions that are run for one type and stand there for a hundred, which cannot be told apart by name.
const MANY: [&str; 3] = [
    "_ZN4core5slice4sort6stable9quicksort9quicksort",
    "_ZN4core5slice4sort6stable5drift4sort",
    "_ZN42_$LT$$RF$T$u20$as$u20$core..fmt..Debug$GT$3fmt",
];

/// Writes the script anew.
pub fn write(program: &Path, place: &Place<'_>) -> anyhow::Result<()> {
    let symbols = gates::run_symbols(program, place)?;
    let of = |every: bool| {
        let symbols = symbols.iter().filter(move |(_, is_every)| **is_every == every);
        symbols.filter_map(|(symbol, _)| pattern(symbol)).collect::<BTreeSet<_>>()
    };
    // What a request runs lies closest: a processor at rest has to fetch it page by page.
    let (every, others) = (of(true), of(false));
    anyhow::ensure!(
        every.len() + others.len() > LEAST,
        "{} functions: {} has no symbols",
        every.len() + others.len(),
        program.display()
    );
    let mut script = String::from(
        "/* Functions that a sidecar runs, so that they lie side by side: first those that every request does. Written by\n   \
         benches/proxy/run --order. */\nSECTIONS {\n  .text.run : {\n",
    );
    for pattern in every.iter().chain(others.difference(&every)) {
        writeln!(script, "    *({pattern})")?;
    }
    script.push_str("  }\n}\nINSERT BEFORE .text;\n");
    fs::write(SCRIPT, script)?;
    println!("{} functions that every request runs, and {} others", every.len(), others.len());
    Ok(())
}

/// The sections that hold a function. The hash in a name of Rust's changes with each compiler, so it may be any.
fn pattern(symbol: &str) -> Option<String> {
    let hash = symbol.rfind("17h").filter(|_| symbol.starts_with("_ZN") && symbol.ends_with('E'));
    match hash.and_then(|at| symbol.get(..at)) {
        Some(name) if MANY.contains(&name) => None,
        Some(name) => Some(format!(".text.{name}17h* .text.unlikely.{name}17h*")),
        // What has no symbol is called `(below main)`, or by its address.
        None if symbol.starts_with("0x") || symbol.starts_with(['(', '?']) => None,
        None => Some(match symbol.rsplit_once('.') {
            // A copy of a function, numbered by the link.
            Some((name, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!(".text.{name}.*")
            }
            _ => format!(".text.{symbol}"),
        }),
    }
}

/// The functions of a program in what callgrind wrote of its threads, and how often each was called. It gives each name and each
/// file a number at its first mention.
pub fn calls(texts: &[String], program: &Path) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for text in texts {
        let (mut files, mut names) = (BTreeMap::new(), BTreeMap::new());
        // Where a function that is called stands is only told where that is another file.
        let (mut file, mut called) = ("", (None, ""));
        for line in text.lines() {
            let Some((kind, said)) = line.split_once('=') else { continue };
            if let ("calls", (Some(in_file), name)) = (kind, called) {
                let calls = said.split(' ').next().and_then(|calls| calls.parse().ok()).unwrap_or(0);
                count(&mut all, (in_file, name), calls, program);
                called = (None, "");
            }
            let Some((number, name)) = said.strip_prefix('(').and_then(|said| said.split_once(')')) else {
                continue;
            };
            let known = if kind.ends_with("ob") { &mut files } else { &mut names };
            if matches!(kind, "ob" | "cob" | "fn" | "cfn") && !name.is_empty() {
                known.insert(number, name.trim_start());
            }
            let found = known.get(number).copied().unwrap_or_default();
            match kind {
                "ob" => file = found,
                "cob" => called.0 = Some(found),
                "fn" => count(&mut all, (file, found), 0, program),
                "cfn" => called = (Some(called.0.unwrap_or(file)), found),
                _ => {}
            }
        }
    }
    all
}

/// What valgrind calls a file where a function stands in none of the sections that it knows, as those do that have an order.
const NO_FILE: &str = "???";

/// Of a function that calls itself there are some more, told apart by an apostrophe.
fn count(all: &mut BTreeMap<String, u64>, (file, name): (&str, &str), calls: u64, program: &Path) {
    let name = name.split('\'').next().unwrap_or_default();
    let is_ours = Path::new(file) == program || file == NO_FILE;
    if is_ours && !name.is_empty() {
        *all.entry(name.to_owned()).or_default() += calls;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_the_program_are_told_from_those_of_libraries() {
        let text = "ob=(1) /usr/lib/libc.so.6\nfn=(1) malloc\n0 1\ncob=(2) /bin/leadwire\ncfn=(2) _ZN3run17hE\ncalls=2 0\n0 9\n\
                    ob=(2)\nfn=(2)\n0 1\ncfn=(3) sqlite3_step\ncalls=5 0\n0 7\ncob=(1)\ncfn=(1)\ncalls=9 0\n0 4\n\
                    fn=(4) sqlite3_step'2\n0 1\nfn=(5) main\n0 1\nob=(3) ???\nfn=(6) _ZN4scan17hE\n";
        let called = calls(&[text.to_owned(), text.to_owned()], Path::new("/bin/leadwire"));
        let expected = [("_ZN3run17hE", 4), ("_ZN4scan17hE", 0), ("main", 0), ("sqlite3_step", 10)];
        assert_eq!(called, expected.map(|(name, calls)| (name.to_owned(), calls)).into());
    }

    #[test]
    fn a_name_of_rusts_is_known_under_any_hash() {
        let check = |symbol, expected: Option<&str>| assert_eq!(pattern(symbol).as_deref(), expected);
        check("_ZN3run17h0123456789abcdefE", Some(".text._ZN3run17h* .text.unlikely._ZN3run17h*"));
        check("sqlite3_step", Some(".text.sqlite3_step"));
        check("_RNvNtCs1_5alloc14box_new_uninit.949", Some(".text._RNvNtCs1_5alloc14box_new_uninit.*"));
        check("yy_reduce.constprop.0", Some(".text.yy_reduce.constprop.*"));
        check("(below main)", None);
        check("_ZN4core5slice4sort6stable5drift4sort17h0123456789abcdefE", None);
    }
}
