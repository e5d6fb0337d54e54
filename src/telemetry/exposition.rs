//! What /metrics shows beside the counters: stages from their HDR histograms, loaded versions and queue depth, all read
//! when somebody asks.

use std::fmt::Write;

use super::{
    latency::{Latency, Stage},
    metrics::Metrics,
    scores::escaped,
};

/// A loaded version, for `leadwire_model_info`.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// The model's name.
    pub model: String,
    /// The version.
    pub version: String,
    /// The slot it holds.
    pub slot: &'static str,
    /// The manifest's digest.
    pub digest: String,
    /// It is out of service, because it panicked too often.
    pub poisoned: bool,
}

/// What is counted only when somebody asks.
#[derive(Clone, Copy, Debug)]
pub struct Levels {
    /// Records in memory that wait for the lead log.
    pub queue_depth: usize,
    /// Bytes of them.
    pub queue_bytes: u64,
    /// Leads whose last score is remembered.
    pub leads_known: usize,
}

/// Upper bounds in seconds: 1 µs to 10 s in steps of 1, 2.5 and 5, so that 0.25 µs of scoring and 50 ms of a slow CRM
/// both land between bounds.
const BOUNDS: [f64; 23] = [
    250e-9, 500e-9, 1e-6, 2.5e-6, 5e-6, 10e-6, 25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3,
    10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0, 2.5, 10.0,
];

/// All metrics as Prometheus text, version 0.0.4.
pub fn render(metrics: &Metrics, latency: &Latency, models: &[ModelInfo], levels: Levels) -> String {
    let Levels { queue_depth, queue_bytes, leads_known } = levels;
    let mut text = metrics.render();
    stages(&mut text, latency);
    model_info(&mut text, models);
    model_poisoned(&mut text, models);
    // Writing to a String does not fail, here and below.
    _ = writeln!(text, "# HELP leadwire_queue_depth Records in memory that wait for the lead log.");
    _ = writeln!(text, "# TYPE leadwire_queue_depth gauge\nleadwire_queue_depth {queue_depth}");
    _ = writeln!(
        text,
        "# HELP leadwire_queue_bytes Bytes of the records in memory that wait for the lead log."
    );
    _ = writeln!(text, "# TYPE leadwire_queue_bytes gauge\nleadwire_queue_bytes {queue_bytes}");
    _ = writeln!(text, "# HELP leadwire_leads_known Leads whose last score is remembered.");
    _ = writeln!(text, "# TYPE leadwire_leads_known gauge\nleadwire_leads_known {leads_known}");
    text
}

fn stages(text: &mut String, latency: &Latency) {
    _ = writeln!(text, "# HELP leadwire_stage_seconds Time spent in each stage of a request.");
    _ = writeln!(text, "# TYPE leadwire_stage_seconds histogram");
    for stage in Stage::ALL {
        let (label, histogram) = (stage.as_str(), latency.snapshot(stage));
        for bound in BOUNDS {
            let count = histogram.count_between(0, (bound * 1e9) as u64);
            _ = writeln!(text, "leadwire_stage_seconds_bucket{{stage=\"{label}\",le=\"{bound}\"}} {count}");
        }
        let (count, seconds) = (histogram.len(), histogram.mean() * histogram.len() as f64 / 1e9);
        _ = writeln!(text, "leadwire_stage_seconds_bucket{{stage=\"{label}\",le=\"+Inf\"}} {count}");
        _ = writeln!(text, "leadwire_stage_seconds_sum{{stage=\"{label}\"}} {seconds}");
        _ = writeln!(text, "leadwire_stage_seconds_count{{stage=\"{label}\"}} {count}");
    }
}

fn model_info(text: &mut String, models: &[ModelInfo]) {
    _ = writeln!(text, "# HELP leadwire_model_info Versions that are loaded; always 1.");
    _ = writeln!(text, "# TYPE leadwire_model_info gauge");
    for ModelInfo { model, version, slot, digest, .. } in models {
        let [model, version] = [model, version].map(|label| escaped(label));
        _ = writeln!(
            text,
            "leadwire_model_info{{model=\"{model}\",version=\"{version}\",slot=\"{slot}\",digest=\"{digest}\"}} 1"
        );
    }
}

fn model_poisoned(text: &mut String, models: &[ModelInfo]) {
    _ = writeln!(text, "# HELP leadwire_model_poisoned Whether a version is out of service for its panics.");
    _ = writeln!(text, "# TYPE leadwire_model_poisoned gauge");
    for ModelInfo { model, version, poisoned, .. } in models {
        let [model, version] = [model, version].map(|label| escaped(label));
        let value = u8::from(*poisoned);
        _ = writeln!(text, "leadwire_model_poisoned{{model=\"{model}\",version=\"{version}\"}} {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn buckets_are_cumulative_and_every_family_is_described() {
        let (metrics, latency) = (Metrics::default(), Latency::default());
        metrics.route("lead.create").skip(crate::lead::Skip::Parse);
        let mut recorder = latency.recorder();
        recorder.record(Stage::Score, Duration::from_nanos(300));
        recorder.record(Stage::Score, Duration::from_millis(20));
        drop(recorder);
        let (model, version, digest) = ("lead".into(), "a\"b".into(), "00".into());
        let info = ModelInfo { model, version, slot: "champion", digest, poisoned: true };
        let text =
            render(&metrics, &latency, &[info], Levels { queue_depth: 3, queue_bytes: 900, leads_known: 7 });
        for line in [
            "leadwire_stage_seconds_bucket{stage=\"score\",le=\"0.00000025\"} 0",
            "leadwire_stage_seconds_bucket{stage=\"score\",le=\"0.0000005\"} 1",
            "leadwire_stage_seconds_bucket{stage=\"score\",le=\"0.025\"} 2",
            "leadwire_stage_seconds_count{stage=\"score\"} 2",
            "leadwire_model_info{model=\"lead\",version=\"a\\\"b\",slot=\"champion\",digest=\"00\"} 1",
            "leadwire_model_poisoned{model=\"lead\",version=\"a\\\"b\"} 1",
            "leadwire_skipped_total{route=\"lead.create\",reason=\"parse\"} 1",
            "leadwire_queue_depth 3",
            "leadwire_queue_bytes 900",
            "leadwire_leads_known 7",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        let families =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).map(|line| line.split(' ').next());
        for family in families.flatten() {
            assert!(text.contains(&format!("# HELP {family} ")), "{family} is not described");
        }
    }
}
