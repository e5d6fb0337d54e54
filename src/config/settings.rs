//! The whole configuration, as it is used.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use http::{HeaderName, uri::Authority};

use super::{
    at::{Pointer, Predicate},
    route::Route,
};
use crate::lead::FeatureType;

/// Everything the file and its presets say, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the CRM's clients connect.
    pub listen: SocketAddr,
    /// The CRM.
    pub upstream: Upstream,
    /// Health and metrics. On a loopback address unless `admin_token` is set.
    pub admin: SocketAddr,
    /// File that holds the bearer token of the admin listener.
    pub admin_token: Option<PathBuf>,
    /// The watched directory of models.
    pub models: PathBuf,
    /// The keys that may sign versions; without any, versions need no signature.
    pub model_keys: Vec<ModelKey>,
    /// Lead log and ledger; created if missing.
    pub state: PathBuf,
    /// What is refused or cut short.
    pub limits: Limits,
    /// Unique by name; a file's route replaces the preset's of the same name.
    pub routes: Vec<Route>,
    /// Unique by name.
    pub features: Vec<Feature>,
    /// What counts as won or lost.
    pub outcomes: Vec<OutcomeRule>,
    /// What must never be read into a feature, an id or a log.
    pub masks: Vec<Mask>,
}

/// An ed25519 public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelKey {
    /// The key itself.
    Inline([u8; 32]),
    /// A file that holds it, in hex or PEM.
    File(PathBuf),
}

impl ModelKey {
    /// 64 hex digits are a key, anything else names a file.
    pub fn parse(text: &str) -> Self {
        Self::hex(text).map_or_else(|| ModelKey::File(text.into()), ModelKey::Inline)
    }

    /// `N` bytes in hex, with space around them or not.
    pub fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
        let (pairs, odd) = text.trim().as_bytes().as_chunks::<2>();
        let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let byte = |[high, low]: &[u8; 2]| Some(nibble(*high)? << 4 | nibble(*low)?);
        let bytes: Vec<u8> = pairs.iter().map(byte).collect::<Option<_>>()?;
        if odd.is_empty() { bytes.try_into().ok() } else { None }
    }
}

/// The CRM's address: `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Host and port as written, without user information.
    pub authority: Authority,
    /// The port, 80 where none is written.
    pub port: u16,
}

/// Bounds on memory and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Greatest body, in bytes, that is read for leads, of requests and of answers alike. Larger ones stream through.
    pub body: usize,
    /// Longest time that recognising, scoring and writing may take together before the request goes on unscored.
    pub deadline: Duration,
    /// Longest wait for a connection to the upstream.
    pub connect: Duration,
    /// Longest wait for the head of the upstream's answer.
    pub answer: Duration,
    /// Longest wait for open requests when the process is told to stop.
    pub drain: Duration,
}

/// A feature, mapped once for all routes.
#[derive(Clone, Debug)]
pub struct Feature {
    /// As the model's schema calls it.
    pub name: Arc<str>,
    /// Relative to the lead object; the first that is not missing counts. Never empty, never with `{i}`.
    pub from: Vec<Pointer>,
    /// What its values are.
    pub kind: FeatureType,
}

/// When a request on a route tells what became of a lead.
#[derive(Clone, Debug)]
pub struct OutcomeRule {
    /// The name of an existing route that has an id.
    pub route: Arc<str>,
    /// All must hold; body pointers are relative to the lead object. Request side only.
    pub when: Vec<Predicate>,
    /// True for won.
    pub won: bool,
    /// Relative to the lead object.
    pub revenue: Option<Pointer>,
}

/// A place whose value never leaves the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// In a JSON body, from its root.
    Body(Pointer),
    /// A header.
    Header(HeaderName),
    /// A key of the URL's query.
    Query(Box<str>),
}
