//! A challenger on trial: what becomes of its leads, and what ends the trial at once.

/// What became of a lead that was assigned to an arm. The champion answers what the challenger could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArmOutcome {
    /// The arm's version answered.
    Scored,
    /// It panicked, or its score was not a number from 0 to 1.
    Failed,
    /// The deadline was over.
    Late,
    /// The lead does not hold what the version requires.
    Features,
    /// The version is out of service: it tripped, panicked too often or is not loaded.
    Out,
}

impl ArmOutcome {
    /// Every one, in the order of the variants.
    pub const ALL: [ArmOutcome; 5] =
        [ArmOutcome::Scored, ArmOutcome::Failed, ArmOutcome::Late, ArmOutcome::Features, ArmOutcome::Out];

    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            ArmOutcome::Scored => "scored",
            ArmOutcome::Failed => "failed",
            ArmOutcome::Late => "late",
            ArmOutcome::Features => "features",
            ArmOutcome::Out => "out",
        }
    }
}

/// Why a challenger was taken out of service at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TripReason {
    /// A score that was not a number from 0 to 1, of a lead that the champion could score.
    Score,
    /// Its files cannot be loaded any more.
    Load,
    /// It panicked three times within a minute.
    Poison,
    /// Too many leads of one minute failed.
    Errors,
    /// Too many leads of one minute took too long.
    Deadline,
}

impl TripReason {
    /// The word in metrics, logs and the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            TripReason::Score => "score",
            TripReason::Load => "load",
            TripReason::Poison => "poison",
            TripReason::Errors => "errors",
            TripReason::Deadline => "deadline",
        }
    }
}
