//! Which functions a sidecar runs: `.cargo/order.ld` tells the linker to lay them side by side.
//!
//! The kernel maps a program's file 64 KiB at a time around each page that is used, and a quarter of the functions, spread
//! over all of the file, keep more than half of it resident. What is new since the script was written only lies elsewhere.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

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
    let mut patterns: Vec<String> = symbols.iter().filter_map(|symbol| pattern(symbol)).collect();
    patterns.sort();
    patterns.dedup();
    let mut script = String::from(
        "/* Functions that a sidecar runs, so that they lie side by side. Written by benches/proxy/run --order. */\n\
         SECTIONS {\n  .text.run : {\n",
    );
    anyhow::ensure!(
        patterns.len() > LEAST,
        "{} functions: {} has no symbols",
        patterns.len(),
        program.display()
    );
    for pattern in &patterns {
        writeln!(script, "    *({pattern})")?;
    }
    script.push_str("  }\n}\nINSERT BEFORE .text;\n");
    fs::write(SCRIPT, script)?;
    println!("{} functions", patterns.len());
    Ok(())
}

/// The sections that hold a function. The hash in a name of Rust's changes with each compiler, so it may be any.
fn pattern(symbol: &str) -> Option<String> {
    let hash = symbol.rfind("17h").filter(|_| symbol.starts_with("_ZN") && symbol.ends_with('E'));
    match hash.and_then(|at| symbol.get(..at)) {
        Some(name) if MANY.contains(&name) => None,
        Some(name) => Some(format!(".text.{name}17h* .text.unlikely.{name}17h*")),
        // What has no symbol is called `(below main)`, or by its address.
        None if symbol.starts_with("0x") || symbol.starts_with('(') => None,
        None => Some(match symbol.rsplit_once('.') {
            // A copy of a function, numbered by the link.
            Some((name, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!(".text.{name}.*")
            }
            _ => format!(".text.{symbol}"),
        }),
    }
}

/// The functions of a program in what callgrind wrote, which gives each name and each file a number at its first mention.
pub fn symbols(text: &str, program: &Path) -> Vec<String> {
    let (mut files, mut names) = (BTreeMap::new(), BTreeMap::new());
    let (mut is_ours, mut run) = (false, Vec::new());
    for line in text.lines() {
        let Some((kind, said)) = line.split_once("=(") else { continue };
        let Some((number, name)) = said.split_once(')') else { continue };
        let known = match kind {
            "ob" | "cob" => &mut files,
            "fn" | "cfn" => &mut names,
            _ => continue,
        };
        if !name.is_empty() {
            known.insert(number, name.trim_start());
        }
        match kind {
            "ob" => is_ours = files.get(number).is_some_and(|file| Path::new(file) == program),
            "fn" if is_ours => run.push(number),
            _ => {}
        }
    }
    // Of a function that calls itself there are some more, told apart by an apostrophe.
    let name = |number| names.get(number).and_then(|name: &&str| name.split('\'').next());
    run.into_iter().filter_map(name).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_the_program_are_told_from_those_of_libraries() {
        let text = "ob=(1) /usr/lib/libc.so.6\nfn=(1) malloc\n0 1\ncob=(2) /bin/leadwire\ncfn=(2) _ZN3run17hE\ncalls=1 0\n\
                    ob=(2)\nfn=(2)\n0 1\nfn=(3) sqlite3_step'2\n";
        assert_eq!(symbols(text, Path::new("/bin/leadwire")), ["_ZN3run17hE", "sqlite3_step"]);
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
