//! The versions that scored a lead, loaded once each, and what of their features may be shown.

use std::{collections::BTreeSet, sync::Arc};

use super::super::rescore::{Rescorer, recorded};
use crate::{
    leadlog::StoredScore,
    registry::{self, MANIFEST, Manifest},
    rollout::Desk,
};

/// Versions that are loaded for one report.
const MOST: usize = 8;

/// Manifests that are looked through for what must not be shown.
const MOST_MANIFESTS: usize = 16;

/// Those that scored a lead.
pub(super) struct Versions<'d> {
    desk: &'d Desk,
    held: Vec<Held>,
}

struct Held {
    key: [String; 3],
    found: Result<Rescorer, String>,
}

impl<'d> Versions<'d> {
    pub(super) fn new(desk: &'d Desk) -> Self {
        Self { desk, held: Vec::new() }
    }

    /// The version that gave a score, or why it cannot be asked again.
    pub(super) fn of(&mut self, score: &StoredScore) -> Result<&mut Rescorer, String> {
        let key = [&score.model, &score.version, &score.digest];
        let place = self.held.iter().position(|held| held.key.each_ref() == key);
        let place = match place {
            Some(place) => place,
            None if self.held.len() >= MOST => {
                return Err(format!("more than {MOST} versions scored this lead; this one was not tried"));
            }
            None => {
                let found = recorded(&self.desk.models, &self.desk.trust, key.map(String::as_str));
                let found = found.map(|version| Rescorer::new(Arc::new(version)));
                let found = found.map_err(|error| format!("{:#}", anyhow::Error::from(error)));
                self.held.push(Held { key: key.map(String::clone), found });
                self.held.len() - 1
            }
        };
        match self.held.get_mut(place).map(|held| &mut held.found) {
            Some(Ok(rescorer)) => Ok(rescorer),
            Some(Err(why)) => Err(why.clone()),
            None => Err("the version was not loaded".into()),
        }
    }
}

/// Features that must not be shown, by any version of the model: what is protected in one of them is so for people who
/// read of another.
#[derive(Debug, Default)]
pub(super) struct Guard {
    protected: BTreeSet<String>,
    /// Without a manifest nobody knows what is protected, and so nothing is shown.
    is_blind: bool,
}

impl Guard {
    /// From the manifests of a model, the highest versions first.
    pub(super) fn of(desk: &Desk, model: &str) -> Self {
        let mut guard = Self { is_blind: true, ..Self::default() };
        if !registry::is_name(model) {
            return guard;
        }
        let folder = desk.models.join(model);
        for version in registry::versions(&folder, None).iter().take(MOST_MANIFESTS) {
            let bytes = registry::read(&folder.join(&**version), MANIFEST, registry::MAX_FILE);
            if let Some(manifest) = bytes.ok().and_then(|bytes| Manifest::parse(&bytes).ok()) {
                guard.learn(&manifest);
            }
        }
        guard
    }

    /// What one more version must not have shown.
    pub(super) fn learn(&mut self, manifest: &Manifest) {
        self.is_blind = false;
        let protected = manifest.schema.features.iter().filter(|spec| spec.protected);
        self.protected.extend(protected.map(|spec| spec.name.clone()));
    }

    pub(super) fn hides(&self, feature: &str) -> bool {
        self.is_blind || self.protected.contains(feature)
    }
}
