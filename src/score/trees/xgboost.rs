//! XGBoost's tree of keys becomes a model.
//!
//! Inputs and thresholds are f32 there and strictly less goes left. Rounding a value to f32 never changes the order of
//! two, so for every f32 threshold there is one f64 below which, or at which, a value is rounded to less: with that
//! as the threshold the walk needs no rounding, and `<=` as LightGBM has it.

use std::collections::BTreeMap;

use super::{
    Link, TreeError, Trees,
    document::Document,
    draft::{Child, Draft, Leaf, Split, Test, note_code},
    forest::{Forest, Layout},
    linear::Linear,
    model::{Body, Plan},
};

/// Codes from here on are none: not every whole number is an f32.
const NO_CATEGORY: f32 = 16_777_216.0;

const TREE: [&str; 18] = [
    "base_weights",
    "categories",
    "categories_nodes",
    "categories_segments",
    "categories_sizes",
    "default_left",
    "id",
    "left_children",
    "loss_changes",
    "parents",
    "right_children",
    "split_conditions",
    "split_indices",
    "split_type",
    "sum_hessian",
    "tree_param",
    "leaf_child_cnt",
    "split_leaf_cnt",
];

/// Makes a model of a document.
pub(super) fn read(document: &Document, layout: Layout) -> Result<Trees, TreeError> {
    document.only(&["learner", "version", "Config", "Model"])?;
    let learner = document.at("learner")?;
    learner.only(&[
        "attributes",
        "feature_names",
        "feature_types",
        "gradient_booster",
        "learner_model_param",
        "objective",
    ])?;
    let param = learner.at("learner_model_param")?;
    param.only(&["base_score", "boost_from_average", "num_class", "num_feature", "num_target"])?;
    if param.find("num_target").is_some() && param.count("num_target")? > 1 {
        return Err(TreeError::key("num_target", "more than one target"));
    }
    let objective = learner.at("objective")?.text("name")?;
    let (link, margin) = Link::xgboost(objective)?;
    let features = param.count("num_feature")?;
    let names = texts(learner, "feature_names", features)?;
    let types = texts(learner, "feature_types", features)?;
    let base: Vec<f32> = base(param)?.into_iter().map(margin).collect();
    if !base.iter().all(|margin| margin.is_finite()) {
        return Err(TreeError::key("base_score", "is no score of this objective"));
    }
    if (base.len() > 1) != (link == Link::SingleSoftmax) {
        return Err(TreeError::key("num_class", "does not fit the objective"));
    }
    let booster = learner.at("gradient_booster")?;
    let mut plan = match booster.text("name")? {
        "gbtree" => {
            booster.only(&["name", "model"])?;
            trees(booster.at("model")?, None, features, base, layout)?
        }
        "dart" => {
            booster.only(&["name", "gbtree", "weight_drop"])?;
            let model = booster.at("gbtree")?.at("model")?;
            trees(model, Some(booster.numbers("weight_drop")?), features, base, layout)?
        }
        "gblinear" => linear(booster.at("model")?, features, base)?,
        other => return Err(TreeError::unknown("booster", other)),
    };
    (plan.features, plan.names, plan.link) = (features, names, link);
    for (column, _) in types.iter().enumerate().filter(|(_, kind)| *kind == "c") {
        note_code(&mut plan.codes, column, 0);
    }
    plan.objective = objective.to_owned(); // one of those known, so short
    Ok(Trees::new(plan))
}

/// One text for each feature, or none at all.
fn texts(learner: &Document, key: &str, features: usize) -> Result<Vec<String>, TreeError> {
    let Some(_) = learner.find(key) else { return Ok(Vec::new()) };
    let text = |text: &Document| match text {
        Document::Text(text) => Ok(text.clone()),
        _ => Err(TreeError::key(key, "holds what is not text")),
    };
    let texts = learner.list(key)?.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    if !texts.is_empty() && texts.len() != features {
        return Err(TreeError::key(key, format!("{} texts, {features} features", texts.len())));
    }
    Ok(texts)
}

/// One score per class: a number, or since 3.0 a list, both as text.
fn base(param: &Document) -> Result<Vec<f32>, TreeError> {
    let text = param.text("base_score")?;
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let number =
        |word: &str| word.trim().parse().map_err(|_| TreeError::key("base_score", "is not a number"));
    let mut scores = inner.unwrap_or(text).split(',').map(number).collect::<Result<Vec<f32>, _>>()?;
    let classes = param.count("num_class")?.max(1);
    if let ([score], None) = (scores.as_slice(), inner) {
        // Bounds what a made-up number of classes can cost.
        if classes > 1 << 16 {
            return Err(TreeError::key("num_class", "too many"));
        }
        scores = vec![*score; classes];
    }
    if scores.len() != classes {
        return Err(TreeError::key("base_score", format!("{} scores, {classes} classes", scores.len())));
    }
    Ok(scores)
}

fn linear(model: &Document, features: usize, base: Vec<f32>) -> Result<Plan, TreeError> {
    model.only(&["weights", "boosted_rounds"])?;
    let weights: Vec<f32> = model.numbers("weights")?.iter().map(|weight| *weight as f32).collect();
    let expected = features.checked_add(1).and_then(|rows| rows.checked_mul(base.len()));
    if Some(weights.len()) != expected || !weights.iter().all(|weight| weight.is_finite()) {
        return Err(TreeError::key(
            "weights",
            "are not one finite number per feature, and a bias, per class",
        ));
    }
    Ok(Plan { classes: base.len(), body: Body::Linear(Linear { weights }, base), ..Plan::default() })
}

fn trees(
    model: &Document,
    weights: Option<&[f64]>,
    features: usize,
    base: Vec<f32>,
    layout: Layout,
) -> Result<Plan, TreeError> {
    model.only(&["cats", "gbtree_model_param", "iteration_indptr", "tree_info", "trees"])?;
    if model.find("cats").is_some_and(|cats| !is_empty(cats)) {
        return Err(TreeError::key("cats", "the file carries its own categories, which are not known here"));
    }
    let trees = model.list("trees")?;
    let classes = base.len();
    let class_of =
        model.numbers("tree_info")?.iter().map(|class| index(*class, classes)).collect::<Option<Vec<u32>>>();
    let class_of = class_of.filter(|classes| classes.len() == trees.len());
    let class_of = class_of.ok_or_else(|| TreeError::key("tree_info", "is not one class for each tree"))?;
    if weights.is_some_and(|weights| weights.len() != trees.len()) {
        return Err(TreeError::key("weight_drop", "is not one weight for each tree"));
    }
    let (mut drafts, mut codes) = (Vec::with_capacity(trees.len()), BTreeMap::new());
    for (i, document) in trees.iter().enumerate() {
        let weight = weights.and_then(|weights| weights.get(i)).map(|weight| *weight as f32);
        let draft = tree(document, i, weight)?;
        draft.check(i, features)?;
        draft.note_codes(&mut codes);
        drafts.push(draft);
    }
    Ok(Plan {
        classes,
        iterations: iterations(model, trees.len(), classes)?,
        class_of,
        codes,
        body: Body::Single(Forest::new(drafts, category, layout)?, base),
        ..Plan::default()
    })
}

fn is_empty(cats: &Document) -> bool {
    match cats {
        Document::Numbers(numbers) => numbers.is_empty(),
        Document::List(list) => list.is_empty(),
        Document::Map(map) => map.values().all(is_empty),
        _ => false,
    }
}

/// Where each iteration's trees start, and where the last one's end.
fn iterations(model: &Document, trees: usize, classes: usize) -> Result<Vec<usize>, TreeError> {
    if model.find("iteration_indptr").is_none() {
        let parallel = model.at("gbtree_model_param")?.count("num_parallel_tree")?.max(1);
        let step = parallel.saturating_mul(classes);
        if !trees.is_multiple_of(step) {
            return Err(TreeError::key("num_parallel_tree", "does not divide the trees"));
        }
        return Ok((0..=trees).step_by(step).collect());
    }
    let starts: Option<Vec<usize>> = model
        .numbers("iteration_indptr")?
        .iter()
        .map(|at| index(*at, trees + 1).map(|at| at as usize))
        .collect();
    let fits = |starts: &Vec<usize>| {
        starts.first() == Some(&0) && starts.last() == Some(&trees) && starts.is_sorted()
    };
    starts.filter(fits).ok_or_else(|| TreeError::key("iteration_indptr", "does not divide the trees"))
}

/// A whole number below `end`.
fn index(number: f64, end: usize) -> Option<u32> {
    (number >= 0.0 && number.fract() == 0.0 && number < end as f64).then_some(number as u32)
}

fn tree(document: &Document, tree: usize, weight: Option<f32>) -> Result<Draft, TreeError> {
    document.only(&TREE).map_err(|error| TreeError::tree(tree, error.to_string()))?;
    let column = |key| document.numbers(key).map_err(|error| TreeError::tree(tree, error.to_string()));
    if let Some(param) = document.find("tree_param")
        && param.find("size_leaf_vector").is_some()
        && param.count("size_leaf_vector")? > 1
    {
        return Err(TreeError::tree(tree, "leaves of several values"));
    }
    let (lefts, rights) = (column("left_children")?, column("right_children")?);
    let (conditions, features) = (column("split_conditions")?, column("split_indices")?);
    let defaults = column("default_left")?;
    let sets = Sets::read(document, tree, lefts.len())?;
    if lefts.is_empty()
        || [rights, conditions, features, defaults].iter().any(|list| list.len() != lefts.len())
    {
        return Err(TreeError::tree(tree, "lists of different lengths"));
    }
    let mut draft = Draft::default();
    let places = places(lefts);
    let columns = lefts.iter().zip(rights).zip(conditions.iter().zip(features).zip(defaults)).zip(0u32..);
    for (((left, right), ((condition, feature), default)), at) in columns {
        if *left == -1.0 {
            let value = weight.map_or(*condition as f32, |weight| *condition as f32 * weight);
            draft.leaves.push(Leaf { id: at, value: f64::from(value), plane: None });
            continue;
        }
        let child = |child: f64| {
            let below = index(child, lefts.len()).filter(|child| *child > at);
            let place = below.and_then(|child| places.get(child as usize)).copied();
            place.ok_or_else(|| {
                TreeError::tree(tree, format!("node {at} has child {child}, which is not below it"))
            })
        };
        let (left, right) = (child(*left)?, child(*right)?);
        let missing_left = *default != 0.0;
        let wrong = || TreeError::tree(tree, format!("node {at}: the feature or the threshold"));
        let feature = index(*feature, u32::MAX as usize).ok_or_else(wrong)?;
        let (test, children) = match sets.get(at)? {
            // In the set goes right.
            Some(codes) => (Test::In { codes, missing_in: !missing_left }, [right, left]),
            None => {
                let threshold = below(*condition as f32).ok_or_else(wrong)?;
                (Test::AtMost { threshold, missing_first: missing_left, zero_missing: false }, [left, right])
            }
        };
        draft.splits.push(Split { feature, test, children });
    }
    Ok(draft)
}

/// Each node's place among the splits or among the leaves.
fn places(lefts: &[f64]) -> Vec<Child> {
    let (mut splits, mut leaves) = (0, 0);
    let place = |left: &f64| {
        let (count, child): (&mut u32, fn(u32) -> Child) =
            if *left == -1.0 { (&mut leaves, Child::Leaf) } else { (&mut splits, Child::Split) };
        *count += 1;
        child(*count - 1)
    };
    lefts.iter().map(place).collect()
}

/// The largest f64 that is less than `threshold` once rounded to f32.
fn below(threshold: f32) -> Option<f64> {
    let next = threshold.next_down();
    // Of two neighbours the middle is exact in f64, and is rounded to the even one.
    let middle = (f64::from(threshold) + f64::from(next)) / 2.0;
    let below = if (middle as f32) < threshold { middle } else { middle.next_down() };
    (threshold.is_finite() && next.is_finite()).then_some(below)
}

/// Rounded to f32 as every input, then cut off.
fn category(x: f64) -> f64 {
    let x = x as f32;
    if x.is_nan() || (0.0..=NO_CATEGORY).contains(&x) { f64::from(x.trunc()) } else { -1.0 }
}

/// The categorical nodes' sets.
struct Sets<'a> {
    types: &'a [f64],
    nodes: &'a [f64],
    segments: &'a [f64],
    sizes: &'a [f64],
    categories: &'a [f64],
    tree: usize,
}

impl<'a> Sets<'a> {
    fn read(document: &'a Document, tree: usize, count: usize) -> Result<Self, TreeError> {
        let column = |key| match document.find(key) {
            None => Ok(&[][..]),
            Some(_) => document.numbers(key).map_err(|error| TreeError::tree(tree, error.to_string())),
        };
        let sets = Self {
            types: column("split_type")?,
            nodes: column("categories_nodes")?,
            segments: column("categories_segments")?,
            sizes: column("categories_sizes")?,
            categories: column("categories")?,
            tree,
        };
        let types = sets.types.iter().all(|kind| *kind == 0.0 || *kind == 1.0);
        let fits = sets.types.is_empty() || sets.types.len() == count;
        let each = sets.nodes.len() == sets.segments.len() && sets.nodes.len() == sets.sizes.len();
        let sorted = sets.nodes.is_sorted_by(|a, b| a < b);
        // Sets that overlap could be made into far more than the file holds.
        let apart = sets.sizes.iter().sum::<f64>() <= sets.categories.len() as f64;
        if types && fits && each && sorted && apart {
            return Ok(sets);
        }
        Err(TreeError::tree(tree, "split_type and categories do not fit"))
    }

    /// The node's set, where it is categorical.
    fn get(&self, node: u32) -> Result<Option<Vec<u32>>, TreeError> {
        if self.types.get(node as usize).is_none_or(|kind| *kind == 0.0) {
            return Ok(None);
        }
        let wrong = || TreeError::tree(self.tree, format!("node {node}: its categories"));
        let at =
            self.nodes.binary_search_by(|other| other.total_cmp(&f64::from(node))).map_err(|_| wrong())?;
        let number = |list: &[f64]| list.get(at).and_then(|number| index(*number, self.categories.len() + 1));
        let (from, size) = number(self.segments).zip(number(self.sizes)).ok_or_else(wrong)?;
        let listed = self.categories.get(from as usize..from as usize + size as usize).ok_or_else(wrong)?;
        let codes = listed.iter().map(|category| index(*category, NO_CATEGORY as usize + 1));
        let mut codes = codes.collect::<Option<Vec<u32>>>().ok_or_else(wrong)?;
        codes.sort_unstable();
        codes.dedup();
        Ok(Some(codes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_is_where_rounding_to_f32_changes_sides() {
        let tiny = f32::from_bits(1);
        for threshold in [0.0, -0.0, tiny, -tiny, 0.1, -0.1, 1.0, 16_777_216.0, f32::MIN_POSITIVE, f32::MAX] {
            let at = below(threshold).unwrap();
            assert!((at as f32) < threshold && (at.next_up() as f32) >= threshold, "{threshold}: {at}");
        }
        assert_eq!(below(f32::INFINITY), None);
        assert_eq!(below(f32::MIN), None);
        assert_eq!(below(f32::NAN), None);
    }
}
