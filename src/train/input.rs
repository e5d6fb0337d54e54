//! Where leads come from, and how they are made ready: read, ordered, split, described, checked for leakage.
//!
//! Rows are ordered by their time and their hash, columns by their name, before anything is drawn or fitted: so the same
//! leads give the same bytes in whatever order they were handed over.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use clap::Args;
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde::Serialize;

use super::{
    TrainError,
    columns::{ColumnOptions, shown},
    dataset::{self, Dataset},
    kinds::Kind,
    leakage::{self, Alone},
    logged,
    snapshot::{self, RowHash},
    table::{Table, Texts},
    times::{self, Times},
};
use crate::registry::{ColumnNote, Snapshot};

/// Features that are told of as those that rank best alone.
const STRONGEST: usize = 5;

/// Past leads, from files or the lead log.
#[derive(Clone, Debug, Args)]
pub struct InputOptions {
    /// Past leads: CSV with a header, or JSON lines. May be given several times, for the files of one table.
    #[arg(long, value_name = "FILE", required_unless_present = "from_log", conflicts_with = "from_log")]
    pub data: Vec<PathBuf>,
    /// Leads of the same columns to choose and calibrate on; without it rows of the table are set apart.
    #[arg(long, value_name = "FILE", conflicts_with = "from_log")]
    pub valid: Option<PathBuf>,
    /// Column that says whether the lead converted: 0/1, yes/no, true/false, y/n or t/f.
    #[arg(long, value_name = "COLUMN", required_unless_present = "from_log", conflicts_with = "from_log")]
    pub target: Option<String>,
    /// Column that only names the lead.
    #[arg(long, value_name = "COLUMN", conflicts_with = "from_log")]
    pub id: Option<String>,
    /// Column that says when the lead came: rows are split by it, oldest first.
    #[arg(long, value_name = "COLUMN", conflicts_with = "from_log")]
    pub time: Option<String>,
    /// Columns to leave out, above all those that are known only after the lead was worked, and personal data: values
    /// of the others stand in the manifest's golden samples.
    #[arg(long, value_name = "COLUMN,COLUMN", value_delimiter = ',')]
    pub drop: Vec<String>,
    /// Columns that may rank leads too well: they are known when the lead comes.
    #[arg(long, value_name = "COLUMN,COLUMN", value_delimiter = ',')]
    pub allow_leakage: Vec<String>,
    /// What is said of columns.
    #[command(flatten)]
    pub columns: ColumnOptions,
    /// The lead log.
    #[command(flatten)]
    pub log: LogOptions,
}

/// The lead log as a source.
#[derive(Clone, Debug, Args)]
pub struct LogOptions {
    /// Take leads from the lead log: as they were scored, with what became of them.
    #[arg(long)]
    pub from_log: bool,
    /// The configuration, whose `state` holds the log.
    #[arg(short, long, value_name = "FILE", default_value = "config/leadwire.yaml")]
    pub config: PathBuf,
    /// The directory that holds the log, where there is no configuration.
    #[arg(long, value_name = "DIR", requires = "horizon", conflicts_with = "config")]
    pub state: Option<PathBuf>,
    /// How far back leads are taken.
    #[arg(long, value_name = "TIME", default_value = "180d", value_parser = duration)]
    pub since: Duration,
    /// How long a lead has to convert; `rollout.horizon` of the configuration without it.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub horizon: Option<Duration>,
    /// Fewer leads with a final label are not enough.
    #[arg(long, value_name = "ROWS", default_value_t = 10_000)]
    pub min_rows: usize,
}

/// Leads, ready to fit.
pub(super) struct Prepared {
    pub(super) train: Dataset,
    /// Chooses and calibrates.
    pub(super) valid: Dataset,
    /// The newest, which nothing saw before the end; none unless the split is by time.
    pub(super) test: Option<Dataset>,
    pub(super) newest: Option<Newest>,
    pub(super) snapshot: Snapshot,
    /// Columns that are neither features nor the target, because somebody said so.
    pub(super) dropped: Vec<String>,
    pub(super) told: InputReport,
}

/// What is known of the newest leads beside the columns that train.
pub(super) struct Newest {
    /// As they came, for a model that reads other columns and knows other words.
    pub(super) table: Table,
    /// Of each, in the order of the rows.
    pub(super) times: Times,
    /// Over all their columns, used or not.
    pub(super) digest: String,
}

/// What became of the table on its way.
#[derive(Clone, Debug, Serialize)]
pub struct InputReport {
    /// How rows were set apart.
    pub split: Split,
    /// Rows that train, choose, and test.
    pub parts: [usize; 3],
    /// The leads.
    pub snapshot: Snapshot,
    /// Columns that held nothing to learn from.
    pub left_out: Vec<ColumnNote>,
    /// What else is to be known of columns.
    pub notes: Vec<ColumnNote>,
    /// The features that alone rank best.
    pub strongest: Vec<Alone>,
    /// What a person should look at.
    pub warnings: Vec<String>,
    /// The one column that looks like the time of the rows, where none was named.
    pub time_like: Option<String>,
}

/// How rows are set apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// The oldest three fifths train, the next fifth chooses, the newest tests.
    Time,
    /// A fifth, drawn by the seed, chooses.
    Random,
    /// By the files.
    Files,
}

/// Leads as they came, whatever the source.
pub(super) struct Leads {
    pub(super) table: Table,
    pub(super) source: String,
    pub(super) labels: Vec<bool>,
    pub(super) times: Option<Times>,
    pub(super) cutoff: Option<String>,
    pub(super) hashes: Vec<RowHash>,
    /// The target, where it is a column.
    pub(super) target: String,
}

/// Reads the leads that the options name. `model` is whose scores of the lead log count, as of `now_ms`.
pub(super) fn prepare(
    options: &InputOptions,
    seed: u64,
    (model, now_ms): (&str, i64),
) -> Result<Prepared, TrainError> {
    let leads = match options.log.from_log {
        true => logged::read(&options.log, model, now_ms)?,
        false => Leads::read(options, &options.data)?,
    };
    leads.prepare(options, seed)
}

impl InputOptions {
    /// Columns that are neither features nor the target.
    pub(super) fn dropped(&self) -> Vec<String> {
        self.id.iter().chain(&self.time).chain(&self.drop).cloned().collect()
    }
}

impl Leads {
    fn read(options: &InputOptions, files: &[PathBuf]) -> Result<Self, TrainError> {
        let table = Table::read(files)?;
        let target = options.target.clone().unwrap_or_default();
        let column = table.column(&target)?;
        if table.rows() == 0 {
            return Err(TrainError::data(table.path(), "holds no rows".into()));
        }
        let label = |row| match column.word(row) {
            Some(word) => dataset::label(word).ok_or(dataset::NO_LABEL),
            None => Err("no label; leave out leads whose end is not known yet"),
        };
        let label = |row| label(row).map_err(|reason| table.refuse(row, &target, reason));
        let labels = (0..table.rows()).map(label).collect::<Result<_, _>>()?;
        let times = options.time.as_deref().map(|name| Times::read(&table, name)).transpose()?;
        let (source, hashes) = (table.source(), snapshot::row_hashes(&table, |_, _| {}));
        Ok(Self { table, source, labels, times, cutoff: None, hashes, target })
    }

    fn prepare(self, options: &InputOptions, seed: u64) -> Result<Prepared, TrainError> {
        let order = self.order();
        let other = options.valid.as_ref().map(|file| Leads::read(options, std::slice::from_ref(file)));
        let other = other.transpose()?;
        let (split, [train, valid, test]) = match (&other, &self.times) {
            (Some(other), _) => (Split::Files, [order, other.order(), Vec::new()]),
            (None, Some(times)) => (Split::Time, self.by_time(&order, times)?),
            (None, None) => (Split::Random, at_random(order, seed)),
        };
        let mut told = self.report(options, split, [&train, &valid, &test].map(Vec::len));
        let judged = other.as_ref().unwrap_or(&self);
        told.snapshot.seen_until = self.seen_until(&train, (judged, &valid));
        let newest = self.newest(&test);
        let kinds = self.kinds(options, &train, &mut told)?;
        other.iter().try_for_each(|other| other.check_alike(&kinds, &valid))?;
        let parts = [
            self.dataset(&kinds, &train, "training rows")?,
            judged.dataset(&kinds, &valid, "validation rows")?,
        ];
        let [train, valid] = parts;
        let test = (split == Split::Time).then(|| self.dataset(&kinds, &test, "newest rows")).transpose()?;
        let checked = leakage::check(&train, &options.allow_leakage)?;
        told.warnings.extend(checked.warnings);
        told.strongest = checked.features.into_iter().take(STRONGEST).collect();
        let (snapshot, dropped) = (told.snapshot.clone(), options.dropped());
        Ok(Prepared { train, valid, test, newest, snapshot, dropped, told })
    }

    /// Rows by their time, then by their hash.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.labels.len()).collect();
        let time = |row: usize| self.times.as_ref().map_or(0.0, |times| times.value(row));
        order.sort_by(|a, b| {
            time(*a).total_cmp(&time(*b)).then_with(|| self.hashes.get(*a).cmp(&self.hashes.get(*b)))
        });
        order
    }

    /// Three fifths, a fifth and a fifth; rows of one time stay together.
    fn by_time(&self, order: &[usize], times: &Times) -> Result<[Vec<usize>; 3], TrainError> {
        let time = |place: usize| order.get(place).map(|row| times.value(*row));
        let border = |fifths: usize| {
            let place = order.len() * fifths / 5;
            (place..order.len())
                .find(|place| time(*place) != time(place.wrapping_sub(1)))
                .unwrap_or(order.len())
        };
        let (train, rest) = order.split_at_checked(border(3)).unwrap_or_default();
        let (valid, test) = rest.split_at_checked(border(4).saturating_sub(train.len())).unwrap_or_default();
        if [train, valid, test].iter().any(|part| part.is_empty()) {
            let reason = "too few different times to set newer rows apart".to_owned();
            return Err(TrainError::data(self.table.path(), reason));
        }
        Ok([train, valid, test].map(<[usize]>::to_vec))
    }

    /// The last time among the rows that fit, choose and calibrate.
    fn seen_until(&self, train: &[usize], (judged, valid): (&Self, &[usize])) -> Option<String> {
        let times = self.times.as_ref()?;
        let valid = judged.times.as_ref().and_then(|times| times.last(valid));
        let last = times.last(train).into_iter().chain(valid).max_by(f64::total_cmp);
        last.map(|last| times.text(last))
    }

    fn newest(&self, test: &[usize]) -> Option<Newest> {
        let times = self.times.as_ref().filter(|_| !test.is_empty())?;
        let hashes: Vec<RowHash> = test.iter().filter_map(|row| self.hashes.get(*row).copied()).collect();
        let (table, times) = (self.table.only(test, &self.target), times.of(test));
        Some(Newest { table, times, digest: snapshot::digest(&hashes) })
    }

    fn report(&self, options: &InputOptions, split: Split, parts: [usize; 3]) -> InputReport {
        let (first_event, last_event) = self.times.as_ref().and_then(Times::range).unzip();
        let snapshot = Snapshot {
            source: self.source.clone(),
            rows: self.labels.len() as u64,
            positives: self.labels.iter().filter(|label| **label).count() as u64,
            first_event,
            last_event,
            seen_until: None,
            label_cutoff: self.cutoff.clone(),
            digest: snapshot::digest(&self.hashes),
        };
        let time_like = (split == Split::Random).then(|| self.time_like(options)).flatten();
        let hint = time_like.as_ref().map_or(String::new(), |name| format!(": `{name}` looks like one"));
        let random = format!(
            "rows were set apart at random, which tells the model of their own weeks: new leads will be ranked worse; \
             name the column of their time with --time{hint}"
        );
        let warnings = if split == Split::Random { vec![random] } else { Vec::new() };
        let (left_out, notes, strongest) = (Vec::new(), Vec::new(), Vec::new());
        InputReport { split, parts, snapshot, left_out, notes, strongest, warnings, time_like }
    }

    /// The one column that holds a date in each row.
    fn time_like(&self, options: &InputOptions) -> Option<String> {
        let dropped = options.dropped();
        let is_time = |column: &&Texts| {
            let first = column.word(0).is_some_and(times::is_moment);
            first && !dropped.contains(&column.name) && Times::read(&self.table, &column.name).is_ok()
        };
        let mut found = self.table.columns().into_iter().filter(is_time);
        found.next().filter(|_| found.next().is_none()).map(|column| column.name.clone())
    }

    /// What each column is that somebody wants.
    fn kinds(
        &self,
        options: &InputOptions,
        train: &[usize],
        told: &mut InputReport,
    ) -> Result<Vec<Kind>, TrainError> {
        let (dropped, category) = (options.dropped(), &options.columns.category);
        for name in dropped.iter().chain(category) {
            self.table.column(name)?;
        }
        let mut kinds = Vec::new();
        let unwanted = |name: &String| *name == self.target || dropped.contains(name);
        for column in self.table.columns().into_iter().filter(|column| !unwanted(&column.name)) {
            match Kind::of(column, train, category.contains(&column.name)) {
                Ok((kind, notes)) => {
                    let note = |note| ColumnNote { column: column.name.clone(), note };
                    told.notes.extend(notes.into_iter().map(note));
                    kinds.push(kind);
                }
                Err(out) => told.left_out.push(out.note(&column.name)),
            }
        }
        if kinds.is_empty() {
            let reason = "no column is left to learn from".to_owned();
            return Err(TrainError::data(self.table.path(), reason));
        }
        Ok(kinds)
    }

    /// A column of numbers must not hold something else in another file.
    fn check_alike(&self, kinds: &[Kind], rows: &[usize]) -> Result<(), TrainError> {
        for kind in kinds {
            if let Some(row) = kind.stranger(self.table.column(kind.name())?, rows) {
                return Err(self.table.refuse(
                    row,
                    kind.name(),
                    "not a finite number, as in the training rows",
                ));
            }
        }
        Ok(())
    }

    /// Some rows as the features, in this order.
    fn dataset(&self, kinds: &[Kind], rows: &[usize], part: &str) -> Result<Dataset, TrainError> {
        let column = |kind: &Kind| Ok(kind.column(self.table.column(kind.name())?, rows));
        let columns = kinds.iter().map(column).collect::<Result<_, TrainError>>()?;
        let labels = rows.iter().filter_map(|row| self.labels.get(*row).copied()).collect();
        let dataset = Dataset::new(self.table.path(), columns, labels);
        let refuse = |how| {
            let reason = format!("target `{}` is {how} yes in the {} {part}", self.target, dataset.rows());
            Err(TrainError::data(self.table.path(), reason))
        };
        match dataset.positives() {
            0 => refuse("never"),
            all if all == dataset.rows() => refuse("always"),
            _ => Ok(dataset),
        }
    }
}

/// A fifth of the rows, drawn by the seed, chooses.
fn at_random(mut order: Vec<usize>, seed: u64) -> [Vec<usize>; 3] {
    order.shuffle(&mut StdRng::seed_from_u64(seed));
    let train = order.split_off(order.len() / 5);
    [train, order, Vec::new()]
}

/// `180d`
fn duration(text: &str) -> Result<Duration, String> {
    crate::config::time(text).ok_or_else(|| format!("{text:?} is not a time such as 12h or 180d"))
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for InputReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Snapshot { source, rows, positives, first_event, last_event, label_cutoff, digest, .. } =
            &self.snapshot;
        write!(f, "{source}: {rows} rows, {positives} converted")?;
        if let (Some(first), Some(last)) = (first_event, last_event) {
            write!(f, ", from {first} to {last}")?;
        }
        label_cutoff.iter().try_for_each(|cutoff| write!(f, ", labels final up to {cutoff}"))?;
        writeln!(f, "\nsnapshot {digest}")?;
        let [train, valid, test] = self.parts;
        match self.split {
            Split::Time => writeln!(f, "split by time: {train} rows train, {valid} choose, {test} test")?,
            Split::Random => writeln!(f, "split at random: {train} rows train, {valid} choose")?,
            Split::Files => writeln!(f, "{train} rows train, {valid} of another file choose")?,
        }
        for ColumnNote { column, note } in &self.left_out {
            writeln!(f, "left out: `{}` {note}", shown(column))?;
        }
        for ColumnNote { column, note } in &self.notes {
            writeln!(f, "note: `{}`: {note}", shown(column))?;
        }
        let strongest =
            self.strongest.iter().map(|alone| format!("{} {:.3}", shown(&alone.column), alone.auc));
        let strongest: Vec<String> = strongest.collect();
        if !strongest.is_empty() {
            writeln!(f, "AUC of one feature alone: {}", strongest.join(", "))?;
        }
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {}", shown(warning)))
    }
}

#[cfg(test)]
mod tests;
