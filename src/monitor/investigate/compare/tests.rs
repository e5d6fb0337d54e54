//! Parts that add up.

use std::{path::Path, sync::LazyLock};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    lead::Cutoffs,
    registry::{self, Version, WEIGHTS, fixture},
    rollout::Desk,
};

/// Versions 1 to 3 of different weights, version 4 with a feature that must not be shown.
static MODELS: LazyLock<TempDir> = LazyLock::new(|| {
    let root = tempfile::tempdir().unwrap();
    for (version, weight) in [("1", 0.5), ("2", -0.75), ("3", 0.125)] {
        fixture::write(root.path(), "lead", version, weight);
    }
    root
});

fn desk(root: &Path) -> Desk {
    Desk::at(root, root)
}

/// A score as `version` gives it, whether or not it is on disk any more.
fn given(root: &Path, version: &str, features: &str) -> StoredScore {
    let version = Version::load(&root.join("lead").join(version)).unwrap();
    let scored = Rescorer::new(version.clone().into()).score(features).unwrap();
    StoredScore {
        time_ms: 1,
        route: "r".into(),
        arm: "champion".into(),
        model: "lead".into(),
        version: version.id.version.to_string(),
        digest: version.id.digest.to_string(),
        features: features.into(),
        score: scored.score.probability().into(),
        grade: scored.grade.to_string(),
        latency_ns: 1,
        decision: "recorded".into(),
        experiment: None,
        assigned: None,
        bucket: None,
        key: None,
        propensity: None,
        fell: None,
    }
}

fn told(root: &Path, pair: [&StoredScore; 2]) -> Change {
    let desk = desk(root);
    let guard = Guard::of(&desk, "lead");
    change(&mut Versions::new(&desk), &guard, pair)
}

fn tenths(points: f64) -> i64 {
    (points * 10.0).round() as i64
}

fn parts(change: &Change) -> Vec<(PartKind, Option<&str>, f64)> {
    change.parts.iter().map(|part| (part.kind, part.feature.as_deref(), part.points)).collect()
}

fn features() -> impl Strategy<Value = String> {
    let budget = prop_oneof![Just(None), (-40.0..60.0).prop_map(Some)];
    let channel = prop_oneof![Just(None), "web|phone|mail".prop_map(Some)];
    (-40.0..60.0f64, budget, channel).prop_map(|(sure, budget, channel)| {
        let channel = channel.map(|word: String| format!(r#","channel":"{word}""#)).unwrap_or_default();
        format!(r#"{{"budget":{:?}{channel}}}"#, budget.unwrap_or(sure))
    })
}

proptest! {
    #[test]
    fn parts_add_up_to_what_people_see(
        x in features(), y in features(), old in "1|2|3", new in "1|2|3", wrong in -0.2..0.2f64,
        lost in 0..4usize,
    ) {
        let root = MODELS.path();
        let (mut before, mut after) = (given(root, &old, &x), given(root, &new, &y));
        // Nor need either be what its version says, nor need the version be there.
        before.score = (before.score + wrong).clamp(0.0, 1.0);
        for (score, _) in [(&mut before, 1), (&mut after, 2)].into_iter().filter(|(_, bit)| lost & bit != 0) {
            score.version.push('9');
        }
        let change = told(root, [&before, &after]);
        let total = tenths(after.score * 100.0) - tenths(before.score * 100.0);
        prop_assert_eq!(change.parts.iter().map(|part| tenths(part.points)).sum::<i64>(), total);
        prop_assert_eq!(tenths(change.points), total);
        prop_assert_eq!(tenths(change.before) + total, tenths(change.after));
        if let (Some(inputs), Some(model)) = (change.inputs, change.model) {
            let others = change.parts.iter().filter(|part| part.kind == PartKind::NotReproduced);
            let others: i64 = others.map(|part| tenths(part.points)).sum();
            prop_assert_eq!(tenths(inputs) + tenths(model) + others, total);
        }
    }
}

#[test]
fn the_lead_and_the_model_are_told_apart() {
    let root = MODELS.path();
    let score = |version: &str, budget: f64, channel: &str| {
        given(root, version, &format!(r#"{{"budget":{budget:?},"channel":"{channel}"}}"#))
    };
    // One weight for all: a budget of 10 is a logit of twice the weight, one of 0 is none.
    let change = told(root, [&score("1", 10.0, "web"), &score("1", 0.0, "phone")]);
    assert_eq!((change.before, change.after, change.points), (73.1, 50.0, -23.1));
    assert_eq!((change.inputs, change.model, change.is_other_model), (Some(-23.1), Some(0.0), false));
    assert_eq!(
        parts(&change),
        [(PartKind::Feature, Some("budget"), -23.1), (PartKind::Feature, Some("channel"), 0.0)]
    );
    let change = told(root, [&score("1", 10.0, "web"), &score("3", 0.0, "web")]);
    assert_eq!((change.inputs, change.model), (Some(-6.2), Some(-16.9)));
    assert_eq!(change.parts[0].label, "version 1 -> 3");
    let change = told(root, [&score("1", 10.0, "web"), &score("1", 10.0, "web")]);
    assert_eq!((parts(&change), change.points, change.is_seen()), (Vec::new(), 0.0, false));
}

#[test]
fn where_the_later_version_is_gone_the_earlier_one_is_asked() {
    let root = MODELS.path();
    let (x, y) = (r#"{"budget":10.0,"channel":"web"}"#, r#"{"budget":0.0,"channel":"web"}"#);
    let (before, mut after) = (given(root, "1", x), given(root, "3", y));
    after.digest = "ab".into();
    let change = told(root, [&before, &after]);
    assert_eq!((change.inputs, change.model, change.by.as_deref()), (Some(-23.1), Some(0.0), Some("1")));
    let both = StoredScore { digest: "cd".into(), ..before };
    let change = told(root, [&both, &after]);
    assert_eq!((change.inputs, change.model, change.by.clone()), (None, None, None));
    assert_eq!(parts(&change), [(PartKind::Unexplained, None, -23.1)]);
    assert!(change.note.unwrap().contains("lead/3 has digest"));
}

#[test]
fn what_is_not_kept_or_not_reproduced_is_said() {
    let root = MODELS.path();
    let kept = given(root, "1", r#"{"budget":10.0,"channel":"web"}"#);
    let hashed = StoredScore { features: r#"{"budget":10.0,"channel":null}"#.into(), ..kept.clone() };
    let change = told(root, [&kept, &hashed]);
    assert_eq!(change.note.as_deref(), Some("feature `channel` is not kept in the log"));
    let edited = StoredScore { score: 0.25, grade: "C".into(), ..kept.clone() };
    let change = told(root, [&kept, &edited]);
    assert_eq!(parts(&change), [(PartKind::NotReproduced, None, -48.1)]);
}

#[test]
fn what_must_not_be_shown_has_no_name_and_no_value() {
    let root = tempfile::tempdir().unwrap();
    let mut manifest = fixture::manifest("lead", "4", 0.5);
    manifest.schema.features[0].protected = true;
    manifest.cutoffs = Cutoffs { a: 0.9, ..manifest.cutoffs };
    let weights = fixture::weights(0.5);
    registry::write(&root.path().join("lead/4"), &manifest, &[(WEIGHTS, &weights)]).unwrap();
    let score = |budget| given(root.path(), "4", &format!(r#"{{"budget":{budget},"channel":"web"}}"#));
    let change = told(root.path(), [&score("10.0"), &score("0.0")]);
    assert_eq!(parts(&change), [(PartKind::Hidden, None, -23.1)]);
    assert_eq!((change.inputs, &change.parts[0].from), (Some(-23.1), &Json::Null));
    // Without any manifest nobody knows what is protected.
    let (before, after) = (score("10.0"), score("0.0"));
    std::fs::remove_dir_all(root.path().join("lead")).unwrap();
    assert!(Guard::of(&desk(root.path()), "lead").hides("channel"));
    assert_eq!(parts(&told(root.path(), [&before, &after])), [(PartKind::Unexplained, None, -23.1)]);
}

#[test]
fn rounding_loses_nothing() {
    let check = |exact: &[f64], total: i64, expected: &[i64]| {
        assert_eq!(apportion(exact.iter().copied(), total), expected, "{exact:?}");
    };
    check(&[], 0, &[]);
    check(&[1.4, 1.4, 1.4], 4, &[2, 1, 1]);
    check(&[-1.4, -1.4, -1.4], -4, &[-2, -1, -1]);
    check(&[2.5, -2.5], 0, &[3, -3]);
    check(&[0.4], 1, &[1]);
    check(&[f64::NAN, 1.0], 1, &[0, 1]);
}
