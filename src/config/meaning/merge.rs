//! What the file and its presets say together.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{routes::Source, text};
use crate::config::{
    findings::{Complaint, Findings, KeyPath},
    preset,
    problem::nearest_or_all,
    raw::{RawAlias, RawConfig, RawFeature, RawOutcome, RawPreset},
    settings::Mask,
};

/// Everything that presets may hold, the file's first. Each part knows where it stands; of a preset's part that is the
/// preset's name in the file.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) routes: Vec<Source>,
    pub(super) features: BTreeMap<String, FeatureSource>,
    pub(super) outcomes: Vec<(KeyPath, RawOutcome)>,
    pub(super) aliases: Vec<(KeyPath, RawAlias)>,
    pub(super) masks: Vec<Mask>,
}

/// A feature as it was written, and where.
pub(super) struct FeatureSource {
    pub(super) raw: RawFeature,
    pub(super) path: KeyPath,
    /// Where each of `raw.from` stands.
    pub(super) from: Vec<KeyPath>,
    /// The preset that says the type; `None` for the file.
    preset: Option<String>,
}

/// Merges the file with its presets.
pub(super) fn merge(raw: &RawConfig, findings: &mut Findings) -> Merged {
    let mut merged = of_file(raw, findings);
    let mut seen = HashSet::new();
    for (index, name) in raw.presets.iter().enumerate() {
        let path = KeyPath::default().key("presets").item(index);
        if !seen.insert(name) {
            findings.wrong(&path, format!("preset {name:?} stands twice"));
            continue;
        }
        match preset::read(name) {
            Some(preset) => merged.add(preset, (name, &path), raw, findings),
            None => {
                let hint = nearest_or_all(name, preset::names());
                findings.wrong(&path, Complaint::new(format!("no preset is called {name:?}"), hint));
            }
        }
    }
    merged
}

fn of_file(raw: &RawConfig, findings: &mut Findings) -> Merged {
    let root = KeyPath::default();
    let mut merged = Merged { masks: masks(&raw.secrets.mask, findings), ..Merged::default() };
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (index, route) in raw.routes.iter().enumerate() {
        let path = root.key("routes").item(index);
        match names.get(route.name.as_str()) {
            Some(first) => findings.wrong(&path.key("name"), format!("routes[{first}] has the same name")),
            None => _ = names.insert(&route.name, index),
        }
        merged.routes.push(Source::new(route.clone(), path, None));
    }
    for (name, feature) in &raw.features {
        let path = root.key("features").key(name);
        let from = (0..feature.from.len()).map(|index| path.key("from").item(index)).collect();
        let source = FeatureSource { raw: feature.clone(), path, from, preset: None };
        merged.features.insert(name.clone(), source);
    }
    let outcomes = raw.outcomes.iter().enumerate();
    merged.outcomes =
        outcomes.map(|(index, rule)| (root.key("outcomes").item(index), rule.clone())).collect();
    let aliases = raw.aliases.iter().enumerate();
    merged.aliases = aliases.map(|(index, rule)| (root.key("aliases").item(index), rule.clone())).collect();
    merged
}

impl Merged {
    /// Adds a preset. Its route gives way to the file's of the same name, and so do the rules about that route where the
    /// file has some of its own.
    fn add(
        &mut self,
        preset: RawPreset,
        (name, path): (&str, &KeyPath),
        file: &RawConfig,
        findings: &mut Findings,
    ) {
        let replaced = |route: &str| file.routes.iter().any(|of_file| of_file.name == route);
        for route in preset.routes.into_iter().filter(|route| !replaced(&route.name)) {
            match self.routes.iter().find(|known| known.raw.name == route.name) {
                Some(known) => {
                    let other = known.preset.as_deref().unwrap_or_default();
                    let message = format!("preset {other:?} has a route {:?} too", route.name);
                    findings.wrong(path, message);
                }
                None => self.routes.push(Source::new(route, path.clone(), Some(name.to_owned()))),
            }
        }
        let told = |route: &str| replaced(route) && file.outcomes.iter().any(|rule| rule.route == route);
        let outcomes = preset.outcomes.into_iter().filter(|rule| !told(&rule.route));
        self.outcomes.extend(outcomes.map(|rule| (path.clone(), rule)));
        let told = |route: &str| replaced(route) && file.aliases.iter().any(|rule| rule.route == route);
        let aliases = preset.aliases.into_iter().filter(|rule| !told(&rule.route));
        self.aliases.extend(aliases.map(|rule| (path.clone(), rule)));
        let masks = preset.secrets.mask.iter();
        self.masks.extend(masks.filter_map(|mask| findings.take(path, text::mask(mask))));
        for (feature, raw) in preset.features {
            self.add_feature(feature, raw, (name, path), findings);
        }
    }

    /// Pointers go behind those that are there; whatever else is said already stays.
    fn add_feature(
        &mut self,
        feature: String,
        raw: RawFeature,
        (name, path): (&str, &KeyPath),
        findings: &mut Findings,
    ) {
        let Some(known) = self.features.get_mut(&feature) else {
            let from = vec![path.clone(); raw.from.len()];
            let source = FeatureSource { raw, path: path.clone(), from, preset: Some(name.to_owned()) };
            self.features.insert(feature, source);
            return;
        };
        if let Some(other) = &known.preset
            && known.raw.kind != raw.kind
        {
            let (kind, was) = (raw.kind.as_str(), known.raw.kind.as_str());
            let hint = Some(format!("say under features which of both {feature} is"));
            let message = format!("feature {feature:?} is a {kind} here and a {was} in preset {other:?}");
            findings.wrong(path, Complaint::new(message, hint));
        }
        for pointer in raw.from {
            if !known.raw.from.contains(&pointer) {
                known.raw.from.push(pointer);
                known.from.push(path.clone());
            }
        }
        // What the file's type rules out is not taken from a preset of another.
        if known.raw.kind == raw.kind {
            known.raw.missing = known.raw.missing.take().or(raw.missing);
            known.raw.oov = known.raw.oov.take().or(raw.oov);
            known.raw.derive = known.raw.derive.or(raw.derive);
        }
    }
}

fn masks(raw: &[String], findings: &mut Findings) -> Vec<Mask> {
    let at = KeyPath::default().key("secrets").key("mask");
    let mask = |(index, text): (usize, &String)| findings.take(&at.item(index), text::mask(text));
    raw.iter().enumerate().filter_map(mask).collect()
}
