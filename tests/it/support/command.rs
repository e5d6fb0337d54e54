//! The binary, as people and scripts run it.

use std::process::{Command, Output};

/// Runs it to its end, in the repository's folder.
pub fn leadwire(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leadwire"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().unwrap()
}

/// What it said.
pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// The line by which a sidecar that logs JSON says that it is ready, and where.
pub fn ready(lines: &mut impl Iterator<Item = String>) -> String {
    lines.find(|line| line.contains("\"ready\"")).unwrap()
}
