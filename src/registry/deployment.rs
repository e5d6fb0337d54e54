//! Which version of a model holds which slot.

use std::{
    cmp::Reverse,
    collections::HashSet,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, de::IgnoredAny};

/// The file's name, beside the versions' folders.
pub(super) const FILE: &str = "deployment.json";
/// A few version names; anything longer is another file.
const MAX_BYTES: u64 = 64 << 10;
/// Each shadow costs as much computing as the champion.
const MAX_SHADOWS: usize = 3;

/// The slots of one model, as `deployment.json` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Deployment {
    /// Answers by default.
    pub champion: Arc<str>,
    /// Answers a share of the leads.
    pub challenger: Option<Challenger>,
    /// Score every lead without answering; at most three.
    pub shadows: Vec<Arc<str>>,
    /// The champion before this one.
    pub previous: Option<Arc<str>>,
}

/// The version under trial.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenger {
    /// The version's folder.
    #[serde(deserialize_with = "version")]
    pub version: Arc<str>,
    /// Share of the leads it answers, 0..=100.
    pub percent: f64,
}

/// Why a deployment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what a deployment looks like.
    #[error("{} is not a deployment", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column.
        source: serde_json::Error,
    },
    /// The file contradicts itself.
    #[error("{}: {reason}", path.display())]
    Meaning {
        /// The file.
        path: PathBuf,
        /// What does not go together.
        reason: String,
    },
}

impl Deployment {
    /// Only a champion.
    pub fn of(champion: Arc<str>) -> Self {
        Self { champion, challenger: None, shadows: Vec::new(), previous: None }
    }

    /// Reads a model folder's `deployment.json`; `None` if there is none.
    pub fn read(model: &Path) -> Result<Option<Self>, DeploymentError> {
        let path = model.join(FILE);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DeploymentError::Read { path, source }),
        }
        let file: Raw = match serde_json::from_slice(&bytes) {
            Ok(file) => file,
            Err(source) => return Err(DeploymentError::Format { path, source }),
        };
        let Raw { champion, challenger, shadows, previous, .. } = file;
        let shadows = shadows.into_iter().map(|Name(shadow)| shadow).collect();
        let deployment =
            Self { champion: champion.0, challenger, shadows, previous: previous.map(|Name(name)| name) };
        deployment.check().map_err(|reason| DeploymentError::Meaning { path, reason })?;
        Ok(Some(deployment))
    }

    /// Whether a version is champion, challenger or a shadow.
    pub(super) fn serves(&self, version: &Arc<str>) -> bool {
        let challenger = self.challenger.as_ref().map(|challenger| &challenger.version);
        self.champion == *version || challenger == Some(version) || self.shadows.contains(version)
    }

    fn check(&self) -> Result<(), String> {
        if let Some(Challenger { percent, .. }) = &self.challenger
            && !(0.0..=100.0).contains(percent)
        {
            return Err(format!("percent {percent} is not from 0 to 100"));
        }
        if self.shadows.len() > MAX_SHADOWS {
            return Err(format!("{} shadows, at most {MAX_SHADOWS} can score along", self.shadows.len()));
        }
        let challenger = self.challenger.iter().map(|challenger| &challenger.version);
        let mut seen = HashSet::from([&self.champion]);
        match challenger.chain(&self.shadows).find(|version| !seen.insert(version)) {
            Some(twice) => Err(format!("version {twice} holds two slots")),
            None => Ok(()),
        }
    }
}

/// A model's versions, those on disk and the one that serves, the highest first: numbers by value, above all other
/// names.
pub(super) fn versions(model: &Path, serving: Option<&Arc<str>>) -> Vec<Arc<str>> {
    let mut found = folders(model).unwrap_or_default();
    found.extend(serving.cloned());
    found.sort_by_cached_key(|name| Reverse((rank(name), Arc::clone(name))));
    found.dedup();
    found
}

/// The folders in a directory that are neither hidden nor on their way in.
pub(super) fn folders(directory: &Path) -> io::Result<Vec<Arc<str>>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        // Follows links: a version may be mounted elsewhere.
        if let Some(name) = name.to_str().filter(|name| is_name(name))
            && entry.path().is_dir()
        {
            found.push(name.into());
        }
    }
    Ok(found)
}

/// What can name a model or a version: one plain folder.
fn is_name(name: &str) -> bool {
    let passing = name.starts_with('.') || name.starts_with("tmp") || name.ends_with(".tmp");
    !name.is_empty() && !passing && !name.contains(['/', '\\', '\0'])
}

/// Orders versions. Digits are compared by length first, so that no number is too large.
fn rank(name: &str) -> (bool, usize, String) {
    match name.bytes().all(|digit| digit.is_ascii_digit()) {
        true => {
            let digits = name.trim_start_matches('0');
            (true, digits.len(), digits.to_owned())
        }
        false => (false, 0, name.to_owned()),
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "seq and hash tie the file to the ledger and mean nothing here")]
struct Raw {
    champion: Name,
    #[serde(default)]
    challenger: Option<Challenger>,
    #[serde(default)]
    shadows: Vec<Name>,
    #[serde(default)]
    previous: Option<Name>,
    #[serde(default)]
    seq: IgnoredAny,
    #[serde(default)]
    hash: IgnoredAny,
}

#[derive(Deserialize)]
struct Name(#[serde(deserialize_with = "version")] Arc<str>);

/// A version's name goes into a path, so it must not climb out of the model's folder.
fn version<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    let name = String::deserialize(deserializer)?;
    match is_name(&name) {
        true => Ok(name.into()),
        false => Err(serde::de::Error::custom(format!("{name:?} is not the name of a version's folder"))),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    fn read(text: &str) -> Result<Option<Deployment>, String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), text).unwrap();
        Deployment::read(folder.path()).map_err(|error| {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}").replace(&format!("{}/", folder.path().display()), "")
        })
    }

    #[test]
    fn slots_are_read_and_contradictions_told() {
        let text = r#"{"champion":"3","challenger":{"version":"4","percent":10},"shadows":["5"],"previous":"2","seq":7,"hash":"ab"}"#;
        let all = Deployment {
            champion: "3".into(),
            challenger: Some(Challenger { version: "4".into(), percent: 10.0 }),
            shadows: vec!["5".into()],
            previous: Some("2".into()),
        };
        assert_eq!(read(text), Ok(Some(all)));
        assert_eq!(read(r#"{"champion":"3"}"#), Ok(Some(Deployment::of("3".into()))));
        for (text, expected) in [
            ("", "deployment.json is not a deployment: EOF while parsing a value at line 1 column 0"),
            ("{}", "deployment.json is not a deployment: missing field `champion` at line 1 column 2"),
            (
                r#"{"champion":3}"#,
                "deployment.json is not a deployment: invalid type: integer `3`, expected a string at line 1 column 13",
            ),
            (
                r#"{"champion":"../x"}"#,
                "deployment.json is not a deployment: \"../x\" is not the name of a version's folder at line 1 column 19",
            ),
            (r#"{"champion":"1","shadows":["1"]}"#, "deployment.json: version 1 holds two slots"),
            (
                r#"{"champion":"1","shadows":["2","3","4","5"]}"#,
                "deployment.json: 4 shadows, at most 3 can score along",
            ),
            (
                r#"{"champion":"1","challenger":{"version":"2","percent":101}}"#,
                "deployment.json: percent 101 is not from 0 to 100",
            ),
        ] {
            assert_eq!(read(text), Err(expected.to_owned()), "{text}");
        }
        assert!(read(r#"{"champion":"1","canary":"2"}"#).unwrap_err().contains("unknown field `canary`"));
        assert_eq!(Deployment::read(tempfile::tempdir().unwrap().path()).unwrap(), None);
    }

    #[test]
    fn versions_are_ordered_by_number() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["9", "10", "002", "beta", "alpha", ".hidden", "tmp-11", "12.tmp", "..data"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("99"), "a file").unwrap();
        let found = versions(folder.path(), Some(&"7".into()));
        let names: Vec<_> = found.iter().map(|name| &**name).collect();
        assert_eq!(names, ["10", "9", "7", "002", "beta", "alpha"]);
    }
}
