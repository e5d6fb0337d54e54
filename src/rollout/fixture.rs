//! Histories for tests, one record a line: `HOURS ACTOR KIND VERSION FIELD=VALUE ..`.

use super::life::{Change, Detail, Life, ModelLife};

pub(crate) const HOUR: i64 = 3_600_000;

/// The life of the model `lead` after these records.
pub(crate) fn history(lines: &str) -> ModelLife {
    fold(lines).model("lead").cloned().unwrap_or_default()
}

pub(crate) fn fold(lines: &str) -> Life {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    Life::fold(lines.enumerate().map(|(index, line)| change(index as u64 + 1, line)))
}

fn change(seq: u64, line: &str) -> Change<'_> {
    let mut words = line.split_whitespace();
    let hours: f64 = words.next().unwrap().parse().unwrap();
    let (actor, kind, version) = (words.next().unwrap(), words.next().unwrap(), words.next());
    let fields = words.map(|word| {
        let (name, value) = word.split_once('=').unwrap();
        (name, value.parse().map_or(Detail::Text(value), Detail::Integer))
    });
    Change {
        seq,
        ts_ms: (hours * HOUR as f64) as i64,
        kind,
        model: Some("lead"),
        version: version.filter(|version| *version != "-"),
        actor,
        fields: fields.collect(),
    }
}
