//! What is to be done, about whom, and why.

use super::{
    orders::{Action, Grounds, LEADWIRE, Order},
    told::Told,
};
use crate::config::Stage;

/// Why a version is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A score was no number, or outside 0..=1.
    Score,
    /// Its files could not be loaded, or do not match their digest any more.
    Load,
    /// Its guard saw it fail too often within a minute, or panic.
    Guard,
    /// It did worse than the champion in three windows in a row.
    Windows,
    /// Its scores are spread differently.
    Shift,
    /// Fewer leads convert.
    Harm,
    /// It is worse on the same leads.
    Worse,
    /// It ranks matured leads worse.
    Auc,
    /// A person said so.
    Person,
}

impl Trigger {
    /// As the ledger writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Trigger::Score => "score",
            Trigger::Load => "load",
            Trigger::Guard => "guard",
            Trigger::Windows => "windows",
            Trigger::Shift => "shift",
            Trigger::Harm => "harm",
            Trigger::Worse => "worse",
            Trigger::Auc => "auc",
            Trigger::Person => "person",
        }
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Hold(Hold),
    /// The shadow answers its first share.
    Canary {
        /// The share.
        percent: u32,
    },
    /// The canary answers more.
    StepUp {
        /// The share.
        percent: u32,
    },
    /// The canary serves all.
    Promote {
        /// It was shown to be better; else a person answers for it.
        better: bool,
    },
    /// The version leaves, into quarantine: the champion answers everything, or the one before it if it was the champion.
    RollBack(Trigger),
    /// Shares stay what they are, and nothing is concluded, until a person has looked.
    Freeze,
    /// The shadow is worse, and leaves.
    Reject,
    /// A person is asked for leave.
    Ask(Stage),
    /// A former champion is put away.
    Archive,
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// There is nothing on trial.
    Idle,
    /// Nothing could be counted.
    Unmeasured,
    /// Too few leads came since the last look.
    NoData,
    /// The last window failed, but not yet enough of them.
    Failing,
    /// An objective is missed, and not for sure by the canary's fault.
    Breach,
    /// Shares are frozen.
    Frozen,
    /// A person paused it.
    Paused,
    /// The step or the shadow has not lasted long enough.
    Young,
    /// Too few leads were scored.
    Samples,
    /// The shadow does not run as it should.
    Operation,
    /// Another canary runs.
    Busy,
    /// The same artifact was rolled back not long ago.
    Quarantine,
    /// A person was asked and has not answered.
    Approval,
    /// A person said no.
    Denied,
    /// The gate before production is not passed.
    Gate,
    /// It should be rolled back, but the model was, automatically, not long ago: a person must look.
    Cooldown,
    /// It should be rolled back, but was once before, automatically: a person must look.
    Spent,
    /// The champion fails and nobody can take its place: the lesser evil serves.
    Alone,
}

/// Who should hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// Nobody.
    None,
    /// Whoever looks after the model, in office hours.
    Warning,
    /// Somebody, now.
    Critical,
}

/// What is to be done, about whom, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What.
    pub act: Act,
    /// About which version; empty where there is none.
    pub version: String,
    /// Who should hear of it.
    pub alarm: Alarm,
    /// Why, in words and numbers.
    pub told: Told,
}

impl Decision {
    pub(super) fn new(act: Act, version: &str, told: Told) -> Self {
        let alarm = match act {
            Act::RollBack(_) | Act::Freeze | Act::Hold(Hold::Cooldown | Hold::Spent | Hold::Alone) => {
                Alarm::Critical
            }
            Act::Reject | Act::Hold(Hold::Breach) => Alarm::Warning,
            _ => Alarm::None,
        };
        Self { act, version: version.to_owned(), alarm, told }
    }

    pub(super) fn hold(why: Hold, version: &str, told: Told) -> Self {
        Self::new(Act::Hold(why), version, told)
    }

    /// What goes first: safety, then what must wait for a person, then whatever moves.
    pub(super) fn rank(&self) -> u8 {
        match (self.act, self.alarm) {
            (Act::RollBack(_) | Act::Freeze, _) => 0,
            (_, Alarm::Critical) => 1,
            (Act::Hold(_), _) => 3,
            _ => 2,
        }
    }

    /// Whether it is another one than the last: a loop that holds for the same reason for days says so once.
    pub fn is_news(&self, last: Option<&Decision>) -> bool {
        last.is_none_or(|last| (last.act, &last.version, last.alarm) != (self.act, &self.version, self.alarm))
    }

    /// It as an order, with what speaks for it; `None` where nothing is to be done.
    pub fn order(&self, model: &str) -> Option<(Order, Grounds)> {
        let version = self.version.clone();
        let action = match self.act {
            Act::Hold(_) => return None,
            Act::Canary { percent } | Act::StepUp { percent } => Action::Canary(version, Some(percent)),
            Act::Promote { .. } => Action::Promote(version),
            Act::RollBack(_) => Action::Rollback { from: Some(version), to: None },
            Act::Freeze => Action::Freeze,
            Act::Reject => Action::Reject(version),
            Act::Ask(stage) => Action::Ask(version, stage),
            Act::Archive => Action::Archive(version),
        };
        let grounds = Grounds {
            better: self.act == Act::Promote { better: true },
            trigger: match self.act {
                Act::RollBack(trigger) => Some(trigger.as_str().to_owned()),
                _ => None,
            },
            numbers: self.told.fields(),
            found: None,
        };
        let (actor, why) = (LEADWIRE.to_owned(), self.told.said.clone());
        Some((Order { model: model.to_owned(), action, actor, why }, grounds))
    }
}
