//! What the model reads: its columns in order, what each becomes, and the sample's cells as that.

use std::collections::BTreeSet;

use super::{
    ImportOptions,
    declared::{self, Declared, Form},
    source::Source,
};
use crate::{
    score::{
        Encoding, FeatureSpec, Schema,
        trees::{Trees, is_alike},
    },
    train::{
        TrainError,
        dataset::{Cells, Column, Dataset, Raw, Roles},
        schema,
    },
};

/// Greatest code of a category. More are ids or amounts, and each is a word of the manifest.
const MAX_CODE: u32 = (1 << 16) - 1;

/// Most words of all codes together: with more the manifest would be too large to load.
const MAX_WORDS: usize = 1 << 18;

/// Most names in a note.
const MAX_NAMES: usize = 10;

/// A model's schema, and the sample by its features.
pub(super) struct Described {
    pub(super) schema: Schema,
    pub(super) data: Dataset,
    /// What a person should know.
    pub(super) notes: Vec<String>,
}

/// Brings model, schema file and sample together.
pub(super) fn describe(source: &Source, options: &ImportOptions) -> Result<Described, TrainError> {
    let declared = options.schema.as_deref().map(declared::read).transpose()?;
    let dropped = options.dropped();
    let roles = Roles { target: options.target.as_deref(), dropped: &dropped };
    let mut reader =
        Reader { source, options, raw: Raw::read(&options.sample, roles)?, words: 0, notes: Vec::new() };
    if reader.raw.rows() == 0 {
        return Err(reader.refuse("holds no rows"));
    }
    let declared = reader.declared(declared)?;
    let (mut features, mut columns) = (Vec::new(), Vec::new());
    for (i, declared) in declared.into_iter().enumerate() {
        // A feature is called as the leads have it, so that the sample itself can be scored.
        let (name, cells) = reader.take(&declared.name)?;
        let declared = Declared { name, ..declared };
        let filled = cells.iter().filter(|cell| !cell.is_empty()).count();
        let (encoding, cells) = reader.resolve(i, &declared, cells)?;
        let Declared { name, required, label, protected, .. } = declared;
        let required = required.unwrap_or_else(|| cells.gaps() == 0);
        features.push(FeatureSpec { name: name.clone(), required, encoding, label, protected });
        // What stands there and is no word of the model.
        let unseen = (filled + cells.gaps()).saturating_sub(reader.raw.rows());
        columns.push(Column { name, unseen, cells });
    }
    let mut schema = Schema { features };
    options.columns.apply(&mut schema).map_err(|reason| TrainError::data(&source.file, reason))?;
    let Reader { raw, mut notes, .. } = reader;
    notes.extend(unread(&raw));
    let data = raw.dataset(&options.sample, columns, roles)?;
    Ok(Described { schema, data, notes })
}

struct Reader<'a> {
    source: &'a Source,
    options: &'a ImportOptions,
    raw: Raw,
    /// Of all codes so far.
    words: usize,
    notes: Vec<String>,
}

impl Reader<'_> {
    /// The model's columns in order, by the names the model has, or else the schema, the signature or the sample.
    fn declared(&mut self, declared: Option<Vec<Declared>>) -> Result<Vec<Declared>, TrainError> {
        let columns = match &self.source.trees {
            Some(trees) => self.of_trees(trees, declared),
            None => declared
                .ok_or_else(|| "a network does not say what its columns are; pass --schema".to_owned()),
        };
        columns
            .and_then(|columns| self.categories(columns))
            .map_err(|reason| TrainError::data(&self.source.file, reason))
    }

    fn of_trees(&mut self, trees: &Trees, declared: Option<Vec<Declared>>) -> Result<Vec<Declared>, String> {
        let (names, signature) = (trees.names(), &self.source.signature);
        if names.is_empty() && declared.is_none() {
            let told = if signature.is_empty() { "the sample's" } else { "the signature's" };
            self.notes.push(format!("the model's columns have no names, and are {told} in their order"));
        }
        let columns = match declared {
            Some(declared) if names.is_empty() => declared,
            Some(declared) => by_name(names, declared)?,
            None => self.undeclared(names),
        };
        if columns.len() != trees.features() {
            let (columns, features) = (columns.len(), trees.features());
            return Err(format!("{features} columns without names, of which {columns} are told"));
        }
        Ok(columns)
    }

    /// The columns, with those that a person calls categories as such.
    fn categories(&self, mut columns: Vec<Declared>) -> Result<Vec<Declared>, String> {
        for name in &self.options.columns.category {
            let column = columns.iter_mut().find(|column| is_alike(&column.name, name));
            let column = column.ok_or_else(|| format!("--category: column `{name}` is no feature"))?;
            match &column.form {
                None => column.form = Some(Form::Category),
                Some(Form::Category | Form::Whole(Encoding::Category { .. })) => {}
                Some(_) => return Err(format!("--category: column `{name}` is declared as something else")),
            }
        }
        Ok(columns)
    }

    fn undeclared(&self, names: &[String]) -> Vec<Declared> {
        let signature = &self.source.signature;
        let column = |name: &String| Declared { name: name.clone(), ..Declared::default() };
        let mut columns: Vec<Declared> = if !names.is_empty() {
            names.iter().map(column).collect()
        } else if !signature.is_empty() {
            signature.iter().map(|input| column(&input.name)).collect()
        } else {
            self.raw.columns.iter().map(|(name, _)| column(name)).collect()
        };
        for input in signature.iter().filter(|input| input.kind == "boolean") {
            let named = columns.iter_mut().find(|column| is_alike(&column.name, &input.name));
            named.into_iter().for_each(|column| column.form = Some(Form::Boolean));
        }
        columns
    }

    /// The sample's column of a feature: its name there, and its cells.
    fn take(&mut self, name: &str) -> Result<(String, Vec<String>), TrainError> {
        let columns = &mut self.raw.columns;
        let exact = columns.iter().position(|(column, _)| column == name);
        let mut alike = columns.iter().enumerate().filter(|(_, (column, _))| is_alike(column, name));
        let at = match (exact, alike.next(), alike.next()) {
            (Some(at), ..) | (None, Some((at, _)), None) => at,
            (None, Some(_), Some(_)) => {
                return Err(self.refuse(&format!("two columns could be the model's `{name}`")));
            }
            (None, None, _) => return Err(self.refuse(&format!("column `{name}` is missing"))),
        };
        let (column, cells) = columns.swap_remove(at);
        if column != name {
            self.notes.push(format!("feature `{column}` is `{name}` in the model's file"));
        }
        Ok((column, cells))
    }

    /// What a column becomes, and its cells as that: as declared, as the file says, or as the sample's cells look.
    fn resolve(
        &mut self,
        at: usize,
        declared: &Declared,
        cells: Vec<String>,
    ) -> Result<(Encoding, Cells), TrainError> {
        let name = &declared.name;
        let trees = self.source.trees.as_ref();
        let words = trees.and_then(|trees| trees.categories(at));
        let greatest = trees.and_then(|trees| trees.greatest_code(at));
        let statistics = |cells: Cells| (statistics(&cells), cells);
        match (&declared.form, words) {
            (Some(Form::Whole(encoding)), _) => {
                let cells = self.fit(name, (encoding, greatest), cells)?;
                Ok((encoding.clone(), cells))
            }
            (_, _) if trees.is_none() => {
                let reason = "a network's schema needs median, mean and sd, the vocabulary or the imputation";
                Err(self.wrong_schema(name, reason))
            }
            (_, Some(words)) => {
                let encoding = Encoding::Category { vocabulary: words.to_vec() };
                let cells = self.fit(name, (&encoding, greatest), cells)?;
                Ok((encoding, cells))
            }
            (Some(Form::Category), None) => self.coded(name, greatest, cells),
            (None, None) if greatest.is_some() => self.coded(name, greatest, cells),
            (Some(Form::Boolean), None) => Ok(statistics(self.booleans(name, &cells)?)),
            (None, None) if are_truths(&cells) => Ok(statistics(self.booleans(name, &cells)?)),
            (Some(Form::Number) | None, None) => Ok(statistics(self.numbers(name, &cells)?)),
        }
    }

    /// Cells as an encoding takes them.
    fn fit(
        &mut self,
        name: &str,
        (encoding, greatest): (&Encoding, Option<u32>),
        cells: Vec<String>,
    ) -> Result<Cells, TrainError> {
        match encoding {
            Encoding::Number { .. } | Encoding::Piecewise { .. } => self.numbers(name, &cells),
            Encoding::Boolean { .. } => self.booleans(name, &cells),
            Encoding::Category { vocabulary } => {
                if let Some(code) = greatest.filter(|code| *code as usize >= vocabulary.len()) {
                    let words = vocabulary.len();
                    let reason =
                        format!("the model knows codes up to {code}, the vocabulary has {words} words");
                    return Err(self.wrong_schema(name, &reason));
                }
                self.words(name, vocabulary, cells)
            }
        }
    }

    fn numbers(&self, name: &str, cells: &[String]) -> Result<Cells, TrainError> {
        Cells::numbers(cells)
            .map_err(|row| self.cell(row, name, "not a finite number, as the model takes it"))
    }

    fn booleans(&self, name: &str, cells: &[String]) -> Result<Cells, TrainError> {
        Cells::booleans(cells).map_err(|row| self.cell(row, name, "not one of 0, 1, yes, no, true, false"))
    }

    /// Words of the vocabulary. Others are missing to the model, and what they say stays out of the manifest.
    fn words(&mut self, name: &str, vocabulary: &[String], cells: Vec<String>) -> Result<Cells, TrainError> {
        let known: BTreeSet<&str> = vocabulary.iter().map(String::as_str).collect();
        let first = cells.iter().position(|cell| !cell.is_empty());
        let all = cells.iter().filter(|cell| !cell.is_empty()).count();
        let words: Vec<Option<String>> = cells.into_iter().map(|cell| word(&known, cell)).collect();
        match (words.iter().flatten().count(), first) {
            (0, Some(row)) => {
                Err(self.cell(row, name, "neither this nor any other cell is a word of the model"))
            }
            (count, _) if count < all => {
                self.notes
                    .push(format!("`{name}`: {} of {all} cells are no words of the model", all - count));
                Ok(Cells::Words(words))
            }
            _ => Ok(Cells::Words(words)),
        }
    }

    /// A category without a list of words: its codes as they are, or the sample's words in the alphabet's order where a
    /// person says so.
    fn coded(
        &mut self,
        name: &str,
        greatest: Option<u32>,
        cells: Vec<String>,
    ) -> Result<(Encoding, Cells), TrainError> {
        let vocabulary = match codes(&cells) {
            Codes::Whole(seen) => self.code_words(name, greatest, seen)?,
            Codes::Broken(row) => {
                return Err(self.cell(row, name, "neither a whole number, as codes are, nor a word"));
            }
            Codes::TooGreat(row) => {
                return Err(self.cell(
                    row,
                    name,
                    "greater than any code of a category; if it is a number, say so in --schema",
                ));
            }
            Codes::Words(row) if !self.options.sorted_words => {
                return Err(self.cell(
                    row,
                    name,
                    "a word, and the model does not say which code it is: pass --schema with the vocabulary in the \
                     order of the codes, or --sorted-words if they are in the order of the alphabet and the sample \
                     holds all of them",
                ));
            }
            Codes::Words(_) => {
                let words: BTreeSet<&String> = cells.iter().filter(|cell| !cell.is_empty()).collect();
                words.into_iter().cloned().collect()
            }
        };
        let encoding = Encoding::Category { vocabulary };
        let cells = self.fit(name, (&encoding, greatest), cells)?;
        Ok((encoding, cells))
    }

    /// The codes themselves, as text: an encoder gives a word its place, and so each code itself.
    fn code_words(
        &mut self,
        name: &str,
        greatest: Option<u32>,
        seen: Option<(u32, u32)>,
    ) -> Result<Vec<String>, TrainError> {
        // Of a column it never splits the model may know 0 only because it knows none.
        if let (Some(known @ 1..), Some((least, most))) = (greatest, seen) {
            if least > known {
                return Err(
                    self.refuse(&format!("column `{name}`: no code is one of the model's, 0 to {known}"))
                );
            }
            if most > known {
                self.notes.push(format!("`{name}`: codes up to {most}, the model knows them up to {known}"));
            }
        }
        let most = greatest.max(seen.map(|(_, most)| most)).unwrap_or_default();
        self.words = self.words.saturating_add(most as usize + 1);
        if most > MAX_CODE || self.words > MAX_WORDS {
            let reason = format!("too many codes, up to {most}; declare a number in --schema");
            return Err(self.wrong_schema(name, &reason));
        }
        Ok((0..=most).map(|code| code.to_string()).collect())
    }

    fn cell(&self, row: usize, name: &str, reason: &'static str) -> TrainError {
        TrainError::cell(&self.options.sample, self.raw.line(row), name, reason)
    }

    fn refuse(&self, reason: &str) -> TrainError {
        TrainError::data(&self.options.sample, reason.into())
    }

    /// Blames the schema where there is one, or else the model.
    fn wrong_schema(&self, name: &str, reason: &str) -> TrainError {
        let file = self.options.schema.as_ref().unwrap_or(&self.source.file);
        TrainError::data(file, format!("column `{name}`: {reason}"))
    }
}

/// The declared columns in the model's order.
fn by_name(names: &[String], mut declared: Vec<Declared>) -> Result<Vec<Declared>, String> {
    let take = |name: &String| {
        let at = declared.iter().position(|column| is_alike(&column.name, name));
        let at = at.ok_or_else(|| format!("column `{name}` is not in the schema"))?;
        Ok(Declared { name: name.clone(), ..declared.swap_remove(at) })
    };
    let columns: Result<Vec<Declared>, String> = names.iter().map(take).collect();
    match (columns?, declared.first()) {
        (_, Some(column)) => Err(format!("has no column `{}`, as the schema has", column.name)),
        (columns, None) => Ok(columns),
    }
}

/// A note on the columns nobody asked for.
fn unread(raw: &Raw) -> Option<String> {
    let mut names: Vec<&str> = raw.columns.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let more = names.len().saturating_sub(MAX_NAMES);
    names.truncate(MAX_NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| format!("the model does not read {}{more}", names.join(", ")))
}

/// The word of the vocabulary a cell is: itself, a number by its shortest text, or a truth as pandas writes it.
fn word(known: &BTreeSet<&str>, cell: String) -> Option<String> {
    if known.contains(cell.as_str()) {
        return Some(cell);
    }
    let number = cell.parse::<f64>().ok().map(|number| number.to_string());
    let truth = is_truth(&cell).then(|| cell.to_ascii_lowercase());
    [number, truth].into_iter().flatten().find(|text| known.contains(text.as_str()))
}

fn is_truth(cell: &str) -> bool {
    cell.eq_ignore_ascii_case("true") || cell.eq_ignore_ascii_case("false")
}

/// An encoding with what the sample says of the column. To trees it only says what leads look like, so a number that is too
/// large to have a variance is no reason to refuse.
fn statistics(cells: &Cells) -> Encoding {
    match schema::encoding(cells, 0) {
        Encoding::Number { median, mean, sd } => {
            let finite = |number: f64, otherwise| if number.is_finite() { number } else { otherwise };
            let median = finite(median, 0.0);
            Encoding::Number { median, mean: finite(mean, median), sd: finite(sd, 0.0) }
        }
        other => other,
    }
}

/// Whether the column is one of pandas' booleans, which trees take as 0 and 1.
fn are_truths(cells: &[String]) -> bool {
    let mut known = cells.iter().filter(|cell| !cell.is_empty()).peekable();
    known.peek().is_some() && known.all(|cell| is_truth(cell))
}

/// What the cells of a category are; a row is given where there is something to say of it.
enum Codes {
    /// Whole numbers, the least and the greatest where there are any. Those below 0 are missing, as to pandas and the
    /// libraries.
    Whole(Option<(u32, u32)>),
    /// A number that is not whole.
    Broken(usize),
    TooGreat(usize),
    Words(usize),
}

fn codes(cells: &[String]) -> Codes {
    let mut seen: Option<(u32, u32)> = None;
    let known = || cells.iter().enumerate().filter(|(_, cell)| !cell.is_empty());
    let finite = |cell: &str| cell.parse::<f64>().ok().filter(|number| number.is_finite());
    if let Some((row, _)) = known().find(|(_, cell)| finite(cell).is_none()) {
        return Codes::Words(row);
    }
    for (row, cell) in known() {
        match finite(cell) {
            Some(number) if number.fract() != 0.0 => return Codes::Broken(row),
            Some(number) if number > f64::from(MAX_CODE) => return Codes::TooGreat(row),
            Some(number) if number >= 0.0 => {
                let code = number as u32;
                seen = Some(seen.map_or((code, code), |(least, most)| (least.min(code), most.max(code))));
            }
            _ => {}
        }
    }
    Codes::Whole(seen)
}
