//! Static against rolling training on leads that drift: the eight windows of the bank data, oldest first.

use std::path::Path;

use clap::Parser;

use crate::{
    goldens,
    lead::Sides,
    registry::{GateMode, GateVerdict, Version},
    stats,
    train::{
        Exam, GatePolicy, TrainOptions, command,
        dataset::Dataset,
        gate, input,
        judged::{self, View},
        publish,
    },
};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    options: TrainOptions,
}

fn options(out: &Path, kind: &str, windows: &[usize], unseen: Option<usize>) -> Option<TrainOptions> {
    let file = |window: &usize| goldens::path(&format!("data/bank_windows/w{window}.csv"));
    let mut line = ["train", "--target", "y", "--drop", "duration,row_id", "--seed", "7", "--kind", kind]
        .map(String::from)
        .to_vec();
    let mut put = |key: &str, path: &Path| line.extend([key.to_owned(), path.display().to_string()]);
    put("--out", out);
    for window in windows {
        put("--data", &file(window)?);
    }
    if let Some(window) = unseen {
        put("--valid", &file(&window)?);
    }
    Some(Command::parse_from(line).options)
}

/// A version trained on some windows, and the rows of another in its columns.
fn trained(kind: &str, windows: &[usize], unseen: usize) -> Option<(Version, Dataset)> {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("lead");
    let of = |unseen| {
        Some(input::prepare(&options(&folder, kind, windows, unseen)?.input, 7, ("lead", 0)).unwrap())
    };
    let (prepared, unseen) = (of(None)?, of(Some(unseen))?.valid);
    let options = options(&folder, kind, windows, None)?;
    let best = command::choose(&options, &prepared, None, &mut |_| {}).unwrap().best;
    let draft = publish::draft(command::origin(&options, &prepared, (None, None)), best.artefact()).unwrap();
    Some((draft.version(&folder).unwrap(), unseen))
}

fn scores(trained: &(Version, Dataset)) -> Vec<f64> {
    View::new(&trained.0.model, &trained.1).scores().unwrap()
}

/// What the gate says of the second against the first, on rows that neither saw.
fn judged(champion: &(Version, Dataset), challenger: &(Version, Dataset), mode: GateMode) -> GateVerdict {
    let labels = &challenger.1.labels;
    // The same rows in another order would be no pairs.
    assert_eq!(&champion.1.labels, labels);
    let kinds = judged::kinds(&challenger.0.manifest.schema, &challenger.1);
    let segments: Vec<_> =
        kinds.into_iter().map(|(feature, word, rows)| (format!("{feature}={word}"), rows)).collect();
    let exam = Exam {
        champion: "static",
        labels,
        scores: Sides { champion: &scores(champion), challenger: &scores(challenger) },
        segments: &segments,
        unmapped: &[],
    };
    gate(&exam, &GatePolicy { mode, ..GatePolicy::default() })
}

/// AUC from a window on of one that was trained once and of one that always knows the last two windows, and what the
/// gate says of the second.
fn table(kind: &str, first: usize) -> Option<Vec<[f64; 2]>> {
    let mut rows = Vec::new();
    eprintln!(
        "{kind}\n| window | converted | w1-2, never again | the last two windows | gate: gain | gate: not worse |\n|---|---|---|---|---|---|"
    );
    for window in first..=8 {
        let once = trained(kind, &[1, 2], window)?;
        let rolling = trained(kind, &[window - 2, window - 1], window)?;
        let auc = |trained: &(Version, Dataset)| stats::auc(&scores(trained), &trained.1.labels).unwrap();
        let row = [auc(&once), auc(&rolling)];
        let said = |mode| {
            let verdict = judged(&once, &rolling, mode);
            let failed: Vec<&str> = verdict.failed().map(|check| check.name.as_str()).collect();
            if failed.is_empty() { "passed".to_owned() } else { format!("failed: {}", failed.join(", ")) }
        };
        let converted = rolling.1.positives() as f64 / rolling.1.rows() as f64 * 100.0;
        let [before, now] = row;
        eprintln!(
            "| {window} | {converted:.1}% | {before:.3} | {now:.3} | {} | {} |",
            said(GateMode::Gain),
            said(GateMode::NotWorse)
        );
        rows.push(row);
    }
    Some(rows)
}

/// Logistic regression in the last windows takes seconds; families that are named in `$LEADWIRE_WINDOWS`, such as
/// `linear,mlp,trees`, are compared in all windows, which takes minutes without optimisation.
#[test]
fn a_rolling_retrain_beats_the_static_model_in_the_last_windows() {
    let named = std::env::var("LEADWIRE_WINDOWS").ok();
    let first = if named.is_some() { 3 } else { 6 };
    let kinds = named.unwrap_or_else(|| "linear".to_owned());
    for kind in kinds.split(',') {
        let Some(rows) = table(kind, first) else { return };
        let gains: Vec<f64> = rows.iter().skip(6 - first).map(|[before, now]| now - before).collect();
        let mean = gains.iter().sum::<f64>() / gains.len() as f64;
        assert!(mean > 0.05 && gains.iter().all(|gain| *gain > 0.0), "{kind}: {gains:?}");
    }
}
