//! Log lines, to standard error. Nothing from a body, a query or a header's value is ever put into one.

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging for the process. `LEADWIRE_LOG` sets the level, in tracing's filter syntax; `info` without it.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var("LEADWIRE_LOG")
        .from_env_lossy();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // An error means that the process logs already, which serves as well.
    _ = match format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| tracing::error!("{}", told(panic.location()))));
}

/// A panic's own message may quote the text it stumbled over, so only its place is told.
fn told(place: Option<&std::panic::Location<'_>>) -> String {
    place.map_or_else(|| "panicked".to_owned(), |place| format!("panicked at {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_by_its_place() {
        let place = std::panic::Location::caller();
        assert_eq!(
            told(Some(place)),
            format!("panicked at {}:{}:{}", place.file(), place.line(), place.column())
        );
    }
}
