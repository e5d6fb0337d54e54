//! Presets: routes, features, outcomes and secrets for one CRM each, shipped inside the binary.

use super::{document, findings::Findings, raw::RawPreset, shape};

/// Name and file. A test parses each, so none can be wrong at run time.
const PRESETS: [(&str, &str); 10] = [
    ("salesforce", include_str!("presets/salesforce.yaml")),
    ("hubspot", include_str!("presets/hubspot.yaml")),
    ("dynamics", include_str!("presets/dynamics.yaml")),
    ("zoho", include_str!("presets/zoho.yaml")),
    ("pipedrive", include_str!("presets/pipedrive.yaml")),
    ("espocrm", include_str!("presets/espocrm.yaml")),
    ("suitecrm", include_str!("presets/suitecrm.yaml")),
    ("odoo", include_str!("presets/odoo.yaml")),
    ("frappe", include_str!("presets/frappe.yaml")),
    ("tryton", include_str!("presets/tryton.yaml")),
];

/// What can stand in `presets`.
pub(super) fn names() -> impl Iterator<Item = &'static str> + Clone {
    PRESETS.into_iter().map(|(name, _)| name)
}

/// Every preset: its name, and its YAML to start from.
pub fn presets() -> impl Iterator<Item = (&'static str, &'static str)> {
    PRESETS.into_iter()
}

/// What a preset says; `None` if there is no such preset.
pub(super) fn read(name: &str) -> Option<RawPreset> {
    let (_, text) = PRESETS.into_iter().find(|(known, _)| *known == name)?;
    let root = document::read(text).ok()?;
    shape::fit(&root, &mut Findings::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_preset_is_without_problems() {
        for (name, text) in PRESETS {
            let mut findings = Findings::default();
            let preset: RawPreset = shape::fit(&document::read(text).unwrap(), &mut findings).unwrap();
            assert!(findings.problems.is_empty(), "{name}: {}", findings.problems);
            // Its routes, written as a file's own, are checked in every detail.
            let config = format!("upstream: http://crm\n{text}");
            let config =
                Config::parse(&config, &|_| None).unwrap_or_else(|problems| panic!("{name}: {problems}"));
            assert_eq!(config.routes.len(), preset.routes.len());
        }
    }

    #[test]
    fn a_route_of_the_file_replaces_the_presets() {
        let text = "upstream: http://crm\npresets: [salesforce]\nroutes:\n  - {name: lead.create, method: [PUT], path: /x, action: create}\n";
        let config = Config::parse(text, &|_| None).unwrap();
        let of_name = config.routes.iter().filter(|route| &*route.name == "lead.create");
        let paths: Vec<&str> = of_name.map(|route| &*route.path).collect();
        assert_eq!(paths, ["/x"]);
        assert!(config.routes.iter().any(|route| &*route.name == "lead.update"), "the others stay");
    }

    #[test]
    fn all_presets_go_together() {
        let names: Vec<&str> = names().collect();
        let config = Config::parse(&format!("upstream: http://crm\npresets: {names:?}"), &|_| None);
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        let count = |name: &str| read(name).unwrap().routes.len();
        assert_eq!(config.routes.len(), names.iter().map(|name| count(name)).sum::<usize>());
    }
}
