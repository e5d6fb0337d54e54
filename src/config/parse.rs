//! From text, file and environment to a [`Config`].

use std::{fs::File, io::Read, path::Path};

use super::{
    document,
    findings::Findings,
    meaning,
    problem::{LoadError, Problem, Problems},
    raw::RawConfig,
    settings::Config,
    shape,
};

impl Config {
    /// Reads YAML, with `env` for the `LEADWIRE_*` variables that override it; or tells every mistake.
    pub fn parse(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Problems> {
        let root = document::read(text)?;
        let mut findings = Findings::default();
        let config = shape::fit::<RawConfig>(&root, &mut findings)
            .and_then(|raw| meaning::config(&raw, env, &mut findings));
        match config {
            Some(config) if findings.problems.is_empty() => Ok(config),
            _ => {
                findings.problems.sort();
                Err(findings.problems)
            }
        }
    }

    /// [`Config::parse`] on a file and the process's own environment.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let text = read(path)?;
        let env = |name: &str| std::env::var(name).ok();
        Self::parse(&text, &env).map_err(|problems| LoadError::Invalid(problems.in_file(path)))
    }
}

/// The JSON Schema (draft 2020-12) of the file, for editors.
pub fn schema() -> serde_json::Value {
    shape::schema::<RawConfig>()
}

fn read(path: &Path) -> Result<String, LoadError> {
    let unreadable = |source| LoadError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that the parser sees it is too long.
    let most = document::MAX_BYTES as u64 + 1;
    File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or_default()).into_owned();
        let line = text.matches('\n').count() + 1;
        let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let message = "not UTF-8".to_owned();
        let problem = Problem { line, column, key: String::new(), message, hint: None };
        LoadError::Invalid(Problems::from(problem).in_file(path))
    })
}
