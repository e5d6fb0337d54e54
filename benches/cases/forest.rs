//! A made-up LightGBM model: 100 trees of 31 leaves over 19 features, grown on made-up leads as LightGBM grows them, the
//! largest leaf first, so that ways down are as uneven as real ones.
#![expect(clippy::indexing_slicing, reason = "indices are made here")]

use std::fmt::Write;

pub const FEATURES: usize = 19;
const TREES: usize = 100;
const LEAVES: usize = 31;
const LEADS: usize = 2000;

/// Numbers from 0 up to 1, the same ones every time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1u64 << 24) as f64
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() * end as f64) as usize
    }
}

/// Leads: nine features of many values, ten of a few, one value in twenty missing.
pub fn leads() -> Vec<Vec<f64>> {
    let mut numbers = Numbers(1);
    let mut value = |feature: usize| {
        let (missing, x) = (numbers.next() < 0.05, numbers.next());
        let x = if feature < 9 { (x * x * 1000.0).round() / 10.0 } else { (x * 8.0).floor() };
        if missing { f64::NAN } else { x }
    };
    (0..LEADS).map(|_| (0..FEATURES).map(&mut value).collect()).collect()
}

/// The model file.
pub fn text() -> String {
    let leads = leads();
    let mut numbers = Numbers(2);
    let list = |word: &str| vec![word; FEATURES].join(" ");
    let names: Vec<String> = (0..FEATURES).map(|i| format!("f{i}")).collect();
    let trees: Vec<String> = (0..TREES).map(|i| tree(i, &leads, &mut numbers)).collect();
    let sizes: Vec<String> = trees.iter().map(|tree| tree.len().to_string()).collect();
    format!(
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx={}\n\
         objective=binary sigmoid:1\nfeature_names={}\nfeature_infos={}\ntree_sizes={}\n\n{}end of trees\n\n\
         pandas_categorical:null\n",
        FEATURES - 1,
        names.join(" "),
        list("[0:100]"),
        sizes.join(" "),
        trees.concat()
    )
}

/// Splits the leaf of most leads until there are enough.
fn tree(index: usize, leads: &[Vec<f64>], numbers: &mut Numbers) -> String {
    let (mut left, mut right, mut features, mut thresholds) = (vec![], vec![], vec![], vec![]);
    let mut leaves = vec![((0..leads.len()).collect::<Vec<usize>>(), None::<(usize, bool)>)];
    while leaves.len() < LEAVES {
        let largest = (0..leaves.len()).max_by_key(|i| leaves[*i].0.len()).expect("one at least");
        let (feature, lead) = (numbers.below(FEATURES), numbers.below(leaves[largest].0.len()));
        let threshold = leads[leaves[largest].0[lead]][feature] + 0.05;
        // Missing is left by default.
        let (first, second): (Vec<usize>, Vec<usize>) = leaves[largest]
            .0
            .iter()
            .partition(|lead| leads[**lead][feature].is_nan() || leads[**lead][feature] <= threshold);
        if threshold.is_nan() || first.len() < 10 || second.len() < 10 {
            continue;
        }
        let node = features.len();
        if let Some((parent, is_left)) = leaves[largest].1 {
            let side: &mut Vec<i64> = if is_left { &mut left } else { &mut right };
            side[parent] = node as i64;
        }
        left.push(!(largest as i64));
        right.push(!(leaves.len() as i64));
        features.push(feature);
        thresholds.push(threshold);
        leaves[largest] = (first, Some((node, true)));
        leaves.push((second, Some((node, false))));
    }
    let mut text = format!("Tree={index}\nnum_leaves={LEAVES}\nnum_cat=0\n");
    let mut line =
        |key: &str, values: Vec<String>| writeln!(text, "{key}={}", values.join(" ")).expect("a string");
    let nothing = |count: usize| vec!["0".to_owned(); count];
    let words = |values: &[i64]| values.iter().map(i64::to_string).collect();
    line("split_feature", features.iter().map(usize::to_string).collect());
    line("split_gain", nothing(LEAVES - 1));
    line("threshold", thresholds.iter().map(f64::to_string).collect());
    line("decision_type", vec!["10".to_owned(); LEAVES - 1]);
    line("left_child", words(&left));
    line("right_child", words(&right));
    line("leaf_value", (0..LEAVES).map(|_| ((numbers.next() - 0.5) * 0.2).to_string()).collect());
    for (key, count) in [("leaf_weight", LEAVES), ("leaf_count", LEAVES), ("internal_value", LEAVES - 1)] {
        line(key, nothing(count));
    }
    line("internal_weight", nothing(LEAVES - 1));
    line("internal_count", nothing(LEAVES - 1));
    text + "is_linear=0\nshrinkage=0.1\n\n\n"
}
