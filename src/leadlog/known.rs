//! What is known of leads from their last score: for updates, which hold only what changed, for reads, and for trends.
//!
//! A table of fixed size with eight places for each hash, in a line of the processor's cache: a ninth lead takes the place
//! of the one that was written longest ago. A place holds a part of the lead's hash and where in a ring of pages the rest
//! stands ([`pages`]); it is one word, so workers read and write the table without a lock. Forgetting is harmless: such a
//! lead is one that was never seen.

mod pages;

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

use arc_swap::ArcSwap;
use foldhash::quality::RandomState;

use self::pages::{Pages, Reader, SPOT_BITS, Spot};
use super::packed::{Packed, Part};
use crate::lead::{Assignment, Grade, KeyKind, ModelId, Score, Value};

/// Leads by model and id.
#[derive(Debug)]
pub struct Known {
    /// The places, made by the first lead that needs them: nobody pays for a table that is not used.
    shelves: Box<[OnceLock<Box<[Set]>>]>,
    sets: usize,
    pages: Arc<Pages>,
    origins: Arc<ArcSwap<Origins>>,
    hasher: RandomState,
    age_ms: i64,
}

/// The places for one hash; 0 is a free one.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Set([AtomicU64; WAYS]);

const WAYS: usize = 8;

/// Leads that eight places are for: so hardly any of them overflow before the ring comes round.
const FILL: usize = 5;

/// Sets that are made at once: 4 KiB.
const SHELF: usize = 64;

/// Bytes of the ring for each lead: one with twenty features, half of them words, takes as many.
const EACH: usize = 208;

/// How often a place is tried that others change just now.
const TRIES: usize = 4;

/// A lead as it was last scored.
#[derive(Clone, Debug)]
pub struct Memory {
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The score.
    pub score: Score,
    /// The grade.
    pub grade: Grade,
    /// The version that scored it.
    pub model: Arc<ModelId>,
    /// The names of the features, shared by all leads of one configuration.
    pub names: Arc<[Arc<str>]>,
    /// Their values as scored, in the same order.
    pub features: Packed,
    /// Where it fell in the experiment of that time: what a lead is created with may tell more than its later changes.
    pub assignment: Option<Assignment>,
}

/// The same of one who has it at hand.
#[derive(Clone, Copy, Debug)]
pub struct MemoryRef<'s> {
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The score.
    pub score: Score,
    /// The grade.
    pub grade: Grade,
    /// The version that scored it.
    pub model: &'s Arc<ModelId>,
    /// The names of the features.
    pub names: &'s Arc<[Arc<str>]>,
    /// Their values.
    pub features: &'s Packed,
    /// Where it fell in an experiment.
    pub assignment: Option<&'s Assignment>,
}

/// What many memories share: a version, and the names of its features.
#[derive(Clone, Debug)]
struct Origin {
    model: Arc<ModelId>,
    names: Arc<[Arc<str>]>,
}

/// What stands before a lead's id and its features.
#[derive(Clone, Copy, Debug)]
struct Head {
    time_ms: i64,
    score: u32,
    /// The origin's number.
    origin: u32,
    /// Bytes of the lead's id, of its features, and of the experiment's name.
    lead: u16,
    features: u16,
    experiment: u16,
    bucket: u16,
    /// Places among all grades, and among all keys of an assignment, plus one; 0 for none.
    grade: u8,
    key: u8,
}

/// The origins of what is known. Each has a number; there are few, for a new version or feature map makes a new one.
#[derive(Clone, Debug, Default)]
struct Origins {
    all: Vec<Origin>,
    /// The first one's number; those before it have been forgotten, with all that was known by them.
    first: u32,
}

/// Origins that are kept.
const ORIGINS: usize = 1_024;

/// A worker's way to remember.
#[derive(Debug)]
pub struct Pen {
    known: Arc<Known>,
    pen: pages::Pen,
    origins: arc_swap::Cache<Arc<ArcSwap<Origins>>, Arc<Origins>>,
}

impl Known {
    /// A table for about `leads` leads, each remembered for `age`: 208 bytes of scores for each, so for fewer where they are
    /// larger or scored again and again. With 0 nothing is remembered.
    pub fn new(leads: usize, age: Duration) -> Self {
        let sets = leads.div_ceil(FILL);
        let shelves = (0..sets.div_ceil(SHELF)).map(|_| OnceLock::new()).collect();
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let pages = Arc::new(Pages::new(leads.saturating_mul(EACH)));
        Self { shelves, sets, pages, origins: Arc::default(), hasher: RandomState::default(), age_ms }
    }

    /// Leads it is for.
    pub fn capacity(&self) -> usize {
        self.sets * FILL
    }

    /// Leads that are remembered, too old ones included. Looks at every place.
    pub fn count(&self) -> usize {
        let is_there = |word: u64| word != 0 && self.pages.holds(Spot::from_bits(word));
        self.made().flat_map(|set| &set.0).filter(|place| is_there(place.load(Relaxed))).count()
    }

    /// A way to remember leads, for one worker.
    pub fn pen(self: &Arc<Self>) -> Pen {
        let origins = arc_swap::Cache::new(Arc::clone(&self.origins));
        Pen { pen: pages::Pen::new(Arc::clone(&self.pages)), origins, known: Arc::clone(self) }
    }

    /// What a model last knew of a lead, unless that is too long ago.
    pub fn find(&self, model: &str, lead: &str, now_ms: i64) -> Option<Memory> {
        let (shelf, set, hash) = self.set(model, lead)?;
        let set = self.shelves.get(shelf)?.get()?.get(set)?;
        let words = set.words().into_iter().filter(|word| is_of(*word, hash));
        // Two workers may have remembered it at once, at two places.
        let read = |word| self.read(Spot::from_bits(word), (model, lead), Head::memory);
        let found = words.filter_map(read).max_by_key(|memory| memory.time_ms);
        found.filter(|memory| now_ms.saturating_sub(memory.time_ms) <= self.age_ms)
    }

    /// Takes out the leads of which `is_gone` holds, of those that were scored at `since_ms` or later, in milliseconds since
    /// 1970. It is given a lead's id, and when it was scored. Looks at every place.
    pub fn forget(&self, since_ms: i64, is_gone: impl Fn(&str, i64) -> bool) {
        for place in self.made().flat_map(|set| &set.0) {
            // What is remembered from now on stays.
            let word = place.load(Acquire);
            let told = self.pages.read(Spot::from_bits(word), |reader| {
                let head = Head::read(reader).filter(|head| word != 0 && head.time_ms >= since_ms)?;
                Some((String::from_utf8(reader.bytes(head.lead.into())?).ok()?, head.time_ms))
            });
            if told.is_some_and(|(lead, time_ms)| is_gone(&lead, time_ms)) {
                _ = place.compare_exchange(word, 0, Relaxed, Relaxed);
            }
        }
    }

    fn made(&self) -> impl Iterator<Item = &Set> {
        self.shelves.iter().filter_map(OnceLock::get).flatten()
    }

    /// The shelf and the set on it that a lead belongs to, and its hash; `None` in a table without places.
    fn set(&self, model: &str, lead: &str) -> Option<(usize, usize, u64)> {
        let hash = self.hasher.hash_one((model, lead));
        let set = usize::try_from(hash.checked_rem(self.sets as u64)?).ok()?;
        Some((set / SHELF, set % SHELF, hash))
    }

    /// What `take` takes of what stands at a spot. `None` where that is another lead, or was written over.
    fn read<T>(
        &self,
        spot: Spot,
        (model, lead): (&str, &str),
        take: impl FnOnce(Head, &mut Reader<'_>, &Origin) -> Option<T>,
    ) -> Option<T> {
        self.pages.read(spot, |reader| {
            let head = Head::read(reader).filter(|head| usize::from(head.lead) == lead.len())?;
            let origins = self.origins.load();
            let is_it = reader.are(lead.as_bytes())?;
            let origin = origins.get(head.origin).filter(|origin| is_it && *origin.model.model == *model)?;
            take(head, reader, origin)
        })
    }

    /// The place of a lead among some words and when it was scored, or else the place to take; with the word in it.
    fn place(&self, words: &[u64; WAYS], lead: (&str, &str), hash: u64) -> (usize, u64, Option<i64>) {
        let its =
            words.iter().enumerate().filter(|(_, word)| is_of(**word, hash)).find_map(|(place, word)| {
                let time_ms = self.read(Spot::from_bits(*word), lead, |head, _, _| Some(head.time_ms))?;
                Some((place, *word, Some(time_ms)))
            });
        let end = self.pages.end();
        let age = |word: u64| if word == 0 { u64::MAX } else { Spot::from_bits(word).age(end) };
        let oldest = || words.iter().enumerate().max_by_key(|(_, word)| age(**word));
        its.or_else(|| oldest().map(|(place, word)| (place, *word, None))).unwrap_or_default()
    }

    /// Gives what memories share a number.
    fn add(&self, model: &Arc<ModelId>, names: &Arc<[Arc<str>]>) -> Option<u32> {
        let new = Origin { model: Arc::clone(model), names: Arc::clone(names) };
        self.origins.rcu(|origins| origins.with(&new));
        // Another worker may have put its own in the place of ours, which says the same.
        let origins = self.origins.load();
        origins.numbered(origins.all.iter().position(|one| one.says(&new))?)
    }
}

/// Whether a place's word may be of the lead with this hash.
fn is_of(word: u64, hash: u64) -> bool {
    word != 0 && word >> SPOT_BITS == hash >> SPOT_BITS
}

fn new_shelf() -> Box<[Set]> {
    (0..SHELF).map(|_| Set::default()).collect()
}

impl Pen {
    /// Remembers a lead, unless something later is known of it. Of one whose features take 14 KiB nothing is known any more.
    pub fn remember(&mut self, lead: &str, seen: &MemoryRef<'_>) {
        let Self { known, pen, origins } = self;
        let id = (&*seen.model.model, lead);
        let Some((shelf, set, hash)) = known.set(id.0, lead) else { return };
        let made = known.shelves.get(shelf).map(|shelf| shelf.get_or_init(new_shelf));
        let Some(set) = made.and_then(|shelf| shelf.get(set)) else { return };
        // Mostly it stands in no cache any more: while it comes, all else is written.
        let mut words = set.words();
        let number = origins.load().number(seen.model, seen.names);
        let origin = number.or_else(|| known.add(seen.model, seen.names));
        let spot = origin.and_then(|origin| write(pen, lead, seen, origin));
        let new = spot.map_or(0, |spot| hash >> SPOT_BITS << SPOT_BITS | spot.bits());
        for _ in 0..TRIES {
            let (place, word, before) = known.place(&words, id, hash);
            // Where it cannot be written, what was known of it is outdated all the same.
            let is_done = before.map_or(spot.is_none(), |before| before > seen.time_ms);
            let place = set.0.get(place).filter(|_| !is_done);
            if place.is_none_or(|place| place.compare_exchange(word, new, Release, Relaxed).is_ok()) {
                return;
            }
            words = set.words();
        }
    }
}

fn write(pen: &mut pages::Pen, lead: &str, seen: &MemoryRef<'_>, origin: u32) -> Option<Spot> {
    let experiment = seen.assignment.map_or("", |assignment| &assignment.experiment);
    let head = Head::new(lead, seen, (origin, experiment))?;
    pen.write(head.words(), &[lead.as_bytes(), seen.features.bytes(), experiment.as_bytes()])
}

impl Set {
    /// What stands in all places now.
    fn words(&self) -> [u64; WAYS] {
        self.0.each_ref().map(|place| place.load(Acquire))
    }
}

impl Origin {
    fn says(&self, other: &Self) -> bool {
        self.model == other.model && self.names == other.names
    }
}

impl Origins {
    fn get(&self, number: u32) -> Option<&Origin> {
        self.all.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// The number of what is there as these very values, whatever else is equal to them.
    fn number(&self, model: &Arc<ModelId>, names: &Arc<[Arc<str>]>) -> Option<u32> {
        let is_it = |one: &Origin| Arc::ptr_eq(&one.model, model) && Arc::ptr_eq(&one.names, names);
        self.numbered(self.all.iter().position(is_it)?)
    }

    /// The same with one more, which takes the number of one that is equal.
    fn with(&self, new: &Origin) -> Self {
        let Self { mut all, mut first } = self.clone();
        match all.iter_mut().find(|one| one.says(new)) {
            Some(known) => *known = new.clone(),
            None => all.push(new.clone()),
        }
        if all.len() > ORIGINS {
            all.remove(0);
            first += 1;
        }
        Self { all, first }
    }

    fn numbered(&self, place: usize) -> Option<u32> {
        Some(self.first + u32::try_from(place).ok()?)
    }
}

impl Head {
    /// Words that it takes.
    const WORDS: usize = 4;

    /// `None` where a length is too great for a page.
    fn new(lead: &str, seen: &MemoryRef<'_>, (origin, experiment): (u32, &str)) -> Option<Self> {
        let length = |length: usize| u16::try_from(length).ok();
        let place = |place: Option<usize>| place.map_or(Some(0), |place| u8::try_from(place + 1).ok());
        let key = seen.assignment.map(|assignment| assignment.key);
        Some(Self {
            time_ms: seen.time_ms,
            score: seen.score.probability().to_bits(),
            origin,
            lead: length(lead.len())?,
            features: length(seen.features.size())?,
            experiment: length(experiment.len())?,
            bucket: seen.assignment.map_or(0, |assignment| assignment.bucket),
            grade: place(Grade::ALL.iter().position(|grade| *grade == seen.grade))?,
            key: place(key.and_then(|key| KeyKind::ALL.iter().position(|kind| *kind == key)))?,
        })
    }

    fn words(self) -> [u64; Self::WORDS] {
        let lengths = [self.lead, self.features, self.experiment, self.bucket];
        [
            self.time_ms.cast_unsigned(),
            u64::from(self.score) << 32 | u64::from(self.origin),
            lengths.iter().fold(0, |word, length| word << 16 | u64::from(*length)),
            u64::from(self.grade) << 8 | u64::from(self.key),
        ]
    }

    #[expect(clippy::cast_possible_truncation, reason = "each takes its bits out of a word")]
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let [time, score, lengths, kinds] = [reader.word()?, reader.word()?, reader.word()?, reader.word()?];
        Some(Self {
            time_ms: time.cast_signed(),
            score: (score >> 32) as u32,
            origin: score as u32,
            lead: (lengths >> 48) as u16,
            features: (lengths >> 32) as u16,
            experiment: (lengths >> 16) as u16,
            bucket: lengths as u16,
            grade: (kinds >> 8) as u8,
            key: kinds as u8,
        })
    }

    /// All of a memory, by what stands behind the lead's id.
    fn memory(self, reader: &mut Reader<'_>, origin: &Origin) -> Option<Memory> {
        let place = |place: u8| usize::from(place).checked_sub(1);
        let features = Packed::from(reader.bytes(self.features.into())?);
        let experiment = String::from_utf8(reader.bytes(self.experiment.into())?).ok()?;
        let key = place(self.key).and_then(|key| KeyKind::ALL.get(key).copied());
        let assigned = |key| Assignment { experiment: experiment.into(), bucket: self.bucket, key };
        Some(Memory {
            time_ms: self.time_ms,
            score: Score::new(f32::from_bits(self.score))?,
            grade: *Grade::ALL.get(place(self.grade)?)?,
            model: Arc::clone(&origin.model),
            names: Arc::clone(&origin.names),
            features,
            assignment: key.map(assigned),
        })
    }
}

impl Memory {
    /// The same, lent.
    pub fn seen(&self) -> MemoryRef<'_> {
        let Self { time_ms, score, grade, model, names, features, assignment } = self;
        let (time_ms, score, grade) = (*time_ms, *score, *grade);
        MemoryRef { time_ms, score, grade, model, names, features, assignment: assignment.as_ref() }
    }

    /// The names of values that were there, and that the log does not keep as they were. None unless it is the log that
    /// the lead is known from.
    pub fn unknown(&self) -> impl Iterator<Item = &Arc<str>> {
        let parts = self.names.iter().zip(self.features.parts());
        parts.filter(|(_, part)| matches!(part, Part::Withheld)).map(|(name, _)| name)
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

    fn memory(time_ms: i64) -> Memory {
        let id = ModelId { model: "lead".into(), version: "1".into(), digest: "ab".into() };
        Memory {
            time_ms,
            score: Score::new(0.5).unwrap(),
            grade: Grade::D,
            model: Arc::new(id),
            names: ["age".into(), "job".into()].into(),
            features: Packed::new(&[Value::Number(56.0), Value::Text("chef".into())]),
            assignment: None,
        }
    }

    fn table(leads: usize, age_ms: u64) -> (Arc<Known>, Pen) {
        let known = Arc::new(Known::new(leads, Duration::from_millis(age_ms)));
        let pen = known.pen();
        (known, pen)
    }

    #[test]
    fn all_of_a_lead_is_remembered() {
        let (known, mut pen) = table(8, 100);
        let assignment = Assignment { experiment: "2".into(), bucket: 9_999, key: KeyKind::Request };
        let [first, second] = [
            memory(7),
            Memory {
                score: Score::new(0.0).unwrap(),
                grade: Grade::A,
                assignment: Some(assignment),
                ..memory(-1)
            },
        ];
        let cases = [("00Q1", &first), ("", &second), ("é".repeat(4_000).leak(), &first)];
        cases.iter().for_each(|(lead, memory)| pen.remember(lead, &memory.seen()));
        for (lead, memory) in cases {
            let found = known.find("lead", lead, 7).unwrap();
            assert_eq!(format!("{found:?}"), format!("{memory:?}"), "{lead}");
        }
        pen.remember("00Q2", &Memory { features: Packed::from(vec![0; 14 << 10]), ..memory(1) }.seen());
        pen.remember(&"x".repeat(1 << 16), &first.seen());
        assert_eq!(known.count(), 3, "what is too large is not");
        let large = Memory { features: Packed::from(vec![0; 14 << 10]), ..memory(9) };
        pen.remember("", &large.seen());
        pen.remember("00Q1", &Memory { time_ms: 6, ..large }.seen());
        let found = ["", "00Q1"].map(|lead| known.find("lead", lead, 9).map(|memory| memory.time_ms));
        assert_eq!(found, [None, Some(7)], "what was known before it is outdated, and nothing else");
    }

    #[test]
    fn remembers_the_latest_until_it_is_too_old() {
        let (known, mut pen) = table(8, 100);
        pen.remember("a", &memory(20).seen());
        pen.remember("a", &memory(10).seen());
        let time = |model, lead, now| known.find(model, lead, now).map(|memory| memory.time_ms);
        assert_eq!(time("lead", "a", 120), Some(20));
        assert_eq!(time("lead", "a", 121), None);
        assert_eq!(time("lead", "b", 20), None);
        assert_eq!(time("deal", "a", 20), None);
        assert_eq!(known.count(), 1);
    }

    #[test]
    fn a_full_table_forgets_what_is_oldest() {
        let (known, mut pen) = table(5, 1_000);
        (0..9).for_each(|i| pen.remember(&i.to_string(), &memory(i).seen()));
        let found: Vec<i64> = (0..9).filter(|i| known.find("lead", &i.to_string(), 9).is_some()).collect();
        assert_eq!((known.capacity(), found), (5, (1..9).collect()));
    }

    #[test]
    fn of_large_leads_there_is_room_for_fewer() {
        let (known, mut pen) = table(8_000, 1_000);
        // Twenty features of a bank's lead, as they are packed.
        let usual = Memory { features: Packed::from(vec![0; 149]), ..memory(1) };
        (0..8_000).for_each(|i| pen.remember(&format!("00Q5e0000000{i:06}"), &usual.seen()));
        assert!((7_600..=8_000).contains(&known.count()), "{} of 8000", known.count());
        let large = Memory { features: Packed::from(vec![0; 8 << 10]), ..memory(1) };
        (0..500).for_each(|i| pen.remember(&i.to_string(), &large.seen()));
        let found: Vec<i32> = (0..500).filter(|i| known.find("lead", &i.to_string(), 1).is_some()).collect();
        assert_eq!((known.count(), found), (117, (383..500).collect()), "one on each page of 1.6 MiB");
    }

    #[test]
    fn a_table_without_places_remembers_nothing() {
        let (known, mut pen) = table(0, 1_000);
        pen.remember("a", &memory(1).seen());
        assert!(known.find("lead", "a", 1).is_none());
    }

    #[test]
    fn origins_are_few_and_the_last_ones_count() {
        let (known, mut pen) = table(4_096, 1_000);
        let of = |version: usize| {
            let id =
                ModelId { model: "lead".into(), version: version.to_string().into(), digest: "ab".into() };
            Memory { model: Arc::new(id), ..memory(1) }
        };
        // The same version, loaded anew, has the same number.
        (0..10).for_each(|i| pen.remember(&format!("same {i}"), &memory(1).seen()));
        assert_eq!((known.origins.load().all.len(), known.count()), (1, 10));
        (2..=ORIGINS + 1).for_each(|i| pen.remember(&i.to_string(), &of(i).seen()));
        let version = |lead: &str| known.find("lead", lead, 1).map(|found| found.model.version.to_string());
        assert_eq!(version("same 1"), None, "too many were served since");
        assert_eq!((version("2").as_deref(), version("1025").as_deref()), (Some("2"), Some("1025")));
        pen.remember("same 1", &memory(2).seen());
        assert_eq!(version("same 1").as_deref(), Some("1"));
    }

    #[test]
    fn a_change_is_completed_by_name() {
        let check = |names: [&str; 2], values: [Value<'_>; 2], expected: [Value<'_>; 2]| {
            let (names, memory) = (names.map(Arc::from).into(), memory(1));
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
        let (known, mut pen) = table(5, 1_000);
        (0..8).for_each(|i| pen.remember(&i.to_string(), &memory(10 + i).seen()));
        known.forget(18, |_, _| true);
        assert_eq!(known.count(), 8, "none is so late");
        known.forget(13, |lead, time_ms| lead == "3" && time_ms == 13);
        assert_eq!((known.count(), known.find("lead", "3", 10).is_none()), (7, true));
        pen.remember("8", &memory(1).seen());
        let found = (0..9).filter(|i| known.find("lead", &i.to_string(), 10).is_some());
        assert_eq!(found.collect::<Vec<_>>(), [0, 1, 2, 4, 5, 6, 7, 8], "though it is older than the others");
    }

    #[test]
    fn workers_share_it_without_waiting() {
        let known = Arc::new(Known::new(64, Duration::from_secs(1)));
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let known = &known;
                scope.spawn(move || {
                    let mut pen = known.pen();
                    for i in 0..2_000 {
                        let lead = ((i * 7 + worker) % 100).to_string();
                        let features = Packed::new(&[Value::Text(lead.as_str().into())]);
                        pen.remember(&lead, &Memory { features, ..memory(i) }.seen());
                        let lead = (i % 100).to_string();
                        if let Some(found) = known.find("lead", &lead, i) {
                            assert_eq!(found.features.values().next(), Some(Value::Text(lead.into())));
                        }
                    }
                });
            }
        });
    }
}
