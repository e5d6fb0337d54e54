//! The guides to presets: each preset has one, and what it says to write down works as it stands.

use std::path::{Path, PathBuf};

use leadwire::config::{Config, presets};

use crate::support::{CREATE, Running, Upstream, answer, write_small_model};

fn guide(preset: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/crm").join(preset).with_extension("md")
}

/// The YAML blocks of a guide.
fn blocks(preset: &str) -> Vec<String> {
    let text = std::fs::read_to_string(guide(preset)).unwrap_or_else(|error| panic!("{preset}: {error}"));
    let blocks = text.split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn every_preset_has_a_guide_that_the_index_names_and_whose_yaml_is_valid() {
    let index = std::fs::read_to_string(guide("README")).unwrap();
    for (name, _) in presets() {
        assert!(index.contains(&format!("({name}.md) | `{name}` |")), "{name} is not in the index");
        let blocks = blocks(name);
        for block in &blocks {
            assert!(block.contains(&format!("presets: [{name}]")), "{name}: {block}");
            let config = Config::parse(&format!("upstream: http://crm\n{block}"), &|_| None);
            config.unwrap_or_else(|problems| panic!("{name}: {problems}"));
        }
        assert_eq!(blocks.len(), 2, "{name}: to start with, and a stored score");
    }
}

/// Posts a body to the CRM with what its guide says of a stored score: it must get the members beside the lead's own.
fn check(preset: &str, path: &str, body: &str, stored: &str) {
    let upstream = Upstream::start(|_| answer("200 OK", &[("Content-Type", "application/json")], "{}"));
    let features = "features:\n  person: {from: [/kay], type: category}\n";
    let config = format!(
        "listen: x\nupstream: x\nadmin: x\nmodels: x\nstate: x\nlimits: {{deadline: 1s}}\n{features}{}",
        blocks(preset)[1]
    );
    let sidecar = Running::with(upstream.address, &config, write_small_model);
    let lead = r#"{"kay":"K"}"#;
    sidecar.post(path, &body.replace("LEAD", lead));
    let expected = body.replace("LEAD", &lead.replace('}', &format!(",{stored}}}")));
    assert_eq!(upstream.requests()[0].text(), expected, "{preset}");
}

#[test]
fn what_guides_say_of_a_stored_score_writes_it() {
    // A lead of the median amount scores 0.5.
    check("salesforce", CREATE, "LEAD", r#""Lead_Score__c":50"#);
    check("hubspot", "/crm/v3/objects/contacts", r#"{"properties":LEAD}"#, r#""lead_score":"50""#);
    check("dynamics", "/api/data/v9.2/leads", "LEAD", r#""new_leadscore":50"#);
    check("zoho", "/crm/v8/Leads", r#"{"data":[LEAD],"trigger":[]}"#, r#""Lead_Score":50"#);
    check("pipedrive", "/api/v1/leads", "LEAD", r#""9dc80c50d78a15643bfc4ca79d76156a73a1ca0e":50"#);
    check("espocrm", "/api/v1/Lead", "LEAD", r#""cLeadScore":50"#);
    let json_api = r#"{"data":{"type":"Leads","attributes":LEAD}}"#;
    check("suitecrm", "/Api/V8/module", json_api, r#""lead_score_c":"50""#);
    let call = r#"{"params":{"method":"execute","args":["db",2,"pw","crm.lead","create",LEAD]}}"#;
    check("odoo", "/jsonrpc", call, r#""x_lead_score":50"#);
    check("odoo", "/jsonrpc", &call.replace("LEAD", "[LEAD]"), r#""x_lead_score":50"#);
    check("frappe", "/api/resource/CRM%20Lead", "LEAD", r#""custom_lead_score":50"#);
    let call = r#"{"id":1,"method":"model.sale.opportunity.create","params":[[LEAD],{}]}"#;
    check("tryton", "/lab/rpc/", call, r#""conversion_probability":0.5"#);
    check("tryton", "/lab/rest/model/sale.opportunity", "LEAD", r#""conversion_probability":0.5"#);
}
