//! What became of a lead after it was scored: the one rule that training, rollouts, the report, exports and comparisons share.
//!
//! A label is what happened within the horizon of the score: of the outcomes that happened by then that of the highest
//! revision, of those the last. What came later is no part of it, so a deal that is saved again long after it was won is
//! still won. A lead of which something had become before it was scored, or just then, tells nothing of the score. Of a
//! lead with very many outcomes the first thousand count, in the order in which they came; corrections by event take the place of what
//! they correct. It bounds what a record costs that a machine saves every minute.
//!
//! The rule is written twice, as pieces of SQL and in `scan.rs` for a log that is read through; a test holds them together.

use rusqlite::{Connection, OptionalExtension, params};

use super::store::StoreError;

/// Outcomes of one lead that count.
pub(in crate::leadlog) const MOST_OUTCOMES: usize = 1_000;

/// The outcomes of the lead of a row `met`, called `told`.
macro_rules! outcomes {
    () => {
        "(SELECT * FROM outcomes WHERE outcomes.lead = met.lead ORDER BY outcomes.seq LIMIT 1000) AS told"
    };
}

/// A column of the outcome that counts of a row `met` with a lead and a time; the horizon is `?6`. Null where none does.
macro_rules! label {
    ($column:literal) => {
        concat!(
            "(SELECT told.",
            $column,
            " FROM ",
            outcomes!(),
            " WHERE coalesce(told.occurred_ms, told.time_ms) <= met.time_ms + ?6
             ORDER BY coalesce(told.revision, 0) DESC, coalesce(told.occurred_ms, told.time_ms) DESC, told.seq DESC LIMIT 1)"
        )
    };
}

/// When the first thing became of the lead of a row `met`.
macro_rules! closed {
    () => {
        concat!(
            "coalesce((SELECT min(min(told.time_ms, coalesce(told.occurred_ms, told.time_ms))) FROM ",
            outcomes!(),
            "), 9223372036854775807)"
        )
    };
}

/// Whether it was won.
pub(in crate::leadlog) const LABEL: &str = label!("won");

/// The whole outcome that counts of the lead `?1` that was scored at `?2`.
const WHOLE: &str = concat!(
    "SELECT won, revenue, coalesce(occurred_ms, time_ms), revision FROM outcomes WHERE seq = (SELECT ",
    label!("seq"),
    " FROM (SELECT ?1 AS lead, ?2 AS time_ms) AS met)"
);

/// When the first thing became of the lead of a row `met`, as it happened or as it passed, whichever is earlier; never, where
/// nothing has.
pub(in crate::leadlog) const CLOSED: &str = closed!();

/// The same of the lead `?1`.
const CLOSED_OF: &str = concat!("SELECT ", closed!(), " FROM (SELECT ?1 AS lead) AS met");

/// Nothing had become of the lead of a row `met` yet, nor did just then.
pub(in crate::leadlog) const WAS_OPEN: &str = concat!(
    "NOT EXISTS (SELECT 1 FROM ",
    outcomes!(),
    " WHERE min(told.time_ms, coalesce(told.occurred_ms, told.time_ms)) <= met.time_ms)"
);

/// What became of a lead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::leadlog) struct Label {
    /// Won, or lost.
    pub(in crate::leadlog) won: bool,
    /// What it brought.
    pub(in crate::leadlog) revenue: Option<f64>,
    /// When it happened, in milliseconds since 1970.
    pub(in crate::leadlog) occurred_ms: i64,
    /// The outcome's revision.
    pub(in crate::leadlog) revision: Option<i64>,
}

/// When the first thing became of a lead; the end of time where nothing has.
pub(in crate::leadlog) fn closed_ms(connection: &Connection, lead: &str) -> Result<i64, StoreError> {
    Ok(connection.prepare_cached(CLOSED_OF)?.query_row([lead], |row| row.get(0))?)
}

/// The label of a lead that was open when it was scored.
pub(in crate::leadlog) fn label(
    connection: &Connection,
    lead: &str,
    (scored_ms, horizon_ms): (i64, i64),
) -> Result<Option<Label>, StoreError> {
    let mut statement = connection.prepare_cached(WHOLE)?;
    // The horizon's own place is the sixth; those between have no meaning here.
    let none = rusqlite::types::Null;
    let found = statement.query_row(params![lead, scored_ms, none, none, none, horizon_ms], |row| {
        let (won, occurred_ms, revision) = (row.get(0)?, row.get(2)?, row.get(3)?);
        Ok(Label { won, revenue: row.get(1)?, occurred_ms, revision })
    });
    Ok(found.optional()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        lead::Outcome,
        leadlog::{
            Days, Ending, Entry, Horizon, OutcomeRecord, Scored, Span, Store, Wanted,
            counts::cohorts::CohortDay, fixture,
        },
    };

    const HORIZON: Horizon = Horizon { ms: 100, now_ms: 500 };

    fn log(entries: &[Entry]) -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        store.write(entries).unwrap();
        while !store.count(50, HORIZON.ms).unwrap().done {}
        (folder, store)
    }

    fn told(time_ms: i64, outcome: Outcome) -> Entry {
        Entry::Outcome(OutcomeRecord { time_ms, route: "r".into(), outcome })
    }

    /// Scores of a few leads, each at a time of its own, and what became of some.
    fn any_log() -> impl Strategy<Value = Vec<Entry>> {
        let lead = || prop::sample::select(vec!["a", "b", "c", "d"]);
        let scores = prop::collection::btree_map(0..480_i64, lead(), 0..12);
        let outcome =
            (lead(), 0..490_i64, prop::option::of(0..490_i64), prop::option::of(0..3_i64), any::<bool>());
        (scores, prop::collection::vec(outcome, 0..8)).prop_map(|(scores, outcomes)| {
            let mut entries: Vec<(i64, Entry)> = scores
                .into_iter()
                .map(|(time_ms, lead)| (time_ms, Entry::Score(fixture::score(time_ms, lead, "1"))))
                .collect();
            entries.extend(outcomes.into_iter().map(|(lead, time_ms, occurred, revision, won)| {
                let revenue = won.then_some(9.5);
                (
                    time_ms,
                    told(
                        time_ms,
                        Outcome { time_ms: occurred, revision, revenue, ..Outcome::new(lead, won) },
                    ),
                )
            }));
            entries.sort_by_key(|(time_ms, _)| *time_ms);
            entries.into_iter().map(|(_, entry)| entry).collect()
        })
    }

    /// Lead, time, and what is said of it.
    type Row = (String, i64, Option<bool>);

    fn exported(store: &Store) -> Vec<Row> {
        let (mut rows, all) = (Vec::new(), Span { from_ms: i64::MIN, to_ms: i64::MAX });
        let take = |row: crate::leadlog::ExportRow, _| {
            rows.push((row.lead.unwrap_or_default(), row.time_ms, row.won));
            Ok(())
        };
        store.export(all, HORIZON, take).unwrap();
        rows
    }

    /// What the report counts.
    fn counted(store: &Store) -> BTreeMap<String, (i64, Option<bool>)> {
        let sql = "SELECT lead, time_ms, won FROM counted";
        let mut statement = store.connection.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn trained(store: &Store) -> BTreeMap<i64, bool> {
        let wanted = Wanted { model: "lead", since_ms: 0, horizon: HORIZON };
        let mut rows = BTreeMap::new();
        let each = |Scored { time_ms, won, .. }: Scored<'_>| rows.insert(time_ms, won).is_none();
        store.training(&wanted, each).unwrap();
        rows
    }

    proptest! {
        #[test]
        fn training_export_report_and_comparison_say_the_same(entries in any_log()) {
            let (_folder, store) = log(&entries);
            let (counted, trained) = (counted(&store), trained(&store));
            let endings = store.endings(i64::MAX).unwrap();
            for (lead, time_ms, won) in exported(&store) {
                let settled = time_ms <= HORIZON.settled_ms();
                let ending = endings.after(endings.key(&lead), time_ms, HORIZON.ms);
                let asked = store.settled(&lead, time_ms, HORIZON.ms).unwrap();
                prop_assert_eq!(asked.is_none(), ending == Ending::Before);
                let Some((_, label)) = counted.get(&lead).filter(|(counts, _)| *counts == time_ms) else {
                    prop_assert_eq!(won, None, "{} {} does not count", lead, time_ms);
                    continue;
                };
                let known = match ending {
                    Ending::Known { won, .. } => Some(won),
                    _ => None,
                };
                let last = if settled { Some(known.unwrap_or(false)) } else { known };
                prop_assert_eq!((*label, won), (known, last), "{} {}", lead, time_ms);
                prop_assert_eq!(trained.get(&time_ms).copied(), last.filter(|_| settled), "{} {}", lead, time_ms);
                prop_assert_eq!(asked, Some(known.unwrap_or(false)));
            }
        }
    }

    #[test]
    fn the_report_adds_up_to_what_is_exported() {
        let day = 86_400_000;
        let won = |time_ms, lead: &str| told(time_ms, Outcome::new(lead, true));
        let lost = |time_ms, lead: &str| told(time_ms, Outcome::new(lead, false));
        let scores = (0..40).map(|n| Entry::Score(fixture::score(n * day / 10, &format!("l{n}"), "1")));
        let outcomes =
            [won(day, "l3"), won(8 * day, "l4"), lost(day, "l5"), won(0, "l6"), won(4 * day, "l39")];
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        store.write(&scores.chain(outcomes).collect::<Vec<_>>()).unwrap();
        let horizon = Horizon { ms: 5 * day, now_ms: 8 * day };
        while !store.count(50, horizon.ms).unwrap().done {}
        let all = Days { model: "lead", version: None, from: 0, to: 9 };
        let days: Vec<CohortDay> = store.cohorts_of(&all, horizon).unwrap();
        let told: Vec<_> = days.iter().map(|day| (day.matured, day.positives, day.negatives)).collect();
        // Of the third day all but the last tenth have had their time; it is told of once all have.
        assert_eq!(told, [(true, 1, 8), (true, 0, 10), (true, 0, 10), (false, 1, 0)]);
        let mut exported = BTreeMap::<(i64, Option<bool>), u64>::new();
        let take = |row: crate::leadlog::ExportRow, _| {
            *exported.entry((row.time_ms / day, row.won)).or_default() += 1;
            Ok(())
        };
        store.export(Span { from_ms: i64::MIN, to_ms: i64::MAX }, horizon, take).unwrap();
        let expected = [
            ((0, None), 1),
            ((0, Some(false)), 8),
            ((0, Some(true)), 1),
            ((1, Some(false)), 10),
            ((2, Some(false)), 10),
            ((3, None), 8),
            ((3, Some(false)), 1),
            ((3, Some(true)), 1),
        ];
        assert_eq!(exported, expected.into());
    }

    #[test]
    fn beyond_a_thousand_outcomes_none_counts_anywhere() {
        let lost = |time_ms| told(time_ms, Outcome::new("a", false));
        let mut entries = vec![Entry::Score(fixture::score(10, "a", "1"))];
        entries.extend((0..MOST_OUTCOMES as i64).map(|n| lost(20 + n % 50)));
        let late = Outcome { revision: Some(9), ..Outcome::new("a", true) };
        entries.push(told(15, late));
        let (_folder, store) = log(&entries);
        let endings = store.endings(i64::MAX).unwrap();
        let ending = endings.after(endings.key("a"), 10, HORIZON.ms);
        assert_eq!(ending, Ending::Known { won: false, revenue: None });
        assert_eq!(counted(&store)["a"], (10, Some(false)));
        assert_eq!((exported(&store)[0].2, trained(&store)[&10]), (Some(false), false));
        assert_eq!(closed_ms(&store.connection, "a").unwrap(), 20);
    }
}
