//! The guard of a challenger: it takes a bad one out of service within the request that shows it, before anybody looks at
//! windows and evidence. From then on the champion answers every lead.
//!
//! Counts are of one minute and of both arms, in atomics that all workers and snapshots share, without an order among them:
//! at the turn of a minute a few leads are counted to neither. A guard is of one version in one trial, so a version that
//! comes back after it was mended starts with a clean one.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicI64, AtomicU32, Ordering::Relaxed},
    },
};

use super::{decide::Fault, decision::Trigger, told::Told};
use crate::lead::{Arm, ArmOutcome, TripReason};

/// What is known of a challenger's failures.
#[derive(Debug)]
pub struct Guard {
    tripped: OnceLock<Trip>,
    /// Minutes since 1970.
    minute: AtomicI64,
    champion: Counts,
    challenger: Counts,
}

/// Leads of one arm in the current minute.
#[derive(Debug, Default)]
struct Counts {
    leads: AtomicU32,
    failed: AtomicU32,
    late: AtomicU32,
}

/// Why a challenger was taken out of service, with the numbers of that minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trip {
    /// The reason.
    pub reason: TripReason,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// The champion's leads.
    pub champion: Minute,
    /// The challenger's.
    pub challenger: Minute,
}

impl Trip {
    /// What is decided on.
    pub fn fault(&self, version: &str) -> Fault {
        let Self { reason, champion, challenger, .. } = self;
        let trigger = match reason {
            TripReason::Score => Trigger::Score,
            TripReason::Load => Trigger::Load,
            TripReason::Poison | TripReason::Errors | TripReason::Deadline => Trigger::Guard,
        };
        let leads = |bad: fn(&Minute) -> u32| {
            let (of_challenger, of_champion) = (bad(challenger), bad(champion));
            let [all, others] = [challenger.leads, champion.leads];
            format!("{of_challenger} of {all} leads within a minute, the champion {of_champion} of {others}")
        };
        let said = match reason {
            TripReason::Score => {
                "a score was no number from 0 to 1, of a lead that the champion could score".into()
            }
            TripReason::Load => "its files cannot be loaded any more".into(),
            TripReason::Poison => "it panicked three times within a minute".into(),
            TripReason::Errors => format!("it failed {}", leads(|minute| minute.failed)),
            TripReason::Deadline => format!("it was too late for {}", leads(|minute| minute.late)),
        };
        let numbers = [
            ("leads", challenger.leads),
            ("failed", challenger.failed),
            ("late", challenger.late),
            ("champion_leads", champion.leads),
            ("champion_failed", champion.failed),
            ("champion_late", champion.late),
        ];
        let numbers = numbers.map(|(name, count)| (name, i64::from(count)));
        Fault { version: version.to_owned(), trigger, told: Told::new(said, numbers) }
    }
}

/// Leads of one arm in one minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute {
    /// All of them.
    pub leads: u32,
    /// Those that failed.
    pub failed: u32,
    /// Those that took too long.
    pub late: u32,
}

/// Below so many leads of the challenger no share of failures says anything.
const MIN_LEADS: u32 = 200;

/// The same for the comparison with the champion.
const MIN_COMPARED: u32 = 500;

/// The standard normal's quantile at 1 - .001 / 2.
const Z: f64 = 3.290_526_731_491_926;

impl Default for Guard {
    fn default() -> Self {
        let (champion, challenger) = (Counts::default(), Counts::default());
        Self { tripped: OnceLock::new(), minute: AtomicI64::new(i64::MIN), champion, challenger }
    }
}

impl Guard {
    /// Why the challenger is out of service, if it is.
    pub fn tripped(&self) -> Option<&Trip> {
        self.tripped.get()
    }

    /// Takes the challenger out of service. Whether it was in it.
    pub fn trip(&self, reason: TripReason, now_ms: i64) -> bool {
        let (champion, challenger) = (self.champion.minute(), self.challenger.minute());
        self.tripped.set(Trip { reason, time_ms: now_ms, champion, challenger }).is_ok()
    }

    /// Counts a lead that an arm was to answer. Why the challenger must not go on, where that is so.
    pub fn count(&self, arm: Arm, outcome: ArmOutcome, now_ms: i64) -> Option<TripReason> {
        self.turn(now_ms.div_euclid(60_000));
        let counts = match arm {
            Arm::Champion => &self.champion,
            Arm::Challenger => &self.challenger,
        };
        counts.leads.fetch_add(1, Relaxed);
        match outcome {
            ArmOutcome::Failed => _ = counts.failed.fetch_add(1, Relaxed),
            ArmOutcome::Late => _ = counts.late.fetch_add(1, Relaxed),
            ArmOutcome::Scored | ArmOutcome::Features | ArmOutcome::Out => {}
        }
        self.judge()
    }

    fn turn(&self, minute: i64) {
        // Of two that see the new minute at once, one clears.
        if self.minute.load(Relaxed) != minute && self.minute.swap(minute, Relaxed) != minute {
            [&self.champion, &self.challenger].into_iter().for_each(Counts::clear);
        }
    }

    fn judge(&self) -> Option<TripReason> {
        let challenger = self.challenger.minute();
        if challenger.failed + challenger.late == 0 || challenger.leads < MIN_LEADS {
            return None;
        }
        let champion = self.champion.minute();
        let worse = |bad: fn(Minute) -> u32| {
            is_worse((bad(challenger), challenger.leads), (bad(champion), champion.leads))
        };
        let failed = worse(|minute| minute.failed).then_some(TripReason::Errors);
        failed.or_else(|| worse(|minute| minute.late).then_some(TripReason::Deadline))
    }
}

/// More than 5% of 200 leads, or more than the champion's share by over one point with p < .001 (pooled two-proportion z)
/// among 500. Where the champion's own share is over 5% as well, something else is at fault.
fn is_worse((bad, leads): (u32, u32), (champion_bad, champion_leads): (u32, u32)) -> bool {
    let is_much = |bad: u32, leads: u32| leads >= MIN_LEADS && u64::from(bad) * 20 > u64::from(leads);
    if is_much(bad, leads) {
        return !is_much(champion_bad, champion_leads);
    }
    if leads < MIN_COMPARED || champion_leads == 0 {
        return false;
    }
    let [x, n, y, m] = [bad, leads, champion_bad, champion_leads].map(f64::from);
    let (difference, pooled) = (x / n - y / m, (x + y) / (n + m));
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
    difference > 0.01 && difference > Z * deviation
}

impl Counts {
    fn minute(&self) -> Minute {
        let [leads, failed, late] = [&self.leads, &self.failed, &self.late].map(|count| count.load(Relaxed));
        Minute { leads, failed, late }
    }

    fn clear(&self) {
        [&self.leads, &self.failed, &self.late].into_iter().for_each(|count| count.store(0, Relaxed));
    }
}

/// The guards of all challengers. Workers hold theirs; this is where snapshots take them from.
#[derive(Debug, Default)]
pub struct Guards(Mutex<BTreeMap<Names, Kept>>);

/// Model and version.
type Names = (Arc<str>, Arc<str>);

#[derive(Debug)]
struct Kept {
    /// The manifest's digest; `None` while the version is not loaded.
    digest: Option<Arc<str>>,
    guard: Arc<Guard>,
}

impl Guards {
    /// The guard of a challenger: the one it had, unless it is another artifact now.
    pub fn of(&self, model: &Arc<str>, version: &Arc<str>, digest: Option<&Arc<str>>) -> Arc<Guard> {
        let mut guards = self.lock();
        let names = (Arc::clone(model), Arc::clone(version));
        let fresh = || Kept { digest: digest.cloned(), guard: Arc::default() };
        let kept = guards.entry(names).or_insert_with(fresh);
        if digest.is_some_and(|digest| kept.digest.as_ref() != Some(digest)) {
            *kept = fresh();
        }
        Arc::clone(&kept.guard)
    }

    /// Forgets those that are no challengers any more.
    pub fn retain(&self, mut is_challenger: impl FnMut(&str, &str) -> bool) {
        self.lock().retain(|(model, version), _| is_challenger(model, version));
    }

    /// The challengers that are out of service: model, version, why.
    pub fn tripped(&self) -> Vec<(Arc<str>, Arc<str>, Trip)> {
        let tripped = |((model, version), kept): (&Names, &Kept)| {
            Some((Arc::clone(model), Arc::clone(version), *kept.guard.tripped()?))
        };
        self.lock().iter().filter_map(tripped).collect()
    }

    /// The same of one model, as it is decided on.
    pub fn faults(&self, model: &str) -> Vec<Fault> {
        let of_model = self.tripped().into_iter().filter(|(of, _, _)| **of == *model);
        of_model.map(|(_, version, trip)| trip.fault(&version)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Names, Kept>> {
        // Nothing in here panics half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts so many leads of an arm, the bad ones first; what is said after the last.
    fn count(guard: &Guard, arm: Arm, (bad, leads): (u32, u32), outcome: ArmOutcome) -> Option<TripReason> {
        let outcomes = (0..leads).map(|n| if n < bad { outcome } else { ArmOutcome::Scored });
        outcomes.fold(None, |_, outcome| guard.count(arm, outcome, 60_000))
    }

    #[test]
    fn a_bad_minute_is_told() {
        let check = |challenger: (u32, u32), champion: (u32, u32), is_bad: bool| {
            for (outcome, reason) in
                [(ArmOutcome::Failed, TripReason::Errors), (ArmOutcome::Late, TripReason::Deadline)]
            {
                let guard = Guard::default();
                count(&guard, Arm::Champion, champion, outcome);
                let told = count(&guard, Arm::Challenger, challenger, outcome);
                assert_eq!(told, is_bad.then_some(reason), "{challenger:?} {champion:?}");
            }
        };
        check((0, 0), (0, 0), false);
        check((199, 199), (0, 900), false);
        check((10, 200), (0, 900), false);
        check((11, 200), (0, 900), true);
        check((11, 200), (0, 0), true);
        check((11, 200), (50, 900), false);
        check((11, 200), (11, 199), true);
        check((6, 499), (0, 9_000), false);
        // Over one point, but a chance of one in a thousand.
        check((9, 500), (27, 4_500), false);
        check((12, 500), (9, 4_500), true);
        // Surely worse, but by less than a point.
        check((9, 1_000), (0, 100_000), false);
        check((11, 1_000), (0, 100_000), true);
        check((20, 1_000), (0, 0), false);
    }

    #[test]
    fn each_minute_begins_anew() {
        let guard = Guard::default();
        assert_eq!(count(&guard, Arm::Challenger, (150, 150), ArmOutcome::Failed), None);
        for _ in 0..150 {
            assert_eq!(guard.count(Arm::Challenger, ArmOutcome::Failed, 120_000), None);
        }
        assert_eq!(guard.challenger.minute(), Minute { leads: 150, failed: 150, late: 0 });
        // A clock that goes back begins one as well.
        assert_eq!(guard.count(Arm::Champion, ArmOutcome::Scored, -1), None);
        assert_eq!((guard.champion.minute().leads, guard.challenger.minute().leads), (1, 0));
    }

    #[test]
    fn the_first_reason_stays() {
        let guard = Guard::default();
        guard.count(Arm::Challenger, ArmOutcome::Failed, 7);
        assert!(guard.trip(TripReason::Score, 7) && !guard.trip(TripReason::Poison, 8));
        let (champion, challenger) = (Minute::default(), Minute { leads: 1, failed: 1, late: 0 });
        let trip = Trip { reason: TripReason::Score, time_ms: 7, champion, challenger };
        assert_eq!(guard.tripped(), Some(&trip));
    }

    #[test]
    fn a_trip_says_what_happened() {
        let check = |reason: TripReason, trigger: Trigger, said: &str| {
            let champion = Minute { leads: 2_160, failed: 1, late: 2 };
            let challenger = Minute { leads: 240, failed: 13, late: 14 };
            let fault = Trip { reason, time_ms: 7, champion, challenger }.fault("4");
            assert_eq!(
                (fault.version.as_str(), fault.trigger, fault.told.said.as_str()),
                ("4", trigger, said)
            );
            assert_eq!((fault.told.numbers["failed"], fault.told.numbers["champion_late"]), (13, 2));
        };
        use TripReason::{Deadline, Errors, Load, Poison, Score};
        check(
            Score,
            Trigger::Score,
            "a score was no number from 0 to 1, of a lead that the champion could score",
        );
        check(Load, Trigger::Load, "its files cannot be loaded any more");
        check(Poison, Trigger::Guard, "it panicked three times within a minute");
        check(Errors, Trigger::Guard, "it failed 13 of 240 leads within a minute, the champion 1 of 2160");
        check(
            Deadline,
            Trigger::Guard,
            "it was too late for 14 of 240 leads within a minute, the champion 2 of 2160",
        );
    }

    #[test]
    fn a_guard_is_of_one_artifact_in_one_trial() {
        let guards = Guards::default();
        let [model, version, one, two] = ["lead", "4", "aa", "bb"].map(Arc::from);
        let of = |digest: Option<&Arc<str>>| guards.of(&model, &version, digest);
        let unloaded = of(None);
        unloaded.trip(TripReason::Load, 1);
        assert_eq!(guards.tripped().len(), 1);
        let first = of(Some(&one));
        assert!(!Arc::ptr_eq(&first, &unloaded) && guards.tripped().is_empty(), "it can be loaded now");
        assert!(Arc::ptr_eq(&first, &of(Some(&one))) && Arc::ptr_eq(&first, &of(None)), "in every snapshot");
        assert!(!Arc::ptr_eq(&first, &of(Some(&two))), "another artifact");
        of(None).trip(TripReason::Score, 2);
        guards.retain(|model, version| (model, version) == ("lead", "4"));
        assert_eq!(guards.tripped()[0].2.reason, TripReason::Score);
        let fault = &guards.faults("lead")[0];
        assert_eq!((fault.version.as_str(), fault.trigger), ("4", Trigger::Score));
        assert!(guards.faults("other").is_empty());
        guards.retain(|_, _| false);
        assert!(guards.tripped().is_empty());
    }
}
