//! Reference data for tests: `$LEADWIRE_SHARED`, or `../shared` beside the package. Absent on a plain checkout.

use std::path::{Path, PathBuf};

/// The file's path; `None`, with the reason on stderr, where it is absent.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("LEADWIRE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join(name);
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

/// The file's bytes.
pub(crate) fn bytes(name: &str) -> Option<Vec<u8>> {
    path(name).map(|path| std::fs::read(path).unwrap())
}

/// The file as JSON; the NaNs and infinities that Python writes become null.
pub(crate) fn json(name: &str) -> Option<serde_json::Value> {
    let text = String::from_utf8(bytes(name)?).unwrap();
    let text = text.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null");
    Some(serde_json::from_str(&text).unwrap())
}
