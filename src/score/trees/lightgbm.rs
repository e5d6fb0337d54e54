//! LightGBM's text, version v4.
//!
//! A header of `key=value` lines, a block for each tree, `end of trees`, and then the training's parameters, of which only
//! the categorical columns matter: they say which column each list of `pandas_categorical` belongs to.

use std::{collections::BTreeMap, str::FromStr};

use super::{
    Link, TreeError, Trees,
    draft::{Child, Draft, Leaf, Plane, Split, Test, note_code},
    error::short,
    forest::{Forest, Layout},
    model::{Body, Plan},
};

/// What to do with a file that names no objective, as those of a custom one do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoObjective {
    /// Refuse it.
    #[default]
    Refuse,
    /// The prediction is the sum itself.
    Identity,
    /// The sum is the logit of the prediction.
    Logit,
}

const HEADER: [&str; 11] = [
    "version",
    "num_class",
    "num_tree_per_iteration",
    "label_index",
    "max_feature_idx",
    "objective",
    "average_output",
    "feature_names",
    "monotone_constraints",
    "feature_infos",
    "tree_sizes",
];

const TREE: [&str; 22] = [
    "shrinkage",
    "num_leaves",
    "num_cat",
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
    "leaf_weight",
    "leaf_count",
    "internal_value",
    "internal_weight",
    "internal_count",
    "cat_boundaries",
    "cat_threshold",
    "is_linear",
    "leaf_const",
    "num_features",
    "leaf_features",
    "leaf_coeff",
];

/// Reads a file. `without` says what a missing objective means.
pub(super) fn read(bytes: &[u8], without: NoObjective, layout: Layout) -> Result<Trees, TreeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| TreeError::line(1, "not UTF-8"))?;
    let mut lines = text.lines().zip(1..).peekable();
    if lines.next().is_none_or(|(first, _)| first != "tree") {
        return Err(TreeError::Format);
    }
    let header = Block::take(&mut lines, &HEADER)?;
    if header.text("version")? != "v4" {
        return Err(TreeError::unknown("version", header.text("version")?));
    }
    let features = header.one::<usize>("max_feature_idx")?.saturating_add(1);
    let (names, mut codes) = columns(&header, features)?;
    let mut drafts = Vec::new();
    while let Some((line, number)) = lines.next_if(|(line, _)| *line != "end of trees") {
        if line.is_empty() {
            continue;
        }
        if line.strip_prefix("Tree=").and_then(|tree| tree.parse().ok()) != Some(drafts.len()) {
            return Err(TreeError::line(number, format!("expected `Tree={}`", drafts.len())));
        }
        let draft = tree(&Block::take(&mut lines, &TREE)?, drafts.len())?;
        draft.check(drafts.len(), features)?;
        draft.note_codes(&mut codes);
        drafts.push(draft);
    }
    if lines.next().is_none() || header.list::<u64>("tree_sizes", None)?.len() != drafts.len() {
        return Err(TreeError::line(
            header.line,
            format!("{} trees, and the file says otherwise", drafts.len()),
        ));
    }
    let classes = classes(&header, drafts.len())?;
    let link = match header.get("objective") {
        Some((objective, line)) => Link::lightgbm(objective, classes).map_err(|error| at(error, line))?,
        None => match without {
            NoObjective::Identity => Link::Identity,
            NoObjective::Logit => Link::Sigmoid(1.0),
            NoObjective::Refuse => return Err(TreeError::NoObjective),
        },
    };
    let objective = header.get("objective").map_or("", |(objective, _)| objective);
    let objective = objective.split_ascii_whitespace().next().unwrap_or_default();
    let iterations = (0..=drafts.len()).step_by(classes).collect();
    let class_of = (0..classes as u32).cycle().take(drafts.len()).collect();
    let (marked, categories) = categories(lines, features)?;
    marked.into_iter().for_each(|column| note_code(&mut codes, column, 0));
    Ok(Trees::new(Plan {
        features,
        names,
        categories,
        codes,
        classes,
        link,
        objective: objective.to_owned(), // one of those known, so short
        iterations,
        class_of,
        average: header.get("average_output").is_some(),
        body: Body::Double(Forest::new(drafts, category, layout)?),
    }))
}

/// Whether two names are one, but for what its files write otherwise.
pub fn is_alike(a: &str, b: &str) -> bool {
    a.chars().map(written).eq(b.chars().map(written))
}

/// A character of a name as LightGBM's files have it: names stand between spaces in one line, and its JSON takes them as they
/// are, so white space and what has a meaning in JSON is a `_`.
pub fn written(c: char) -> char {
    if c.is_whitespace() || c.is_control() || "\",:[]{}\\".contains(c) { '_' } else { c }
}

/// The columns' names, unless they are the ones LightGBM makes up, and the greatest codes of those whose info is a list
/// of codes.
fn columns(header: &Block<'_>, features: usize) -> Result<(Vec<String>, BTreeMap<usize, u32>), TreeError> {
    let mut names: Vec<String> = header.text("feature_names")?.split(' ').map(str::to_owned).collect();
    let infos: Vec<&str> = header.text("feature_infos")?.split_ascii_whitespace().collect();
    if names.len() != features || infos.len() != features {
        let reason =
            format!("{} feature_names, {} feature_infos, {features} features", names.len(), infos.len());
        return Err(TreeError::line(header.line, reason));
    }
    if names.iter().enumerate().all(|(i, name)| name.strip_prefix("Column_") == Some(&i.to_string())) {
        names.clear();
    }
    let mut codes = BTreeMap::new();
    for (column, info) in infos.into_iter().enumerate().filter(|(_, info)| !info.starts_with(['[', 'n'])) {
        let greatest = info.split(':').filter_map(|code| code.parse().ok()).max();
        note_code(&mut codes, column, greatest.unwrap_or_default());
    }
    Ok((names, codes))
}

/// Truncated towards zero before its sign is looked at.
fn category(x: f64) -> f64 {
    let whole = x.trunc();
    if x.is_nan() || (whole >= 0.0 && x.abs() < 2_147_483_648.0) { whole } else { -1.0 }
}

fn at(error: TreeError, line: usize) -> TreeError {
    match error {
        TreeError::Line { reason, .. } => TreeError::Line { line, reason },
        other => other,
    }
}

/// Classes, which is also trees per iteration.
fn classes(header: &Block<'_>, trees: usize) -> Result<usize, TreeError> {
    let classes: usize = header.one("num_tree_per_iteration")?;
    let said: usize = header.one("num_class")?;
    if classes == 0 || trees == 0 || !trees.is_multiple_of(classes) || classes != said {
        let reason = format!("{trees} trees, {classes} per iteration, {said} classes");
        return Err(TreeError::line(header.line, reason));
    }
    Ok(classes)
}

/// Lines of `key=value`, and bare words, up to an empty line.
struct Block<'a> {
    /// The first one's number.
    line: usize,
    values: BTreeMap<&'a str, (&'a str, usize)>,
}

impl<'a> Block<'a> {
    fn take(lines: &mut impl Iterator<Item = (&'a str, usize)>, known: &[&str]) -> Result<Self, TreeError> {
        let mut block = Self { line: 0, values: BTreeMap::new() };
        for (text, line) in lines {
            // `leaf_features` and the like may be empty, a line never is.
            if text.is_empty() {
                break;
            }
            block.line = if block.line == 0 { line } else { block.line };
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            if !known.contains(&key) {
                return Err(TreeError::line(line, format!("key `{}` is not known", short(key))));
            }
            if block.values.insert(key, (value, line)).is_some() {
                return Err(TreeError::line(line, format!("a second `{key}`")));
            }
        }
        Ok(block)
    }

    fn get(&self, key: &str) -> Option<(&'a str, usize)> {
        self.values.get(key).copied()
    }

    fn text(&self, key: &str) -> Result<&'a str, TreeError> {
        let missing = || TreeError::line(self.line, format!("`{key}` is missing"));
        Ok(self.get(key).ok_or_else(missing)?.0)
    }

    fn one<T: FromStr>(&self, key: &str) -> Result<T, TreeError> {
        let (_, line) = self.get(key).unwrap_or(("", self.line));
        let wrong = |_| {
            TreeError::line(line, format!("{key}: `{}` is not a number", short(self.text(key).unwrap_or(""))))
        };
        self.text(key)?.trim().parse().map_err(wrong)
    }

    /// Numbers with spaces between; as many as `expected`, where that is known. A missing key is an empty list.
    fn list<T: FromStr>(&self, key: &str, expected: Option<usize>) -> Result<Vec<T>, TreeError> {
        let (text, line) = self.get(key).unwrap_or(("", self.line));
        let number = |word: &str| {
            let wrong = |_| TreeError::line(line, format!("{key}: `{}` is not a number", short(word)));
            word.parse().map_err(wrong)
        };
        let list = text.split_ascii_whitespace().map(number).collect::<Result<Vec<T>, _>>()?;
        match expected {
            Some(expected) if expected != list.len() => {
                Err(TreeError::line(line, format!("{key}: {} numbers, expected {expected}", list.len())))
            }
            _ => Ok(list),
        }
    }
}

fn tree(block: &Block<'_>, tree: usize) -> Result<Draft, TreeError> {
    let leaves: usize = block.one("num_leaves")?;
    let Some(count) = leaves.checked_sub(1) else { return Err(TreeError::tree(tree, "no leaves")) };
    let (all, nodes) = (Some(leaves), Some(count));
    let values = block.list::<f64>("leaf_value", all)?;
    let features = block.list::<u32>("split_feature", nodes)?;
    let thresholds = block.list::<f64>("threshold", nodes)?;
    let decisions = block.list::<u8>("decision_type", nodes)?;
    let lefts = block.list::<i32>("left_child", nodes)?;
    let rights = block.list::<i32>("right_child", nodes)?;
    let mut sets = Sets::read(block, tree)?;
    let mut splits = Vec::with_capacity(count);
    let columns = features.into_iter().zip(thresholds).zip(decisions).zip(lefts.into_iter().zip(rights));
    for (at, (((feature, threshold), decision), (left, right))) in columns.enumerate() {
        let child = |child: i32| match u32::try_from(child) {
            Ok(split) if split as usize > at => Ok(Child::Split(split)),
            Ok(_) => {
                Err(TreeError::tree(tree, format!("split {at} has child {child}, which is not below it")))
            }
            Err(_) => Ok(Child::Leaf(!child as u32)),
        };
        let test = match decision {
            _ if decision & 1 == 1 => Test::In { codes: sets.take(threshold, tree)?, missing_in: false },
            _ => number(decision, threshold)
                .ok_or_else(|| TreeError::tree(tree, format!("decision_type {decision} is not known")))?,
        };
        splits.push(Split { feature, test, children: [child(left)?, child(right)?] });
    }
    let planes = planes(block, leaves, tree)?;
    let leaves = values.into_iter().zip(planes).zip(0..);
    let leaves = leaves.map(|((value, plane), id)| Leaf { id, value, plane }).collect();
    Ok(Draft { splits, leaves })
}

/// Bit 1 of a decision is the default side, bits 2 and 3 are what counts as missing: nothing, zero, NaN.
fn number(decision: u8, threshold: f64) -> Option<Test> {
    let default_first = decision & 2 != 0;
    let (missing_first, zero_missing) = match decision >> 2 {
        0 => (0.0 <= threshold, false), // NaN is read as 0
        1 => (default_first, true),
        2 => (default_first, false),
        _ => return None,
    };
    Some(Test::AtMost { threshold, missing_first, zero_missing })
}

/// The categorical splits' sets.
struct Sets {
    boundaries: Vec<usize>,
    words: Vec<u32>,
    /// Each is one split's: a file cannot make more of them than it holds.
    taken: Vec<bool>,
}

impl Sets {
    fn read(block: &Block<'_>, tree: usize) -> Result<Self, TreeError> {
        let count: usize = block.one("num_cat")?;
        let boundaries = block.list::<usize>("cat_boundaries", None)?;
        let words = block.list::<u32>("cat_threshold", None)?;
        let fits = boundaries.len() == if count == 0 { 0 } else { count.saturating_add(1) }
            && boundaries.first().is_none_or(|first| *first == 0)
            && boundaries.is_sorted()
            && boundaries.last().copied().unwrap_or(0) == words.len();
        if fits {
            Ok(Self { boundaries, words, taken: vec![false; count] })
        } else {
            Err(TreeError::tree(tree, "cat_boundaries do not fit"))
        }
    }

    /// The categories of the set with this index: bit `c % 32` of word `c / 32`.
    fn take(&mut self, index: f64, tree: usize) -> Result<Vec<u32>, TreeError> {
        let at = index as usize;
        let new = self.taken.get_mut(at).is_some_and(|taken| !std::mem::replace(taken, true));
        let ends = self.boundaries.get(at).zip(self.boundaries.get(at.saturating_add(1)));
        let ends = ends.filter(|_| new && at as f64 == index);
        let words =
            ends.and_then(|(from, to)| self.words.get(*from..*to)).filter(|words| words.len() < 1 << 26);
        let words = words.ok_or_else(|| {
            TreeError::tree(tree, format!("category set {index} does not exist or is used twice"))
        })?;
        let bits = words.iter().zip(0u32..).flat_map(|(word, at)| {
            (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 32 + bit)
        });
        Ok(bits.collect())
    }
}

/// The leaves' linear models, where the tree has such.
fn planes(block: &Block<'_>, leaves: usize, tree: usize) -> Result<Vec<Option<Plane>>, TreeError> {
    match block.list::<u8>("is_linear", None)?.as_slice() {
        [] | [0] => return Ok(vec![None; leaves]),
        [1] => {}
        _ => return Err(TreeError::tree(tree, "is_linear is neither 0 nor 1")),
    }
    let constants = block.list::<f64>("leaf_const", Some(leaves))?;
    let counts = block.list::<usize>("num_features", Some(leaves))?;
    let total = counts.iter().try_fold(0usize, |sum, count| sum.checked_add(*count));
    let total = total.ok_or_else(|| TreeError::tree(tree, "num_features overflow"))?;
    let features = block.list::<u32>("leaf_features", Some(total))?;
    let mut terms = features.into_iter().zip(block.list::<f64>("leaf_coeff", Some(total))?);
    let plane = |(constant, count)| Some(Plane { constant, terms: terms.by_ref().take(count).collect() });
    Ok(constants.into_iter().zip(counts).map(plane).collect())
}

/// Columns and the words of some of them: a word's place is its code.
type Categories = (Vec<usize>, BTreeMap<usize, Vec<String>>);

/// The categorical columns, and where the file lists their words, those by column.
fn categories<'a>(
    lines: impl Iterator<Item = (&'a str, usize)>,
    features: usize,
) -> Result<Categories, TreeError> {
    let (mut columns, mut found) = (Vec::new(), BTreeMap::new());
    for (line, number) in lines {
        if let Some(list) =
            line.strip_prefix("[categorical_feature: ").and_then(|rest| rest.strip_suffix(']'))
        {
            columns = list.split(',').filter_map(|column| column.trim().parse::<usize>().ok()).collect();
            columns.sort_unstable();
        } else if let Some(json) = line.strip_prefix("pandas_categorical:") {
            let refuse = |reason: String| TreeError::line(number, format!("pandas_categorical: {reason}"));
            let lists: Option<Vec<Vec<serde_json::Value>>> =
                serde_json::from_str(json).map_err(|error| refuse(error.to_string()))?;
            let lists = lists.unwrap_or_default();
            let known = columns.last().is_none_or(|last| *last < features);
            if !lists.is_empty() && (lists.len() != columns.len() || !known) {
                return Err(refuse(format!(
                    "{} lists for {} categorical columns",
                    lists.len(),
                    columns.len()
                )));
            }
            let words = lists.into_iter().map(|list| list.into_iter().map(word).collect());
            found = columns.iter().copied().zip(words).collect();
        }
    }
    columns.retain(|column| *column < features);
    Ok((columns, found))
}

/// A category of text as it is, a number as the encoder looks it up, anything else as its JSON.
fn word(value: serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text,
        serde_json::Value::Number(number) => {
            number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string())
        }
        other => other.to_string(),
    }
}
