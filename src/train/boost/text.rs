//! Trees as LightGBM's text, version v4: any tool that reads its files reads these, the sidecar's own reader among them.

use std::{
    collections::BTreeSet,
    fmt::{Display, Write},
};

use super::{
    bins::{Binned, Column, Form},
    fit::Boosted,
    tree::{Child, Node, Rule, Tree},
};
use crate::score::trees::written;

/// Bits of a node's kind: words; missing values go left; what is missing is NaN.
const WORDS: u8 = 1;
const MISSING_LEFT: u8 = 2;
const MISSING_IS_NAN: u8 = 8;

/// The file of trees that were fitted to rows of these bins.
pub(in super::super) fn to_text(boosted: &Boosted, rows: &Binned) -> String {
    let blocks: Vec<String> =
        boosted.trees.iter().enumerate().map(|(i, tree)| block(i, tree, &rows.columns)).collect();
    let columns = &rows.columns;
    let names = names(columns);
    let mut text = String::from("tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n");
    // Writing to a string does not fail.
    _ = writeln!(text, "max_feature_idx={}", columns.len().saturating_sub(1));
    _ = writeln!(text, "objective=binary sigmoid:1\nfeature_names={}", spaced(names.iter()));
    _ = writeln!(text, "feature_infos={}", spaced(columns.iter().map(info)));
    _ = writeln!(text, "tree_sizes={}\n", spaced(blocks.iter().map(String::len)));
    text.extend(blocks);
    text.push_str("end of trees\n\nfeature_importances:\n");
    for (name, splits) in importances(boosted, names) {
        _ = writeln!(text, "{name}={splits}");
    }
    let words = columns.iter().enumerate().filter(|(_, column)| matches!(column.form, Form::Words { .. }));
    let places = words.map(|(i, _)| i.to_string()).collect::<Vec<_>>().join(",");
    _ = write!(
        text,
        "\nparameters:\n[boosting: gbdt]\n[objective: binary]\n[categorical_feature: {places}]\n"
    );
    _ = writeln!(text, "\nend of parameters\n\npandas_categorical:{}", vocabularies(columns));
    text
}

/// The words of every column of words, as JSON lists.
fn vocabularies(columns: &[Column]) -> String {
    let lists: Vec<&Vec<String>> = columns
        .iter()
        .filter_map(|column| match &column.form {
            Form::Words { vocabulary, .. } => Some(vocabulary),
            Form::Numbers { .. } => None,
        })
        .collect();
    if lists.is_empty() { "null".into() } else { serde_json::json!(lists).to_string() }
}

/// The columns' names as such a file can hold them. Where two become one, LightGBM's own for columns without a name stand
/// for all: it refuses a name that stands twice. The manifest has the names as they are, in the same order.
fn names(columns: &[Column]) -> Vec<String> {
    let safe = |column: &Column| column.name.chars().map(written).collect::<String>();
    let names: Vec<String> = columns.iter().map(safe).collect();
    let different: BTreeSet<&String> = names.iter().collect();
    match different.len() == names.len() && names.iter().all(|name| !name.is_empty()) {
        true => names,
        false => (0..columns.len()).map(|i| format!("Column_{i}")).collect(),
    }
}

/// How often each feature splits, most often first.
fn importances(boosted: &Boosted, names: Vec<String>) -> Vec<(String, usize)> {
    let nodes = || boosted.trees.iter().flat_map(|tree| &tree.nodes);
    let splits = |i| nodes().filter(|node| node.feature == i).count();
    let counted = names.into_iter().enumerate().map(|(i, name)| (name, splits(i)));
    let mut counted: Vec<_> = counted.filter(|(_, splits)| *splits > 0).collect();
    counted.sort_by_key(|(_, splits)| std::cmp::Reverse(*splits));
    counted
}

fn info(column: &Column) -> String {
    match &column.form {
        Form::Numbers { range: Some((low, high)), .. } if low < high => format!("[{low:?}:{high:?}]"),
        Form::Words { codes, .. } if codes.len() > 1 => {
            format!("-1:{}", codes.iter().map(ToString::to_string).collect::<Vec<_>>().join(":"))
        }
        _ => "none".into(),
    }
}

fn block(i: usize, tree: &Tree, columns: &[Column]) -> String {
    let Tree { nodes, leaves } = tree;
    let mut sets: Vec<Vec<u32>> = Vec::new();
    let rules: Vec<(String, u8)> = nodes.iter().map(|node| rule(node, columns, &mut sets)).collect();
    let mut text = format!("Tree={i}\nnum_leaves={}\nnum_cat={}\n", leaves.len(), sets.len());
    let mut line = |key: &str, list: String| _ = writeln!(text, "{key}={list}");
    line("split_feature", spaced(nodes.iter().map(|node| node.feature)));
    line("split_gain", spaced(nodes.iter().map(|node| number(node.gain))));
    line("threshold", spaced(rules.iter().map(|(threshold, _)| threshold)));
    line("decision_type", spaced(rules.iter().map(|(_, kind)| kind)));
    line("left_child", spaced(nodes.iter().map(|node| child(node.left))));
    line("right_child", spaced(nodes.iter().map(|node| child(node.right))));
    line("leaf_value", spaced(leaves.iter().map(|leaf| number(leaf.value))));
    line("leaf_weight", spaced(leaves.iter().map(|leaf| number(leaf.weight))));
    line("leaf_count", spaced(leaves.iter().map(|leaf| leaf.rows)));
    line("internal_value", spaced(nodes.iter().map(|_| 0)));
    line("internal_weight", spaced(nodes.iter().map(|_| 0)));
    line("internal_count", spaced(nodes.iter().map(|node| node.rows)));
    if !sets.is_empty() {
        let mut end = 0;
        let ends = std::iter::once(0).chain(sets.iter().map(|set| {
            end += set.len();
            end
        }));
        line("cat_boundaries", spaced(ends));
        line("cat_threshold", spaced(sets.iter().flatten()));
    }
    text.push_str("is_linear=0\nshrinkage=1\n\n\n");
    text
}

/// A node's threshold, and its kind; words go into a set of their own, and the threshold is its place.
fn rule(node: &Node, columns: &[Column], sets: &mut Vec<Vec<u32>>) -> (String, u8) {
    match (&node.rule, columns.get(node.feature).map(|column| &column.form)) {
        (Rule::UpTo { bin, missing }, Some(Form::Numbers { bounds, .. })) => {
            // Beyond the last bound there is only what is missing.
            let bound = bounds.get(usize::from(*bin).saturating_sub(1)).copied().unwrap_or(f64::MAX);
            let kind = MISSING_IS_NAN | if *missing { MISSING_LEFT } else { 0 };
            (number(bound), kind)
        }
        (Rule::Among(bins), Some(Form::Words { codes, .. })) => {
            let codes = bins.iter().filter_map(|bin| codes.get(usize::from(*bin).checked_sub(1)?));
            sets.push(bits(codes.copied()));
            ((sets.len() - 1).to_string(), WORDS)
        }
        // A rule is made for its column's form.
        _ => ("0".into(), MISSING_IS_NAN),
    }
}

/// A set of codes as 32-bit words.
fn bits(codes: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut set = Vec::new();
    for code in codes {
        let word = (code / 32) as usize;
        if set.len() <= word {
            set.resize(word + 1, 0);
        }
        if let Some(word) = set.get_mut(word) {
            *word |= 1 << (code % 32);
        }
    }
    set
}

/// A node by its number, a leaf by the complement of its own.
fn child(child: Child) -> i64 {
    match child {
        Child::Node(node) => node as i64,
        Child::Leaf(leaf) => !(leaf as i64),
    }
}

/// The shortest text that reads back to the same bits.
fn number(x: f64) -> String {
    format!("{x:?}")
}

fn spaced<T: Display>(items: impl Iterator<Item = T>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join(" ")
}
