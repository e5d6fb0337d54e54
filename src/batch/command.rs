//! `leadwire score --model`: options in, summary out.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use memchr::memrchr;

use super::{
    BatchError, Format, Summary,
    block::{BLOCK, BlockError, Blocks},
    csv::{Csv, Header},
    lines::Lines,
    pipeline::{self, Stop},
    progress::Progress,
    scorer::{Done, Scorer, Table},
    sink::Sink,
    summary::Tally,
};
use crate::registry::{self, Version};

/// More threads than this would wait for the reader.
const MAX_THREADS: usize = 16;

/// What is to be scored, and by what.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Directory of models.
    pub models: PathBuf,
    /// The model's folder in it.
    pub model: String,
    /// The version's folder; the champion without it.
    pub version: Option<String>,
    /// Standard input without it.
    pub input: Option<PathBuf>,
    /// Standard output without it.
    pub output: Option<PathBuf>,
    /// By the file's ending, or by its first byte, without it.
    pub format: Option<Format>,
    /// No progress on stderr.
    pub quiet: bool,
}

/// Scores every row of a table. What is wrong with a row is written into it; what is wrong with the whole is an error, and
/// unless the input breaks on the way nothing is written then. `unfinished` hears of the file that is written beside its
/// place: whoever ends the process before the end should remove it.
pub fn run(job: &Job, unfinished: impl Fn(&Path)) -> Result<Summary, BatchError> {
    let (version, refused) = version(job)?;
    let (started, cpu) = (Instant::now(), cpu_time());
    let input = Input::open(job.input.as_deref())?;
    let name = input.name.clone();
    let open = |header: &[u8], bytes| Run::open(job, header, bytes, &unfinished);
    let (tally, absent) = score(job.format, &version, input, open).map_err(|problem| problem.named(&name))?;
    let spent = (started.elapsed(), cpu_time().saturating_sub(cpu));
    Ok(Summary { absent, refused, ..Summary::new(&version.id, &tally, spent) })
}

/// The version that was asked for, or the champion; and what was passed over to find it.
fn version(job: &Job) -> Result<(Arc<Version>, Vec<String>), BatchError> {
    let Job { models, model, version, .. } = job;
    if let Some(version) = version {
        return Ok((Arc::new(Version::load(&models.join(model).join(version))?), Vec::new()));
    }
    match registry::champion(models, model, Version::load) {
        Ok((version, refused)) => Ok((version, refused.iter().map(ToString::to_string).collect())),
        Err(refused) => Err(BatchError::Model { models: models.clone(), model: model.clone(), refused }),
    }
}

/// Where rows come from.
struct Input {
    name: String,
    read: Box<dyn Read + Send>,
    /// Where it is known.
    bytes: Option<u64>,
    /// By the file's ending.
    format: Option<Format>,
}

impl Input {
    fn open(path: Option<&Path>) -> Result<Self, BatchError> {
        let Some(path) = path else {
            let (name, read) = ("standard input".to_owned(), Box::new(io::stdin()));
            return Ok(Self { name, read, bytes: None, format: None });
        };
        let name = path.display().to_string();
        let failed = |reason| BatchError::Input { name: name.clone(), reason };
        let file = File::open(path).map_err(failed)?;
        let there = file.metadata().map_err(failed)?;
        let bytes = there.is_file().then_some(there.len());
        Ok(Self { name, read: Box::new(file), bytes, format: Format::of_path(path) })
    }
}

/// Why a run stopped, before the input has its name.
enum Problem {
    Read(BlockError),
    Table(String),
    Other(BatchError),
    Panicked,
}

impl Problem {
    fn named(self, name: &str) -> BatchError {
        let name = name.to_owned();
        match self {
            Problem::Read(BlockError::Read(reason)) => BatchError::Input { name, reason },
            Problem::Read(BlockError::Long(at)) => BatchError::LongRow { name, at },
            Problem::Table(reason) => BatchError::Table { name, reason },
            Problem::Other(error) => error,
            Problem::Panicked => BatchError::Panicked,
        }
    }
}

/// Scores all of an input. Returns what was counted, and the features without a column.
fn score(
    format: Option<Format>,
    version: &Arc<Version>,
    mut input: Input,
    open: impl Fn(&[u8], Option<u64>) -> Result<Run, Problem>,
) -> Result<(Tally, Vec<String>), Problem> {
    let mut start = Vec::new();
    let read = input.read.by_ref().take(BLOCK as u64).read_to_end(&mut start);
    read.map_err(|error| Problem::Read(BlockError::Read(error)))?;
    let format = format.or(input.format).unwrap_or_else(|| Format::of_bytes(&start));
    match format {
        Format::Csv => {
            let header = Csv::header(version, &start).map_err(Problem::Table)?;
            let Header { table, out, end, absent } = header;
            if end == BLOCK && !start.ends_with(b"\n") {
                return Err(Problem::Table(format!("the header is longer than {BLOCK} bytes")));
            }
            let blocks = Blocks::new(start.split_off(end), end as u64, input.read, Some(table.separator));
            Ok((open(&out, input.bytes)?.rows(version, &table, blocks)?, absent))
        }
        Format::Jsonl => {
            let mut table = Lines::new(version);
            // What is cut off at the end says nothing yet.
            let whole = if start.len() < BLOCK { start.len() } else { memrchr(b'\n', &start).unwrap_or(0) };
            table.check(start.get(..whole).unwrap_or_default()).map_err(Problem::Table)?;
            let blocks = Blocks::new(start, 0, input.read, None);
            Ok((open(b"", input.bytes)?.rows(version, &table, blocks)?, Vec::new()))
        }
    }
}

/// A run on its way.
struct Run {
    sink: Sink,
    progress: Progress,
    read: u64,
    tally: Tally,
}

impl Run {
    /// Opens the output, and writes what stands before all rows. `bytes` are those of the input, where they are known.
    fn open(
        job: &Job,
        header: &[u8],
        bytes: Option<u64>,
        unfinished: &impl Fn(&Path),
    ) -> Result<Self, Problem> {
        let mut sink = Sink::open(job.output.as_deref()).map_err(Problem::Other)?;
        sink.unfinished().into_iter().for_each(unfinished);
        sink.write(header).map_err(Problem::Other)?;
        Ok(Self { sink, progress: Progress::new(bytes, job.quiet), read: 0, tally: Tally::default() })
    }

    fn rows<T: Table + Clone + Send + 'static>(
        mut self,
        version: &Arc<Version>,
        table: &T,
        blocks: impl Iterator<Item = Result<Vec<u8>, BlockError>> + Send + 'static,
    ) -> Result<Tally, Problem> {
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        let worker = |_| {
            let mut scorer = Scorer::new(Arc::clone(version), table.clone());
            move |block: Vec<u8>| scorer.score(&block)
        };
        let workers = (0..threads).map(worker).collect();
        let blocks = blocks.map(|block| block.map_err(Problem::Read));
        pipeline::run(blocks, workers, |done| self.take(&done)).map_err(|stop| match stop {
            Stop::Failed(problem) => problem,
            Stop::Panicked => Problem::Panicked,
        })?;
        self.progress.end();
        self.sink.finish().map_err(Problem::Other)?;
        Ok(self.tally)
    }

    fn take(&mut self, done: &Done) -> Result<(), Problem> {
        self.sink.write(&done.out).map_err(Problem::Other)?;
        self.tally.add(&done.tally);
        self.read += done.read as u64;
        self.progress.tell(self.read, self.tally.rows, Instant::now());
        Ok(())
    }
}

/// Of all threads of this process, so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
