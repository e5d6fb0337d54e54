//! Versions on trial: what becomes of a challenger's leads, what ends its trial at once, and how a shadow fails.

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
    /// The version is out of service: it tripped, panicked too often or is not loaded. Or the other arm's leads of the same
    /// request took all the time.
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
    /// Every one, in the order of the variants.
    pub const ALL: [TripReason; 5] =
        [TripReason::Score, TripReason::Load, TripReason::Poison, TripReason::Errors, TripReason::Deadline];

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

/// Why a version that scores along has no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowError {
    /// It is not a number from 0 to 1.
    Score,
    /// The version panicked.
    Panic,
    /// The lead lacks a feature that the version requires, and not the one that answered.
    Features,
}

impl ShadowError {
    /// Every one, in the order of the variants.
    pub const ALL: [ShadowError; 3] = [ShadowError::Score, ShadowError::Panic, ShadowError::Features];

    /// The word in metrics and the lead log.
    pub fn as_str(self) -> &'static str {
        match self {
            ShadowError::Score => "score",
            ShadowError::Panic => "panic",
            ShadowError::Features => "features",
        }
    }
}
