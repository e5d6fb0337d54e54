//! `leadwire rollout`: options in, text out. It works on the files, whether or not a sidecar runs.

use std::fmt;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    asked::Asked,
    desk::{Desk, Done, OrderError},
    orders::{Grounds, Order},
    review::Review,
    status::statuses,
};

/// See how versions stand, and move them.
#[derive(Clone, Debug, Args)]
pub struct RolloutOptions {
    /// Why; approve, deny, rollback and clear need it.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, global = true)]
    why: String,
    /// Who asks; $USER without it.
    #[arg(long, value_name = "NAME", global = true)]
    actor: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Who serves, who is on trial, and what waits for whom.
    Status {
        /// One model; all without it.
        model: Option<String>,
    },
    /// What the evidence says of the versions on trial, and what would be done. Nothing changes.
    Verdict {
        /// The model.
        model: String,
    },
    /// The version scores every lead without answering.
    Shadow(Named),
    /// It does not any more.
    Unshadow(Named),
    /// It answers a share of the leads: its first, or another.
    Canary {
        #[command(flatten)]
        named: Named,
        /// 1 to 100; the next of `rollout.steps` without it.
        #[arg(value_parser = clap::value_parser!(u32).range(1..=99))]
        percent: Option<u32>,
    },
    /// One transition of this very artifact may happen.
    Approve {
        #[command(flatten)]
        named: Named,
        /// Which.
        #[arg(value_parser = ["canary", "ramp", "production"])]
        step: String,
        /// Without the evidence that it would take.
        #[arg(long = "override")]
        is_override: bool,
    },
    /// It may not.
    Deny {
        #[command(flatten)]
        named: Named,
        /// Which.
        #[arg(value_parser = ["canary", "ramp", "production"])]
        step: String,
    },
    /// The canary serves all.
    Promote(Named),
    /// Nothing moves up until it is resumed. What fails is taken back all the same.
    Pause {
        /// The model.
        model: String,
    },
    /// It goes on.
    Resume {
        /// The model.
        model: String,
    },
    /// The challenger leaves at once and the champion answers everything; without a challenger the champion leaves.
    Rollback {
        /// The model.
        model: String,
        /// The version that leaves.
        #[arg(long, value_name = "VERSION")]
        from: Option<String>,
        /// The former champion that serves then.
        #[arg(long, value_name = "VERSION")]
        to: Option<String>,
    },
    /// What was rolled back may be tried again, as a shadow.
    Clear(Named),
    /// The version is put away.
    Archive(Named),
}

#[derive(Clone, Debug, Args)]
struct Named {
    /// The model.
    model: String,
    /// The version.
    version: String,
}

/// What a subcommand has to say.
#[derive(Clone, Debug)]
pub struct Told {
    /// For standard output.
    pub text: String,
    /// For standard error.
    pub warnings: Vec<String>,
    /// Whether the exit code is 0.
    pub ok: bool,
}

/// What is counted in the lead log, which is not read in here.
pub struct Counted<'c> {
    /// What speaks for an order.
    pub grounds: &'c dyn Fn(&Order) -> Grounds,
    /// What is known of a model's trials.
    pub verdict: &'c dyn Fn(&str) -> Result<Review, OrderError>,
}

impl fmt::Debug for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}

/// Runs a subcommand.
pub fn run(
    options: &RolloutOptions,
    desk: &Desk,
    counted: &Counted<'_>,
    now_ms: i64,
) -> Result<Told, OrderError> {
    let RolloutOptions { why, actor, json, command } = options;
    if let Command::Verdict { model } = command {
        let review = (counted.verdict)(model)?;
        let text = if *json { format!("{}\n", json!(review)) } else { review.to_string() };
        return Ok(Told { text, warnings: Vec::new(), ok: review.uncounted.is_none() });
    }
    if let Command::Status { model } = command {
        let statuses = statuses(desk, model.as_deref(), now_ms)?;
        let text = match json {
            true => format!("{}\n", json!({"rollouts": statuses})),
            false => statuses.iter().map(ToString::to_string).collect(),
        };
        return Ok(Told { text, warnings: Vec::new(), ok: true });
    }
    let (model, verb, asked) = command.asked();
    let actor = actor.clone().or_else(|| std::env::var("USER").ok()).unwrap_or_default();
    let order: Order = Asked { why: why.clone(), actor, ..asked }.order(&model, verb)?;
    let done = desk.carry_out(&order, &(counted.grounds)(&order), now_ms)?;
    let text = match json {
        true => format!("{}\n", done.to_json()),
        false => done.said.iter().map(|line| format!("{line}\n")).collect(),
    };
    Ok(Told { text, warnings: done.warnings(), ok: done.unwritten.is_none() })
}

impl Done {
    /// For scripts.
    pub fn to_json(&self) -> serde_json::Value {
        json!({"said": self.said, "seq": self.seq, "warnings": self.warnings()})
    }

    /// What is not as it should be, though the order was carried out.
    pub fn warnings(&self) -> Vec<String> {
        let late = self.late.as_ref().map(|error| ("not recorded yet", error.to_string(), chain(error)));
        let unwritten =
            self.unwritten.as_ref().map(|error| ("not in effect yet", error.to_string(), chain(error)));
        let told = |(what, error, cause): (&str, String, String)| format!("{what}: {error}{cause}");
        late.into_iter().chain(unwritten).map(told).collect()
    }
}

/// `: No space left on device`, where an error has a cause.
fn chain(error: &dyn std::error::Error) -> String {
    error.source().map(|cause| format!(": {cause}")).unwrap_or_default()
}

impl Command {
    /// The model, what to do to it, and the rest.
    fn asked(&self) -> (String, &'static str, Asked) {
        let of = |named: &Named, verb| {
            let asked = Asked { version: Some(named.version.clone()), ..Asked::default() };
            (named.model.clone(), verb, asked)
        };
        let bare = |model: &str, verb| (model.to_owned(), verb, Asked::default());
        match self {
            Command::Status { model } => bare(model.as_deref().unwrap_or_default(), "status"),
            Command::Verdict { model } => bare(model, "verdict"),
            Command::Shadow(named) => of(named, "shadow"),
            Command::Unshadow(named) => of(named, "unshadow"),
            Command::Promote(named) => of(named, "promote"),
            Command::Clear(named) => of(named, "clear"),
            Command::Archive(named) => of(named, "archive"),
            Command::Pause { model } => bare(model, "pause"),
            Command::Resume { model } => bare(model, "resume"),
            Command::Canary { named, percent } => {
                let (model, verb, asked) = of(named, "canary");
                (model, verb, Asked { percent: *percent, ..asked })
            }
            Command::Approve { named, step, is_override } => {
                let (model, verb, asked) = of(named, "approve");
                (model, verb, Asked { step: Some(step.clone()), is_override: *is_override, ..asked })
            }
            Command::Deny { named, step } => {
                let (model, verb, asked) = of(named, "deny");
                (model, verb, Asked { step: Some(step.clone()), ..asked })
            }
            Command::Rollback { model, from, to } => {
                let (model, verb, asked) = bare(model, "rollback");
                (model, verb, Asked { from: from.clone(), to: to.clone(), ..asked })
            }
        }
    }
}
