//! Counting in slices comes to what counting from scratch does, and both to what plain code says.

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::{
    lead::{Alias, Outcome, Score},
    leadlog::{AliasRecord, CohortDay, Days, Entry, Horizon, OutcomeRecord, ScoreRecord, Win, fixture},
};

const ALL: Days<'_> = Days { model: "lead", version: None, from: i64::MIN, to: i64::MAX };

fn score(time_ms: i64, lead: &str, version: &str, score: f32) -> Entry {
    let record = fixture::score(time_ms, lead, version);
    Entry::Score(ScoreRecord { score: Score::new(score).unwrap(), ..record })
}

fn told(time_ms: i64, outcome: Outcome) -> Entry {
    Entry::Outcome(OutcomeRecord { time_ms, route: "r".into(), outcome })
}

fn won(time_ms: i64, lead: &str, won: bool) -> Entry {
    told(time_ms, Outcome::new(lead, won))
}

fn log(entries: &[Entry]) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store.write(entries).unwrap();
    (folder, store)
}

fn count_all(store: &mut Store, most: usize, horizon_ms: i64) {
    while !store.count(most, horizon_ms).unwrap().done {}
    assert_eq!(store.uncounted().unwrap(), 0);
}

fn cohorts(store: &Store) -> Vec<CohortDay> {
    store.cohorts_of(&ALL, Horizon { ms: 0, now_ms: i64::MAX }).unwrap()
}

/// Lead, version, time, label, revenue.
type Placed = (String, String, i64, Option<bool>, Option<f64>);

/// Every place.
fn places(store: &Store) -> Vec<Placed> {
    let sql = "SELECT lead, version, time_ms, won, revenue FROM counted ORDER BY 1, 2";
    let mut statement = store.connection.prepare(sql).unwrap();
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

#[test]
fn the_last_score_before_the_outcome_counts_with_what_happened_within_the_horizon() {
    let check = |scores: &[i64], outcomes: Vec<Entry>, expected: Option<(i64, Option<bool>)>| {
        let scores: Vec<Entry> = scores.iter().map(|time| score(*time, "a", "1", 0.5)).collect();
        for arrival in
            [[scores.clone(), outcomes.clone()].concat(), [outcomes.clone(), scores.clone()].concat()]
        {
            let (_folder, mut store) = log(&arrival);
            count_all(&mut store, 1, 100);
            let found = places(&store).first().map(|(_, _, time_ms, won, _)| (*time_ms, *won));
            assert_eq!(found, expected, "{outcomes:?}");
        }
    };
    let revised = |time_ms, occurred_ms, revision, is_won| {
        told(
            time_ms,
            Outcome { time_ms: Some(occurred_ms), revision: Some(revision), ..Outcome::new("a", is_won) },
        )
    };
    check(&[10, 30, 70], vec![], Some((70, None)));
    check(&[10, 30, 70], vec![won(50, "a", true)], Some((30, Some(true))));
    check(&[10, 30, 70], vec![won(50, "a", false)], Some((30, Some(false))));
    // Closed before anybody scored it, or as it was scored.
    check(&[50, 70], vec![won(50, "a", true)], None);
    // After the horizon nothing counts, and a deal that is saved again long after it was won is still won.
    check(&[10], vec![won(110, "a", true)], Some((10, Some(true))));
    check(&[10], vec![won(111, "a", true)], Some((10, None)));
    check(&[10], vec![won(50, "a", true), won(500, "a", true)], Some((10, Some(true))));
    check(&[10], vec![won(50, "a", false), won(90, "a", true)], Some((10, Some(true))));
    // The highest revision counts whenever it comes, by when it happened.
    check(&[10], vec![revised(900, 50, 2, true), revised(901, 60, 1, false)], Some((10, Some(true))));
    check(&[10], vec![revised(900, 111, 0, true)], Some((10, None)));
    check(&[10, 30], vec![revised(900, 20, 0, true)], Some((10, Some(true))));
}

#[test]
fn each_version_has_a_place_of_its_own_and_a_lead_without_id_none() {
    let mut nobody = fixture::score(1, "", "1");
    nobody.lead = None;
    let (_folder, mut store) = log(&[
        score(10, "a", "1", 0.25),
        score(20, "a", "2", 0.75),
        Entry::Score(nobody),
        score(DAY_MS, "b", "1", 1.0),
        told(30, Outcome { revenue: Some(12.5), ..Outcome::new("a", true) }),
    ]);
    count_all(&mut store, 100, 100);
    let win = |version: &str, time_ms| ("a".to_owned(), version.to_owned(), time_ms, Some(true), Some(12.5));
    let open = ("b".to_owned(), "1".to_owned(), DAY_MS, None, None);
    assert_eq!(places(&store), [win("1", 10), win("2", 20), open]);
    assert_eq!(store.counted_models().unwrap(), ["lead"]);
    assert_eq!(store.counted_horizon().unwrap(), Some(100));
    let one = Days { version: Some("1"), ..ALL };
    let days = |now_ms| store.cohorts_of(&one, Horizon { ms: 100, now_ms }).unwrap();
    let told = |now_ms| {
        let day = |day: CohortDay| (day.day, day.matured, day.scored, day.positives, day.negatives);
        days(now_ms).into_iter().map(day).collect::<Vec<_>>()
    };
    assert_eq!(told(DAY_MS + 99), [(0, false, 1, 1, 0), (1, false, 1, 0, 0)]);
    assert_eq!(told(DAY_MS + 100), [(0, true, 1, 1, 0), (1, false, 1, 0, 0)]);
    assert_eq!(told(2 * DAY_MS + 100), [(0, true, 1, 1, 0), (1, true, 1, 0, 1)]);
    let revenues = store.revenues(&one).unwrap();
    assert_eq!(
        revenues.iter().map(|lead| (lead.scored_ms, lead.revenue)).collect::<Vec<_>>(),
        [(10, Some(12.5))]
    );
    assert_eq!(store.wins(&ALL).unwrap().len(), 2);
    assert_eq!(store.wins(&one).unwrap(), [Win { scored_ms: 10, delay_ms: 20 }]);
    assert_eq!(store.wins(&Days { from: 1, ..one }).unwrap(), []);
}

#[test]
fn a_win_counts_from_when_it_was_first_won_unless_it_was_corrected() {
    let event = |time_ms, lead, revision, is_won| {
        told(
            time_ms,
            Outcome { event: Some("e".into()), revision: Some(revision), ..Outcome::new(lead, is_won) },
        )
    };
    let (_folder, mut store) = log(&[
        score(10, "again", "1", 0.5),
        score(10, "corrected", "1", 0.5),
        score(10, "late", "1", 0.5),
        won(30, "again", true),
        won(300, "again", true),
        event(30, "corrected", 0, true),
        event(40, "corrected", 1, false),
        won(910, "late", true),
    ]);
    count_all(&mut store, 100, 100);
    let mut delays: Vec<i64> = store.wins(&ALL).unwrap().into_iter().map(|win| win.delay_ms).collect();
    delays.sort_unstable();
    assert_eq!(delays, [20, 900]);
}

#[test]
fn a_number_that_is_given_again_is_counted_again() {
    let (_folder, mut store) =
        log(&[score(10, "a", "1", 0.5), score(20, "b", "1", 0.5), score(30, "c", "1", 0.5)]);
    count_all(&mut store, 100, 100);
    store.connection.execute("DELETE FROM scores WHERE seq >= 2", []).unwrap();
    store.write(&[score(40, "d", "1", 0.5), score(50, "e", "1", 0.5)]).unwrap();
    count_all(&mut store, 100, 100);
    let leads: Vec<String> = places(&store).into_iter().map(|(lead, ..)| lead).collect();
    assert_eq!(leads, ["a", "b", "c", "d", "e"]);
    store.connection.execute("DELETE FROM scores", []).unwrap();
    store.write(&[score(60, "f", "1", 0.5)]).unwrap();
    count_all(&mut store, 100, 100);
    assert_eq!(places(&store).len(), 6);
    assert_eq!(cohorts(&store)[0].scored, 6, "what has expired stays counted");
}

#[test]
fn a_place_outlives_its_row_and_still_takes_its_label() {
    let (_folder, mut store) =
        log(&[score(10, "a", "1", 0.5), score(20, "a", "1", 0.5), score(30, "b", "1", 0.5)]);
    count_all(&mut store, 100, 100);
    store.connection.execute("DELETE FROM scores WHERE lead = 'a'", []).unwrap();
    store.write(&[won(50, "a", true)]).unwrap();
    count_all(&mut store, 100, 100);
    assert_eq!(cohorts(&store)[0].positives, 1);
    // It was closed before the score that counted, and the one before that is gone.
    store.write(&[won(15, "a", true)]).unwrap();
    count_all(&mut store, 100, 100);
    let [day] = &cohorts(&store)[..] else { panic!("one day") };
    assert_eq!((day.scored, day.positives), (1, 0));
}

#[test]
fn a_lead_that_goes_while_labels_follow_a_new_horizon_is_named_no_more() {
    let leads = ["a", "b", "c", "d"].map(|lead| score(10, lead, "1", 0.5));
    let (_folder, mut store) = log(&leads);
    store.write(&[won(150, "d", true)]).unwrap();
    count_all(&mut store, 100, 100);
    assert!(!store.count(2, 200).unwrap().done);
    let reached = |store: &Store| Reached::read(&store.connection).unwrap().unwrap().relabelled;
    assert_eq!(reached(&store).as_deref(), Some("b"));
    store.connection.execute("DELETE FROM counted WHERE lead = 'b'", []).unwrap();
    assert_eq!(reached(&store).as_deref(), Some("a"));
    count_all(&mut store, 2, 200);
    assert_eq!(reached(&store), None);
    let labels: Vec<_> = places(&store).into_iter().map(|place| (place.0, place.3)).collect();
    assert_eq!(labels, [("a".into(), None), ("c".into(), None), ("d".into(), Some(true))]);
    assert_eq!(cohorts(&store)[0].scored, 4, "as a number it stays");
}

#[test]
fn a_record_that_is_saved_all_the_time_is_looked_at_only_so_far() {
    let check = |outcomes: i64, expected: Option<bool>| {
        let lost = (0..outcomes).map(|n| won(50 + n, "a", false));
        let entries: Vec<Entry> = [score(10, "a", "1", 0.5)].into_iter().chain(lost).collect();
        let (_folder, mut store) = log(&entries);
        store.write(&[won(5_000, "a", true)]).unwrap();
        count_all(&mut store, 100, 10_000);
        assert_eq!(places(&store)[0].3, expected, "{outcomes}");
    };
    check(labels::MOST_OUTCOMES as i64 - 1, Some(true));
    check(labels::MOST_OUTCOMES as i64, Some(false));
    let check = |scores: i64, expected: Option<i64>| {
        let entries: Vec<Entry> = (0..scores).map(|n| score(10 + n, "a", "1", 0.5)).collect();
        let (_folder, mut store) = log(&entries);
        count_all(&mut store, 500, 10_000);
        store.write(&[won(11, "a", true)]).unwrap();
        count_all(&mut store, 500, 10_000);
        assert_eq!(places(&store).first().map(|place| place.2), expected, "{scores}");
    };
    check(MOST_SCORES as i64, Some(10));
    check(MOST_SCORES as i64 + 1, None);
}

#[test]
fn a_sketch_that_cannot_be_read_is_counted_again() {
    let (_folder, mut store) =
        log(&[score(10, "a", "1", 0.5), score(20, "b", "1", 0.75), won(30, "a", true)]);
    count_all(&mut store, 100, 100);
    let before = cohorts(&store);
    store.connection.execute("UPDATE sketches SET known = x'01ff'", []).unwrap();
    assert_eq!(cohorts(&store), []);
    store.write(&[won(30, "b", false), won(31, "b", true), score(40, "c", "1", 0.5)]).unwrap();
    count_all(&mut store, 100, 100);
    let after = cohorts(&store);
    assert_eq!((after[0].scored, after[0].positives), (before[0].scored + 1, 2));
    assert_eq!(after, recounted(&store, 100));
}

#[test]
fn nothing_is_counted_where_the_log_cannot_be_written() {
    let (folder, mut store) = log(&[score(10, "a", "1", 0.5)]);
    let other = Connection::open(folder.path().join(Store::FILE)).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert!(matches!(store.count(10, 100), Err(StoreError::Sqlite(_))));
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(store.uncounted().unwrap(), 1);
    assert_eq!(store.count(10, 100).unwrap(), Counted { steps: 1, done: true });
    let mut reader = Store::open_read_only(folder.path()).unwrap();
    assert!(reader.count(10, 100).is_err());
    assert_eq!(cohorts(&reader).len(), 1);
}

/// The same log, counted from scratch in one slice.
fn recounted(store: &Store, horizon_ms: i64) -> Vec<CohortDay> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(Store::FILE);
    store.connection.execute("VACUUM INTO ?1", [file.to_str().unwrap()]).unwrap();
    let mut fresh = Store::open(folder.path()).unwrap();
    let clear = "DELETE FROM counted; DELETE FROM counted_to; DELETE FROM sketches; DELETE FROM recount";
    fresh.connection.execute_batch(clear).unwrap();
    count_all(&mut fresh, 1_000_000, horizon_ms);
    cohorts(&fresh)
}

/// The same by plain code over all rows: version, day, leads, won, lost, revenue.
fn by_hand(store: &Store, horizon_ms: i64) -> Vec<(String, i64, Group4)> {
    let sql = "SELECT lead, version, time_ms FROM scores WHERE lead IS NOT NULL ORDER BY seq";
    let mut statement = store.connection.prepare(sql).unwrap();
    let row = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?));
    let scores: Vec<_> = statement.query_map([], row).unwrap().map(Result::unwrap).collect();
    let sql = "SELECT lead, time_ms, coalesce(occurred_ms, time_ms), coalesce(revision, 0), won, revenue FROM outcomes
        WHERE lead IS NOT NULL ORDER BY seq";
    let mut statement = store.connection.prepare(sql).unwrap();
    let row = |row: &Row<'_>| {
        let (passed, happened): (i64, i64) = (row.get(1)?, row.get(2)?);
        let (revision, won, revenue): (i64, bool, Option<f64>) = (row.get(3)?, row.get(4)?, row.get(5)?);
        Ok((row.get::<_, String>(0)?, passed, happened, revision, won, revenue))
    };
    let outcomes: Vec<_> = statement.query_map([], row).unwrap().map(Result::unwrap).collect();
    let mut last = BTreeMap::new();
    for (lead, version, time_ms) in scores {
        let closed = outcomes.iter().filter(|told| told.0 == lead).map(|told| told.1.min(told.2)).min();
        if closed.is_none_or(|closed| time_ms < closed) {
            last.insert((lead, version), time_ms);
        }
    }
    let mut days: BTreeMap<(i64, String), Group4> = BTreeMap::new();
    for ((lead, version), time_ms) in last {
        let within = |told: &&(String, i64, i64, i64, bool, Option<f64>)| {
            told.0 == lead && told.2 <= time_ms + horizon_ms
        };
        let label = outcomes.iter().filter(within).max_by_key(|told| (told.3, told.2));
        let day = days.entry((time_ms.div_euclid(DAY_MS), version)).or_default();
        day.0 += 1;
        match label {
            Some((_, _, _, _, true, revenue)) => {
                day.1 += 1;
                day.3 += revenue.unwrap_or_default();
            }
            Some(_) => day.2 += 1,
            None => {}
        }
    }
    days.into_iter().map(|((day, version), group)| (version, day, group)).collect()
}

type Group4 = (u64, u64, u64, f64);

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Entry>),
    Count(usize),
    Horizon(i64),
}

fn entry() -> impl Strategy<Value = Entry> {
    let time = || (0..40i64).prop_map(|quarter| quarter * DAY_MS / 4);
    let lead = || prop::sample::select(vec!["a", "b", "c", "d"]);
    let given = (time(), lead(), 1..3u8, 0..=16u8).prop_map(|(time, lead, version, part)| {
        score(time, lead, &version.to_string(), f32::from(part) / 16.0)
    });
    let event = prop::option::of(prop::sample::select(vec!["x", "y"]));
    let outcome =
        (time(), lead(), any::<(bool, bool)>(), event, prop::option::of(0..3i64), prop::option::of(time()));
    let outcome = outcome.prop_map(|(time, lead, (is_won, via_alias), event, revision, occurred)| {
        let lead = if via_alias { format!("deal-{lead}") } else { lead.to_owned() };
        let revenue = is_won.then_some(time as f64 / 1e5);
        let event = event.map(Into::into);
        told(
            time,
            Outcome {
                via_alias,
                event,
                revision,
                time_ms: occurred,
                revenue,
                ..Outcome::new(&*lead, is_won)
            },
        )
    });
    let alias = (time(), lead(), lead()).prop_map(|(time_ms, deal, lead)| {
        Entry::Alias(AliasRecord {
            time_ms,
            alias: Alias { deal: format!("deal-{deal}").into(), lead: lead.into() },
        })
    });
    prop_oneof![4 => given, 3 => outcome, 1 => alias]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(entry(), 1..8).prop_map(Step::Write),
        3 => (1..6usize).prop_map(Step::Count),
        1 => (0..12i64).prop_map(|days| Step::Horizon(days * DAY_MS)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn counting_in_any_slices_comes_to_what_counting_from_scratch_does(steps in prop::collection::vec(step(), 1..24)) {
        let (_folder, mut store) = log(&[]);
        let mut horizon_ms = 3 * DAY_MS;
        for step in &steps {
            match step {
                Step::Write(batch) => store.write(batch).unwrap(),
                Step::Count(most) => _ = store.count(*most, horizon_ms).unwrap(),
                Step::Horizon(ms) => horizon_ms = *ms,
            }
        }
        count_all(&mut store, 3, horizon_ms);
        let found = cohorts(&store);
        prop_assert_eq!(&found, &recounted(&store, horizon_ms));
        let told: Vec<_> = found.iter().map(|day| {
            let total = day.tally.total();
            (day.version.clone(), day.day, (total.scored, total.won, total.lost, total.revenue))
        }).collect();
        prop_assert_eq!(told, by_hand(&store, horizon_ms));
    }
}
