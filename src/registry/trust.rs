//! Who may put a version in service: ed25519 signatures over the manifest's bytes.
//!
//! The manifest holds the digest of every other file, so its signature vouches for the whole folder. `manifest.sig` stands
//! beside it: 64 bytes in hex. Private keys are PKCS#8 PEM files as `openssl genpkey -algorithm ed25519` writes them.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use ed25519_dalek::{
    Signature, Signer, SigningKey, VerifyingKey,
    pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, spki::der::pem::LineEnding},
};
use rand::{TryRng, rngs::SysRng};

use super::{MANIFEST, Version, VersionError, hex};
use crate::config::ModelKey;

/// The file that holds a version's signature.
pub const SIGNATURE: &str = "manifest.sig";

/// The keys that may sign. Without any, versions need no signature.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    keys: Vec<VerifyingKey>,
}

/// Why a key or a signature could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file that cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Not a key. What it holds is not repeated.
    #[error("{key}: {reason}")]
    Key {
        /// The file, or the key in hex.
        key: String,
        /// What it should be.
        reason: &'static str,
    },
    /// A version that would not serve is not signed.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// The system gave no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
}

impl Trust {
    /// Reads the configured keys, from files where they are files.
    pub fn load(keys: &[ModelKey]) -> Result<Self, KeyError> {
        Ok(Self { keys: keys.iter().map(public_key).collect::<Result<_, _>>()? })
    }

    /// Whether versions need no signature.
    pub fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Refuses a manifest that none of the keys signed.
    pub(super) fn check(&self, folder: &Path, manifest: &[u8]) -> Result<(), VersionError> {
        if self.is_open() {
            return Ok(());
        }
        let path = folder.join(SIGNATURE);
        let refuse = |reason| Err(VersionError::Signature { path: path.clone(), reason });
        let text = match super::version::read(folder, SIGNATURE, 1024) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return refuse("missing, and `model_keys` asks for one");
            }
            Err(reason) => return Err(VersionError::File { path, reason }),
        };
        let bytes = std::str::from_utf8(&text).ok().and_then(ModelKey::hex::<64>);
        let Some(bytes) = bytes else { return refuse("not a signature of 64 bytes in hex") };
        let signature = Signature::from_bytes(&bytes);
        match self.keys.iter().any(|key| key.verify_strict(manifest, &signature).is_ok()) {
            true => Ok(()),
            false => refuse("none of the `model_keys` signed this manifest"),
        }
    }
}

/// Reads a public key, from its file where it is a file.
pub fn public_key(key: &ModelKey) -> Result<VerifyingKey, KeyError> {
    let (bytes, name) = match key {
        ModelKey::Inline(bytes) => (*bytes, hex(bytes)),
        ModelKey::File(path) => {
            let text = fs::read_to_string(path).map_err(file_error(path))?;
            if let Ok(key) = VerifyingKey::from_public_key_pem(&text) {
                return Ok(key);
            }
            let name = path.display().to_string();
            let Some(bytes) = ModelKey::hex(&text) else {
                let reason = "not an ed25519 public key: 32 bytes in hex, or PEM";
                return Err(KeyError::Key { key: name, reason });
            };
            (bytes, name)
        }
    };
    // A point of small order verifies signatures that nobody made.
    let key = VerifyingKey::from_bytes(&bytes).ok().filter(|key| !key.is_weak());
    key.ok_or(KeyError::Key { key: name, reason: "not an ed25519 public key" })
}

/// Reads a private key's file.
pub fn private_key(path: &Path) -> Result<SigningKey, KeyError> {
    let pem = fs::read_to_string(path).map_err(file_error(path))?;
    let not_a_key = |_| KeyError::Key {
        key: path.display().to_string(),
        reason: "not an ed25519 private key in PKCS#8 PEM",
    };
    SigningKey::from_pkcs8_pem(&pem).map_err(not_a_key)
}

/// Writes a new private key for its owner's eyes only, and returns the public key in hex. Never overwrites.
pub fn keygen(path: &Path) -> Result<String, KeyError> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(|error| KeyError::Random(error.to_string()))?;
    let key = SigningKey::from_bytes(&seed);
    let unwritable = |_| KeyError::Key { key: path.display().to_string(), reason: "cannot be encoded" };
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(unwritable)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = |mut file: fs::File| file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
    options.open(path).and_then(write).map_err(file_error(path))?;
    Ok(hex(key.verifying_key().as_bytes()))
}

/// Signs the version in `folder` with the private key in `key`, and returns the public key in hex. The version is checked
/// as if loaded. An older signature is replaced: it stands beside the manifest, not in it.
pub fn sign(folder: &Path, key: &Path) -> Result<String, KeyError> {
    let key = private_key(key)?;
    Version::load(folder)?;
    let manifest = folder.join(MANIFEST);
    let signature = key.sign(&fs::read(&manifest).map_err(file_error(&manifest))?);
    let path = folder.join(SIGNATURE);
    let replace = || -> io::Result<()> {
        let mut beside = tempfile::Builder::new().prefix(".signing-").tempfile_in(folder)?;
        writeln!(beside, "{}", hex(&signature.to_bytes()))?;
        #[cfg(unix)]
        beside.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        beside.as_file().sync_all()?;
        beside.persist(&path)?;
        Ok(())
    };
    replace().map_err(file_error(&path))?;
    Ok(hex(key.verifying_key().as_bytes()))
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::fixture;

    /// lead/1 of a new directory, signed by a new key whose public half is trusted.
    fn signed() -> (tempfile::TempDir, PathBuf, Trust) {
        let root = tempfile::tempdir().unwrap();
        let folder = fixture::write(root.path(), "lead", "1", 0.5);
        let key = root.path().join("key.pem");
        let public = keygen(&key).unwrap();
        assert_eq!(sign(&folder, &key).unwrap(), public);
        let trust = Trust::load(&[ModelKey::parse(&public)]).unwrap();
        (root, folder, trust)
    }

    fn refused(spoil: impl Fn(&Path), expected: &str) {
        let (_root, folder, trust) = signed();
        assert!(Version::load_trusted(&folder, &trust).is_ok());
        spoil(&folder);
        let error = Version::load_trusted(&folder, &trust).unwrap_err();
        assert_eq!(error.kind(), "signature");
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn only_what_a_trusted_key_signed_may_serve() {
        refused(|folder| fs::remove_file(folder.join(SIGNATURE)).unwrap(), "missing");
        refused(|folder| fs::write(folder.join(SIGNATURE), "ab").unwrap(), "not a signature");
        refused(|folder| fs::write(folder.join(SIGNATURE), "00".repeat(64)).unwrap(), "none of the");
        let tamper = |folder: &Path| {
            let text = fs::read_to_string(folder.join(MANIFEST)).unwrap();
            fs::write(folder.join(MANIFEST), text.replace("\"seed\": 7", "\"seed\": 8")).unwrap();
            assert!(Version::load(folder).is_ok(), "all else holds");
        };
        refused(tamper, "none of the");
        let another = |folder: &Path| {
            keygen(&folder.join("other.pem")).unwrap();
            sign(folder, &folder.join("other.pem")).unwrap();
        };
        refused(another, "none of the");
    }

    #[test]
    fn keys_are_hex_or_files_and_weak_ones_are_refused() {
        let (root, folder, trust) = signed();
        let public = hex(trust.keys[0].as_bytes());
        let file = root.path().join("key.pub");
        let loads = |text: &str| {
            fs::write(&file, text).unwrap();
            let trust = Trust::load(&[ModelKey::parse(file.to_str().unwrap())])?;
            Ok::<_, KeyError>(Version::load_trusted(&folder, &trust).is_ok())
        };
        assert!(loads(&format!("{public}\n")).unwrap());
        use ed25519_dalek::pkcs8::EncodePublicKey;
        assert!(loads(&trust.keys[0].to_public_key_pem(LineEnding::LF).unwrap()).unwrap());
        assert!(loads("ssh-ed25519 AAAA").unwrap_err().to_string().contains("not an ed25519 public key"));
        let weak = format!("01{}", "00".repeat(31));
        assert!(Trust::load(&[ModelKey::parse(&weak)]).is_err());
        assert!(matches!(Trust::load(&[ModelKey::parse("absent.pub")]), Err(KeyError::File { .. })));
    }

    #[test]
    #[cfg(unix)]
    fn a_private_key_is_its_owners_and_never_overwritten() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().unwrap();
        let key = root.path().join("key.pem");
        keygen(&key).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let before = fs::read(&key).unwrap();
        assert!(keygen(&key).is_err());
        assert_eq!(fs::read(&key).unwrap(), before);
    }
}
