//! The states of a version, and the moves between them.

use std::fmt;

/// Where a version stands. It is in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It is there.
    Trained,
    /// It passed the gate.
    Validated,
    /// Scores every lead without answering.
    Shadow,
    /// Answers a share of the leads: the challenger.
    Canary,
    /// Answers by default: the champion.
    Production,
    /// A former champion, kept at hand.
    Standby,
    /// Put away.
    Archived,
    /// Failed the gate, or was worse as a shadow.
    Rejected,
    /// Failed while it was live. Only a person lets it out.
    Quarantined,
}

impl State {
    /// Every state.
    pub const ALL: [State; 9] = [
        State::Trained,
        State::Validated,
        State::Shadow,
        State::Canary,
        State::Production,
        State::Standby,
        State::Archived,
        State::Rejected,
        State::Quarantined,
    ];

    /// As ledger and interfaces write it, such as `"canary"`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Trained => "trained",
            State::Validated => "validated",
            State::Shadow => "shadow",
            State::Canary => "canary",
            State::Production => "production",
            State::Standby => "standby",
            State::Archived => "archived",
            State::Rejected => "rejected",
            State::Quarantined => "quarantined",
        }
    }

    /// Reads what [`State::as_str`] writes, and the stages of MLflow as what they come closest to.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "None" => Some(State::Trained),
            "Staging" => Some(State::Shadow),
            "Production" => Some(State::Production),
            "Archived" => Some(State::Archived),
            _ => Self::ALL.into_iter().find(|state| state.as_str() == text),
        }
    }

    /// The stage of MLflow that it is mirrored to.
    pub fn stage(self) -> &'static str {
        match self {
            State::Trained | State::Validated | State::Rejected => "None",
            State::Shadow | State::Canary => "Staging",
            State::Production => "Production",
            State::Standby | State::Archived | State::Quarantined => "Archived",
        }
    }

    /// Whether it scores leads, answering or not.
    pub fn is_live(self) -> bool {
        matches!(self, State::Shadow | State::Canary | State::Production)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What happens to a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// It passed the gate.
    Pass,
    /// It failed the gate.
    Fail,
    /// It becomes a shadow.
    Shadow,
    /// It is a shadow no longer, for no fault of its own.
    Withdraw,
    /// As a shadow it was worse.
    Reject,
    /// It gets its first share.
    Canary,
    /// It gets a greater share.
    Ramp,
    /// It serves all.
    Promote,
    /// Another version serves all.
    Supersede,
    /// A former champion serves again.
    Restore,
    /// It is taken out of service.
    RollBack,
    /// A person lets it out of quarantine.
    Clear,
    /// It is put away.
    Archive,
}

impl Move {
    /// Every move.
    pub const ALL: [Move; 13] = [
        Move::Pass,
        Move::Fail,
        Move::Shadow,
        Move::Withdraw,
        Move::Reject,
        Move::Canary,
        Move::Ramp,
        Move::Promote,
        Move::Supersede,
        Move::Restore,
        Move::RollBack,
        Move::Clear,
        Move::Archive,
    ];

    /// What a version in `from` lacks for this move.
    fn needs(self) -> &'static str {
        match self {
            Move::Pass | Move::Fail => "only a trained version goes through the gate",
            Move::Shadow => "a shadow has passed the gate",
            Move::Withdraw | Move::Reject => "it is no shadow",
            Move::Canary => "a canary was a shadow before",
            Move::Ramp | Move::Promote => "it is no canary",
            Move::Supersede => "it does not serve",
            Move::Restore => "only a former champion in standby serves again without a canary",
            Move::RollBack => "it is not live",
            Move::Clear => "it is not in quarantine",
            Move::Archive => "it is live, or archived already",
        }
    }

    /// The move as it is done to a version.
    fn done(self) -> &'static str {
        match self {
            Move::Pass => "validated",
            Move::Fail | Move::Reject => "rejected",
            Move::Shadow => "a shadow",
            Move::Withdraw => "withdrawn",
            Move::Canary => "a canary",
            Move::Ramp => "ramped up",
            Move::Promote => "promoted",
            Move::Supersede => "superseded",
            Move::Restore => "restored",
            Move::RollBack => "rolled back",
            Move::Clear => "cleared",
            Move::Archive => "archived",
        }
    }
}

/// Why a version cannot move so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version in {from} cannot be {}: {}", step.done(), step.needs())]
pub struct Why {
    /// Where it stands.
    pub from: State,
    /// What was to happen.
    pub step: Move,
}

/// Where a version in `from` is after `step`: the whole table of moves.
pub fn may(from: State, step: Move) -> Result<State, Why> {
    match (from, step) {
        (State::Trained, Move::Pass)
        | (State::Shadow, Move::Withdraw)
        | (State::Quarantined, Move::Clear) => Ok(State::Validated),
        (State::Trained, Move::Fail) | (State::Shadow, Move::Reject) => Ok(State::Rejected),
        (State::Validated, Move::Shadow) => Ok(State::Shadow),
        (State::Shadow, Move::Canary) | (State::Canary, Move::Ramp) => Ok(State::Canary),
        (State::Canary, Move::Promote) | (State::Standby, Move::Restore) => Ok(State::Production),
        (State::Production, Move::Supersede) => Ok(State::Standby),
        (State::Shadow | State::Canary | State::Production, Move::RollBack) => Ok(State::Quarantined),
        (
            State::Trained | State::Validated | State::Standby | State::Rejected | State::Quarantined,
            Move::Archive,
        ) => Ok(State::Archived),
        _ => Err(Why { from, step }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_they_are_written() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        for (stage, state) in [
            ("None", Some(State::Trained)),
            ("Staging", Some(State::Shadow)),
            ("Production", Some(State::Production)),
            ("Archived", Some(State::Archived)),
            ("staging", None),
            ("", None),
        ] {
            assert_eq!(State::parse(stage), state, "{stage}");
            assert!(state.is_none_or(|state| state.stage() == stage));
        }
    }

    #[test]
    fn the_table_of_moves() {
        use State::{
            Archived, Canary, Production, Quarantined, Rejected, Shadow, Standby, Trained, Validated,
        };
        let rows = [
            (Trained, "Pass validated, Fail rejected, Archive archived"),
            (Validated, "Shadow shadow, Archive archived"),
            (Shadow, "Withdraw validated, Reject rejected, Canary canary, RollBack quarantined"),
            (Canary, "Ramp canary, Promote production, RollBack quarantined"),
            (Production, "Supersede standby, RollBack quarantined"),
            (Standby, "Restore production, Archive archived"),
            (Archived, ""),
            (Rejected, "Archive archived"),
            (Quarantined, "Clear validated, Archive archived"),
        ];
        assert_eq!(rows.map(|(state, _)| state).len(), State::ALL.len());
        for (from, expected) in rows {
            let open = Move::ALL.iter().filter_map(|step| Some((step, may(from, *step).ok()?)));
            let open: Vec<_> = open.map(|(step, to)| format!("{step:?} {to}")).collect();
            assert_eq!(open.join(", "), expected, "{from}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_missing() {
        for (from, step, expected) in [
            (
                State::Trained,
                Move::Canary,
                "a version in trained cannot be a canary: a canary was a shadow before",
            ),
            (
                State::Quarantined,
                Move::Canary,
                "a version in quarantined cannot be a canary: a canary was a shadow before",
            ),
            (
                State::Production,
                Move::Archive,
                "a version in production cannot be archived: it is live, or archived already",
            ),
            (State::Shadow, Move::Promote, "a version in shadow cannot be promoted: it is no canary"),
        ] {
            assert_eq!(may(from, step).unwrap_err().to_string(), expected);
        }
    }
}
