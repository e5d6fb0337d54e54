//! The keys whose values a record may hold.
//!
//! They are listed one by one, and none of them can hold a secret: numbers, times and names of steps. A test compares them
//! with the shipped configuration, so that no threshold is forgotten.

use std::time::Duration;

use crate::{
    config::{Config, Conversion, Limits, Rollout},
    ledger::{Field, Fields},
};

/// Each key with its value as text.
pub(super) fn thresholds(config: &Config) -> Fields {
    let (rollout, limits) = (rollout(&config.rollout), limits(&config.limits));
    rollout.into_iter().chain(limits).map(|(key, value)| (key.to_owned(), Field::Text(value))).collect()
}

type Row = (&'static str, String);

fn rollout(rollout: &Rollout) -> Vec<Row> {
    let approvals: Vec<&str> = rollout.approvals.iter().map(|stage| stage.as_str()).collect();
    let steps: Vec<String> = rollout.steps.iter().map(ToString::to_string).collect();
    let mut rows = vec![
        ("rollout.act", rollout.act.to_string()),
        ("rollout.steps", steps.join(", ")),
        ("rollout.interval", time(rollout.interval)),
        ("rollout.dwell", time(rollout.dwell)),
        ("rollout.samples", rollout.samples.to_string()),
        ("rollout.window", rollout.window.to_string()),
        ("rollout.p99", time(rollout.p99)),
        ("rollout.horizon", time(rollout.horizon)),
        ("rollout.approvals", approvals.join(", ")),
        ("rollout.four_eyes", rollout.four_eyes.to_string()),
        ("rollout.approval_expiry", time(rollout.approval_expiry)),
        ("rollout.cooldown", time(rollout.cooldown)),
        ("rollout.redigest", time(rollout.redigest)),
        ("rollout.standby", time(rollout.standby)),
        ("rollout.shadow.share", rollout.shadow.share.to_string()),
        ("rollout.shadow.min", time(rollout.shadow.min)),
        ("rollout.shadow.max", time(rollout.shadow.max)),
        ("rollout.shadow.matured", rollout.shadow.matured.to_string()),
        ("rollout.shadow.mirrored", rollout.shadow.mirrored.to_string()),
        ("rollout.paired.alpha", rollout.paired.alpha.to_string()),
        ("rollout.paired.leads", rollout.paired.leads.to_string()),
        ("rollout.paired.promote", rollout.paired.promote.to_string()),
        ("rollout.paired.reject", rollout.paired.reject.to_string()),
        ("rollout.training.gain", rollout.training.gain.to_string()),
        ("rollout.training.alpha", rollout.training.alpha.to_string()),
        ("rollout.training.margin", rollout.training.margin.to_string()),
        ("rollout.training.positives", rollout.training.positives.to_string()),
        ("rollout.training.ece", rollout.training.ece.to_string()),
        ("rollout.training.segment", rollout.training.segment.to_string()),
        ("rollout.training.slowdown", rollout.training.slowdown.to_string()),
    ];
    let names = ["rollout.benefit.alpha", "rollout.benefit.leads", "rollout.benefit.conversions"];
    rows.extend(conversion(names, &rollout.benefit));
    let names = ["rollout.harm.alpha", "rollout.harm.leads", "rollout.harm.conversions"];
    rows.extend(conversion(names, &rollout.harm));
    rows
}

fn conversion(names: [&'static str; 3], of: &Conversion) -> impl Iterator<Item = Row> {
    names.into_iter().zip([of.alpha.to_string(), of.leads.to_string(), of.conversions.to_string()])
}

fn limits(limits: &Limits) -> Vec<Row> {
    vec![
        ("limits.body", limits.body.to_string()),
        ("limits.deadline", time(limits.deadline)),
        ("limits.connect", time(limits.connect)),
        ("limits.upstream", limits.upstream.to_string()),
        ("limits.resolve", time(limits.resolve)),
        ("limits.answer", time(limits.answer)),
        ("limits.connections", limits.connections.to_string()),
        ("limits.in_flight", limits.in_flight.to_string()),
        ("limits.head", time(limits.head)),
        ("limits.idle", time(limits.idle)),
        ("limits.headers", limits.headers.to_string()),
        ("limits.head_size", limits.head_size.to_string()),
        ("limits.read", time(limits.read)),
        ("limits.stall", time(limits.stall)),
        ("limits.total", time(limits.total)),
        ("limits.drain", time(limits.drain)),
        ("limits.pause", time(limits.pause)),
        ("limits.refusals", limits.refusals.to_string()),
        ("limits.known", limits.known.to_string()),
        ("limits.known_age", time(limits.known_age)),
    ]
}

/// `1d`, `36h`, `250ms`: the greatest unit that leaves no fraction, as configurations write it.
fn time(time: Duration) -> String {
    const UNITS: [(&str, u128); 6] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1000),
    ];
    let nanos = time.as_nanos();
    let unit = UNITS.into_iter().find(|(_, length)| nanos >= *length && nanos.is_multiple_of(*length));
    match unit {
        Some((unit, length)) => format!("{}{unit}", nanos / length),
        None if nanos == 0 => "0s".to_owned(),
        None => format!("{nanos}ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_they_are_configured() {
        for (given, expected) in [
            (Duration::ZERO, "0s"),
            (Duration::from_micros(250), "250us"),
            (Duration::from_millis(1500), "1500ms"),
            (Duration::from_secs(90), "90s"),
            (Duration::from_secs(120), "2m"),
            (Duration::from_secs(86_400), "1d"),
            (Duration::from_secs(129_600), "36h"),
            (Duration::from_nanos(7), "7ns"),
        ] {
            assert_eq!(time(given), expected);
        }
    }

    /// Whoever adds a key to the file is told to name it above.
    #[test]
    fn every_key_of_the_shipped_configuration_is_listed_and_no_other() {
        let text = include_str!("../../config/leadwire.yaml");
        let config = Config::parse(text, &|_| None).unwrap();
        let listed = thresholds(&config);
        let mut section = "";
        let mut below = String::new();
        let mut keys = Vec::new();
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let Some((key, value)) = line.split_once(':') else { continue };
            match key.len() - key.trim_start().len() {
                0 => section = key,
                2 if value.trim().is_empty() => below = format!("{}.", key.trim()),
                2 => keys.push((section, format!("{section}.{}", key.trim()))),
                _ => keys.push((section, format!("{section}.{below}{}", key.trim()))),
            }
        }
        let of_file = keys.iter().filter(|(section, _)| ["rollout", "limits"].contains(section));
        let mut of_file: Vec<&str> = of_file.map(|(_, key)| key.as_str()).collect();
        of_file.sort_unstable();
        assert_eq!(listed.keys().map(String::as_str).collect::<Vec<_>>(), of_file);
        assert_eq!(listed.get("rollout.steps"), Some(&"10, 50, 100".into()));
    }
}
