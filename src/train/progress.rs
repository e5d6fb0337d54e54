//! Epochs and trials as they pass, and steps as they begin: a bar on a terminal, lines elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Epoch, Sought};

/// What is going on.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'p> {
    /// A step begins.
    Step(&'p str),
    /// A pass over the data is over.
    Epoch(Epoch),
    /// A trial of a search is over.
    Trial(Sought),
}

/// Reports all of it on stderr.
pub fn console() -> impl FnMut(Progress<'_>) {
    let (mut epochs, mut trials, mut steps) = (epochs(), trials(), steps());
    move |progress| match progress {
        Progress::Step(step) => steps(step),
        Progress::Epoch(epoch) => epochs(epoch),
        Progress::Trial(sought) => trials(sought),
    }
}

fn epochs() -> impl FnMut(Epoch) {
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
        let bar = bar.get_or_insert_with(|| {
            new_bar("{prefix:8} {bar:30} {pos}/{len} {msg}", epoch.epochs).with_prefix(epoch.network)
        });
        bar.set_position(epoch.epoch as u64);
        bar.set_message(text);
    }
}

fn trials() -> impl FnMut(Sought) {
    let mut bar: Option<ProgressBar> = None;
    let terminal = stderr().is_terminal();
    move |sought: Sought| {
        let text = sought.told();
        if !terminal {
            let _ = writeln!(stderr(), "{} trial {}/{}: {text}", sought.network, sought.done, sought.trials);
            return;
        }
        // The next family begins anew.
        if let Some(bar) = bar.take_if(|bar| bar.prefix() != sought.network) {
            bar.abandon();
        }
        let bar = bar.get_or_insert_with(|| {
            let template = "{prefix:8} {bar:30} trial {pos}/{len} {msg}, at most {eta} left";
            let bar = new_bar(template, sought.trials).with_prefix(sought.network);
            // What a search before had done took no time.
            bar.set_position(sought.done.saturating_sub(1) as u64);
            bar.reset_eta();
            bar
        });
        bar.set_position(sought.done as u64);
        bar.set_message(text);
    }
}

impl Sought {
    fn told(&self) -> String {
        let came = match (self.auc, self.pruned) {
            (None, _) => "failed".to_owned(),
            (Some(auc), false) => format!("{auc:.4}"),
            (Some(auc), true) => format!("ended early at {auc:.4}"),
        };
        let best = self.best.map(|best| format!(", best so far {best:.4}")).unwrap_or_default();
        format!("{came}{best}")
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

fn new_bar(template: &str, length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(length as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
