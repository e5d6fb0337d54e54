//! What the evidence says of versions on trial at this moment, for whoever asks. Nothing is changed and nothing
//! remembered: the verdicts are those that decisions rest on, over the same counts. Only the window differs: here it is
//! all of the running step, since it is not known which part of it was judged before.

use std::fmt;

use serde::Serialize;

use super::{
    decide::{Memory, Situation, decide},
    decision::{Act, Decision},
    gate::{Case, Gate, gate, quantile_cutoffs, volumes},
    life::Experiment,
    told::{Numbers, Told, e6},
    verdict::{self, ConversionRuling, Operation, Quality, WindowVerdict},
};
use crate::lead::{Cutoffs, Evidence, Pairs, StepCounts};

/// What is known of a model's trials, and what would follow.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Review {
    /// The model.
    pub model: String,
    /// Who serves.
    pub champion: Option<String>,
    /// The canary first, then the shadows.
    pub trials: Vec<Tried>,
    /// What Leadwire would do now.
    pub next: Next,
    /// Whether it does that by itself: `rollout.act`.
    pub act: bool,
    /// Why nothing could be counted, if so.
    pub uncounted: Option<String>,
}

/// What is known of one version on trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// The version.
    pub version: String,
    /// `canary` or `shadow`.
    pub slot: &'static str,
    /// A canary's share of the leads.
    pub percent: Option<u32>,
    /// The verdicts.
    pub verdicts: Vec<Finding>,
    /// The checks of the gate before production.
    pub gate: Vec<Finding>,
    /// Cut-offs that would keep the shares of grades, where both versions scored leads and the champion's are known.
    pub cutoffs: Option<Kept>,
}

/// One verdict, or one check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Such as `benefit`.
    pub name: &'static str,
    /// What it comes to, such as `undecided`.
    pub ruling: &'static str,
    /// In a sentence.
    pub said: String,
    /// What that rests on.
    pub numbers: Numbers,
}

/// Cut-offs under which as many leads get each grade as before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kept {
    /// The champion's.
    pub champion: Cutoffs,
    /// Those for the version on trial.
    pub challenger: Cutoffs,
    /// Shares of the grades under the champion's cut-offs.
    pub before: String,
    /// The same if nobody changes them.
    pub unchanged: String,
    /// The same with those for the version.
    pub kept: String,
}

/// What would be done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Next {
    /// `hold`, `canary`, `step_up`, `promote`, `roll_back`, `freeze`, `reject`, `ask` or `archive`.
    pub act: &'static str,
    /// Which hold, share, trigger or transition.
    pub detail: Option<String>,
    /// About which version; empty where there is none.
    pub version: String,
    /// Why.
    pub why: String,
    /// What that rests on.
    pub numbers: Numbers,
}

/// Looks at a model as it stands. `cutoffs`: the champion's; `uncounted`: why there is no evidence.
pub fn review(
    model: &str,
    now: &Situation<'_>,
    cutoffs: Option<Cutoffs>,
    uncounted: Option<String>,
) -> Review {
    let (life, nothing) = (now.life, Evidence::default());
    let evidence = now.evidence.unwrap_or(&nothing);
    let canary = life.experiment.as_ref().map(|canary| now.canary(canary, evidence, cutoffs));
    let shadows = evidence.shadows.iter().map(|(version, pairs)| now.tried_shadow(version, pairs, cutoffs));
    // Without evidence there is nothing to tell but what is on trial, which `status` tells.
    let trials = canary.into_iter().chain(shadows).filter(|_| now.evidence.is_some());
    Review {
        model: model.to_owned(),
        champion: life.champion.clone(),
        trials: trials.collect(),
        next: Next::of(decide(now, &mut Memory::default())),
        act: now.policy.act,
        uncounted,
    }
}

impl Situation<'_> {
    fn canary(&self, canary: &Experiment, evidence: &Evidence, cutoffs: Option<Cutoffs>) -> Tried {
        let case = Case::of(canary, evidence, false, self.policy);
        let mut verdicts = Vec::new();
        if let Some(step) = evidence.steps.last() {
            let window = verdict::window(&evidence.window, step.arms.challenger.leads, self.policy);
            verdicts.extend([Finding::window(window, step), Finding::shares(step)]);
            verdicts.extend(Finding::shift(step));
        }
        let harm = verdict::conversion(canary.sound(&evidence.steps), &self.policy.harm);
        verdicts.push(Finding::new("harm", harm.ruling.as_str(), harm.told()));
        verdicts.push(Finding::new("benefit", case.benefit.ruling.as_str(), case.benefit.benefit()));
        verdicts.push(self.quality(&evidence.pairs));
        if let Some(auc) = evidence.pairs.auc {
            let ruling = if auc.upper < 0.0 { "worse" } else { "undecided" };
            let said = format!("AUC differs by {:+.4}, by {:+.4} at most", auc.difference, auc.upper);
            let numbers = [("auc_difference_e6", e6(auc.difference)), ("upper_e6", e6(auc.upper))];
            verdicts.push(Finding::new("auc", ruling, Told::new(said, numbers)));
        }
        Tried {
            version: canary.version.clone(),
            slot: "canary",
            percent: canary.steps.last().map(|step| step.percent),
            verdicts,
            gate: checks(case.gate),
            cutoffs: cutoffs.and_then(|cutoffs| Kept::of(&evidence.pairs, cutoffs)),
        }
    }

    fn tried_shadow(&self, version: &str, pairs: &Pairs, cutoffs: Option<Cutoffs>) -> Tried {
        let (ruling, told) = match verdict::operation(pairs, self.policy) {
            Operation::Pass(told) => ("pass", told),
            Operation::Waiting(told) => ("waiting", told),
            Operation::Fail(told) => ("fail", told),
        };
        Tried {
            version: version.to_owned(),
            slot: "shadow",
            percent: None,
            verdicts: vec![Finding::new("operation", ruling, told), self.quality(pairs)],
            gate: checks(gate(true, pairs, false, self.policy)),
            cutoffs: cutoffs.and_then(|cutoffs| Kept::of(pairs, cutoffs)),
        }
    }

    fn quality(&self, pairs: &Pairs) -> Finding {
        let quality = verdict::paired(&pairs.labelled, &self.policy.paired);
        let ruling = match quality.ruling {
            Quality::Better => "better",
            Quality::Worse => "worse",
            Quality::Undecided => "undecided",
            Quality::Insufficient => "insufficient",
        };
        Finding::new("quality", ruling, quality.told())
    }
}

impl Finding {
    fn new(name: &'static str, ruling: &'static str, told: Told) -> Self {
        Self { name, ruling, said: told.said, numbers: told.numbers }
    }

    fn window(window: WindowVerdict, step: &StepCounts) -> Self {
        let (ruling, told) = match window {
            WindowVerdict::Pass => {
                let leads = step.arms.challenger.leads;
                ("pass", Told::new(format!("nothing is wrong with {leads} leads of the running step"), []))
            }
            WindowVerdict::NoData(told) => ("no data", told),
            WindowVerdict::Breach(told) => ("breach", told),
            WindowVerdict::Fail(told) => ("fail", told),
        };
        Self::new("window", ruling, told)
    }

    fn shares(step: &StepCounts) -> Self {
        let shares = verdict::shares(step);
        Self::new("shares", if shares.is_off { "off" } else { "pass" }, shares.told())
    }

    /// `None` where too few leads were scored to compare.
    fn shift(step: &StepCounts) -> Option<Self> {
        let psi = verdict::shift(&step.scores)?;
        let ruling = if verdict::is_shifted(psi) { "fail" } else { "pass" };
        let told = Told::new(format!("scores against the champion's: PSI {psi:.2}"), [("psi_e6", e6(psi))]);
        Some(Self::new("shift", ruling, told))
    }
}

fn checks(gate: Gate) -> Vec<Finding> {
    let ruling = |is_passed| if is_passed { "pass" } else { "fail" };
    gate.checks
        .into_iter()
        .map(|check| Finding::new(check.name, ruling(check.is_passed), check.told))
        .collect()
}

impl Kept {
    fn of(pairs: &Pairs, cutoffs: Cutoffs) -> Option<Self> {
        let (champion, challenger) = (&pairs.scores.champion, &pairs.scores.challenger);
        let kept = quantile_cutoffs(champion, challenger, cutoffs);
        (champion.total() > 0 && challenger.total() > 0).then(|| Self {
            champion: cutoffs,
            challenger: kept,
            before: volumes(champion, cutoffs),
            unchanged: volumes(challenger, cutoffs),
            kept: volumes(challenger, kept),
        })
    }
}

impl Next {
    fn of(decision: Decision) -> Self {
        let Decision { act, version, told, .. } = decision;
        let percent = |percent| Some(format!("{percent}%"));
        let (act, detail) = match act {
            Act::Hold(why) => ("hold", Some(format!("{why:?}").to_lowercase())),
            Act::Canary { percent: share } => ("canary", percent(share)),
            Act::StepUp { percent: share } => ("step_up", percent(share)),
            Act::Promote { .. } => ("promote", None),
            Act::RollBack(trigger) => ("roll_back", Some(trigger.as_str().to_owned())),
            Act::Freeze => ("freeze", None),
            Act::Reject => ("reject", None),
            Act::Ask(stage) => ("ask", Some(stage.as_str().to_owned())),
            Act::Archive => ("archive", None),
        };
        Self { act, detail, version, why: told.said, numbers: told.numbers }
    }
}

impl ConversionRuling {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            ConversionRuling::Higher => "higher",
            ConversionRuling::Lower => "lower",
            ConversionRuling::Undecided => "undecided",
            ConversionRuling::Insufficient => "insufficient",
        }
    }
}

impl fmt::Display for Review {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, champion, trials, next, act, uncounted } = self;
        writeln!(f, "{model}: champion {}", champion.as_deref().unwrap_or("none"))?;
        if let Some(why) = uncounted {
            writeln!(f, "  nothing could be counted: {why}")?;
        }
        trials.iter().try_for_each(|tried| write!(f, "{tried}"))?;
        let would = if *act { "" } else { " (rollout.act is false, so a person must)" };
        write!(f, "  next: {}", next.act)?;
        next.detail.iter().try_for_each(|detail| write!(f, " {detail}"))?;
        writeln!(f, "{would}: {}", next.why)
    }
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {} {}", self.version, self.slot)?;
        self.percent.iter().try_for_each(|percent| write!(f, " at {percent}%"))?;
        writeln!(f)?;
        let line = |f: &mut fmt::Formatter<'_>, Finding { name, ruling, said, .. }: &Finding| {
            writeln!(f, "    {name:<12}{ruling:<13}{said}")
        };
        self.verdicts.iter().try_for_each(|finding| line(f, finding))?;
        writeln!(f, "   before production:")?;
        self.gate.iter().try_for_each(|finding| line(f, finding))?;
        self.cutoffs.iter().try_for_each(|kept| write!(f, "{kept}"))
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cutoffs { a, b, c } = self.challenger;
        writeln!(f, "   grades: {} so far; {} with the same cut-offs", self.before, self.unchanged)?;
        writeln!(f, "    A from {a:.3}, B from {b:.3}, C from {c:.3} would keep them: {}", self.kept)
    }
}
