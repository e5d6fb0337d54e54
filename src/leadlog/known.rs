//! What is known of leads from their last score: for updates, which hold only what changed, for reads, and for trends.
//!
//! A table of fixed size with four places for each hash: workers read and write it without a lock, and a fifth lead takes
//! the place of the one that was scored longest ago. Forgetting is harmless: such a lead is one that was never seen.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwapOption;

use super::packed::Packed;
use crate::lead::{Assignment, Grade, LeadId, ModelId, Score, Value};

/// Leads by model and id.
#[derive(Debug)]
pub struct Known {
    /// The places, made by the first lead that needs them: nobody pays for a table that is not used.
    pages: Box<[OnceLock<Box<[Set]>>]>,
    sets: usize,
    hasher: RandomState,
    age_ms: i64,
}

type Set = [ArcSwapOption<Memory>; WAYS];

const WAYS: usize = 4;

/// Sets that are made at once: 4 KiB.
const PAGE: usize = 128;

/// A lead as it was last scored.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Its id.
    pub lead: LeadId,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The version that scored it.
    pub model: Arc<ModelId>,
    /// The score.
    pub score: Score,
    /// The grade.
    pub grade: Grade,
    /// The names of the features, shared by all leads of one configuration.
    pub names: Arc<[Arc<str>]>,
    /// Their values as scored, in the same order.
    pub features: Packed,
    /// The names of values that were there, and that the log does not keep as they were. Empty unless it is the log that the
    /// lead is known from.
    pub unknown: Box<[Arc<str>]>,
    /// Where it fell in the experiment of that time: what a lead is created with may tell more than its later changes.
    pub assignment: Option<Box<Assignment>>,
}

impl Known {
    /// A table for about `leads` leads, each remembered for `age`. With 0 nothing is remembered.
    pub fn new(leads: usize, age: Duration) -> Self {
        let sets = leads.div_ceil(WAYS);
        let pages = (0..sets.div_ceil(PAGE)).map(|_| OnceLock::new()).collect();
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        Self { pages, sets, hasher: RandomState::new(), age_ms }
    }

    /// Leads it has places for.
    pub fn capacity(&self) -> usize {
        self.sets * WAYS
    }

    /// Leads that are remembered, too old ones included. Looks at every place.
    pub fn count(&self) -> usize {
        let made = self.pages.iter().filter_map(OnceLock::get);
        made.flat_map(|page| page.iter().flatten()).filter(|place| place.load().is_some()).count()
    }

    /// What a model last knew of a lead, unless that is too long ago.
    pub fn find(&self, model: &str, lead: &str, now_ms: i64) -> Option<Arc<Memory>> {
        let (page, set) = self.place(model, lead)?;
        let places = self.pages.get(page)?.get()?.get(set)?;
        let found = places.iter().filter_map(ArcSwapOption::load_full).find(|memory| memory.is(model, lead));
        found.filter(|memory| now_ms.saturating_sub(memory.time_ms) <= self.age_ms)
    }

    /// Remembers a lead, unless something later is known of it.
    pub fn remember(&self, memory: Memory) {
        let Some((page, set)) = self.place(&memory.model.model, &memory.lead) else { return };
        let made = self.pages.get(page).map(|page| page.get_or_init(new_page));
        let Some(places) = made.and_then(|page| page.get(set)) else { return };
        let mut chosen: Option<(i64, &ArcSwapOption<Memory>)> = None;
        for place in places {
            let held = place.load();
            let time_ms = held.as_ref().map_or(i64::MIN, |held| held.time_ms);
            if held.as_ref().is_some_and(|held| held.is(&memory.model.model, &memory.lead)) {
                if time_ms > memory.time_ms {
                    return;
                }
                chosen = Some((time_ms, place));
                break;
            }
            // Where it has no place yet, it takes the oldest one's.
            if chosen.is_none_or(|(oldest, _)| time_ms < oldest) {
                chosen = Some((time_ms, place));
            }
        }
        // Two workers that write at once leave one of the two; both are of this moment.
        if let Some((_, place)) = chosen {
            place.store(Some(Arc::new(memory)));
        }
    }

    /// Takes out the leads of which `is_gone` holds. Looks at every place.
    pub fn forget(&self, is_gone: impl Fn(&Memory) -> bool) {
        for place in self.pages.iter().filter_map(OnceLock::get).flat_map(|page| page.iter().flatten()) {
            let held = place.load();
            if held.as_ref().is_some_and(|held| is_gone(held)) {
                // Unless a worker has put something later there.
                place.compare_and_swap(&*held, None);
            }
        }
    }

    /// The page and the set in it that a lead belongs to; `None` in a table without places.
    fn place(&self, model: &str, lead: &str) -> Option<(usize, usize)> {
        let hash = self.hasher.hash_one((model, lead));
        let set = usize::try_from(hash.checked_rem(self.sets as u64)?).ok()?;
        Some((set / PAGE, set % PAGE))
    }
}

fn new_page() -> Box<[Set]> {
    (0..PAGE).map(|_| Set::default()).collect()
}

impl Memory {
    fn is(&self, model: &str, lead: &str) -> bool {
        *self.lead == *lead && *self.model.model == *model
    }

    /// Gives a change the values it does not speak of; what it clears stays cleared. `names` are those of `values`;
    /// features that were renamed in between stay missing.
    pub fn complete<'m>(&'m self, names: &Arc<[Arc<str>]>, values: &mut [Value<'m>]) {
        let known = self.names.iter().zip(self.features.values());
        let is_gap = |value: &Value<'_>| matches!(value, Value::Missing);
        if Arc::ptr_eq(names, &self.names) || **names == *self.names {
            let gaps = values.iter_mut().zip(known).filter(|(value, _)| is_gap(value));
            return gaps.for_each(|(value, (_, known))| *value = known);
        }
        for (name, known) in known {
            let place = names.iter().position(|other| other == name);
            if let Some(value) = place.and_then(|place| values.get_mut(place)).filter(|v| is_gap(v)) {
                *value = known;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(lead: &str, time_ms: i64) -> Memory {
        let id = ModelId { model: "lead".into(), version: "1".into(), digest: "ab".into() };
        Memory {
            lead: lead.into(),
            time_ms,
            model: Arc::new(id),
            score: Score::new(0.5).unwrap(),
            grade: Grade::A,
            names: ["age".into(), "job".into()].into(),
            features: Packed::new(&[Value::Number(56.0), Value::Text("chef".into())]),
            unknown: [].into(),
            assignment: None,
        }
    }

    #[test]
    fn remembers_the_latest_until_it_is_too_old() {
        let known = Known::new(8, Duration::from_millis(100));
        known.remember(memory("a", 20));
        known.remember(memory("a", 10));
        let time = |model, lead, now| known.find(model, lead, now).map(|memory| memory.time_ms);
        assert_eq!(time("lead", "a", 120), Some(20));
        assert_eq!(time("lead", "a", 121), None);
        assert_eq!(time("lead", "b", 20), None);
        assert_eq!(time("deal", "a", 20), None);
    }

    #[test]
    fn a_full_table_forgets_what_is_oldest() {
        let known = Known::new(4, Duration::from_secs(1));
        (0..5).for_each(|i| known.remember(memory(&i.to_string(), i)));
        let found: Vec<i64> = (0..5).filter(|i| known.find("lead", &i.to_string(), 5).is_some()).collect();
        assert_eq!((known.capacity(), found), (4, vec![1, 2, 3, 4]));
    }

    #[test]
    fn a_table_without_places_remembers_nothing() {
        let known = Known::new(0, Duration::from_secs(1));
        known.remember(memory("a", 1));
        assert!(known.find("lead", "a", 1).is_none());
    }

    #[test]
    fn a_change_is_completed_by_name() {
        let check = |names: [&str; 2], values: [Value<'_>; 2], expected: [Value<'_>; 2]| {
            let (names, memory) = (names.map(Arc::from).into(), memory("a", 1));
            let mut values = values.to_vec();
            memory.complete(&names, &mut values);
            assert_eq!(values, expected);
        };
        let (age, chef) = (Value::Number(56.0), || Value::Text("chef".into()));
        check(
            ["age", "job"],
            [Value::Missing, Value::Text("clerk".into())],
            [age.clone(), Value::Text("clerk".into())],
        );
        check(["job", "age"], [Value::Missing, Value::Missing], [chef(), age]);
        check(["age", "job"], [Value::Cleared, Value::Missing], [Value::Cleared, chef()]);
        check(["job", "age"], [Value::Cleared, Value::Cleared], [Value::Cleared, Value::Cleared]);
        check(["city", "job"], [Value::Missing, Value::Missing], [Value::Missing, chef()]);
    }

    #[test]
    fn workers_share_it_without_waiting() {
        let known = Known::new(64, Duration::from_secs(1));
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let known = &known;
                scope.spawn(move || {
                    for i in 0..2_000 {
                        known.remember(memory(&((i * 7 + worker) % 100).to_string(), i));
                        if let Some(found) = known.find("lead", &(i % 100).to_string(), i) {
                            assert_eq!(*found.lead, *(i % 100).to_string());
                        }
                    }
                });
            }
        });
    }
}
