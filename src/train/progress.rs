//! Epochs and trials as they pass, and steps as they begin: a bar on a terminal, lines elsewhere.

use std::{
    io::{IsTerminal, Write, stderr},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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
    let (mut epochs, mut trials, mut spinner) = (epochs(), trials(), Spinner::default());
    move |progress| match progress {
        Progress::Step(step) => spinner.tell(step),
        Progress::Epoch(epoch) => {
            spinner.clear();
            epochs(epoch);
        }
        Progress::Trial(sought) => {
            spinner.clear();
            trials(sought);
        }
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
            let template = "{prefix:8} {bar:20} {pos}/{len}, at most {eta} more: {wide_msg}";
            let bar = new_bar(template, sought.trials).with_prefix(sought.network);
            bar.set_draw_target(ProgressDrawTarget::hidden());
            // What a search before had done took no time.
            bar.set_position(sought.done.saturating_sub(1) as u64);
            bar.reset_eta();
            bar
        });
        bar.set_position(sought.done as u64);
        bar.set_message(text);
        if bar.is_hidden() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
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

/// Reports steps on stderr, for an import's `progress`.
pub fn steps() -> impl FnMut(&str) {
    let mut spinner = Spinner::default();
    move |step: &str| spinner.tell(step)
}

/// The step that is being done. On a terminal it leaves nothing behind.
#[derive(Default)]
struct Spinner(Option<ProgressBar>);

impl Spinner {
    fn tell(&mut self, step: &str) {
        if !stderr().is_terminal() {
            // A closed stderr is no reason to stop.
            _ = writeln!(stderr(), "{step}");
            return;
        }
        let spinner = self.0.get_or_insert_with(|| {
            let spinner = ProgressBar::new_spinner();
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        });
        spinner.set_message(step.to_owned());
    }

    fn clear(&mut self) {
        self.0.take().iter().for_each(ProgressBar::finish_and_clear);
    }
}

fn new_bar(template: &str, length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(length as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
