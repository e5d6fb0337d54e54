//! What must be counted before a decision about a model can be reached.

use super::{
    decide::Memory,
    life::{ModelLife, StepSpan},
};

/// What to count, so that it answers [`decide`](super::decide()).
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted<'l> {
    /// The version that serves: pairs are made with it and no other.
    pub champion: &'l str,
    /// The canary, if one runs.
    pub canary: Option<WantedCanary<'l>>,
    /// Each shadow, and since when its pairs count.
    pub shadows: Vec<(&'l str, i64)>,
}

/// What to count of a canary.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedCanary<'l> {
    /// The challenger.
    pub version: &'l str,
    /// Since when its pairs count.
    pub pairs_ms: i64,
    /// Where the window begins; it ends now.
    pub window_ms: i64,
    /// The steps, each from its beginning to its end or to now.
    pub steps: &'l [StepSpan],
}

/// What to count now; `None` where nothing is on trial.
pub fn wanted<'l>(life: &'l ModelLife, memory: &Memory) -> Option<Wanted<'l>> {
    let champion = life.champion.as_deref()?;
    // A version that was a shadow, left and came back is judged by its last time only.
    let since = |version: &str| life.versions.get(version).and_then(|life| life.shadow_ms);
    let canary = life.experiment.as_ref().zip(life.step()).map(|(experiment, step)| WantedCanary {
        version: &experiment.version,
        pairs_ms: since(&experiment.version)
            .or(experiment.steps.first().map(|first| first.from_ms))
            .unwrap_or(step.from_ms),
        window_ms: memory.window_from_ms(step),
        steps: &experiment.steps,
    });
    let shadows = life.shadows.iter().filter_map(|shadow| Some((shadow.as_str(), since(shadow)?)));
    let wanted = Wanted { champion, canary, shadows: shadows.collect() };
    (wanted.canary.is_some() || !wanted.shadows.is_empty()).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::fixture::{HOUR, history};

    #[test]
    fn what_is_on_trial_is_wanted() {
        let champion = "0 x state.changed 3 to=production override=1\n";
        assert_eq!(wanted(&history(champion), &Memory::default()), None);
        assert_eq!(wanted(&history("1 x state.changed 4 to=shadow"), &Memory::default()), None);
        let life = history(&format!(
            "{champion}1 x state.changed 4 to=shadow\n2 x state.changed 5 to=shadow\n\
             3 x state.changed 5 to=validated\n4 x state.changed 5 to=shadow\n\
             9 x state.changed 4 to=canary pct=10\n19 x state.changed 4 to=canary pct=50"
        ));
        let wanted = wanted(&life, &Memory::default()).unwrap();
        assert_eq!((wanted.champion, wanted.shadows), ("3", vec![("5", 4 * HOUR)]));
        let canary = wanted.canary.unwrap();
        assert_eq!((canary.version, canary.pairs_ms, canary.window_ms), ("4", HOUR, 19 * HOUR));
        let steps = canary.steps.iter().map(|step| (step.percent, step.from_ms / HOUR, step.to_ms));
        assert_eq!(steps.collect::<Vec<_>>(), [(10, 9, Some(19 * HOUR)), (50, 19, None)]);
    }
}
