//! Which version of a model holds which slot.

use std::{
    cmp::Reverse,
    collections::HashSet,
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize};

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

/// `deployment.json` whole: the slots, and what ties them to the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct DeploymentFile {
    /// The slots.
    pub deployment: Deployment,
    /// The record of the ledger that the slots carry out; `None` where a person wrote the file.
    pub applied: Option<Applied>,
    /// A rollback that took effect before it could be recorded.
    pub late: Option<Late>,
}

/// A record of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub seq: u64,
    /// Its hash, in hex.
    pub hash: String,
}

/// What a record has yet to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// The record's type.
    pub kind: String,
    /// The version that was taken out of service.
    pub version: String,
    /// Who did it.
    pub actor: String,
    /// Why.
    pub why: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// The version under trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenger {
    /// The version's folder.
    #[serde(deserialize_with = "version", serialize_with = "name")]
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
    /// The file cannot be written, or is a link, whose target is somebody else's to change.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody changed the file between reading and writing.
    #[error("{}: changed just now by somebody else", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
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
        Ok(DeploymentFile::read(model)?.map(|file| file.deployment))
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
        if let Some(Challenger { percent, .. }) = &self.challenger
            && percent.fract() != 0.0
        {
            // The ledger records whole percents, and the arms are tested against what it says.
            return Err(format!("percent {percent} is not a whole number"));
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

impl DeploymentFile {
    /// Reads a model folder's file; `None` if there is none.
    pub fn read(model: &Path) -> Result<Option<Self>, DeploymentError> {
        let path = model.join(FILE);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DeploymentError::Read { path, source }),
        }
        let file: Raw = match serde_json::from_slice(&bytes) {
            Ok(file) => file,
            Err(source) => return Err(DeploymentError::Format { path, source }),
        };
        let file = Self::from(file);
        file.deployment.check().map_err(|reason| DeploymentError::Meaning { path, reason })?;
        Ok(Some(file))
    }

    /// Puts the file in its place, unless another one than `before` stands there. Readers see the old one or this.
    pub fn write(&self, model: &Path, before: Option<&Self>) -> Result<(), DeploymentError> {
        let path = model.join(FILE);
        Self::is_ours(model)?;
        // What cannot be read is nobody's word.
        if let Ok(now) = Self::read(model)
            && now.as_ref() != before
        {
            return Err(DeploymentError::Changed { path });
        }
        self.replace(model, &path).map_err(|source| DeploymentError::Write { path, source })
    }

    /// Refuses a file that is a link, as in a mounted ConfigMap: a new file in its place would cut it.
    pub fn is_ours(model: &Path) -> Result<(), DeploymentError> {
        let path = model.join(FILE);
        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_symlink()) {
            let source = io::Error::new(ErrorKind::Unsupported, "it is a link: change what it leads to");
            return Err(DeploymentError::Write { path, source });
        }
        Ok(())
    }

    fn replace(&self, model: &Path, path: &Path) -> io::Result<()> {
        let mut beside = tempfile::Builder::new().prefix(".deployment-").tempfile_in(model)?;
        writeln!(beside, "{}", serde_json::to_string(&Raw::from(self))?)?;
        #[cfg(unix)]
        beside.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        beside.as_file().sync_all()?;
        beside.persist(path)?;
        File::open(model)?.sync_all()
    }
}

/// A model's versions, those on disk and the one that serves, the highest first: numbers by value, above all other
/// names.
pub(crate) fn versions(model: &Path, serving: Option<&Arc<str>>) -> Vec<Arc<str>> {
    let mut found = folders(model).unwrap_or_default();
    found.extend(serving.cloned());
    found.sort_by_cached_key(|name| Reverse((rank(name), Arc::clone(name))));
    found.dedup();
    found
}

/// The folders in a directory that are neither hidden nor on their way in.
pub(crate) fn folders(directory: &Path) -> io::Result<Vec<Arc<str>>> {
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
pub(crate) fn is_name(name: &str) -> bool {
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
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    champion: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    challenger: Option<Challenger>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    shadows: Vec<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    late: Option<Late>,
}

#[derive(Serialize, Deserialize)]
struct Name(#[serde(deserialize_with = "version", serialize_with = "name")] Arc<str>);

impl From<Raw> for DeploymentFile {
    fn from(raw: Raw) -> Self {
        let Raw { champion, challenger, shadows, previous, seq, hash, late } = raw;
        let deployment = Deployment {
            champion: champion.0,
            challenger,
            shadows: shadows.into_iter().map(|Name(shadow)| shadow).collect(),
            previous: previous.map(|Name(name)| name),
        };
        Self { deployment, applied: seq.zip(hash).map(|(seq, hash)| Applied { seq, hash }), late }
    }
}

impl From<&DeploymentFile> for Raw {
    fn from(file: &DeploymentFile) -> Self {
        let DeploymentFile { deployment, applied, late } = file.clone();
        let (seq, hash) = applied.map(|applied| (applied.seq, applied.hash)).unzip();
        let Deployment { champion, challenger, shadows, previous } = deployment;
        let shadows = shadows.into_iter().map(Name).collect();
        Self { champion: Name(champion), challenger, shadows, previous: previous.map(Name), seq, hash, late }
    }
}

fn name<S: serde::Serializer>(name: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name)
}

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
    fn a_file_is_read_as_it_was_written_and_never_over_another_hand() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path();
        let bare = DeploymentFile { deployment: Deployment::of("1".into()), applied: None, late: None };
        let late = Late {
            kind: "rollback.manual".into(),
            version: "4".into(),
            actor: "jo".into(),
            why: "bad".into(),
            at_ms: 7,
        };
        let full = DeploymentFile {
            deployment: Deployment {
                champion: "3".into(),
                challenger: Some(Challenger { version: "4".into(), percent: 12.0 }),
                shadows: vec!["5".into()],
                previous: Some("2".into()),
            },
            applied: Some(Applied { seq: 7, hash: "ab".into() }),
            late: Some(late),
        };
        bare.write(model, None).unwrap();
        assert_eq!(fs::read_to_string(model.join(FILE)).unwrap(), "{\"champion\":\"1\"}\n");
        full.write(model, Some(&bare)).unwrap();
        assert_eq!(DeploymentFile::read(model).unwrap(), Some(full.clone()));
        assert!(matches!(bare.write(model, Some(&bare)), Err(DeploymentError::Changed { .. })));
        assert!(matches!(bare.write(model, None), Err(DeploymentError::Changed { .. })));
        assert_eq!(fs::read_dir(model).unwrap().count(), 1, "nothing is left beside it");
        fs::write(model.join(FILE), "{").unwrap();
        bare.write(model, Some(&full)).unwrap();
        fs::rename(model.join(FILE), model.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", model.join(FILE)).unwrap();
        let told = bare.write(model, Some(&bare)).unwrap_err();
        assert!(told.source().unwrap().to_string().contains("it is a link"), "{told}");
        assert!(matches!(bare.write(&model.join("absent"), None), Err(DeploymentError::Write { .. })));
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
