//! What the log may keep of each feature: its value, a hash of it, or nothing.
//!
//! It is decided where records leave the queue, on the way to SQLite and to the files they may wait in, never on the
//! request path. A hash is made with a key that never leaves this machine: equal values stay equal, and nobody finds a
//! value by hashing all that there could be. Without the key, what should be hashed is not kept at all.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use rand::{TryRng, rngs::SysRng};
use sha2::{Digest, Sha256};

use super::{
    packed::Part,
    record::{Entry, ScoreRecord},
};
use crate::config::{Config, Log, Logged, ModelKey, Rollout};

/// What the log keeps, of what, and for how long. It may change while the process runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How long, and how much.
    pub log: Log,
    /// Of each feature by its name. Once one of them is not kept as it is, what has no name here is not kept either.
    pub features: Box<[(Arc<str>, Logged)]>,
    /// How long a lead has to convert.
    pub horizon: Duration,
}

impl From<&Config> for Rules {
    fn from(config: &Config) -> Self {
        let features = config.features.iter().map(|feature| (feature.name.clone(), feature.log)).collect();
        Self { log: config.log, features, horizon: config.rollout.horizon }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self { log: Log::default(), features: [].into(), horizon: Rollout::default().horizon }
    }
}

/// Applies the rules for features.
#[derive(Debug)]
pub(super) struct Private {
    file: PathBuf,
    key: Option<Key>,
    rules: Arc<Rules>,
    /// Whether any feature is not kept as it is.
    is_needed: bool,
    /// The names of the last record, and their rules.
    names: Option<Arc<[Arc<str>]>>,
    logged: Vec<Logged>,
}

type Key = [u8; 32];

impl Private {
    /// The key's file in the state directory.
    pub(super) const FILE: &'static str = "log.key";

    pub(super) fn new(state: &Path) -> Self {
        let rules = Arc::default();
        Self {
            file: state.join(Self::FILE),
            key: None,
            rules,
            is_needed: false,
            names: None,
            logged: Vec::new(),
        }
    }

    /// Takes the rules of now. The key is made by the first that need one.
    pub(super) fn refresh(&mut self, rules: &ArcSwap<Rules>) -> io::Result<()> {
        if !Arc::ptr_eq(&rules.load(), &self.rules) {
            self.rules = rules.load_full();
            self.is_needed = self.rules.features.iter().any(|(_, logged)| *logged != Logged::Keep);
            self.names = None;
        }
        if self.key.is_none() && self.rules.features.iter().any(|(_, logged)| *logged == Logged::Hash) {
            self.key = Some(key(&self.file)?);
        }
        Ok(())
    }

    /// Takes out of a record what the log may not keep.
    pub(super) fn apply(&mut self, entry: &mut Entry) {
        let Entry::Score(ScoreRecord { names, features, .. }) = entry else { return };
        if !self.is_needed {
            return;
        }
        if !self.names.as_ref().is_some_and(|known| Arc::ptr_eq(known, names)) {
            self.logged = names.iter().map(|name| self.of(name)).collect();
            self.names = Some(Arc::clone(names));
        }
        let rules = names.iter().zip(&self.logged);
        *features = features.map(rules, |(name, logged), part| match (logged, &self.key) {
            (Logged::Keep, _) => Kept::Same,
            (Logged::Hash, Some(key)) => Kept::Text(hash(key, name, part)),
            _ => Kept::Nothing,
        });
    }

    fn of(&self, name: &str) -> Logged {
        let mut features = self.rules.features.iter();
        features.find(|(known, _)| **known == *name).map_or(Logged::Drop, |(_, logged)| *logged)
    }
}

/// What is kept of a value.
pub(super) enum Kept {
    /// The value.
    Same,
    /// A text in its place.
    Text(String),
    /// That there was one.
    Nothing,
}

/// What a hash begins with in the log.
const HASH: &str = "hash:";

/// 64 bits of HMAC-SHA-256 over the feature's name and its value, in hex.
fn hash(key: &Key, name: &str, part: Part<'_>) -> String {
    let mut message = name.as_bytes().to_vec();
    match part {
        Part::Number(number) => {
            message.extend_from_slice(&[0, b'n']);
            message.extend_from_slice(&number.to_le_bytes());
        }
        Part::Text(text) => {
            message.extend_from_slice(&[0, b't']);
            message.extend_from_slice(text);
        }
        Part::Boolean(yes) => message.extend_from_slice(&[0, b'b', u8::from(yes)]),
        Part::Missing | Part::Withheld => {}
    }
    let digits = hmac(key, &message).into_iter().take(8).map(|byte| format!("{byte:02x}"));
    std::iter::once(HASH.to_owned()).chain(digits).collect()
}

/// Whether a text in the log is a hash.
pub(super) fn is_hash(text: &str) -> bool {
    let digits = text.strip_prefix(HASH).unwrap_or_default();
    digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &Key, message: &[u8]) -> [u8; 32] {
    let padded = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

/// The key in a file, which is made where there is none. Another process may make it at the same moment.
fn key(file: &Path) -> io::Result<Key> {
    if !file.exists() {
        let folder = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
        let mut key: Key = [0; 32];
        SysRng.try_fill_bytes(&mut key).map_err(io::Error::other)?;
        let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(new, "{digits}")?;
        new.as_file().sync_all()?;
        if let Err(error) = new.persist_noclobber(file)
            && error.error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error.error);
        }
    }
    ModelKey::hex(&fs::read_to_string(file)?)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not 64 hex digits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lead::Value,
        leadlog::{Packed, waiting::lines::tests::one_of_each},
    };

    fn rules(features: &[(&str, Logged)]) -> ArcSwap<Rules> {
        let features = features.iter().map(|(name, logged)| (Arc::from(*name), *logged)).collect();
        ArcSwap::from_pointee(Rules { features, ..Rules::default() })
    }

    /// What the log gets of age, job, a feature that is missing and one that is a yes.
    fn logged(private: &mut Private) -> String {
        let mut entry = one_of_each().remove(0);
        private.apply(&mut entry);
        let Entry::Score(record) = entry else { panic!("the first is a score") };
        let json =
            super::super::kept::json::FeatureJson::default().write(&record.names, &record.features).to_vec();
        String::from_utf8(json).unwrap()
    }

    #[test]
    fn each_feature_is_kept_as_its_rule_says() {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join(Private::FILE);
        fs::write(&file, "0b".repeat(32)).unwrap();
        let check = |features: &[(&str, Logged)], expected: &str| {
            let mut private = Private::new(state.path());
            private.refresh(&rules(features)).unwrap();
            assert_eq!(logged(&mut private), expected, "{features:?}");
        };
        let all = |logged| ["age", "job", "cleared", "member"].map(|name| (name, logged));
        let plain = r#"{"age":-0.1,"job":"é\"\\\n\u0001","member":true}"#;
        check(&[], plain);
        check(&all(Logged::Keep), plain);
        check(&all(Logged::Drop), r#"{"age":null,"job":null,"member":null}"#);
        check(&[("age", Logged::Keep), ("job", Logged::Drop)], r#"{"age":-0.1,"job":null,"member":null}"#);
        let key = [0x0b; 32];
        let hashes = [
            hash(&key, "age", Part::Number(-0.1)),
            hash(&key, "job", Part::Text("é\"\\\n\u{1}".as_bytes())),
            hash(&key, "member", Part::Boolean(true)),
        ];
        let [age, job, member] = &hashes;
        assert!(hashes.iter().all(|hash| is_hash(hash)), "{hashes:?}");
        assert!(age != job && job != member && age != member);
        check(&all(Logged::Hash), &format!(r#"{{"age":"{age}","job":"{job}","member":"{member}"}}"#));
    }

    #[test]
    fn a_change_of_the_rules_holds_from_the_next_record() {
        let state = tempfile::tempdir().unwrap();
        let rules = rules(&[]);
        let mut private = Private::new(state.path());
        private.refresh(&rules).unwrap();
        assert!(logged(&mut private).contains("-0.1"));
        assert!(!state.path().join(Private::FILE).exists(), "nobody needs a key yet");
        rules.store(Arc::new(Rules { features: [("age".into(), Logged::Hash)].into(), ..Rules::default() }));
        private.refresh(&rules).unwrap();
        let first = logged(&mut private);
        assert!(first.starts_with(r#"{"age":"hash:"#), "{first}");
        let mode = fs::metadata(state.path().join(Private::FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // The next process has the same key.
        let mut next = Private::new(state.path());
        next.refresh(&rules).unwrap();
        assert_eq!(logged(&mut next), first);
    }

    #[test]
    fn without_a_key_what_should_be_hashed_is_not_kept() {
        let state = tempfile::tempdir().unwrap();
        let file = state.path().join(Private::FILE);
        fs::write(&file, "no key").unwrap();
        let rules = rules(&[("age", Logged::Hash), ("job", Logged::Drop)]);
        let mut private = Private::new(state.path());
        assert_eq!(private.refresh(&rules).unwrap_err().to_string(), "not 64 hex digits");
        assert_eq!(logged(&mut private), r#"{"age":null,"job":null,"member":null}"#);
        fs::remove_file(&file).unwrap();
        private.refresh(&rules).unwrap();
        assert!(logged(&mut private).starts_with(r#"{"age":"hash:"#));
    }

    #[test]
    fn the_hash_is_the_one_of_the_standard() {
        // RFC 4231, test case 2, whose key is padded with zeros as ours would be.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let mac = hmac(&key, b"what do ya want for nothing?");
        assert_eq!(mac[..8], [0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e]);
    }

    #[test]
    fn only_a_hash_looks_like_one() {
        let check = |text: &str, expected: bool| assert_eq!(is_hash(text), expected, "{text:?}");
        check("hash:0123456789abcdef", true);
        check("hash:0123456789abcde", false);
        check("hash:0123456789abcdeg", false);
        check("0123456789abcdef", false);
        check("", false);
    }

    #[test]
    fn a_hash_stands_for_the_name_and_the_value() {
        let hash = |name: &str, value: Value<'_>| {
            let packed = Packed::new(&[value]);
            let part = packed.parts().next().unwrap();
            hash(&[7; 32], name, part)
        };
        let text = |text: &'static str| Value::Text(text.into());
        assert_eq!(hash("job", text("chef")), hash("job", text("chef")));
        let all = [
            hash("job", text("chef")),
            hash("job", text("cook")),
            hash("title", text("chef")),
            hash("job", Value::Number(0.0)),
        ];
        assert!((1..all.len()).all(|i| !all[..i].contains(&all[i])), "{all:?}");
    }
}
