//! The leads that the gate looks at: newer than all that the champion was made of, where there are enough of them.
//!
//! A champion looks better than it is on leads that it was fitted, chosen or calibrated on. That is safe, for a new version
//! has a harder time of it, but unfair; so it is said wherever it cannot be helped.

use super::{GatePolicy, input::Newest};
use crate::registry::{GateMode, Holdout, Snapshot, Version};

/// Leads that two versions are compared on.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Compared {
    /// Rows of the newest leads, rising.
    rows: Vec<usize>,
    /// What is to be known of them.
    pub(super) holdout: Holdout,
}

impl Compared {
    /// Picks them from the newest leads; `least` conversions are enough to do without the older ones.
    pub(super) fn new(newest: &Newest, labels: &[bool], champion: &Version, least: u64) -> Self {
        let end = champion.manifest.lineage.snapshot.as_ref().and_then(end);
        Self::after(end, (&champion.id.version, least), newest, labels)
    }

    fn after(end: Option<&str>, (champion, least): (&str, u64), newest: &Newest, labels: &[bool]) -> Self {
        let (all, digest) = (labels.len(), newest.digest.clone());
        let every = || (0..all).collect();
        let known = end.and_then(|end| Some((end, newest.times.after(end)?)));
        let Some((end, newer)) = known else {
            let note = format!(
                "it is not known when the leads of version {champion} ended: it looks better than it is if it was fitted or \
                 calibrated on some of these"
            );
            return Self {
                rows: every(),
                holdout: Holdout { digest, seen: None, comparisons: 1, notes: vec![note] },
            };
        };
        let seen = all.saturating_sub(newer.len());
        let converted = newer.iter().filter(|row| labels.get(**row) == Some(&true)).count();
        let (rows, seen, notes) = match () {
            () if seen == 0 => (newer, 0, Vec::new()),
            () if converted as u64 >= least => {
                let note = format!(
                    "{} of the {all} newest leads are newer than those that version {champion} was fitted or calibrated on, up \
                     to {end}; only they are compared on",
                    newer.len()
                );
                (newer, 0, vec![note])
            }
            () => {
                let note = format!(
                    "version {champion} was fitted or calibrated on leads up to {end}: on {seen} of these {all} it looks better \
                     than it is, and the {} newer ones are too few ({converted} converted, {least} are enough)",
                    newer.len()
                );
                (every(), seen as u64, vec![note])
            }
        };
        Self { rows, holdout: Holdout { digest, seen: Some(seen), comparisons: 1, notes } }
    }

    /// Says how often versions were compared on these very leads: whoever tries again and again is lucky in the end.
    pub(super) fn again(&mut self, comparisons: u64, policy: &GatePolicy) {
        self.holdout.comparisons = comparisons;
        if comparisons > 1 {
            let (unfit, alpha) = match policy.mode {
                GateMode::Gain => ("no better".to_owned(), policy.alpha),
                // Above the lower end of a 95% interval.
                GateMode::NotWorse => (format!("worse by {}", policy.margin), 0.025),
            };
            let times = i32::try_from(comparisons).unwrap_or(i32::MAX);
            let odds = 1.0 / (1.0 - (1.0 - alpha).powi(times));
            self.holdout.notes.push(format!(
                "this is comparison {comparisons} on these very leads: of {comparisons} versions that are {unfit}, chance \
                 passes one in up to 1 of {odds:.0} cases; newer leads would tell"
            ));
        }
    }

    /// The values of these leads, of one for each of the newest.
    pub(super) fn of<T: Copy>(&self, all: &[T]) -> Vec<T> {
        self.rows.iter().filter_map(|row| all.get(*row).copied()).collect()
    }

    /// Where some of the newest leads stand among these.
    pub(super) fn places(&self, rows: &[usize]) -> Vec<usize> {
        rows.iter().filter_map(|row| self.rows.binary_search(row).ok()).collect()
    }
}

/// Before versions said what they had seen, all their leads count as such.
fn end(snapshot: &Snapshot) -> Option<&str> {
    snapshot.seen_until.as_deref().or(snapshot.last_event.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{table::Table, times::Times};

    /// Ten leads, a second each from 10 s on, of which every other converted.
    fn compared(end: Option<&str>, least: u64) -> Compared {
        let millis = (10..20).map(|second| 1_793_577_600_000.0 + f64::from(second) * 1000.0);
        let times = Times::of_millis(millis.collect());
        let newest = Newest { table: Table::default(), times, digest: "ab".into() };
        let labels: Vec<bool> = (0..10).map(|row| row % 2 == 1).collect();
        Compared::after(end, ("3", least), &newest, &labels)
    }

    #[test]
    fn only_leads_that_the_champion_has_not_seen_are_compared_on_where_they_are_enough() {
        let check = |end, least, expected: (usize, Option<u64>, &str)| {
            let Compared { rows, holdout } = compared(end, least);
            let note = holdout.notes.first().map_or("", String::as_str);
            assert_eq!((rows.len(), holdout.seen), (expected.0, expected.1), "{end:?} {note}");
            assert!(note.contains(expected.2) && note.is_empty() == expected.2.is_empty(), "{end:?} {note}");
        };
        check(Some("2026-11-02T00:00:09Z"), 5, (10, Some(0), ""));
        check(Some("2026-11-02T00:00:12Z"), 4, (7, Some(0), "7 of the 10 newest leads are newer"));
        let few = "on 3 of these 10 it looks better than it is, and the 7 newer ones are too few (4 converted, 5 are enough)";
        check(Some("2026-11-02T00:00:12Z"), 5, (10, Some(3), few));
        check(Some("2027-01-01T00:00:00Z"), 1, (10, Some(10), "on 10 of these 10"));
        check(Some("41185"), 1, (10, None, "it is not known when the leads of version 3 ended"));
        check(None, 1, (10, None, "it is not known"));
    }

    #[test]
    fn what_is_told_of_all_is_told_of_these() {
        let newer = compared(Some("2026-11-02T00:00:16Z"), 1);
        let all: Vec<usize> = (0..10).collect();
        assert_eq!((newer.of(&all), newer.places(&[0, 7, 9])), (vec![7, 8, 9], vec![0, 2]));
    }

    #[test]
    fn whoever_tries_again_is_told_how_often_luck_is_enough() {
        let check = |comparisons, mode, expected: &str| {
            let mut compared = compared(Some("2026-11-02T00:00:09Z"), 5);
            compared.again(comparisons, &GatePolicy { mode, ..GatePolicy::default() });
            let told = compared.holdout.notes.join("");
            assert!(told.contains(expected) && told.is_empty() == expected.is_empty(), "{told}");
            assert_eq!(compared.holdout.comparisons, comparisons);
        };
        use GateMode::{Gain, NotWorse};
        check(1, Gain, "");
        check(2, Gain, "of 2 versions that are no better, chance passes one in up to 1 of 10 cases");
        check(14, Gain, "1 of 2 cases");
        check(2, NotWorse, "of 2 versions that are worse by 0.005, chance passes one in up to 1 of 20 cases");
        check(u64::MAX, Gain, "1 of 1 cases");
    }

    #[test]
    fn a_version_that_does_not_say_what_it_has_seen_has_seen_all() {
        let snapshot = |seen: Option<&str>| Snapshot {
            source: "a.csv".into(),
            rows: 9,
            positives: 3,
            first_event: Some("1".into()),
            last_event: Some("9".into()),
            seen_until: seen.map(String::from),
            label_cutoff: None,
            digest: "ab".into(),
        };
        assert_eq!((end(&snapshot(None)), end(&snapshot(Some("7")))), (Some("9"), Some("7")));
    }
}
