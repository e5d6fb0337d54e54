//! What is known of leads from their last score: for updates, which hold only what changed, for reads, and for trends.
//!
//! A table of fixed size with four places for each hash: workers read and write it without a lock, and a fifth lead takes
//! the place of the one that was scored longest ago. Forgetting is harmless: such a lead is one that was never seen.
//!
//! Beside each place stands a tag: a part of the lead's hash, and when it was scored. So a place is chosen without a look at
//! what it holds, which is mostly in no cache any more. Tag and place are two words that change one after the other, so a
//! tag is a hint: who finds something asks it whose it is.

use std::{
    hash::BuildHasher,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use crossbeam_utils::atomic::AtomicCell;
use foldhash::quality::RandomState;

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

/// The places for one hash, in a line of the processor's cache.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set {
    tags: [AtomicU64; WAYS],
    places: [Place; WAYS],
}

/// Who reads takes out what it holds, and puts it back a moment later.
#[derive(Default)]
struct Place(AtomicCell<Option<Arc<Memory>>>);

const WAYS: usize = 4;

/// Sets that are made at once: 4 KiB.
const PAGE: usize = 64;

/// Bits of a tag that say when, in milliseconds since 1970: until the year 2109. The others are the hash's. A place that
/// was never used, or whose lead was taken out, has no tag: 0.
const TIME_BITS: u32 = 42;

/// How often a place is looked at that holds nothing, while its tag says otherwise: another reader has it just now.
const LOOKS: usize = 100;

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
        Self { pages, sets, hasher: RandomState::default(), age_ms }
    }

    /// Leads it has places for.
    pub fn capacity(&self) -> usize {
        self.sets * WAYS
    }

    /// Leads that are remembered, too old ones included. Looks at every place.
    pub fn count(&self) -> usize {
        self.made().flat_map(|set| &set.tags).filter(|tag| tag.load(Relaxed) != 0).count()
    }

    /// What a model last knew of a lead, unless that is too long ago.
    pub fn find(&self, model: &str, lead: &str, now_ms: i64) -> Option<Arc<Memory>> {
        let (page, set, hash) = self.set(model, lead)?;
        let set = self.pages.get(page)?.get()?.get(set)?;
        let (known, _, place) = set.latest(tag(hash, 0))?;
        // What came back to its place behind something later is not what the tag speaks of.
        let is_it = |memory: &Arc<Memory>| memory.is(model, lead) && tag(hash, memory.time_ms) >= known;
        let found = place.read().filter(is_it);
        found.filter(|memory| now_ms.saturating_sub(memory.time_ms) <= self.age_ms)
    }

    /// Remembers a lead, unless something later is known of it.
    pub fn remember(&self, memory: Memory) {
        let Some((page, set, hash)) = self.set(&memory.model.model, &memory.lead) else { return };
        let made = self.pages.get(page).map(|page| page.get_or_init(new_page));
        let Some(set) = made.and_then(|page| page.get(set)) else { return };
        let new = tag(hash, memory.time_ms);
        // Where it has no place yet, it takes the oldest one's.
        let Some((known, tag, place)) = set.latest(new).or_else(|| set.oldest()) else { return };
        if is_same(known, new) && known > new {
            return;
        }
        if is_same(known, new) {
            // Of two workers that write at once the later one's stays.
            place.put(Arc::new(memory), |other, ours| other > ours);
            tag.fetch_max(new, Release);
        } else {
            // Two that evict at once leave one of the two, or none.
            place.0.store(Some(Arc::new(memory)));
            tag.store(new, Release);
        }
    }

    /// Takes out the leads of which `is_gone` holds, of those that were scored at `since_ms` or later, in milliseconds since
    /// 1970. Looks at every place.
    pub fn forget(&self, since_ms: i64, is_gone: impl Fn(&Memory) -> bool) {
        let since = time(tag(0, since_ms));
        let is_asked = |(known, ..): &(u64, _, _)| *known != 0 && time(*known) >= since;
        for (known, tag, place) in self.made().flat_map(Set::told).filter(is_asked) {
            match place.take() {
                Some(memory) if !is_gone(&memory) => place.put_back(memory),
                // What a reader has in hand comes back to a place without a tag, where nobody finds it.
                _ => _ = tag.compare_exchange(known, 0, Release, Relaxed),
            }
        }
    }

    fn made(&self) -> impl Iterator<Item = &Set> {
        self.pages.iter().filter_map(OnceLock::get).flatten()
    }

    /// The page and the set in it that a lead belongs to, and its hash; `None` in a table without places.
    fn set(&self, model: &str, lead: &str) -> Option<(usize, usize, u64)> {
        let hash = self.hasher.hash_one((model, lead));
        let set = usize::try_from(hash.checked_rem(self.sets as u64)?).ok()?;
        Some((set / PAGE, set % PAGE, hash))
    }
}

fn new_page() -> Box<[Set]> {
    (0..PAGE).map(|_| Set::default()).collect()
}

fn tag(hash: u64, time_ms: i64) -> u64 {
    let most = (1 << TIME_BITS) - 1;
    let time = u64::try_from(time_ms).unwrap_or(0).saturating_add(1).min(most);
    hash & !most | time
}

/// Whether two tags are of one lead.
fn is_same(one: u64, other: u64) -> bool {
    one >> TIME_BITS == other >> TIME_BITS
}

fn time(tag: u64) -> u64 {
    tag & ((1 << TIME_BITS) - 1)
}

impl Set {
    /// The places with their tags as they are now.
    fn told(&self) -> impl Iterator<Item = (u64, &AtomicU64, &Place)> {
        self.tags.iter().zip(&self.places).map(|(tag, place)| (tag.load(Acquire), tag, place))
    }

    /// The latest with the tag of this lead.
    fn latest(&self, wanted: u64) -> Option<(u64, &AtomicU64, &Place)> {
        self.told().filter(|(tag, ..)| *tag != 0 && is_same(*tag, wanted)).max_by_key(|(tag, ..)| *tag)
    }

    /// The one that was scored longest ago, or that is free.
    fn oldest(&self) -> Option<(u64, &AtomicU64, &Place)> {
        self.told().min_by_key(|(tag, ..)| time(*tag))
    }
}

impl Place {
    /// Takes out what it holds. Nobody waits: where a reader has it in hand for too long, there is nothing.
    fn take(&self) -> Option<Arc<Memory>> {
        (0..LOOKS).find_map(|_| {
            self.0.take().or_else(|| {
                std::hint::spin_loop();
                None
            })
        })
    }

    fn read(&self) -> Option<Arc<Memory>> {
        let memory = self.take()?;
        self.put_back(Arc::clone(&memory));
        Some(memory)
    }

    /// Puts back what was taken out. What was written meanwhile stays, but for something earlier.
    fn put_back(&self, memory: Arc<Memory>) {
        self.put(memory, |other, ours| other >= ours);
    }

    /// Puts something there, unless what is there stays by the times of the two.
    fn put(&self, memory: Arc<Memory>, stays: impl Fn(i64, i64) -> bool) {
        let time_ms = memory.time_ms;
        if let Some(other) = self.0.swap(Some(memory)).filter(|other| stays(other.time_ms, time_ms)) {
            self.0.store(Some(other));
        }
    }
}

/// Not what it holds: that would have to be taken out.
impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Place")
    }
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
    fn what_is_gone_is_gone_and_leaves_its_place() {
        let known = Known::new(4, Duration::from_secs(1));
        (0..4).for_each(|i| known.remember(memory(&i.to_string(), 10 + i)));
        known.forget(14, |_| true);
        assert_eq!(known.count(), 4, "none is so late");
        known.forget(13, |memory| *memory.lead == *"3");
        assert_eq!((known.count(), known.find("lead", "3", 10).is_none()), (3, true));
        known.remember(memory("4", 1));
        let found = (0..5).filter(|i| known.find("lead", &i.to_string(), 10).is_some());
        assert_eq!(found.collect::<Vec<_>>(), [0, 1, 2, 4], "though it is older than the others");
    }

    #[test]
    fn what_a_reader_has_in_hand_is_forgotten_too() {
        let known = Known::new(1, Duration::from_secs(1));
        known.remember(memory("a", 1));
        let place = &known.pages[0].get().unwrap()[0].places[0];
        let held = place.take().unwrap();
        assert!(known.find("lead", "a", 1).is_none(), "another reader does not wait for it");
        known.forget(1, |_| true);
        place.put_back(held);
        assert_eq!((known.count(), known.find("lead", "a", 1).is_none()), (0, true));
    }

    #[test]
    fn what_is_written_while_a_reader_has_another_in_hand_stays() {
        let known = Known::new(1, Duration::from_secs(1));
        known.remember(memory("a", 1));
        let place = &known.pages[0].get().unwrap()[0].places[0];
        let held = place.take().unwrap();
        known.remember(memory("a", 2));
        place.put_back(Arc::clone(&held));
        assert_eq!(known.find("lead", "a", 2).map(|memory| memory.time_ms), Some(2));
        // While one reader has the later one in hand, another brings the one before it back.
        let later = place.take().unwrap();
        place.put_back(held);
        assert!(known.find("lead", "a", 2).is_none(), "it is not what was remembered last");
        place.put_back(later);
        assert_eq!(known.find("lead", "a", 2).map(|memory| memory.time_ms), Some(2));
    }

    #[test]
    fn a_tag_says_when_whatever_the_clock_says() {
        let check = |earlier: i64, later: i64| assert!(time(tag(!0, earlier)) < time(tag(0, later)));
        check(0, 1);
        check(-5, 1);
        check(1_790_000_000_000, 1_790_000_000_001);
        check(1, i64::MAX);
        assert!(is_same(tag(7 << TIME_BITS, i64::MAX), tag(7 << TIME_BITS, i64::MIN)));
        assert!(!is_same(tag(7 << TIME_BITS, 1), tag(6 << TIME_BITS, 1)));
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
