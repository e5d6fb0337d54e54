//! Tables of verdicts, in words.

use super::*;

fn labelled(leads: u64, positives: u64, mean: f64, deviation: f64) -> Labelled {
    let squares = deviation * deviation * leads as f64;
    Labelled { leads, positives, mean, squares, ..Labelled::default() }
}

#[test]
fn pairs_are_better_worse_or_open() {
    let policy = Rollout::default().paired;
    for (leads, positives, mean, expected, said) in [
        (
            5000,
            400,
            0.02,
            Quality::Better,
            "better on the same 5,000 leads, 400 of them won: log-loss is lower by 0.0200 a lead (p below 0.0001)",
        ),
        (
            5000,
            49,
            0.02,
            Quality::Undecided,
            "neither better nor worse on 5,000 leads, 49 of them won: log-loss is lower by 0.0200 a lead \
             (p below 0.0001); more wins are needed",
        ),
        (
            5000,
            20,
            -0.02,
            Quality::Worse,
            "worse on the same 5,000 leads, 20 of them won: log-loss is higher by 0.0200 a lead (p below 0.0001)",
        ),
        (
            5000,
            19,
            -0.02,
            Quality::Insufficient,
            "only 19 wins among 5,000 leads with a label, too few for a verdict",
        ),
        (
            1000,
            80,
            0.01,
            Quality::Undecided,
            "neither better nor worse on 1,000 leads, 80 of them won: log-loss is lower by 0.0100 a lead \
             (p 0.8213); about 2,738 more leads are needed if that stays",
        ),
        (
            1000,
            80,
            0.0,
            Quality::Undecided,
            "neither better nor worse on 1,000 leads, 80 of them won: log-loss is higher by 0.0000 a lead \
             (p 1.0000); no number of leads in sight would tell them apart",
        ),
        (0, 0, 0.0, Quality::Insufficient, "only 0 wins among 0 leads with a label, too few for a verdict"),
    ] {
        let verdict = paired(&labelled(leads, positives, mean, 0.2), &policy);
        assert_eq!((verdict.ruling, verdict.told().said.as_str()), (expected, said));
    }
    let told = paired(&labelled(1000, 80, 0.01, 0.2), &policy).told();
    assert_eq!((told.numbers["difference_e6"], told.numbers["variance_e12"]), (10_000, 40_000_000));
}

fn traffic(leads: u64, errors: u64, p99_ns: u64) -> Traffic {
    Traffic { leads, scored: leads - errors, errors, p99_ns, ..Traffic::default() }
}

#[test]
fn windows_pass_fail_hold_or_breach() {
    let policy = Rollout::default();
    let check = |champion: Traffic, challenger: Traffic, step_leads, expected: &str| {
        let arms = Sides { champion, challenger };
        let told = match window(&Window { arms, ..Window::default() }, step_leads, &policy) {
            WindowVerdict::Pass => "pass".to_owned(),
            WindowVerdict::NoData(told) => format!("no data: {}", told.said),
            WindowVerdict::Breach(told) => format!("breach: {}", told.said),
            WindowVerdict::Fail(told) => format!("fail: {}", told.said),
        };
        assert_eq!(told, expected);
    };
    let fast = 20_000;
    check(traffic(0, 0, 0), traffic(0, 0, 0), 0, "no data: 0 of 100 leads since the last look");
    check(traffic(900, 0, fast), traffic(99, 99, fast), 9000, "no data: 99 of 100 leads since the last look");
    check(traffic(900, 0, fast), traffic(100, 0, fast), 600, "pass");
    // A point more than the champion, rarely by chance, in a step that is long enough.
    let failed = "fail: 4.00% of the canary's leads were not scored, and 0.11% of the champion's";
    check(traffic(900, 1, fast), traffic(100, 4, fast), 500, failed);
    let unsure = "breach: 1% or more of the canary's leads got no score of its own, \
                  but not so many more than in the champion's arm that it is sure";
    check(traffic(900, 1, fast), traffic(100, 4, fast), 499, unsure);
    check(traffic(900, 1, fast), traffic(100, 2, fast), 9000, unsure);
    // More than 5% counts by itself, but not at the very start.
    check(traffic(0, 0, 0), traffic(100, 6, fast), 199, unsure);
    let failed = "fail: 6.00% of the canary's leads were not scored, and 0.00% of the champion's";
    check(traffic(0, 0, 0), traffic(100, 6, fast), 200, failed);
    check(traffic(0, 0, 0), traffic(100, 5, fast), 200, unsure);
    // What the champion shares is no reason to go back to it.
    let shared = "breach: 1% or more of the canary's leads got no score of its own, \
                  in the champion's arm too: this is not the canary's fault";
    check(traffic(900, 90, fast), traffic(200, 20, fast), 9000, shared);
    let late = Traffic { late: 30, scored: 170, ..traffic(200, 0, fast) };
    let failed = "fail: 15.00% of the canary's leads missed the deadline, and 0.00% of the champion's";
    check(traffic(900, 0, fast), late, 9000, failed);
    // Fast enough is fast enough; beyond that the champion is the measure.
    check(traffic(900, 0, fast), traffic(100, 0, 1_000_000), 600, "pass");
    let slow = "fail: the canary scores in 1,001 µs at p99, the champion in 20 µs, and 1,000 µs are allowed";
    check(traffic(900, 0, fast), traffic(100, 0, 1_000_001), 600, slow);
    check(traffic(900, 0, 2_000_000), traffic(100, 0, 3_000_000), 600, "pass");
}

#[test]
fn a_shadow_must_run_well_and_long_enough() {
    let policy = Rollout::default();
    let well =
        Pairs { mirrored: 20_000, p99_ns: Sides { champion: 9000, challenger: 12_000 }, ..Pairs::default() };
    let check = |pairs: Pairs, expected: &str| {
        let told = match operation(&pairs, &policy) {
            Operation::Pass(told) => format!("pass: {}", told.said),
            Operation::Waiting(told) => format!("waiting: {}", told.said),
            Operation::Fail(told) => format!("fail: {}", told.said),
        };
        assert_eq!(told, expected);
    };
    check(well.clone(), "pass: 20,000 leads scored along without fault");
    let few = Pairs { mirrored: 19_999, labelled: labelled(999, 80, 0.0, 0.1), ..well.clone() };
    check(few, "waiting: 999 of 1,000 leads with a label so far, and 19,999 of 20,000 leads");
    let labels = Pairs { mirrored: 1200, labelled: labelled(1000, 80, 0.0, 0.1), ..well.clone() };
    check(labels, "pass: 1,200 leads scored along without fault");
    check(Pairs { errors: 1, non_finite: 1, ..well.clone() }, "fail: 1 of 20,000 leads were not scored");
    check(Pairs { missing: 5, ..well.clone() }, "fail: 5 of 20,000 leads lack a feature that it requires");
    let slow = Pairs { p99_ns: Sides { champion: 2_000_000, challenger: 2_400_001 }, ..well.clone() };
    check(slow, "fail: scoring takes 2,401 µs at p99, and 2,400 µs are allowed");
    let moved = Pairs { scores: Sides { champion: spread(0, 200), challenger: spread(100, 300) }, ..well };
    check(moved, "fail: its scores are spread differently: PSI 7.70");
}

/// 2,000 scores over the bins from `low` to `high`.
fn spread(low: usize, high: usize) -> Histogram {
    let mut histogram = Histogram::default();
    (0..2000).for_each(|lead| histogram.add_bin(low + lead * (high - low) / 2000, 1));
    histogram
}

#[test]
fn scores_that_moved_are_told_from_those_that_did_not() {
    let check = |champion: Histogram, challenger: Histogram| shift(&Sides { champion, challenger });
    assert_eq!(check(spread(0, 200), spread(0, 200)), Some(0.0));
    assert!(check(spread(0, 200), spread(0, 210)).unwrap() < 0.5);
    assert!(check(spread(0, 200), spread(500, 700)).unwrap() > 5.0);
    // All scores in one bin, and then not.
    assert!(check(spread(7, 8), spread(7, 8)).unwrap() < 0.01);
    assert!(check(spread(7, 8), spread(300, 301)).unwrap() > 5.0);
    let mut few = Histogram::default();
    few.add_bin(7, 999);
    assert_eq!(check(few, spread(0, 200)), None);
    assert_eq!(check(Histogram::default(), spread(0, 200)), None);
}

fn step(percent: u32, champion: (u64, u64, u64), challenger: (u64, u64, u64)) -> StepCounts {
    let cohort = |(leads, matured, conversions)| Cohort { leads, matured, conversions };
    let cohorts = Sides { champion: cohort(champion), challenger: cohort(challenger) };
    StepCounts { percent, cohorts, ..StepCounts::default() }
}

#[test]
fn conversion_is_judged_step_by_step() {
    let policy = Rollout::default();
    let check = |steps: &[StepCounts], test: &Conversion, expected, said: &str| {
        let verdict = conversion(steps.iter(), test);
        assert_eq!(verdict.ruling, expected, "{verdict:?}");
        assert!(verdict.told().said.starts_with(said), "{}", verdict.told().said);
    };
    let harm = step(10, (20_000, 18_000, 1440), (2200, 2000, 100));
    check(
        std::slice::from_ref(&harm),
        &policy.harm,
        ConversionRuling::Lower,
        "the canary converts less: 5.00% of 2,000 matured leads against the champion's 8.00% of 18,000 (p below",
    );
    let few = step(10, (20_000, 18_000, 1440), (400, 380, 19));
    check(&[few], &policy.harm, ConversionRuling::Insufficient, "the canary has too few wins");
    let good = step(50, (5000, 5000, 400), (5000, 5000, 520));
    check(&[good], &policy.benefit, ConversionRuling::Higher, "the canary converts more");
    // 10% at first and 2% later, in both arms alike.
    let (early, late) =
        (step(10, (9000, 9000, 900), (1000, 1000, 100)), step(50, (5000, 5000, 100), (5000, 5000, 100)));
    check(
        &[early, late],
        &policy.harm,
        ConversionRuling::Undecided,
        "the canary converts neither more nor less",
    );
    check(&[], &policy.harm, ConversionRuling::Insufficient, "the canary has too few wins");
}

#[test]
fn shares_that_are_off_are_told() {
    for (percent, champion, challenger, is_off, said) in [
        (10, 8800, 1200, true, "the canary got 12.00% of 10,000 leads at 10%, which chance does not explain"),
        (10, 9010, 990, false, "the canary got 9.90% of 10,000 leads at 10%, as it should"),
        (50, 5200, 4800, false, "the canary got 48.00% of 10,000 leads at 50%, as it should"),
        (0, 10, 0, false, "the canary got 0.00% of 10 leads at 0%, as it should"),
        (100, 0, 10, false, "the canary got 100.00% of 10 leads at 100%, as it should"),
    ] {
        let verdict = shares(&step(percent, (champion, 0, 0), (challenger, 0, 0)));
        assert_eq!((verdict.is_off, verdict.told().said.as_str()), (is_off, said));
    }
}
