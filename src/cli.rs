//! Subcommands.

use std::{
    fmt::Display,
    fs::File,
    io::{BufRead, BufReader, BufWriter, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, OnceLock},
    thread,
};

use anyhow::Context;
use clap::{ArgGroup, Args, Parser, Subcommand};
use serde::Serialize;
use serde_json::json;

use crate::{
    app::{self, Options, Sidecar, Signals},
    batch::{self, BareError, BatchError, Format, Job, Shown},
    config::{self, Config, LoadError, ModelKey},
    demo::DemoOptions,
    leadlog::{self, Forgetting, LeadsCommand, LeadsError, LogPlace},
    ledger::{self, Event, Keys, Kind, Ledger, LedgerCommand},
    monitor::{
        self, ReplayOptions,
        investigate::InvestigateOptions,
        report::{self, ReportOptions},
    },
    proxy::Recording,
    registry::{self, ModelsOptions},
    rollout::{self, Counted, Desk, Order, RolloutOptions},
    score::trees::Trees,
    telemetry::{LogFormat, init_logging, now_ms},
    train::{self, ImportOptions, RetrainOptions, TrainError, TrainOptions},
};

/// Scores leads on the wire: a transparent HTTP sidecar for CRMs.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar.
    Run(RunOptions),
    /// Read a configuration and its models and say what is wrong with them; exit code 2 if anything is.
    Check(CheckOptions),
    /// Watch the sidecar at work between a stand-in CRM and its clients; nothing to install, nothing left behind.
    Demo(DemoOptions),
    /// Score a table with a model, or encoded rows with a model file.
    Score(ScoreOptions),
    /// Train a model on a table of past leads, or on the lead log, and write it as a new version.
    Train(TrainCommand),
    /// Train a model anew, compare it with the one that serves, and have it score along if it is better. Exit code 1 if it
    /// is not.
    Retrain(RetrainCommand),
    /// Make a version of a model that was trained elsewhere.
    Import(ImportCommand),
    /// Look at the versions on disk, compare and sign them.
    Models(ModelsOptions),
    /// See how versions stand, and move them.
    Rollout(RolloutCommand),
    /// Export, copy and look at the lead log, and remove leads from it.
    Leads(LeadsOptions),
    /// Score the log's leads again with another version, and tell what changes.
    Replay(ReplayCommand),
    /// See what became of the leads: how many converted, by score, grade, version and week.
    Report(ReportCommand),
    /// Read, check and seal the record of every change.
    Ledger(LedgerOptions),
    /// Say why a lead got the score it got.
    Investigate(InvestigateCommand),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// The configuration.
    #[arg(short, long = "config", value_name = "FILE", default_value = "config/leadwire.yaml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct RunOptions {
    #[command(flatten)]
    file: ConfigFile,
    /// Worker threads; one for each core without it.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log: LogFormat,
}

#[derive(Debug, Args)]
struct CheckOptions {
    #[command(flatten)]
    file: ConfigFile,
    /// Print problems, or what `--try` finds, as JSON.
    #[arg(long)]
    json: bool,
    /// Take a recorded request through the configuration and its models, and print what would become of it: raw HTTP/1.1,
    /// and its answer after a line `=====RESPONSE=====` where that was recorded too. `-` is standard input. Exit code 1 if
    /// it is not scored.
    #[arg(long = "try", value_name = "FILE")]
    recording: Option<PathBuf>,
    /// Print the configuration's JSON Schema instead.
    #[arg(long)]
    print_schema: bool,
    /// Print a preset as YAML to start from instead; without a name all of them.
    #[arg(long, value_name = "NAME", num_args = 0..=1)]
    presets: Option<Option<String>>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["model", "file"])))]
struct ScoreOptions {
    /// A model by its folder's name: rows of CSV or JSON Lines come in, and go out as they came, with `score`, `points`,
    /// `grade` and `error` added. What is wrong with a row stands in its `error`; the exit code is 0 all the same.
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Directory of models.
    #[arg(long, value_name = "DIR", default_value = "models", conflicts_with = "file")]
    models: PathBuf,
    /// The model's version; the champion without it.
    #[arg(long, value_name = "VERSION", conflicts_with = "file")]
    version: Option<String>,
    /// What comes in and goes out; by the input's ending, or its first byte, without it.
    #[arg(long, value_enum, conflicts_with = "file")]
    format: Option<Format>,
    /// Print the summary as one line of JSON, and no progress. It goes to standard error like the text, because standard
    /// output is for rows.
    #[arg(long, conflicts_with = "file")]
    json: bool,
    /// A model file without a manifest: LightGBM text, or XGBoost JSON or UBJ. Rows are encoded already, each a JSON array
    /// on a line.
    #[arg(long, value_name = "MODEL")]
    file: Option<PathBuf>,
    /// Print the sum of the leaves too.
    #[arg(long, conflicts_with = "model")]
    raw: bool,
    /// Print the leaf of every tree too.
    #[arg(long, conflicts_with = "model")]
    leaves: bool,
    /// Where rows come from; standard input without it.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Where they go; standard output without it. With `--model` the file is there only when it is whole.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct TrainCommand {
    #[command(flatten)]
    options: TrainOptions,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(mut_arg("study", |study| study.hide(true).value_parser(no_study)), mut_arg("out", |out| out.hide(true).default_value("").value_parser(no_out)), mut_arg("state", |state| state.hide(true)))]
struct RetrainCommand {
    #[command(flatten)]
    options: RetrainOptions,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// The folder of the model that is retrained is no option.
fn no_out(text: &str) -> Result<PathBuf, &'static str> {
    match text {
        "" => Ok(PathBuf::new()),
        _ => Err("versions go where `models` of the configuration says"),
    }
}

/// The journal of a retraining's search is part of its work.
fn no_study(_: &str) -> Result<PathBuf, &'static str> {
    Err("it is kept with the run's other work, in `state` of the configuration")
}

#[derive(Debug, Args)]
struct ImportCommand {
    #[command(flatten)]
    options: ImportOptions,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct RolloutCommand {
    /// The configuration.
    #[arg(short, long, value_name = "FILE", default_value = "config/leadwire.yaml", global = true)]
    config: PathBuf,
    #[command(flatten)]
    options: RolloutOptions,
}

#[derive(Debug, Args)]
struct LeadsOptions {
    /// The configuration, whose `state` holds the log.
    #[arg(short, long, value_name = "FILE", default_value = "config/leadwire.yaml", global = true)]
    config: PathBuf,
    /// The directory that holds it, where there is no configuration.
    #[arg(long, value_name = "DIR", conflicts_with = "config", global = true)]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: LeadsCommand,
}

#[derive(Debug, Args)]
struct ReplayCommand {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    options: ReplayOptions,
}

#[derive(Debug, Args)]
struct ReportCommand {
    #[command(flatten)]
    file: ConfigFile,
    /// The directory that holds the lead log, where there is no configuration. A lead's time to convert is then that of the
    /// last count.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    state: Option<PathBuf>,
    #[command(flatten)]
    options: ReportOptions,
}

#[derive(Debug, Args)]
struct InvestigateCommand {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    options: InvestigateOptions,
}

#[derive(Debug, Args)]
struct LedgerOptions {
    /// The configuration, whose `state` holds the ledger.
    #[arg(short, long, value_name = "FILE", default_value = "config/leadwire.yaml", global = true)]
    config: PathBuf,
    /// The directory that holds it, where there is no configuration.
    #[arg(long, value_name = "DIR", conflicts_with = "config", global = true)]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: LedgerCommand,
}

/// The command line or the configuration is wrong.
const USAGE: u8 = 2;

impl Cli {
    /// Runs the subcommand; 0 ok, 1 failed, 2 usage or invalid configuration.
    pub fn run(self) -> ExitCode {
        let done = match self.command {
            Command::Run(options) => run(&options),
            Command::Check(options) => check(&options),
            Command::Demo(options) => demo(&options),
            Command::Score(options) => score(&options),
            Command::Train(command) => train(&command),
            Command::Retrain(command) => retrain(&command),
            Command::Import(command) => import(&command),
            Command::Models(options) => models(&options),
            Command::Rollout(command) => rollout(&command),
            Command::Leads(options) => leads(&options),
            Command::Replay(command) => replay(&command),
            Command::Report(command) => report(&command),
            Command::Ledger(options) => ledger(&options),
            Command::Investigate(command) => investigate(&command),
        };
        done.unwrap_or_else(|error| match error.downcast_ref::<std::io::Error>() {
            // Whoever read the output has seen enough, as `head` does.
            Some(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            _ => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        })
    }
}

fn run(options: &RunOptions) -> anyhow::Result<ExitCode> {
    init_logging(options.log);
    let file = &options.file.config;
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(error) => return Ok(invalid(error)),
    };
    let options =
        Options { file: Some(file.clone()), workers: options.workers.map(usize::from), ..Options::default() };
    let mut signals = Signals::install()?;
    let sidecar = Sidecar::start(config, &options)?;
    signals.wait();
    signals.exit_at_next()?;
    sidecar.stop();
    Ok(ExitCode::SUCCESS)
}

fn invalid(error: LoadError) -> ExitCode {
    match error {
        LoadError::Invalid(problems) => eprintln!("{problems}"),
        unread => eprintln!("error: {:#}", anyhow::Error::from(unread)),
    }
    ExitCode::from(USAGE)
}

fn check(options: &CheckOptions) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if options.print_schema {
        writeln!(out, "{:#}", config::schema())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(name) = &options.presets {
        return presets(name.as_deref(), &mut out);
    }
    let file = &options.file.config;
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(LoadError::Invalid(problems)) if options.json => {
            writeln!(out, "{}", json!({"problems": problems}))?;
            return Ok(ExitCode::from(USAGE));
        }
        Err(error) => return Ok(invalid(error)),
    };
    if let Some(file) = &options.recording {
        return rehearse(config, file, options.json, &mut out);
    }
    // A directory that is yet to come is no mistake.
    let (models, refused) =
        if config.models.exists() { app::look_at_models(&config) } else { Default::default() };
    let (tls, exposed) = app::look_at_tls(&config);
    let tls: Vec<String> = tls.iter().map(ToString::to_string).collect();
    exposed
        .iter()
        .for_each(|key| eprintln!("warning: {}: every user of the system can read it", key.display()));
    let refused: Vec<String> = refused.iter().map(ToString::to_string).collect();
    let models: Vec<String> = models.iter().map(ToString::to_string).collect();
    let (routes, features) = (config.routes.len(), config.features.len());
    if options.json {
        let report = json!({"problems": [], "routes": routes, "features": features, "models": models, "refused": refused, "tls": tls});
        writeln!(out, "{report}")?;
    } else if refused.is_empty() && tls.is_empty() {
        let models = if models.is_empty() { "none yet".to_owned() } else { models.join(" ") };
        writeln!(out, "{}: ok, {routes} routes, {features} features, models: {models}", file.display())?;
    }
    if refused.is_empty() && tls.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    if !options.json {
        tls.iter().for_each(|problem| eprintln!("{problem}"));
        refused.iter().for_each(|refusal| eprintln!("{}: {refusal}", config.models.display()));
    }
    Ok(ExitCode::from(USAGE))
}

fn rehearse(config: Config, file: &Path, json: bool, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let recording = match recording(file) {
        Ok(recording) => recording,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    let rehearsal = app::rehearse(config, &recording)?;
    if json {
        writeln!(out, "{}", serde_json::to_string(&rehearsal)?)?;
    } else {
        write!(out, "{rehearsal}")?;
    }
    Ok(if rehearsal.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn recording(file: &Path) -> anyhow::Result<Recording> {
    // Above the greatest body that is ever read.
    const MOST: u64 = 256 << 20;
    let mut bytes = Vec::new();
    let read = match file.to_str() {
        Some("-") => std::io::stdin().lock().take(MOST).read_to_end(&mut bytes),
        _ => File::open(file).and_then(|file| file.take(MOST).read_to_end(&mut bytes)),
    };
    read.with_context(|| file.display().to_string())?;
    Recording::parse(&bytes).with_context(|| file.display().to_string())
}

fn presets(name: Option<&str>, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let wanted = config::presets().filter(|(known, _)| name.is_none_or(|name| name == *known));
    let wanted: Vec<_> = wanted.collect();
    if wanted.is_empty() {
        let known: Vec<_> = config::presets().map(|(known, _)| known).collect();
        eprintln!(
            "error: no preset is called {:?}; there are {}",
            name.unwrap_or_default(),
            known.join(", ")
        );
        return Ok(ExitCode::from(USAGE));
    }
    for (index, (name, text)) in wanted.iter().enumerate() {
        let between = if index > 0 { "---\n" } else { "" };
        write!(out, "{between}# presets: [{name}]\n{text}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn demo(options: &DemoOptions) -> anyhow::Result<ExitCode> {
    // Log lines would tear the panel; they come where they were asked for.
    if std::env::var_os("LEADWIRE_LOG").is_some() {
        init_logging(LogFormat::Text);
    }
    let summary = app::demo(options)?;
    let mut out = std::io::stdout().lock();
    if options.json {
        writeln!(out, "{}", serde_json::to_string(&summary)?)?;
    } else {
        writeln!(out, "{summary}")?;
    }
    Ok(if summary.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn score(options: &ScoreOptions) -> anyhow::Result<ExitCode> {
    match (&options.model, &options.file) {
        (Some(model), _) => score_table(options, model),
        (None, Some(file)) => score_bare(options, file),
        // The parser asks for one of them.
        (None, None) => Ok(ExitCode::from(USAGE)),
    }
}

fn score_table(options: &ScoreOptions, model: &str) -> anyhow::Result<ExitCode> {
    let job = Job {
        models: options.models.clone(),
        model: model.to_owned(),
        version: options.version.clone(),
        input: options.input.clone(),
        output: options.output.clone(),
        format: options.format,
        quiet: options.json,
    };
    let unfinished = Arc::new(OnceLock::new());
    if job.output.is_some() {
        remove_at_signal(Arc::clone(&unfinished));
    }
    let opened = |file: &Path| _ = unfinished.set(file.to_owned());
    let summary = batch::run(&job, opened).map_err(|error| match error {
        BatchError::Stdout(error) => anyhow::Error::from(error),
        other => other.into(),
    })?;
    let told = if options.json { serde_json::to_string(&summary)? } else { summary.to_string() };
    // The rows are written; a closed stderr makes no failure of that.
    let _ = writeln!(std::io::stderr(), "{told}");
    Ok(ExitCode::SUCCESS)
}

/// Ends the process when it is told to stop, and removes a file that is not whole: nobody would look for it.
fn remove_at_signal(unfinished: Arc<OnceLock<PathBuf>>) {
    // Without the handlers the file stays behind, which is no reason not to score.
    let Ok(mut signals) = Signals::install() else { return };
    thread::spawn(move || {
        signals.wait();
        if let Some(file) = unfinished.get() {
            _ = std::fs::remove_file(file);
        }
        eprintln!("error: told to stop");
        std::process::exit(1);
    });
}

fn score_bare(options: &ScoreOptions, file: &Path) -> anyhow::Result<ExitCode> {
    let named = |path: &Path| path.display().to_string();
    if let (Some(input), Some(output)) = (&options.input, &options.output)
        && output.canonicalize().is_ok_and(|output| input.canonicalize().is_ok_and(|input| input == output))
    {
        // It is written as it is scored, and would be empty before it is read.
        anyhow::bail!("{}: is the input too", named(output));
    }
    let bytes = std::fs::read(file).with_context(|| named(file))?;
    let trees = Trees::read(&bytes).with_context(|| named(file))?;
    let input: Box<dyn BufRead> = match &options.input {
        Some(path) => Box::new(BufReader::new(File::open(path).with_context(|| named(path))?)),
        None => Box::new(std::io::stdin().lock()),
    };
    let output: Box<dyn Write> = match &options.output {
        Some(path) => Box::new(File::create(path).with_context(|| named(path))?),
        None => Box::new(std::io::stdout().lock()),
    };
    let shown = Shown { raw: options.raw, leaves: options.leaves };
    let scored = batch::score_bare(&trees, shown, input, &mut BufWriter::new(output));
    scored.map_err(|error| match error {
        BareError::Io(error) => anyhow::Error::from(error),
        other => other.into(),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn train(command: &TrainCommand) -> anyhow::Result<ExitCode> {
    match train::run(&command.options, train::console()) {
        Err(TrainError::Config(error)) => Ok(invalid(error)),
        report => print(&report?, command.json),
    }
}

fn retrain(command: &RetrainCommand) -> anyhow::Result<ExitCode> {
    let options = &command.options;
    let config = match Config::load(&options.train.input.log.config) {
        Ok(config) => config,
        Err(error) => return Ok(invalid(error)),
    };
    let actor =
        options.who.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "unknown".to_owned());
    let report = app::retrain(&config, options, (&actor, "manual"), &mut train::console())?;
    print(&report, command.json)?;
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn import(command: &ImportCommand) -> anyhow::Result<ExitCode> {
    print(&train::import::run(&command.options, train::steps())?, command.json)
}

fn print(report: &(impl Display + Serialize), json: bool) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(report)?)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn models(options: &ModelsOptions) -> anyhow::Result<ExitCode> {
    let told = registry::models(options)?;
    write!(std::io::stdout().lock(), "{}", told.text)?;
    Ok(if told.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn rollout(command: &RolloutCommand) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&command.config) {
        Ok(config) => config,
        Err(error) => return Ok(invalid(error)),
    };
    let (desk, now_ms) = (Desk::of(&config)?, now_ms());
    let grounds = |order: &Order| monitor::grounds(&desk, order, now_ms);
    let verdict = |model: &str| monitor::verdict(&desk, model, now_ms);
    let counted = Counted { grounds: &grounds, verdict: &verdict };
    let told = rollout::run(&command.options, &desk, &counted, now_ms)?;
    write!(std::io::stdout().lock(), "{}", told.text)?;
    told.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    Ok(if told.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn leads(options: &LeadsOptions) -> anyhow::Result<ExitCode> {
    let (state, horizon_ms) = match &options.state {
        Some(state) => (state.clone(), None),
        None => match Config::load(&options.config) {
            Ok(config) => (config.state, i64::try_from(config.rollout.horizon.as_millis()).ok()),
            Err(error) => return Ok(invalid(error)),
        },
    };
    let now_ms = now_ms();
    let mut note = |asked: Forgetting<'_>| {
        let event = Event::new(Kind::LeadForgotten, asked.actor)
            .with("lead_sha256", asked.lead_sha256)
            .with("why", asked.why);
        Ledger::open(&state)?.lock()?.append(event, now_ms)?;
        Ok(())
    };
    let place = LogPlace { state: &state, horizon_ms, now_ms };
    let mut out = std::io::stdout().lock();
    leadlog::run(&options.command, &place, &mut note, &mut out).map_err(|error| match error {
        LeadsError::Stdout(error) => anyhow::Error::from(error),
        other => other.into(),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn replay(command: &ReplayCommand) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&command.file.config) {
        Ok(config) => config,
        Err(error) => return Ok(invalid(error)),
    };
    let replay = monitor::replay(&command.options, &config, now_ms())?;
    match &command.options.html {
        Some(file) => std::fs::write(file, replay.html()).with_context(|| file.display().to_string())?,
        None => return print(&replay, command.options.json),
    }
    Ok(ExitCode::SUCCESS)
}

fn report(command: &ReportCommand) -> anyhow::Result<ExitCode> {
    let (state, horizon_ms) = match &command.state {
        Some(state) => (state.clone(), None),
        None => match Config::load(&command.file.config) {
            Ok(config) => {
                let horizon_ms = i64::try_from(config.rollout.horizon.as_millis()).unwrap_or(i64::MAX);
                (config.state, Some(horizon_ms))
            }
            Err(error) => return Ok(invalid(error)),
        },
    };
    let told = report::run(&command.options, &state, horizon_ms, now_ms())?;
    write!(std::io::stdout().lock(), "{told}")?;
    Ok(ExitCode::SUCCESS)
}

fn ledger(options: &LedgerOptions) -> anyhow::Result<ExitCode> {
    let state = match &options.state {
        Some(state) => state.clone(),
        None => match Config::load(&options.config) {
            Ok(config) => config.state,
            Err(error) => return Ok(invalid(error)),
        },
    };
    let mut keys = Keys::default();
    match &options.command {
        LedgerCommand::Export { key: Some(key), .. } => keys.sign = Some(registry::private_key(key)?),
        LedgerCommand::Verify { key: Some(key), .. } => {
            keys.check = Some(registry::public_key(&ModelKey::File(key.clone()))?);
        }
        _ => {}
    }
    let told = ledger::run(&options.command, &state, &keys)?;
    write!(std::io::stdout().lock(), "{told}")?;
    Ok(ExitCode::SUCCESS)
}

fn investigate(command: &InvestigateCommand) -> anyhow::Result<ExitCode> {
    let config = match Config::load(&command.file.config) {
        Ok(config) => config,
        Err(error) => return Ok(invalid(error)),
    };
    let told = monitor::investigate::run(&command.options, &Desk::of(&config)?, now_ms())?;
    write!(std::io::stdout().lock(), "{told}")?;
    Ok(ExitCode::SUCCESS)
}
