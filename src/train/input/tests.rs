//! Tables made ready: split, ordered, read alike, refused.

use std::fmt::Write;

use clap::Parser;

use super::*;
use crate::{
    goldens,
    lead::Value,
    registry::{Background, Histogram, Version},
    train::{TrainOptions, TrainReport},
};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    options: TrainOptions,
}

fn options(line: &[String]) -> TrainOptions {
    Command::parse_from(["train".to_owned()].iter().chain(line)).options
}

/// Files in a folder of their own, and the options that name them.
fn with(files: &[&str], more: &str) -> (tempfile::TempDir, TrainOptions) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: String| folder.path().join(name).display().to_string();
    let mut line = vec!["--out".to_owned(), path("lead".into())];
    for (i, text) in files.iter().enumerate() {
        let path = path(i.to_string());
        std::fs::write(&path, text).unwrap();
        line.extend(["--data".to_owned(), path]);
    }
    line.extend(more.split_whitespace().map(|word| word.replace("DIR", folder.path().to_str().unwrap())));
    let options = options(&line);
    (folder, options)
}

fn prepared(files: &[&str], more: &str) -> Result<Prepared, String> {
    let (_folder, options) = with(files, more);
    prepare(&options.input, options.seed, ("lead", 0)).map_err(|error| error.to_string())
}

/// Ten leads a day, the day and the lead in the columns `n` and `i`.
fn days(days: std::ops::Range<usize>) -> String {
    let mut csv = "at,n,i,won\n".to_owned();
    for day in days {
        for i in 0..10 {
            writeln!(
                csv,
                "2026-11-{:02},{day}.5,{}.5,{}",
                day + 1,
                i * 7 % 10,
                usize::from((day * 7 + i * 3) % 5 < 2)
            )
            .unwrap();
        }
    }
    csv
}

fn numbers(dataset: &Dataset, column: &str) -> Vec<f64> {
    let place = dataset.columns.iter().position(|known| known.name == column).unwrap();
    let number = |row| match dataset.lead(row)[place] {
        Value::Number(number) => number,
        ref other => panic!("{other:?}"),
    };
    (0..dataset.rows()).map(number).collect()
}

#[test]
fn newer_rows_choose_and_the_newest_test() {
    let found = prepared(&[&days(0..20)], "--target won --time at").unwrap();
    let test = found.test.as_ref().unwrap();
    for (part, from, to, rows) in
        [(&found.train, 0.5, 11.5, 120), (&found.valid, 12.5, 15.5, 40), (test, 16.5, 19.5, 40)]
    {
        let days = numbers(part, "n");
        assert_eq!((days.first(), days.last(), days.len()), (Some(&from), Some(&to), rows));
        assert!(days.is_sorted());
        assert_eq!(part.columns.len(), 2, "neither time nor target");
    }
    assert_eq!(
        (found.told.split, found.told.parts, found.told.warnings.len()),
        (Split::Time, [120, 40, 40], 0)
    );
    let Snapshot { rows, positives, first_event, last_event, .. } = found.snapshot;
    assert_eq!((rows, positives), (200, 80));
    assert_eq!(first_event.as_deref(), Some("2026-11-01T00:00:00Z"));
    assert_eq!(last_event.as_deref(), Some("2026-11-20T00:00:00Z"));
}

#[test]
fn rows_of_one_time_stay_together() {
    // Four days: borders at 24 and 32 rows of 40 move to the next day.
    let parts = |text: &str| prepared(&[text], "--target won --time at").map(|found| found.told.parts);
    assert_eq!(
        parts(&days(0..4)).unwrap_err().split_once(": ").unwrap().1,
        "too few different times to set newer rows apart"
    );
    assert_eq!(parts(&days(0..6)), Ok([40, 10, 10]));
    assert!(parts(&days(0..1)).unwrap_err().contains("too few different times"));
    let numbered = days(0..20).replace("2026-11-", "");
    assert_eq!(parts(&numbered), Ok([120, 40, 40]));
    let wrong = days(0..20).replacen("2026-11-01", "soon", 1);
    assert!(parts(&wrong).unwrap_err().contains("line 2, column `at`: no time such as"));
    let never: String = days(0..20)
        .lines()
        .map(|line| {
            match line.starts_with("2026-11-20")
                || line.starts_with("2026-11-19")
                || line.starts_with("2026-11-18")
                || line.starts_with("2026-11-17")
            {
                true => format!("{}0\n", line.strip_suffix(['0', '1']).unwrap()),
                false => format!("{line}\n"),
            }
        })
        .collect();
    assert!(parts(&never).unwrap_err().contains("target `won` is never yes in the 40 newest rows"));
}

#[test]
fn without_a_time_rows_are_drawn_and_that_is_told() {
    let found = prepared(&[&days(0..20)], "--target won").unwrap();
    assert_eq!(
        (found.told.split, found.told.parts, found.test.is_none()),
        (Split::Random, [160, 40, 0], true)
    );
    assert!(found.told.warnings[0].contains("at random") && found.told.warnings[0].contains("--time"));
    assert_eq!(found.told.left_out[0].note, "holds dates");
    let other = prepared(&[&days(0..20)], "--target won --seed 1").unwrap();
    assert_ne!(numbers(&found.valid, "n"), numbers(&other.valid, "n"));
}

#[test]
fn the_same_leads_in_another_order_give_the_same_bytes() {
    let all = days(0..20);
    let (header, rows) = all.split_once('\n').unwrap();
    let (mut odd, mut even): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
    rows.lines()
        .rev()
        .enumerate()
        .for_each(|(i, row)| if i.is_multiple_of(3) { odd.push(row) } else { even.push(row) });
    let file = |rows: &[&str]| format!("{header}\n{}\n", rows.join("\n"));
    let bytes = |files: &[&str], more: &str| {
        let (folder, options) = with(files, &format!("--target won --kind linear {more}"));
        crate::train::run(&options, |_| {}).unwrap();
        let folder = folder.path().join("lead/1");
        let mut manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        // The names of the files are theirs.
        manifest["lineage"]["dataset"].take();
        manifest["lineage"]["snapshot"]["source"].take();
        (std::fs::read(folder.join(crate::registry::WEIGHTS)).unwrap(), manifest)
    };
    for more in ["--time at", "--seed 5"] {
        let expected = bytes(&[&all], more);
        assert!(bytes(&[&file(&odd), &file(&even)], more) == expected, "{more}");
        assert!(bytes(&[&file(&even), &file(&odd)], more) == expected, "{more}");
    }
}

#[test]
fn a_validation_file_must_be_alike() {
    let valid = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("valid");
        std::fs::write(&file, text).unwrap();
        prepared(&[&days(0..20)], &format!("--target won --drop at --valid {}", file.display()))
    };
    let found = valid("won,i,n,more,at\n1,2.5,3,x,\n0,4,-,x,\n0,9,5,x,\n1,9,5,x,\n1,9,5,x,\n1,9,5,x,\n1,9,5,x,\n1,9,5,x,\n1,9,5,x,\n1,9,5,x,\n").unwrap();
    assert_eq!((found.told.split, found.told.parts, found.valid.rows()), (Split::Files, [200, 10, 0], 10));
    let mut sorted = numbers(&found.valid, "i");
    sorted.sort_by(f64::total_cmp);
    assert_eq!(sorted[..3], [2.5, 4.0, 9.0]);
    let refused = |text: &str, expected: &str| {
        let error = valid(text).err().unwrap();
        assert!(error.contains(expected), "{error}");
    };
    refused("won,i,at\n1,2,\n0,4,\n", "column `n` is missing");
    refused(
        "won,i,n,at\n1,2,x,\n0,4,5,\n",
        "line 2, column `n`: not a finite number, as in the training rows",
    );
    refused("won,i,n,at\n0,2,1,\n0,4,5,\n", "target `won` is never yes in the 2 validation rows");
    refused("i,n,at\n2,1,\n", "column `won` is missing");
}

#[test]
fn columns_that_are_named_must_be_there() {
    let refused = |more: &str, expected: &str| {
        let error = prepared(&[&days(0..20)], more).err().unwrap();
        assert!(error.contains(expected), "{error}");
    };
    refused("--target lost", "column `lost` is missing");
    refused("--target won --id key", "column `key` is missing");
    refused("--target won --category kind", "column `kind` is missing");
    refused("--target won --time then", "column `then` is missing");
    refused("--target i", "column `i`: not one of 0, 1, yes, no, true, false");
    refused("--target won --drop at,n,i", "no column is left to learn from");
    refused("--target won --time at --allow-leakage at", "--allow-leakage: column `at` is no feature");
}

#[test]
fn columns_may_be_called_anything() {
    let names = ["a b", "x\ny", "\"q\"", "na\u{ef}ve", "[1]", "{k:v}", "a=b", "\u{7}\u{2028}\\", "f()"];
    // The last becomes the first, written without what a LightGBM file cannot hold.
    for names in [&names[..], &[&names[..], &["a,b"]].concat()] {
        let quoted = names.iter().map(|name| format!("\"{}\",", name.replace('"', "\"\"")));
        let mut csv = format!("{}\"\",won\n", quoted.collect::<String>());
        for i in 0..1_200 {
            let cell = |c: usize| match c % 2 {
                0 => format!("{}.5,", noise(i, c) % 50),
                _ => format!("{},", ["web\tx", "\"p,h\"", "fair"][noise(i, c) % 3]),
            };
            csv += &(0..names.len()).map(cell).collect::<String>();
            csv += &format!("{i},{}\n", usize::from(noise(i, 0) % 50 + noise(i, 99) % 30 > 40));
        }
        for kind in ["linear", "mlp", "ensemble", "trees", "best"] {
            let (_folder, report) = train(&csv, &format!("--target won --kind {kind}"));
            // Loading scores the golden samples again.
            let version = Version::load(&report.folder).unwrap();
            let read: Vec<_> = version.model.features().iter().map(|feature| &*feature.name).collect();
            let mut expected = names.to_vec();
            expected.sort_unstable();
            assert_eq!(read, expected);
            assert_eq!(report.input.left_out[0].note, "has no name");
            assert!(report.metrics.unwrap().auc > 0.85, "{kind}: {report}");
            assert!(!report.to_string().contains("x\ny"), "{report}");
        }
    }
}

#[test]
fn words_too_rare_to_know_are_not_missing() {
    let cell = |i: usize| if i % 10 < 3 { format!("village {i}") } else { format!("city {}", i % 4) };
    let row = |i: usize| match i % 20 {
        19 => format!(",{}\n", noise(i, 1) % 2),
        _ => format!("{},{}\n", cell(i), noise(i, 1) % 2),
    };
    let csv = format!("city,won\n{}", (0..500).map(row).collect::<String>());
    let (_folder, report) = train(&csv, "--target won --kind linear");
    let manifest = Version::load(&report.folder).unwrap().manifest;
    let Histogram::Category { counts, missing, unseen } = &manifest.baseline.features["city"] else {
        panic!("words");
    };
    assert_eq!((counts.len(), counts.values().sum::<u64>() + missing + unseen), (4, 400));
    assert!((110..=130).contains(unseen) && (10..=30).contains(missing), "{unseen} {missing}");
}

/// Small, fast and without a pattern.
fn noise(i: usize, seed: usize) -> usize {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ (seed as u64).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) as usize
}

/// What columns of the wide table hold, by turns.
const WIDE: [&str; 11] =
    ["num", "gap", "few", "city", "flag", "word", "money", "share", "yes", "euro", "comma"];

/// A cell of the wide table.
fn wide_cell(kind: &str, c: usize, at: impl Fn(usize) -> usize) -> String {
    let x = at(10 + c);
    match kind {
        "num" => format!("{}", x % 1000),
        "gap" if at(100 + c) % 10 < 7 => ["", "NA", "null"][at(c) % 3].to_owned(),
        "gap" => format!("{}.25", x % 90),
        "few" => ["1", "2", "unknown"][x % 3].to_owned(),
        // 500 of them, twenty of which half of the leads are from.
        "city" => format!("Köln {}", if x.is_multiple_of(2) { x / 2 % 500 } else { x / 2 % 20 }),
        "flag" => ["True", "False", ""][x % 3].to_owned(),
        "money" => format!("\"${},{:03}.50\"", x % 90 + 1, x / 90 % 1000),
        "share" => format!("{}.5 %", x % 100),
        "yes" => ["yes", "no"][x % 2].to_owned(),
        "euro" if x.is_multiple_of(5) => format!("{} €", x % 1000),
        "euro" => format!("\"{},{:03} €\"", x % 90 + 1, x / 90 % 1000),
        "comma" => format!("\"{},{}\"", x % 90, x / 90 % 10),
        _ => ["web", "phone", "fair", "partner"][x % 4].to_owned(),
    }
}

/// 37 columns as a CRM exports them: numbers in several forms, words, 500 cities, flags, dates, names, texts of several
/// lines, codes with leading zeros, phone numbers, constants, gaps. Leads convert by the first number, the channel and the
/// city, mostly.
fn wide(rows: usize) -> String {
    let mut header: Vec<String> = [
        "lead_id",
        "created",
        "closed_day",
        "owner",
        "comment",
        "source_system",
        "region_code",
        "phone",
        "deleted",
    ]
    .map(String::from)
    .into();
    header.extend((0..27).map(|c| format!("{}_{c}", WIDE[c % WIDE.len()])));
    header.push("converted".into());
    assert_eq!(header.len(), 37);
    let mut csv = header.join(",") + "\n";
    for i in 0..rows {
        let at = |seed: usize| noise(i, seed);
        let day = at(1) % 300;
        let mut cells = vec![
            format!("00Q{:09}", at(2)),
            format!("2026-{:02}-{:02}T{:02}:00:00Z", 1 + day / 28, 1 + day % 28, at(3) % 24),
            format!("{}.{:02}.2027", 1 + at(8) % 28, 1 + at(9) % 12),
            format!("Person {}", at(4)),
            format!("\"called,\n{} times\"", at(5)),
            "crm".to_owned(),
            format!("{:03}", at(6) % 40),
            format!("{}", 600_000_000 + at(30) % 99_999_999),
            String::new(),
        ];
        cells.extend((0..27).map(|c| wide_cell(WIDE[c % WIDE.len()], c, at)));
        let fair = 400 * usize::from((at(15) % 4) == 2);
        let big = 300 * usize::from(at(13) % 2 == 1 && at(13) / 2 % 20 < 8);
        let drive = at(10) % 1000 + fair + big + at(7) % 500;
        cells.push(if drive > 1100 { "Y" } else { "N" }.to_owned());
        csv.push_str(&cells.join(","));
        csv.push('\n');
    }
    csv
}

fn train(csv: &str, more: &str) -> (tempfile::TempDir, TrainReport) {
    let (folder, options) = with(&[csv], more);
    let report = crate::train::run(&options, |_| {}).unwrap();
    (folder, report)
}

/// Columns of the wide table that are no features, and why, without those that are named.
fn left_out(named: &str) -> Vec<(&'static str, &'static str)> {
    let differ = "differs in nearly every row: an id, a name or free text";
    let ids = "holds long whole numbers that differ in nearly every row: an id, a phone number or a time";
    let commas = "holds numbers such as 1,2 or 1,200: write 1.2 or 1200";
    let all = [
        ("closed_day", "holds dates"),
        ("comma_10", commas),
        ("comma_21", commas),
        ("comment", differ),
        ("created", "holds dates"),
        ("deleted", "is empty"),
        ("owner", differ),
        ("phone", ids),
        ("source_system", "is always the same"),
    ];
    all.into_iter().filter(|(column, _)| *column != named).collect()
}

#[test]
fn any_table_trains_with_nothing_said_but_target_and_id() {
    let csv = wide(1_500);
    // As another office exports it.
    let mut quoted = false;
    let separated = csv.chars().map(|c| {
        quoted ^= c == '"';
        if c == ',' && !quoted { ';' } else { c }
    });
    let other = separated.collect::<String>().replace('\n', "\r\n");
    for (csv, more, time) in [
        (&csv, "--kind linear", ""),
        (&csv, "--kind best --time created", "created"),
        (&other, "--kind trees --time closed_day", "closed_day"),
    ] {
        let (_folder, report) = train(csv, &format!("--target converted --id lead_id {more}"));
        let auc = report.test.or(report.metrics).unwrap().auc;
        assert!((0.75..0.98).contains(&auc), "{report}");
        assert!(report.candidates.iter().all(|candidate| candidate.auc > 0.7), "{report}");
        let out: Vec<_> = report.input.left_out.iter().map(|out| (&*out.column, &*out.note)).collect();
        assert_eq!(out, left_out(time), "a named time column is not left out but used");
        assert_eq!(report.features, 37 - 11, "{report}");
        let manifest = Version::load(&report.folder).unwrap().manifest;
        let number = |name: &str| matches!(manifest.background[name], Background::Number { .. });
        let numbers = ["money_6", "share_7", "euro_9", "few_2", "gap_1", "num_0"].map(number);
        assert_eq!((numbers, number("region_code")), ([true; 6], false));
        assert_eq!(manifest.lineage.left_out, report.input.left_out);
        assert_eq!(manifest.lineage.snapshot.as_ref(), Some(&report.input.snapshot));
        let text = String::from_utf8(manifest.to_bytes().unwrap()).unwrap();
        assert!(!text.contains("Person ") && !text.contains("called,"), "no names, no free text");
        let told = report.to_string();
        for expected in [
            "left out: `deleted` is empty",
            "words are known, the rest are read as unseen",
            "snapshot ",
            "AUC of one feature alone: num_0 ",
        ] {
            assert!(told.contains(expected), "{told}");
        }
    }
}

#[test]
fn a_column_that_looks_like_a_time_is_told_of() {
    let told = |csv: &str, more: &str| prepared(&[csv], &format!("--target won {more}")).unwrap().told;
    let one = told(&days(0..20), "");
    assert_eq!(one.time_like.as_deref(), Some("at"));
    assert!(one.warnings[0].ends_with("name the column of their time with --time: `at` looks like one"));
    let gap = days(0..20).replacen("2026-11-03", "", 1);
    assert_eq!(told(&gap, "").time_like, None, "each row needs one");
    let two: String =
        days(0..20).lines().map(|line| format!("{line},{}\n", &line[..line.find(',').unwrap()])).collect();
    assert_eq!(told(&two.replacen("won,at", "won,seen", 1), "").time_like, None, "either could be it");
    assert_eq!(told(&days(0..20), "--time at").time_like, None, "it is known");
}

#[test]
fn what_is_known_only_afterwards_stops_the_run() {
    let csv = wide(600);
    let leaking: String = csv
        .lines()
        .enumerate()
        .map(|(i, line)| match i {
            0 => format!("{line},won_amount\n"),
            _ if line.ends_with(",Y") => format!("{line},{}.5\n", noise(i, 9) % 900),
            _ if line.ends_with(",N") => format!("{line},\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let line = "--target converted --id lead_id --kind linear";
    let stopped = prepared(&[&leaking], line).err().unwrap();
    assert!(
        stopped.starts_with("leakage: column `won_amount` is filled in for one label only; a lead has"),
        "{stopped}"
    );
    let (_folder, report) = train(&leaking, &format!("{line} --allow-leakage won_amount"));
    assert!(report.input.warnings.iter().any(|warning| warning.contains("`won_amount`")), "{report}");
    assert_eq!(report.input.strongest[0].column, "won_amount");
}

/// On its own the length of a call ranks real leads like other features do; it is the whole that is too good with it.
#[test]
fn the_length_of_a_call_is_told_of_by_how_it_ranks() {
    let Some(file) = goldens::path("data/bank/train.csv") else { return };
    let line = format!("--data {} --target y --id row_id", file.display());
    let options = options(&line.split(' ').map(String::from).collect::<Vec<_>>());
    let told = prepare(&options.input, 7, ("lead", 0)).unwrap().told;
    let strongest = &told.strongest[0];
    assert_eq!(strongest.column, "duration");
    assert!((0.80..0.84).contains(&strongest.auc), "{strongest:?}");
    assert!(told.strongest[1].auc < strongest.auc - 0.02, "{told}");
}
