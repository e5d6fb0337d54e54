//! What the file and its presets say together.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{identity::IdentitySource, routes::Source, text};
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
    pub(super) identity: IdentitySource,
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

/// What a preset says, by its name.
type Presets<'a> = &'a dyn Fn(&str) -> Option<RawPreset>;

/// Merges the file with its presets.
pub(super) fn merge(raw: &RawConfig, presets: Presets<'_>, findings: &mut Findings) -> Merged {
    let mut merged = of_file(raw, findings);
    let mut seen = HashSet::new();
    for (index, name) in raw.presets.iter().enumerate() {
        let path = KeyPath::default().key("presets").item(index);
        if !seen.insert(name) {
            findings.wrong(&path, format!("preset {name:?} stands twice"));
            continue;
        }
        match presets(name) {
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
    let (masks, identity) = (masks(&raw.secrets.mask, findings), IdentitySource::new(&raw.identity));
    let mut merged = Merged { masks, identity, ..Merged::default() };
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
        self.identity.add(preset.identity, path);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{document, shape};

    const ONE: &str = "
routes:
  - {name: a.create, method: [POST], path: /a, action: create}
  - {name: a.update, method: [PUT], path: /a, action: update}
features:
  amount: {from: [/Amount, /both], type: number, missing: median}
  source: {from: [/Source], type: category, oov: other}
  flag: {from: [/Flag], type: boolean}
outcomes:
  - {route: a.create, when: [{at: /one, exists: true}], label: 1}
  - {route: a.update, when: [{at: /two, exists: true}], label: 0}
aliases: [{route: a.update, lead: /one, deal: /two}]
secrets: {mask: [/one]}
";

    const TWO: &str = "
routes: [{name: b.create, method: [POST], path: /b, action: create}]
features:
  amount: {from: [/amount], type: number, missing: 0}
  flag: {from: [/flag], type: number}
secrets: {mask: [/two]}
";

    fn preset(name: &str) -> Option<RawPreset> {
        let text = match name {
            "one" => ONE,
            "two" => TWO,
            "again" => "routes: [{name: b.create, method: [POST], path: /c, action: create}]",
            _ => return None,
        };
        shape::fit(&document::read(text).unwrap(), &mut Findings::default())
    }

    /// What a file and its presets say together, and the problems.
    fn merged(text: &str) -> (Merged, String) {
        let mut findings = Findings::default();
        let raw: RawConfig = shape::fit(&document::read(text).unwrap(), &mut findings).unwrap();
        let merged = merge(&raw, &preset, &mut findings);
        (merged, findings.problems.to_string())
    }

    #[test]
    fn presets_add_to_the_file() {
        let (merged, problems) = merged(
            "presets: [one, two]\nfeatures: {amount: {from: [/mine, /both], type: number}, flag: {from: [/x], type: category}}\n\
             outcomes: [{route: b.create, label: 1}]\nsecrets: {mask: [/zero]}",
        );
        assert_eq!(problems, "");
        let routes: Vec<_> = merged.routes.iter().map(|source| &*source.raw.name).collect();
        assert_eq!(routes, ["a.create", "a.update", "b.create"]);
        let amount = &merged.features["amount"];
        assert_eq!(amount.raw.from, ["/mine", "/both", "/Amount", "/amount"]);
        assert_eq!(amount.from.len(), 4);
        assert_eq!(amount.raw.missing, Some("median".into()), "the first preset's");
        assert_eq!(merged.features["source"].raw.oov.as_deref(), Some("other"));
        let flag = &merged.features["flag"].raw;
        assert_eq!((flag.kind.as_str(), flag.from.len()), ("category", 3), "the file's type wins");
        let outcomes: Vec<_> = merged.outcomes.iter().map(|(_, rule)| &*rule.route).collect();
        assert_eq!(outcomes, ["b.create", "a.create", "a.update"]);
        assert_eq!((merged.aliases.len(), merged.masks.len()), (1, 3));
    }

    #[test]
    fn a_route_of_the_file_takes_its_rules_along_where_it_has_some() {
        let route =
            "presets: [one]\nroutes: [{name: a.update, method: [PUT], path: /mine, action: update}]\n";
        let rules = |text: &str| {
            let (merged, problems) = merged(text);
            assert_eq!(problems, "");
            let path =
                merged.routes.iter().find(|source| source.raw.name == "a.update").unwrap().raw.path.clone();
            (path, merged.outcomes.len(), merged.aliases.len())
        };
        assert_eq!(rules(route), ("/mine".to_owned(), 2, 1), "the preset's stay");
        let outcome = format!("{route}outcomes: [{{route: a.update, label: 1}}]");
        assert_eq!(rules(&outcome), ("/mine".to_owned(), 2, 1), "one of the file's for one of the preset's");
        let alias = format!("{route}aliases: [{{route: a.update, lead: /x, deal: /y}}]");
        assert_eq!(rules(&alias), ("/mine".to_owned(), 2, 1));
        let two = "presets: [one]\noutcomes: [{route: a.update, label: 1}]";
        assert_eq!(rules(two), ("/a".to_owned(), 3, 1), "beside the preset's route both count");
    }

    #[test]
    fn presets_that_contradict_each_other_are_told() {
        for (text, expected) in [
            (
                "presets: [one, two]",
                "1:16: presets[1]: feature \"flag\" is a number here and a boolean in preset \"one\"; say under features which of both flag is",
            ),
            ("presets: [two, again]", "1:16: presets[1]: preset \"two\" has a route \"b.create\" too"),
            ("presets: [one, one]", "1:16: presets[1]: preset \"one\" stands twice"),
        ] {
            assert_eq!(merged(text).1, expected, "{text}");
        }
    }
}
