//! Latency per stage, in HDR histograms.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hdrhistogram::{Histogram, SyncHistogram, sync::Recorder};
use serde::Serialize;

/// The stages of a request on a route. `Total` covers every request, matched or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Body to features.
    Recognise,
    /// Features to scores, all leads of the request.
    Score,
    /// Scores to patched bytes.
    Enrich,
    /// Request sent to answer's head received.
    Upstream,
    /// Request's head received to answer's head ready.
    Total,
}

impl Stage {
    /// All of them, in order.
    pub const ALL: [Stage; 5] =
        [Stage::Recognise, Stage::Score, Stage::Enrich, Stage::Upstream, Stage::Total];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Recognise => "recognise",
            Stage::Score => "score",
            Stage::Enrich => "enrich",
            Stage::Upstream => "upstream",
            Stage::Total => "total",
        }
    }
}

/// Longest latency told apart; longer ones count as this.
const MAX_NANOS: u64 = 600_000_000_000;

/// Two digits: a histogram of 1 ns to 10 min takes 34 KiB instead of 280, and 1% is finer than any of it is repeatable.
const DIGITS: u8 = 2;

/// A busy worker hands its histogram over with its next record. An idle one is not waited for, since probes wait behind
/// whoever reads; what it holds is in the next reading after its next record.
const REFRESH: Duration = Duration::from_millis(1);

/// The stages' histograms since the process started. Recorders feed it without locks; reading merges them.
#[derive(Debug)]
pub struct Latency {
    stages: [Mutex<SyncHistogram<u64>>; 5],
}

impl Default for Latency {
    fn default() -> Self {
        Self { stages: Stage::ALL.map(|_| Mutex::new(histogram().into_sync())) }
    }
}

impl Latency {
    /// A recorder for one worker.
    pub fn recorder(&self) -> StageRecorder {
        let recorders = self.stages.each_ref().map(|stage| locked(stage).recorder());
        StageRecorder { recorders }
    }

    /// The stage's latencies so far.
    pub fn snapshot(&self, stage: Stage) -> Histogram<u64> {
        let Some(stage) = self.stages.get(stage as usize) else { return histogram() };
        let mut merged = locked(stage);
        merged.refresh_timeout(REFRESH);
        (**merged).clone()
    }

    /// Percentiles of every stage.
    pub fn report(&self) -> Vec<StageReport> {
        Stage::ALL.map(|stage| StageReport::new(stage, &self.snapshot(stage))).into()
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MAX_NANOS, DIGITS).expect("constants within what the crate takes")
}

fn locked(stage: &Mutex<SyncHistogram<u64>>) -> std::sync::MutexGuard<'_, SyncHistogram<u64>> {
    stage.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One worker's end of the histograms.
#[derive(Debug)]
pub struct StageRecorder {
    recorders: [Recorder<u64>; 5],
}

impl StageRecorder {
    /// Counts one latency; a few nanoseconds.
    pub fn record(&mut self, stage: Stage, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(MAX_NANOS);
        if let Some(recorder) = self.recorders.get_mut(stage as usize) {
            recorder.saturating_record(nanos);
        }
    }
}

/// Percentiles of one stage, in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    /// The stage.
    pub stage: &'static str,
    /// How many were measured.
    pub count: u64,
    /// Mean.
    pub mean_us: f64,
    /// Half were faster.
    pub p50_us: f64,
    /// 90 of 100 were faster.
    pub p90_us: f64,
    /// 99 of 100 were faster.
    pub p99_us: f64,
    /// 999 of 1,000 were faster.
    pub p999_us: f64,
    /// 9,999 of 10,000 were faster.
    pub p9999_us: f64,
    /// The slowest.
    pub max_us: f64,
}

impl StageReport {
    fn new(stage: Stage, histogram: &Histogram<u64>) -> Self {
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            stage: stage.as_str(),
            count: histogram.len(),
            mean_us: histogram.mean() / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            p9999_us: at(0.9999),
            max_us: histogram.max() as f64 / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_workers_record_is_what_the_report_shows() {
        let latency = Latency::default();
        let mut recorders = [latency.recorder(), latency.recorder()];
        for micros in 1..=100 {
            for recorder in &mut recorders {
                recorder.record(Stage::Score, Duration::from_micros(micros));
            }
        }
        recorders[0].record(Stage::Total, Duration::from_secs(3600));
        drop(recorders);
        let report = latency.report();
        let score = report.iter().find(|report| report.stage == "score").unwrap();
        assert_eq!(score.count, 200);
        assert!((score.p50_us - 50.0).abs() <= 1.0 && (score.p99_us - 99.0).abs() <= 1.0, "{score:?}");
        let total = report.iter().find(|report| report.stage == "total").unwrap();
        assert!(total.max_us >= 599e6, "an endless request counts as the longest: {total:?}");
    }

    #[test]
    fn a_reading_between_two_records_loses_neither() {
        let latency = Latency::default();
        let mut idle = latency.recorder();
        idle.record(Stage::Score, Duration::from_micros(1));
        latency.report();
        idle.record(Stage::Score, Duration::from_micros(1));
        assert_eq!(latency.snapshot(Stage::Score).len(), 2);
    }
}
