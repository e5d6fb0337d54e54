//! Recorded CRM traffic: every body becomes the JSON that an independent reader finds in it.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use leadwire::{
    config::Config,
    lead::Value as Feature,
    recognise::{Recogniser, RequestHead, Scratch, Tape, View, decode},
};
use serde_json::{Value, json};

use crate::goldens;

/// One half of a recorded exchange.
struct Half {
    /// `forms_curl/001 request`
    name: String,
    headers: HeaderMap,
    /// As on the wire, without chunk framing.
    body: Vec<u8>,
    /// Decoded, as the index has it.
    text: String,
}

/// All of them; none where the recordings are absent.
fn recorded() -> Vec<Half> {
    let Some(root) = goldens::path("captures/crm") else { return Vec::new() };
    let mut halves = Vec::new();
    for folder in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let client = folder.join("client");
        let Ok(index) = std::fs::read(client.join("index.json")) else { continue };
        let index: Vec<Value> = serde_json::from_slice(&index).unwrap();
        for exchange in &index {
            let file = exchange["file"].as_str().unwrap();
            let bytes = std::fs::read(client.join(file)).unwrap();
            let separator = b"\r\n=====RESPONSE=====\r\n";
            let at = bytes.windows(separator.len()).position(|window| window == separator).unwrap();
            let (request, answer) = (&bytes[..at], &bytes[at + separator.len()..]);
            let folder = folder.file_name().unwrap().to_str().unwrap();
            for (side, bytes) in [("request", request), ("response", answer)] {
                let name = format!("{folder}/{} {side}", &file[..3]);
                halves.push(half(name, exchange, side, bytes));
            }
        }
    }
    assert!(halves.len() >= 220);
    halves
}

fn half(name: String, exchange: &Value, side: &str, bytes: &[u8]) -> Half {
    let fields = exchange[format!("{side}_headers")].as_array().unwrap();
    let field = |field: &Value| -> (HeaderName, HeaderValue) {
        let text = |index: usize| field[index].as_str().unwrap();
        (text(0).parse().unwrap(), text(1).parse().unwrap())
    };
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let body = &bytes[head + 4..];
    let body = match exchange[format!("{side}_framing")].as_str() {
        Some("chunked") => joined(body),
        _ => body.to_vec(),
    };
    let text = exchange[format!("{side}_body")].as_str().unwrap_or_default().to_owned();
    Half { name, headers: fields.iter().map(field).collect(), body, text }
}

fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let line = chunks.windows(2).position(|window| window == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..line]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunks[line + 2..line + 2 + size]);
        chunks = &chunks[line + 2 + size + 2..];
    }
}

/// The view of one half, and whether it is the body itself; `None` where it is of no form that is read.
fn viewed(half: &Half) -> Option<(Value, bool)> {
    let (mut decoded, mut made) = (Vec::new(), String::new());
    let body = decode(&half.headers, &half.body, 1 << 20, &mut decoded).unwrap();
    assert_eq!(body, half.text.as_bytes(), "{}", half.name);
    let content_type = half.headers.get("content-type").map(|value| value.to_str().unwrap());
    let view = View::of(content_type, body, &mut made)?;
    Tape::default().scan(view.text()).unwrap_or_else(|error| panic!("{}: {error}", half.name));
    let json = view.text().trim_start_matches('\u{feff}');
    Some((serde_json::from_str(json).unwrap(), view.in_place().is_some()))
}

#[test]
fn every_recorded_body_is_decoded_and_json_is_read_as_it_is() {
    let (mut json, mut made) = (0, Vec::new());
    for half in recorded().iter().filter(|half| !half.body.is_empty()) {
        match (serde_json::from_str::<Value>(half.text.trim_start_matches('\u{feff}')), viewed(half)) {
            (Ok(expected), Some((view, true))) => {
                assert_eq!(view, expected, "{}", half.name);
                json += 1;
            }
            (Err(_), Some((_, false))) => made.push(half.name.clone()),
            (Err(_), None) => assert!(half.text.starts_with("<html>"), "{} is not read", half.name),
            (expected, view) => panic!("{}: {expected:?} {view:?}", half.name),
        }
    }
    assert!(json == 0 && made.is_empty() || json > 150, "{json} JSON bodies");
    for (name, _) in facts() {
        assert!(made.is_empty() || made.iter().any(|made| *made == name), "{name} is not made");
    }
    assert_eq!(made.len(), if json == 0 { 0 } else { facts().len() }, "{made:?}");
}

/// What people read in the recorded bodies that are not JSON.
#[expect(clippy::too_many_lines, reason = "a table")]
fn facts() -> Vec<(&'static str, Vec<(&'static str, Value)>)> {
    vec![
        (
            "dyn_python_tls/008 request",
            vec![
                ("/0/method", json!("POST")),
                ("/0/url", json!("/api/data/v9.2/leads")),
                ("/0/headers/content-type", json!("application/json; type=entry")),
                ("/0/body/revenue", json!(100000.0)),
                ("/1/url", json!("/api/data/v9.2/leads(bb917c61-c722-46c7-963e-ad422ce74a1c)")),
                ("/1/headers/if-match", json!("*")),
                ("/1/body", json!({"statecode":1,"statuscode":3})),
                ("/2", json!(null)),
            ],
        ),
        (
            "dyn_python_tls/008 response",
            vec![
                ("/0/status", json!(204)),
                ("/0/id", json!("1")),
                (
                    "/0/headers/odata-entityid",
                    json!("http://127.0.0.1:18200/api/data/v9.2/leads(53b334f2-5b67-43aa-99a7-26e30fd44f3b)"),
                ),
                ("/0/body", json!(null)),
                ("/1/status", json!(204)),
                ("/2", json!(null)),
            ],
        ),
        (
            "forms_curl/001 request",
            vec![(
                "",
                json!({"oid":"00D000000000001","retURL":"http://example.test/thanks","first_name":"Amina","last_name":"K","email":"a@example.test","company":"Acme & Sons","phone":"+971 50 123","lead_source":"Web","00N5e00000AbCdE":"25"}),
            )],
        ),
        (
            "frappe_python/001 request",
            vec![(
                "",
                json!({"data":"{\"doctype\": \"CRM Lead\", \"first_name\": \"Amina\", \"last_name\": \"K\", \"email\": \"a@example.test\", \"mobile_no\": \"+97150\", \"organization\": \"Acme\", \"status\": \"New\", \"custom_lead_score\": 0.73}"}),
            )],
        ),
        (
            "frappe_python/002 request",
            vec![(
                "",
                json!({"data":"{\"doctype\": \"CRM Lead\", \"name\": \"CRM-LEAD-2026-00001\", \"status\": \"Qualified\"}"}),
            )],
        ),
        (
            "frappe_python/003 request",
            vec![(
                "",
                json!({"cmd":"frappe.client.set_value","doctype":"CRM Lead","name":"CRM-LEAD-2026-00001","fieldname":"status","value":"Converted"}),
            )],
        ),
        (
            "node_dynamics/008 request",
            vec![
                ("/0/id", json!("100001")),
                ("/0/url", json!("/api/data/v9.2/leads")),
                ("/0/body/lastname", json!("K2")),
                ("/1/body/lastname", json!("K3")),
                ("/2/method", json!("PATCH")),
                ("/2/id", json!("100003")),
                ("/2/body", json!({"statecode":1})),
                ("/3", json!(null)),
            ],
        ),
        (
            "node_dynamics/008 response",
            vec![
                ("/0/id", json!("100001")),
                ("/0/status", json!(204)),
                (
                    "/1/headers/odata-entityid",
                    json!("http://127.0.0.1:18200/api/data/v9.2/leads(7b5789d4-ff1a-4f03-b385-e30bf968ea03)"),
                ),
                ("/2/id", json!("100003")),
                ("/2/body", json!(null)),
                ("/3", json!(null)),
            ],
        ),
        (
            "node_jsforce/009 request",
            vec![
                ("/0/LastName", json!("K6")),
                ("/0/NumberOfEmployees", json!("25")),
                ("/1/LastName", json!("K7")),
                ("/1/Status", json!("Open - Not Contacted")),
                ("/2", json!(null)),
            ],
        ),
        ("node_jsforce/012 response", vec![("", json!([]))]),
        ("node_jsforce/013 response", vec![("", json!([]))]),
        (
            "node_jsforce/014 response",
            vec![
                ("/0/sf__Id", json!("00Q5e000000001079AA")),
                ("/0/sf__Created", json!("true")),
                ("/1/LastName", json!("K7")),
                ("/2", json!(null)),
            ],
        ),
        (
            "node_jsforce/015 request",
            vec![(
                "",
                json!({"Envelope":{"Header":{"SessionHeader":{"sessionId":"00Dxx!lab"}},"Body":{"convertLead":{"leadConverts":{"leadId":"00Q5e000000001070AA","convertedStatus":"Closed - Converted"}}}}}),
            )],
        ),
        (
            "node_jsforce/015 response",
            vec![
                ("/Envelope/Body/convertLeadResponse/result/leadId", json!("00Q5e000000001070AA")),
                ("/Envelope/Body/convertLeadResponse/result/accountId", json!("001x")),
            ],
        ),
        (
            "node_odoo/001 request",
            vec![("", json!({"method":"authenticate","params":["lab","admin","admin",{}]}))],
        ),
        ("node_odoo/001 response", vec![("", json!({"result":2}))]),
        (
            "node_odoo/002 request",
            vec![(
                "",
                json!({"method":"execute_kw","params":["lab",2,"admin","crm.lead","create",[{"name":"Licence","contact_name":"Amina K","email_from":"a@example.test","phone":"+97150","expected_revenue":12000}]]}),
            )],
        ),
        ("node_odoo/002 response", vec![("", json!({"result":1102}))]),
        ("node_odoo/003 request", vec![("/params/5/0/lead_score", json!(1))]),
        (
            "node_odoo/003 response",
            vec![(
                "",
                json!({"fault":{"faultCode":1,"faultString":"ValueError: Invalid field 'lead_score' on model 'crm.lead'"}}),
            )],
        ),
        ("node_odoo/004 request", vec![("/params/4", json!("write"))]),
        ("node_odoo/004 response", vec![("", json!({"result":true}))]),
        (
            "node_odoo/005 request",
            vec![(
                "",
                json!({"method":"execute_kw","params":["lab",2,"admin","crm.lead","action_set_won",[[1102]]]}),
            )],
        ),
        ("node_odoo/005 response", vec![("", json!({"result":true}))]),
        (
            "sf_simple_salesforce/010 request",
            vec![
                ("/0/Phone", json!("+971501234000")),
                ("/0/Description", json!("Needs 0 visas and a warehouse")),
                ("/1/Company", json!("Acme 1 LLC")),
            ],
        ),
    ]
}

#[test]
fn bodies_that_are_not_json_say_in_json_what_they_say() {
    let halves = recorded();
    for (name, expected) in facts() {
        let Some(half) = halves.iter().find(|half| half.name == name) else { continue };
        let (view, _) = viewed(half).unwrap();
        for (pointer, value) in expected {
            assert_eq!(view.pointer(pointer).unwrap_or(&Value::Null), &value, "{name} {pointer}: {view}");
        }
    }
}

/// The last names that a route of this content finds in a recorded request.
fn names(half: &Half, content: &str, leads: &str) -> Vec<Feature<'static>> {
    let yaml = format!(
        "upstream: http://127.0.0.1:1\nroutes: [{{name: r, method: [POST], path: /r, action: create, \
         content: '{content}', leads: \"{leads}\"}}]\nfeatures: {{name: {{type: category, \
         from: [/LastName, /last_name, /lastname, /Last_Name, /contact_name]}}}}"
    );
    let recogniser = Recogniser::new(&Config::parse(&yaml, &|_| None).unwrap());
    let head = RequestHead { method: &Method::POST, path: "/r", query: None, headers: &half.headers };
    let candidates = recogniser.candidates(head).unwrap();
    candidates.precheck().unwrap();
    let (mut decoded, mut made, mut values) = (Vec::new(), String::new(), Vec::new());
    let body = decode(&half.headers, &half.body, 1 << 20, &mut decoded).unwrap();
    let view = candidates.view(body, &mut made).unwrap().unwrap();
    let route = recogniser.read(&candidates, view, &mut Scratch::default(), &mut values).unwrap();
    assert!(route.is_some(), "{}", half.name);
    values.into_iter().map(Feature::into_owned).collect()
}

#[test]
fn recorded_leads_of_every_content_are_found() {
    let halves = recorded();
    for (name, content, leads, expected) in [
        ("forms_curl/001 request", "form", "$", &["K"][..]),
        ("forms_curl/001 request", "auto", "$", &["K"]),
        ("forms_curl/002 request", "auto", "$", &["K"]),
        ("forms_curl/005 request", "json", "$", &["K"]),
        ("frappe_python/001 request", "form-json:data", "$", &["K"]),
        ("node_jsforce/009 request", "csv", "$[*]", &["K6", "K7"]),
        ("node_dynamics/008 request", "multipart-batch", "$[?@.method=='POST'].body", &["K2", "K3"]),
        ("dyn_python_tls/008 request", "auto", "$[0].body", &["K"]),
        ("node_odoo/002 request", "xmlrpc", "$.params[5][*]", &["Amina K"]),
        ("zoho_python/002 request", "auto", "$.data[*]", &["K0"]),
    ] {
        let Some(half) = halves.iter().find(|half| half.name == name) else { continue };
        let expected: Vec<Feature<'_>> = expected.iter().map(|name| Feature::Text((*name).into())).collect();
        assert_eq!(names(half, content, leads), expected, "{name} as {content}");
    }
}
