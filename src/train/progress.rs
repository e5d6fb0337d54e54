//! Epochs as they pass, and steps as they begin: a bar on a terminal, lines elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::Epoch;

/// Reports epochs on stderr, for `run`'s `progress`.
pub fn console() -> impl FnMut(Epoch) {
    let mut bar: Option<ProgressBar> = None;
    let terminal = stderr().is_terminal();
    move |epoch: Epoch| {
        let text = format!("loss {:.4}, validation AUC {:.4}", epoch.loss, epoch.auc);
        if !terminal {
            // A closed stderr is no reason to stop training.
            let _ = writeln!(stderr(), "{} epoch {}/{}: {text}", epoch.network, epoch.epoch, epoch.epochs);
            return;
        }
        // The next network starts again at 1.
        if let Some(bar) = bar.take_if(|_| epoch.epoch == 1) {
            bar.abandon();
        }
        let bar = bar.get_or_insert_with(|| new_bar(&epoch));
        bar.set_position(epoch.epoch as u64);
        bar.set_message(text);
    }
}

/// Reports steps on stderr, for an import's `progress`. On a terminal they leave nothing behind.
pub fn steps() -> impl FnMut(&str) {
    let bar = stderr().is_terminal().then(ProgressBar::new_spinner);
    if let Some(bar) = &bar {
        bar.enable_steady_tick(Duration::from_millis(100));
    }
    move |step: &str| match &bar {
        Some(bar) => bar.set_message(step.to_owned()),
        // A closed stderr is no reason to stop.
        None => _ = writeln!(stderr(), "{step}"),
    }
}

fn new_bar(epoch: &Epoch) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:8} {bar:30} {pos}/{len} {msg}");
    ProgressBar::new(epoch.epochs as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_prefix(epoch.network)
}
