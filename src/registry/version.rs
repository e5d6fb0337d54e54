//! A version's folder becomes a checked, compiled model; and the other way round.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::{Manifest, Poison, Trust};
use crate::{
    lead::{ModelId, Value},
    score::{Explainer, Kind, Model, ModelError, Scratch},
};

/// The file that makes a folder a version.
pub const MANIFEST: &str = "manifest.json";
/// The file that holds a network's weights.
pub const WEIGHTS: &str = "weights.safetensors";

/// Longest manifest in bytes.
pub(super) const MAX_MANIFEST: u64 = 16 << 20;
/// Longest model file in bytes.
pub(crate) const MAX_FILE: u64 = 256 << 20;
/// The kernel's sums differ by processor in the last digits; anything else is another model.
const GOLDEN_TOLERANCE: f32 = 1e-5;

/// A version that may serve.
#[derive(Clone, Debug)]
pub struct Version {
    /// Names it in scores, logs and metrics.
    pub id: ModelId,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Compiled.
    pub model: Model,
    /// Gives its scores reasons.
    pub explainer: Explainer,
    /// Whether it panics too often to serve.
    pub poison: Arc<Poison>,
}

/// Why a version was not read or written. Each names the folder and the file.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// A file that is missing, too large, not a file, or cannot be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What happened.
        reason: io::Error,
    },
    /// A manifest that does not parse or contradicts itself.
    #[error("{}: {reason}", path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The key and what is wrong with it.
        reason: String,
    },
    /// A manifest in another version's folder.
    #[error("{}: the manifest says {model}/{version}", path.display())]
    Name {
        /// The folder.
        path: PathBuf,
        /// The manifest's model.
        model: String,
        /// The manifest's version.
        version: String,
    },
    /// A file that is not the one the manifest was written with.
    #[error("{}: the digest is not the manifest's", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
    },
    /// Schema, calibration, cut-offs and a model file that make no model.
    #[error("{}: {reason}", path.display())]
    Model {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        reason: ModelError,
    },
    /// A golden sample that scores differently.
    #[error("{}: golden[{sample}] scores {got:?}, expected {expected}", path.display())]
    Golden {
        /// The manifest.
        path: PathBuf,
        /// Which one.
        sample: usize,
        /// The manifest's score.
        expected: f32,
        /// The model's; none when it was not finite.
        got: Option<f32>,
    },
    /// A signature that is missing or wrong, where one is asked for.
    #[error("{}: {reason}", path.display())]
    Signature {
        /// The signature's file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// A version is immutable.
    #[error("{}: exists already", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
}

impl VersionError {
    /// The reason in metrics, from a closed set.
    pub fn kind(&self) -> &'static str {
        match self {
            VersionError::File { .. } => "file",
            VersionError::Manifest { .. } => "manifest",
            VersionError::Name { .. } => "name",
            VersionError::Digest { .. } => "digest",
            VersionError::Model { .. } => "model",
            VersionError::Golden { .. } => "golden",
            VersionError::Signature { .. } => "signature",
            VersionError::Exists { .. } => "exists",
        }
    }
}

impl Version {
    /// Loads `models/<model>/<version>`, signed or not. Everything else is checked.
    pub fn load(folder: &Path) -> Result<Self, VersionError> {
        Self::load_trusted(folder, &Trust::default())
    }

    /// Loads `models/<model>/<version>`. Everything is checked, the signature before the manifest is even parsed; what this
    /// returns may serve.
    pub fn load_trusted(folder: &Path, trust: &Trust) -> Result<Self, VersionError> {
        let manifest = read(folder, MANIFEST, MAX_MANIFEST).map_err(file_error(folder, MANIFEST))?;
        trust.check(folder, &manifest)?;
        let version = Self::from_parts(folder, &manifest, |name| read(folder, name, MAX_FILE))?;
        check_names(folder, &version.manifest)?;
        Ok(version)
    }

    /// The same from bytes that are embedded or made up; `folder` only names them in errors, and its name is free.
    pub fn from_parts(
        folder: &Path,
        manifest: &[u8],
        file: impl Fn(&str) -> io::Result<Vec<u8>>,
    ) -> Result<Self, VersionError> {
        let digest = sha256(manifest);
        let manifest = Manifest::parse(manifest)
            .map_err(|reason| VersionError::Manifest { path: folder.join(MANIFEST), reason })?;
        let known = model_files(manifest.kind);
        let mut model_file = None;
        for (name, expected) in &manifest.files {
            let bytes = file(name).map_err(file_error(folder, name))?;
            if sha256(&bytes) != *expected {
                return Err(VersionError::Digest { path: folder.join(name) });
            }
            if known.contains(&name.as_str()) && model_file.replace(bytes).is_some() {
                let reason = format!("files: only one of `{}` can be the model", known.join("` or `"));
                return Err(VersionError::Manifest { path: folder.join(MANIFEST), reason });
            }
        }
        let Some(model_file) = model_file else {
            let reason = format!("files: `{}` is missing", known.join("` or `"));
            return Err(VersionError::Manifest { path: folder.join(MANIFEST), reason });
        };
        let model = Model::new(manifest.spec(), &model_file)
            .map_err(|reason| VersionError::Model { path: folder.into(), reason })?;
        let explainer = Explainer::new(&model, &model_file, manifest.typical())
            .map_err(|reason| VersionError::Model { path: folder.into(), reason })?;
        check_golden(folder, &manifest, &model)?;
        let id = ModelId {
            model: manifest.model.as_str().into(),
            version: manifest.version.as_str().into(),
            digest: digest.into(),
        };
        Ok(Self { id, manifest, model, explainer, poison: Arc::default() })
    }
}

/// Writes a version to `folder`, `models/<model>/<version>`, which must not exist, with those of the files that the
/// manifest names. It is checked as if loaded, written beside under a hidden name and renamed in, so that nobody ever sees
/// half of it.
pub fn write(folder: &Path, manifest: &Manifest, files: &[(&str, &[u8])]) -> Result<Version, VersionError> {
    write_with(folder, manifest, files, &[])
}

/// The same, with files for people that the manifest does not name: nobody needs them to serve, so no loss or edit of one
/// takes a version out of service.
pub fn write_with(
    folder: &Path,
    manifest: &Manifest,
    files: &[(&str, &[u8])],
    beside_it: &[(&str, &[u8])],
) -> Result<Version, VersionError> {
    if folder.exists() {
        return Err(VersionError::Exists { path: folder.into() });
    }
    check_names(folder, manifest)?;
    let bytes = manifest.to_bytes().map_err(|error| file_error(folder, MANIFEST)(error.into()))?;
    if bytes.len() as u64 > MAX_MANIFEST {
        let reason = io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {MAX_MANIFEST} bytes"));
        return Err(file_error(folder, MANIFEST)(reason));
    }
    let version = Version::from_parts(folder, &bytes, |name| {
        let file = files.iter().find(|(known, _)| *known == name);
        file.map(|(_, bytes)| bytes.to_vec()).ok_or_else(|| io::ErrorKind::NotFound.into())
    })?;
    let in_folder = |reason| VersionError::File { path: folder.into(), reason };
    let parent = folder.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(in_folder)?;
    let beside = tempfile::Builder::new().prefix(".writing-").tempdir_in(parent).map_err(in_folder)?;
    share(beside.path()).map_err(in_folder)?;
    let named = files.iter().filter(|(name, _)| manifest.files.contains_key(*name));
    for (name, bytes) in named.chain(beside_it) {
        create(beside.path(), name, bytes).map_err(file_error(folder, name))?;
    }
    create(beside.path(), MANIFEST, &bytes).map_err(file_error(folder, MANIFEST))?;
    fs::rename(beside.path(), folder).map_err(in_folder)?;
    let _ = beside.keep(); // its path is gone: nothing to clean up
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(in_folder)?;
    Ok(version)
}

/// What a kind's model file may be called. Trees keep the name their library gives them.
fn model_files(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Linear | Kind::Mlp => &[WEIGHTS],
        Kind::Lightgbm => &["model.txt"],
        Kind::Xgboost => &["model.json", "model.ubj"],
    }
}

/// SHA-256 in lower-case hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_names(folder: &Path, manifest: &Manifest) -> Result<(), VersionError> {
    let name =
        |path: Option<&Path>| path.and_then(Path::file_name).and_then(|name| name.to_str()).map(String::from);
    let Manifest { model, version, .. } = manifest;
    if name(Some(folder)).as_ref() == Some(version) && name(folder.parent()).as_ref() == Some(model) {
        return Ok(());
    }
    Err(VersionError::Name { path: folder.into(), model: model.clone(), version: version.clone() })
}

fn check_golden(folder: &Path, manifest: &Manifest, model: &Model) -> Result<(), VersionError> {
    let mut scratch = Scratch::default();
    for (sample, golden) in manifest.golden.iter().enumerate() {
        let value =
            |spec: &crate::score::FeatureSpec| golden.features.get(&spec.name).map(super::Plain::value);
        let values: Vec<Value<'_>> =
            model.features().iter().map(|spec| value(spec).unwrap_or_default()).collect();
        let scored = model.score(|i| values.get(i).unwrap_or(&Value::Missing), &mut scratch);
        let (expected, got) = (golden.score, scored.ok().map(|scored| scored.score.probability()));
        if !got.is_some_and(|got| (got - expected).abs() <= GOLDEN_TOLERANCE) {
            return Err(VersionError::Golden { path: folder.join(MANIFEST), sample, expected, got });
        }
    }
    Ok(())
}

fn file_error(folder: &Path, name: &str) -> impl FnOnce(io::Error) -> VersionError {
    let path = folder.join(name);
    move |reason| VersionError::File { path, reason }
}

/// A regular file's bytes: a pipe would block, and an endless file would fill the memory.
pub(crate) fn read(folder: &Path, name: &str, limit: u64) -> io::Result<Vec<u8>> {
    let path = folder.join(name);
    if !fs::metadata(&path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(&path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

fn create(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(folder.join(name))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Temporary folders are the writer's alone; a sidecar often runs as somebody else.
fn share(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::fixture;

    /// Writes lead/1, lets `spoil` loose on its folder, and expects the kind of error and a part of its text.
    fn refused(spoil: impl Fn(&Path), kind: &str, expected: &str) {
        let root = tempfile::tempdir().unwrap();
        let folder = fixture::write(root.path(), "lead", "1", 0.5);
        spoil(&folder);
        let error = Version::load(&folder).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains(expected) && text.contains(root.path().to_str().unwrap()), "{text}");
    }

    /// Replaces text in the manifest.
    fn edit(from: &'static str, to: &'static str) -> impl Fn(&Path) {
        move |folder| {
            let path = folder.join(MANIFEST);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from));
            fs::write(path, text.replacen(from, to, 1)).unwrap();
        }
    }

    /// Replaces the weights, and the digest with them.
    fn swap_weights(bytes: impl Fn(Vec<u8>) -> Vec<u8>) -> impl Fn(&Path) {
        move |folder| {
            let old = fs::read(folder.join(WEIGHTS)).unwrap();
            let new = bytes(old.clone());
            let text = fs::read_to_string(folder.join(MANIFEST)).unwrap();
            fs::write(folder.join(MANIFEST), text.replace(&sha256(&old), &sha256(&new))).unwrap();
            fs::write(folder.join(WEIGHTS), new).unwrap();
        }
    }

    #[test]
    fn loads_what_was_written() {
        let root = tempfile::tempdir().unwrap();
        let folder = fixture::write(root.path(), "lead", "1", 0.5);
        let version = Version::load(&folder).unwrap();
        assert_eq!(version.id.to_string(), "lead/1");
        assert_eq!(*version.id.digest, sha256(&fs::read(folder.join(MANIFEST)).unwrap()));
        let names: Vec<_> =
            fs::read_dir(root.path().join("lead")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["1"], "nothing is left beside it");
    }

    #[test]
    fn the_shipped_version_loads() {
        let version = Version::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/lead/1")).unwrap();
        assert_eq!(version.manifest.golden.len(), 32);
        // scikit-learn's logistic regression on the same rows: .788; .95 would be a leak.
        assert!((0.788..0.82).contains(&version.manifest.metrics.unwrap().auc));
    }

    #[test]
    fn refuses_broken_files() {
        refused(|folder| fs::remove_file(folder.join(MANIFEST)).unwrap(), "file", MANIFEST);
        refused(|folder| fs::remove_file(folder.join(WEIGHTS)).unwrap(), "file", WEIGHTS);
        refused(|folder| fs::write(folder.join(WEIGHTS), "other").unwrap(), "digest", WEIGHTS);
        let directory = |folder: &Path| {
            fs::remove_file(folder.join(WEIGHTS)).unwrap();
            fs::create_dir(folder.join(WEIGHTS)).unwrap();
        };
        refused(directory, "file", "not a regular file");
        let huge =
            |folder: &Path| File::create(folder.join(MANIFEST)).unwrap().set_len(MAX_MANIFEST + 1).unwrap();
        refused(huge, "file", "larger than");
    }

    #[test]
    fn refuses_broken_weights_even_with_the_right_digest() {
        refused(swap_weights(|old| old[..old.len() - 4].to_vec()), "model", "weights");
        refused(swap_weights(|_| fixture::weights(f32::NAN)), "model", "not finite");
        refused(swap_weights(|_| fixture::weights(0.75)), "golden", "golden[");
    }

    #[test]
    fn no_byte_of_a_manifest_can_panic() {
        let manifest = fixture::manifest("lead", "1", 0.5).to_bytes().unwrap();
        let load =
            |bytes: &[u8]| Version::from_parts(Path::new("made/up"), bytes, |_| Ok(fixture::weights(0.5)));
        assert!(load(&manifest).is_ok());
        for at in (0..manifest.len() - 1).step_by(5) {
            let mut spoilt = manifest.clone();
            spoilt[at] = b"0-9\"]e,"[at % 7];
            let _ = load(&spoilt); // a digit of a count may well be another
            assert!(load(&manifest[..at]).is_err());
        }
    }

    #[test]
    fn refuses_what_the_manifest_does_not_hold() {
        refused(edit("\"format\"", "\"surprise\": 1, \"format\""), "manifest", "unknown field `surprise`");
        refused(edit("\"linear\"", "\"forest\""), "manifest", "unknown variant `forest`");
        refused(edit("\"weights.safetensors\"", "\"../weights\""), "manifest", "plain name");
        refused(edit("\"version\": \"1\"", "\"version\": \"2\""), "name", "the manifest says lead/2");
        refused(edit("\"model\": \"lead\"", "\"model\": \"other\""), "name", "the manifest says other/1");
    }

    #[test]
    fn a_version_is_never_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let folder = fixture::write(root.path(), "lead", "1", 0.5);
        let weights = fixture::weights(0.25);
        let error =
            write(&folder, &fixture::manifest("lead", "1", 0.25), &[(WEIGHTS, &weights)]).unwrap_err();
        assert_eq!(error.kind(), "exists");
    }

    #[test]
    fn what_would_not_load_is_not_written() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("lead/1");
        let manifest = fixture::manifest("lead", "1", 0.5);
        let check = |manifest: &Manifest, files: &[(&str, &[u8])], kind| {
            assert_eq!(write(&folder, manifest, files).unwrap_err().kind(), kind);
            assert!(!folder.exists());
        };
        check(&manifest, &[], "file");
        check(&manifest, &[(WEIGHTS, b"other")], "digest");
        check(&fixture::manifest("lead", "2", 0.5), &[(WEIGHTS, &fixture::weights(0.5))], "name");
        let mut huge = manifest;
        huge.lineage.source = Some("x".repeat(MAX_MANIFEST as usize));
        check(&huge, &[(WEIGHTS, &fixture::weights(0.5))], "file");
    }
}
