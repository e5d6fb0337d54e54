//! The sixteen things that every CRM's traffic asks for, one test each, by their number in the CRM notes. The first is in
//! `captures.rs`. Most play recorded exchanges; behind them stands the small model, of which a lead's `person` is required.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Mutex,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::json;

use crate::{
    captures::{Capture, Stage, logged, start_presets, with_presets},
    support::{CREATE, Client, Message, Running, Upstream, answer, created, ready, write_small_model},
};

const JSON: (&str, &str) = ("Content-Type", "application/json");

/// A capture played through a preset: its request, the answer, and what the CRM got.
struct Played {
    stage: Stage,
    sidecar: Running,
}

impl Played {
    fn new(presets: &str) -> Self {
        let stage = Stage::new();
        let sidecar = start_presets(&stage.upstream, presets);
        Self { stage, sidecar }
    }

    /// Plays one, whose request must reach the CRM as it was recorded; `None` where there are no recordings.
    fn play(&self, name: &str) -> Option<Message> {
        let capture = Capture::of(name)?;
        let (request, reply) = self.stage.play(&self.sidecar, &capture);
        assert!(request.body == capture.sent().body, "{name}: the CRM got another body");
        assert_eq!(reply.status(), capture.answered().status(), "{name}");
        Some(reply)
    }
}

/// Plays captures with one preset: what each answer says of itself, and what is in the lead log then.
fn check(presets: &str, steps: &[(&str, &str)], log: &[&str]) {
    let played = Played::new(presets);
    for (name, outcome) in steps {
        let Some(reply) = played.play(name) else { return };
        assert_eq!(reply.header("leadwire").unwrap_or("-"), *outcome, "{name}");
    }
    assert_eq!(logged(played.sidecar), log);
}

/// Answers each request with the next of some answers.
fn in_turn(answers: Vec<Vec<u8>>) -> Upstream {
    let answers = Mutex::new(answers.into_iter());
    Upstream::start(move |_| answers.lock().unwrap().next().unwrap())
}

fn ok(body: &str) -> Vec<u8> {
    answer("200 OK", &[JSON], body)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

const FEATURES: &str = "skipped;reason=features";
const REFUSED: &str = "skipped;reason=refused";

#[test]
fn crm_02_gzipped_creates_of_rest_and_json_rpc() {
    check("salesforce", &[("forms_curl/002", "scored")], &["lead.create 00Q5e000000001108AA"]);
    // Tryton's client compresses what is above 1,400 bytes.
    let upstream = in_turn(vec![ok(r#"{"id":1,"result":[12]}"#)]);
    let sidecar = start_presets(&upstream, "tryton");
    let lead = json!({"party": 7, "description": "visas ".repeat(400), "amount": {"__class__": "Decimal", "decimal": "20007.2"}});
    let call =
        json!({"id": 1, "method": "model.sale.opportunity.create", "params": [[lead], {"language": "en"}]});
    let body = gzip(call.to_string().as_bytes());
    let headers = [JSON, ("Content-Encoding", "gzip")];
    let reply = sidecar.client().exchange("POST", "/lab/rpc/", &headers, &body);
    assert_eq!((reply.header("leadwire"), reply.header("x-lead-score")), (Some("scored"), Some("73")));
    assert!(call.to_string().len() > 1_400 && upstream.request().body == body, "as it was compressed");
    assert_eq!(logged(sidecar), ["tryton.create 12"]);
}

#[test]
fn crm_03_a_csv_upload_in_other_chunks() {
    let Some(capture) = Capture::of("node_jsforce/009") else { return };
    let upstream = Upstream::start({
        let answer = capture.response.clone();
        move |_| answer.clone()
    });
    let sidecar = start_presets(&upstream, "salesforce");
    let sent = capture.sent();
    let head = capture.request.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    let mut client = sidecar.client();
    client.send(&capture.request[..head]);
    for chunk in sent.body.chunks(7) {
        client.send(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    client.send(b"0\r\n\r\n");
    let reply = client.receive();
    assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
    let request = upstream.request();
    assert_eq!(request.header("transfer-encoding"), Some("chunked"));
    assert!(request.body == sent.body);
    assert_eq!(logged(sidecar), ["lead.bulk ?", "lead.bulk ?"]);
}

#[test]
fn crm_04_expect_chunks_a_byte_order_mark_gzip_json_api_and_a_form() {
    let steps = [
        ("forms_curl/004", "scored"),
        ("forms_curl/003", "scored"),
        ("forms_curl/005", "scored"),
        ("forms_curl/002", "scored"),
        ("forms_curl/006", "scored"),
        ("forms_curl/007", FEATURES),
        ("forms_curl/001", "scored"),
    ];
    let log = [
        "lead.create 00Q5e000000001108AA",
        "lead.create 00Q5e000000001109AA",
        "lead.create 00Q5e000000001110AA",
        "lead.create 00Q5e000000001111AA",
        "lead.web ?",
        "suitecrm.create 932a3db1-da69-45d8-951f-06825ab1877e",
        "suitecrm.update won 7e1c0c4e-0000-4000-8000-000000000001 -",
    ];
    check("salesforce, suitecrm", &steps, &log);
}

#[test]
fn crm_05_json_without_a_content_type() {
    let Some(capture) = Capture::of("zoho_python/003") else { return };
    assert_eq!(capture.sent().header("content-type"), None);
    let steps = [("zoho_python/002", "scored"), ("zoho_python/003", "scored"), ("zoho_python/004", FEATURES)];
    let log: Vec<String> = (55..=60).map(|id| format!("zoho.create 41508680000000010{id}")).collect();
    check("zoho", &steps, &log.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn crm_06_odoos_four_ways_to_create_one_lead_or_several() {
    let steps = [
        ("odoo_odoorpc/003", "scored"),
        ("odoo_odoorpc/004", "scored"),
        ("odoo_odoorpc/008", "passed"),
        ("odoo_odoorpc/009", FEATURES),
        ("odoo_odooly/004", "scored"),
        ("forms_curl/008", "scored"),
    ];
    let mut log: Vec<String> = (1045..=1050).map(|id| format!("odoo.create {id}")).collect();
    log.insert(0, "odoo.call.kw lost 1045 -".to_owned());
    log.extend(
        ["odoo.json2.create 1114", "odoo.json2.create 1115", "odoo.web.create 1053"].map(str::to_owned),
    );
    check("odoo", &steps, &log.iter().map(String::as_str).collect::<Vec<_>>());

    // `execute_kw` has its arguments in a list of their own.
    let upstream = in_turn(vec![ok(r#"{"id":1,"result":7}"#), ok(r#"{"id":2,"result":[8,9]}"#)]);
    let sidecar = start_presets(&upstream, "odoo");
    let lead = json!({"name": "Kay", "expected_revenue": 20007.2});
    for values in [json!(lead), json!([lead, lead])] {
        let arguments = json!(["lab", 2, "pw", "crm.lead", "create", [values], {"context": {}}]);
        let call = json!({"params": {"service": "object", "method": "execute_kw", "args": arguments}});
        assert_eq!(sidecar.post("/jsonrpc", &call.to_string()).header("leadwire"), Some("scored"));
    }
    assert_eq!(logged(sidecar), ["odoo.create.kw 7", "odoo.create.kw 8", "odoo.create.kw 9"]);
}

#[test]
fn crm_07_json_inside_a_form_field_and_an_encoded_space() {
    let steps = [("frappe_python/001", "scored"), ("frappe_python/002", FEATURES)];
    check("frappe", &steps, &["frappe.create.form CRM-LEAD-2026-01065"]);
}

#[test]
fn crm_08_nested_and_flat_batches_go_on_byte_for_byte() {
    let played = Played::new("dynamics");
    for name in ["node_dynamics/008", "dyn_python_tls/008"] {
        let Some(reply) = played.play(name) else { return };
        assert_eq!(reply.header("leadwire"), Some("scored"), "{name}");
        assert!(reply.body == Capture::of(name).unwrap().answered().body, "{name}: the answer too");
    }
    let log = [
        "dynamics.batch 53b334f2-5b67-43aa-99a7-26e30fd44f3b",
        "dynamics.batch 7b5789d4-ff1a-4f03-b385-e30bf968ea03",
        "dynamics.batch b9b7c6e4-2b28-4384-b5fa-d8b29a382fd9",
        "dynamics.batch won 3fe061e5-d125-4771-9aad-cec79a2bc3c2 -",
        "dynamics.batch won bb917c61-c722-46c7-963e-ad422ce74a1c -",
    ];
    assert_eq!(logged(played.sidecar), log);
}

#[test]
fn a_batch_whose_answer_has_fewer_messages_gives_no_lead_the_id_of_another() {
    let message =
        |id: u8, text: &str| format!("Content-Type: application/http\r\nContent-ID: {id}\r\n\r\n{text}\r\n");
    let create = |id: u8| {
        let body = r#"{"lastname":"K","revenue":20000}"#;
        message(
            id,
            &format!("POST /api/data/v9.2/leads HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{body}"),
        )
    };
    let body = format!(
        "--b\r\nContent-Type: multipart/mixed;boundary=c\r\n\r\n--c\r\n{}--c\r\n{}--c--\r\n--b\r\n{}--b--\r\n",
        create(1),
        create(2),
        create(3)
    );
    let taken = |n: u8| {
        let id = format!("3fe061e5-d125-4771-9aad-cec79a2bc3c{n}");
        message(
            n,
            &format!("HTTP/1.1 204 No Content\r\nOData-EntityId: http://h/api/data/v9.2/leads({id})\r\n\r\n"),
        )
    };
    let failed = message(1, "HTTP/1.1 400 Bad Request\r\n\r\n{}");
    let check = |answers: &[String], said: &str, log: &[&str]| {
        let parts: String = answers.iter().map(|part| format!("--r\r\n{part}")).collect();
        let reply =
            answer("200 OK", &[("Content-Type", "multipart/mixed; boundary=r")], &(parts + "--r--\r\n"));
        let upstream = in_turn(vec![reply]);
        let sidecar = start_presets(&upstream, "dynamics");
        let headers = [("Content-Type", "multipart/mixed;boundary=b")];
        let reply = sidecar.client().exchange("POST", "/api/data/v9.2/$batch", &headers, body.as_bytes());
        assert_eq!(reply.header("leadwire"), Some(said));
        assert_eq!(logged(sidecar), log);
    };
    let of = |n: u8| format!("dynamics.batch 3fe061e5-d125-4771-9aad-cec79a2bc3c{n}");
    let (one, two, three) = (of(1), of(2), of(3));
    check(&[taken(1), taken(2), taken(3)], "scored", &[&one, &two, &three]);
    check(&[taken(1), failed.clone(), taken(3)], "scored", &[&one, &three]);
    // The changeset failed, with one answer for both that are in it.
    check(&[failed, taken(3)], REFUSED, &[]);
}

#[test]
fn of_a_batch_that_is_taken_in_part_only_what_was_taken_is_recorded() {
    let errors = r#""errors":[{"status":"error","category":"CONFLICT","message":"exists"}]"#;
    let check = |status: &str, path: &str, body: &str, reply: &str, said: &str, log: &[&str]| {
        let upstream = in_turn(vec![answer(status, &[JSON], reply)]);
        let sidecar = start_presets(&upstream, "hubspot");
        let got = sidecar.post(&format!("/crm/v3/objects/contacts/batch/{path}"), body);
        assert_eq!(got.header("leadwire"), Some(said), "{path} {status}");
        assert_eq!(logged(sidecar), log, "{path} {status}");
    };
    let creates = r#"{"inputs":[{"properties":{"lastname":"K","email":"a@x.test","annualrevenue":"1"}},{"properties":{"lastname":"K","email":"b@x.test","annualrevenue":"1"}}]}"#;
    let one = format!(
        r#"{{"status":"COMPLETE","results":[{{"id":"7","properties":{{"email":"b@x.test"}}}}],{errors}}}"#
    );
    check("207 Multi-Status", "create", creates, &one, "scored", &["hubspot.contact.batch.create 7"]);
    let updates = creates.replace(r#"{"properties""#, r#"{"id":"7","properties""#);
    check("207 Multi-Status", "update", &updates, &one, REFUSED, &[]);
    let both = r#"{"status":"COMPLETE","results":[{"id":"7"},{"id":"7"}]}"#;
    let log = ["hubspot.contact.batch.update 7", "hubspot.contact.batch.update 7"];
    check("200 OK", "update", &updates, both, "scored", &log);
}

#[test]
fn an_id_in_a_path_is_the_same_as_in_an_answer() {
    let named = || ok(r#"{"data":{"name":"Kay & Söhne 1"}}"#);
    let upstream = in_turn(vec![named(), named()]);
    let sidecar = start_presets(&upstream, "frappe");
    sidecar.post("/api/resource/CRM%20Lead", r#"{"last_name":"K","AnnualRevenue":20000}"#);
    let path = "/api/resource/CRM%20Lead/Kay%20%26%20S%C3%B6hne%201";
    let reply = sidecar.client().exchange("PUT", path, &[JSON], br#"{"AnnualRevenue":10000}"#);
    assert_eq!(reply.header("leadwire"), Some("scored"), "with the name from the create");
    assert_eq!(logged(sidecar), ["frappe.create Kay & Söhne 1", "frappe.update Kay & Söhne 1"]);
}

#[test]
fn an_answer_too_large_to_be_read_is_not_called_refused() {
    let upstream = in_turn(vec![ok(&format!(r#"{{"result":7,"more":"{}"}}"#, "x".repeat(2 << 20)))]);
    let sidecar = start_presets(&upstream, "odoo");
    let call = r#"{"params":{"model":"crm.lead","method":"create","args":[{"name":"K"}],"kwargs":{}}}"#;
    let reply = sidecar.post("/web/dataset/call_kw/crm.lead/create", call);
    assert_eq!(reply.header("leadwire"), Some("skipped;reason=body"));
}

#[test]
fn crm_09_an_answer_without_a_body_takes_the_score_in_its_headers() {
    let played = Played::new("dynamics");
    let Some(reply) = played.play("node_dynamics/001") else { return };
    // Revenue 100,000.
    let told = ["x-lead-score", "x-lead-grade", "x-lead-model"].map(|name| reply.header(name));
    assert_eq!((reply.status(), told), (204, [Some("100"), Some("A"), Some("lead/1")]));
    assert_eq!((reply.header("content-length"), reply.body.len()), (None, 0));
    assert_eq!(logged(played.sidecar), ["dynamics.create 3fe061e5-d125-4771-9aad-cec79a2bc3c2"]);

    let none = || answer("204 No Content", &[], "");
    let upstream = in_turn(vec![created("00Q1"), none(), none()]);
    let sidecar = start_presets(&upstream, "salesforce");
    sidecar.post(CREATE, r#"{"LastName":"K","AnnualRevenue":20000}"#);
    let change = |body: &str| {
        let path = format!("{CREATE}/00Q1");
        let reply = sidecar.client().exchange("PATCH", &path, &[JSON], body.as_bytes());
        assert_eq!((reply.status(), reply.header("content-length"), reply.body.len()), (204, None, 0));
        ["leadwire", "x-lead-score"]
            .map(|name| reply.header(name).map(str::to_owned))
            .map(Option::unwrap_or_default)
    };
    assert_eq!(change(r#"{"AnnualRevenue":10000}"#), ["scored", "50"], "with the name from the create");
    assert_eq!(change(r#"{"Status":"Working"}"#), [FEATURES, ""]);
}

#[test]
fn crm_10_an_error_at_200_and_a_fault_are_no_accepted_leads() {
    check("odoo", &[("odoo_odoorpc/005", REFUSED), ("node_odoo/003", REFUSED)], &[]);
}

/// An exchange that was not recorded.
fn exchange(method: &str, path: &str, body: &str, response: Vec<u8>) -> Capture {
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ");
    let request = format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes();
    Capture { name: format!("{method} {path}"), request, response }
}

#[test]
fn crm_11_a_write_with_two_pairs_of_ids_and_values_is_of_three_leads() {
    let upstream = in_turn(vec![ok(r#"{"id":7,"result":[12,13,14]}"#), ok(r#"{"id":8,"result":null}"#)]);
    let sidecar = start_presets(&upstream, "tryton");
    let lead = r#"{"party":5,"amount":{"__class__":"Decimal","decimal":"1000"}}"#;
    let create = format!(
        r#"{{"id":7,"method":"model.sale.opportunity.create","params":[[{lead},{lead},{lead}],{{"language":"en"}}]}}"#
    );
    assert_eq!(sidecar.post("/lab/rpc/", &create).header("x-lead-score"), Some("29,29,29"));
    let write = r#"{"id":8,"method":"model.sale.opportunity.write","params":[[12],{"amount":{"__class__":"Decimal","decimal":"2000"}},[13,14],{"amount":{"__class__":"Decimal","decimal":"3000"}},{"language":"en"}]}"#;
    let reply = sidecar.post("/lab/rpc/", write);
    assert_eq!((reply.header("leadwire"), reply.header("x-lead-score")), (Some("scored"), Some("31,33,33")));
    assert_eq!(upstream.requests()[1].text(), write);
    let routes = ["create", "write"].into_iter();
    let log: Vec<String> =
        routes.flat_map(|way| [12, 13, 14].map(|id| format!("tryton.{way} {id}"))).collect();
    assert_eq!(logged(sidecar), log);
}

/// Plays a recorded conversion and what was not recorded of its deal.
fn check_deal(preset: &str, conversion: &str, deal: &Capture, log: &[&str]) {
    let played = Played::new(preset);
    if played.play(conversion).is_none() {
        return;
    }
    let (_, reply) = played.stage.play(&played.sidecar, deal);
    assert_eq!(reply.header("leadwire"), Some("passed"), "{preset}");
    assert_eq!(logged(played.sidecar), log, "{preset}");
}

#[test]
fn crm_12_a_deal_that_is_won_under_another_id_is_the_leads() {
    let won = r#"{"stage":"Closed Won","amount":11800}"#;
    let deal = exchange("PUT", "/api/v1/Opportunity/op1", won, ok(r#"{"id":"op1"}"#));
    let log = ["espocrm.convert won 65x 12000", "espocrm.opportunity.update won 65x 11800", "op1=65x"];
    check_deal("espocrm", "espo_python/004", &deal, &log);

    let (lead, opportunity) =
        ("3fe061e5-d125-4771-9aad-cec79a2bc3c2", "7d035003-76ca-4efa-a63d-77fbbce13df5");
    let won = json!({"Status": 3, "OpportunityClose": {"opportunityid@odata.bind": format!("/opportunities({opportunity})"), "actualrevenue": 11800}});
    let none = answer("204 No Content", &[], "");
    let deal = exchange("POST", "/api/data/v9.2/WinOpportunity", &won.to_string(), none);
    let lines = [
        format!("{opportunity}={lead}"),
        format!("dynamics.qualify won {lead} -"),
        format!("dynamics.win won {lead} 11800"),
    ];
    check_deal("dynamics", "node_dynamics/006", &deal, &lines.each_ref().map(String::as_str));

    let won = r#"{"data":[{"Stage":"Closed Won","Amount":11800}]}"#;
    let accepted = ok(r#"{"data":[{"code":"SUCCESS","details":{"id":"42"},"status":"success"}]}"#);
    let deal = exchange("PUT", "/crm/v8/Deals/42", won, accepted);
    let lead = "4150868000000001001";
    let lines = [
        format!("42={lead}"),
        format!("zoho.convert won {lead} 11800"),
        format!("zoho.deal.update won {lead} 11800"),
    ];
    check_deal("zoho", "node_zoho/002", &deal, &lines.each_ref().map(String::as_str));
}

#[test]
fn crm_12_a_read_tells_what_was_won() {
    let read = ok(
        r#"{"id":3,"result":[{"id":12,"state":"won","amount":{"__class__":"Decimal","decimal":"11800"}},{"id":13,"state":"opportunity"},{"id":14,"state":"lost"}]}"#,
    );
    let upstream = in_turn(vec![read]);
    let sidecar = start_presets(&upstream, "tryton");
    let call =
        r#"{"id":3,"method":"model.sale.opportunity.search_read","params":[[],0,null,null,["state"],{}]}"#;
    assert_eq!(sidecar.post("/lab/rpc/", call).header("leadwire"), Some("passed"));
    assert_eq!(logged(sidecar), ["tryton.read lost 14 -", "tryton.read won 12 11800"]);
}

#[test]
fn crm_12_versions_of_zoho_before_8_convert_without_a_status() {
    let convert =
        r#"{"data":[{"overwrite":true,"Deals":{"Deal_Name":"D","Stage":"Closed Won","Amount":1}}]}"#;
    let check = |answer: &str, log: &[&str]| {
        let upstream = in_turn(vec![ok(answer)]);
        let sidecar = start_presets(&upstream, "zoho");
        sidecar.post("/crm/v2/Leads/9/actions/convert", convert);
        assert_eq!(logged(sidecar), log, "{answer}");
    };
    check(r#"{"data":[{"Contacts":"41","Deals":"42","Accounts":"43"}]}"#, &["42=9", "zoho.convert won 9 1"]);
    check(r#"{"data":[{"code":"ID_ALREADY_CONVERTED","details":{},"status":"error"}]}"#, &[]);
}

/// Method, path, body, and the body of the answer.
type Exchange<'e> = (&'e str, &'e str, &'e str, &'e str);

/// Plays what the documentation says but nobody recorded: nothing of it changes, and it is in the lead log.
fn check_outcomes(preset: &str, exchanges: &[Exchange<'_>], log: &[&str]) {
    let stage = Stage::new();
    let sidecar = start_presets(&stage.upstream, preset);
    for (method, path, body, response) in exchanges {
        let capture = exchange(method, path, body, ok(response));
        let (request, reply) = stage.play(&sidecar, &capture);
        assert_eq!((request.text(), reply.text()), (*body, *response), "{method} {path}");
    }
    assert_eq!(logged(sidecar), log, "{preset}");
}

#[test]
fn crm_12_odoos_outcomes_as_they_are_documented() {
    let rpc = r#"{"jsonrpc":"2.0","id":1,"result":true}"#;
    let call = |arguments: &str| format!(r#"{{"params":{{"args":[{arguments}],"kwargs":{{}}}}}}"#);
    let (ids, write) = (call("[7,8]"), call(r#"[7],{"active":false}"#));
    let kw = r#"{"params":{"method":"execute_kw","args":["db",2,"pw","crm.lead","action_set_won_rainbowman",[[9]]]}}"#;
    let exchanges = [
        ("POST", "/web/dataset/call_kw/crm.lead/action_set_won", ids.as_str(), rpc),
        ("POST", "/web/dataset/call_kw/crm.lead/write", &write, rpc),
        ("POST", "/json/2/crm.lead/action_set_lost", r#"{"ids":[8]}"#, "true"),
        ("POST", "/jsonrpc", kw, rpc),
        ("POST", "/jsonrpc", kw, r#"{"jsonrpc":"2.0","id":1,"error":{"code":200}}"#),
    ];
    let log = [
        "odoo.call.kw won 9 -",
        "odoo.json2.lost lost 8 -",
        "odoo.web.won won 7 -",
        "odoo.web.won won 8 -",
        "odoo.web.write lost 7 -",
    ];
    check_outcomes("odoo", &exchanges, &log);
}

#[test]
fn crm_12_frappes_and_pipedrives_outcomes_as_they_are_documented() {
    let opportunity = r#"{"data":{"name":"OPP-1","opportunity_from":"Lead","party_name":"LEAD-7","status":"Converted","opportunity_amount":11800.0}}"#;
    let exchanges = [
        (
            "POST",
            "/api/method/crm.fcrm.doctype.crm_lead.crm_lead.convert_to_deal",
            r#"{"lead":"CRM-LEAD-1"}"#,
            r#"{"message":"CRM-DEAL-1"}"#,
        ),
        (
            "PUT",
            "/api/resource/CRM%20Deal/CRM-DEAL-1",
            r#"{"status":"Lost"}"#,
            r#"{"data":{"name":"CRM-DEAL-1"}}"#,
        ),
        ("PUT", "/api/resource/Opportunity/OPP-1", r#"{"status":"Converted"}"#, opportunity),
    ];
    let log = [
        "CRM-DEAL-1=CRM-LEAD-1",
        "erpnext.opportunity.update won LEAD-7 11800",
        "frappe.convert won CRM-LEAD-1 -",
        "frappe.deal.update lost CRM-LEAD-1 -",
    ];
    check_outcomes("frappe", &exchanges, &log);

    let converted = r#"{"success":true,"data":{"lead_id":"7e1c","deal_id":42,"status":"completed"}}"#;
    let exchanges = [
        ("PATCH", "/api/v2/deals/42", r#"{"status":"won","value":11800}"#, r#"{"success":true}"#),
        ("GET", "/api/v2/leads/7e1c/convert/status/5", "", converted),
    ];
    check_outcomes("pipedrive", &exchanges, &["42=7e1c", "pipedrive.deal.update won 7e1c 11800"]);
}

#[test]
fn crm_12_outcomes_of_dynamics_as_they_are_documented() {
    let deal = "3fe061e5-d125-4771-9aad-cec79a2bc3c2";
    let lose = json!({"Status": 4, "OpportunityClose": {"opportunityid@odata.bind": format!("/opportunities({deal})")}});
    let (lose, path) = (lose.to_string(), format!("/api/data/v9.2/opportunities({deal})"));
    let exchanges = [
        ("POST", "/api/data/v9.2/LoseOpportunity", lose.as_str(), ""),
        ("PATCH", &path, r#"{"statecode":1,"actualvalue":5}"#, ""),
        ("PATCH", "/api/data/v9.2/leads(7)", r#"{"statecode":2}"#, ""),
    ];
    let log = [
        format!("dynamics.lose lost ?{deal} -"),
        format!("dynamics.opportunity.update won ?{deal} 5"),
        "dynamics.update lost 7 -".to_owned(),
    ];
    check_outcomes("dynamics", &exchanges, &log.each_ref().map(String::as_str));
}

#[test]
fn crm_12_outcomes_of_zoho_tryton_and_suitecrm_as_they_are_documented() {
    let lost = r#"{"data":[{"id":"1","Lead_Status":"Junk Lead"},{"id":"2","Lead_Status":"Contacted"},{"id":"3","Lead_Status":"Lost Lead"}]}"#;
    let taken = r#"{"data":[{"status":"success"},{"status":"success"},{"status":"error"}]}"#;
    check_outcomes("zoho", &[("PUT", "/crm/v8/Leads", lost, taken)], &["zoho.update.many lost 1 -"]);

    let lost = r#"{"id":2,"method":"model.sale.opportunity.lost","params":[[12,13],{"language":"en"}]}"#;
    let refused = r#"{"id":2,"error":["UserError",["no","",null]]}"#;
    let exchanges =
        [("POST", "/lab/rpc/", lost, r#"{"id":2,"result":null}"#), ("POST", "/lab/rpc/", lost, refused)];
    check_outcomes("tryton", &exchanges, &["tryton.call lost 12 -", "tryton.call lost 13 -"]);

    let dead = r#"{"data":{"type":"Leads","id":"7","attributes":{"status":"Dead"}}}"#;
    let account = r#"{"data":{"type":"Accounts","id":"8","attributes":{"status":"Dead"}}}"#;
    let exchanges = [
        ("PATCH", "/legacy/Api/V8/module", dead, r#"{"data":{"id":"7"}}"#),
        ("PATCH", "/Api/V8/module", account, r#"{"data":{"id":"8"}}"#),
    ];
    check_outcomes("suitecrm", &exchanges, &["suitecrm.update.legacy lost 7 -"]);
}

#[test]
fn crm_12_salesforce_converts_several_leads_at_once() {
    let convert = |id: &str| format!("<leadConverts><leadId>{id}</leadId></leadConverts>");
    let result = |id: &str, deal: &str, success: bool| {
        format!(
            "<result><leadId>{id}</leadId><opportunityId>{deal}</opportunityId><success>{success}</success></result>"
        )
    };
    let check = |converts: &[String], results: &[String], log: &[&str]| {
        let soap = |name: &str, body: &str| {
            format!(
                "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><{name}>{body}</{name}></s:Body></s:Envelope>"
            )
        };
        let xml = ("Content-Type", "text/xml");
        let upstream =
            in_turn(vec![answer("200 OK", &[xml], &soap("convertLeadResponse", &results.concat()))]);
        let sidecar = start_presets(&upstream, "salesforce");
        let body = soap("convertLead", &converts.concat());
        let reply = sidecar.client().exchange("POST", "/services/Soap/u/59.0", &[xml], body.as_bytes());
        assert_eq!(reply.header("leadwire"), Some("passed"));
        assert_eq!(logged(sidecar), log, "{body}");
    };
    let one = "lead.convert won 00Q1 -";
    check(&[convert("00Q1")], &[result("00Q1", "0061", true)], &["0061=00Q1", one]);
    check(&[convert("00Q1")], &[result("00Q1", "", false)], &[]);
    check(
        &["00Q1", "00Q2", "00Q3"].map(convert),
        &[result("00Q1", "0061", true), result("00Q2", "", false), result("00Q3", "0063", true)],
        &["0061=00Q1", "0063=00Q3", one, "lead.convert won 00Q3 -"],
    );
}

/// A lead of 0.7312, by the field that tells its amount.
const KAY: &str = r#"{"LastName":"Kay","AnnualRevenue":20007.2}"#;

/// One CRM's way to refuse a field.
struct Refusal {
    /// The route but for its name, with `INJECT` where the request's injection goes.
    route: &'static str,
    /// What is sent: a path, and a body in which `LEAD` stands for the lead.
    path: &'static str,
    body: &'static str,
    refusal: (&'static str, &'static str),
    success: (&'static str, &'static str),
}

const REFUSALS: [Refusal; 9] = [
    Refusal {
        route: "method: [POST], path: '/services/data/{v}/sobjects/Lead', id: {from: response, at: /id}",
        path: CREATE,
        body: "LEAD",
        refusal: (
            "400 Bad Request",
            r#"[{"message":"No such column 'lead_score' on sobject of type Lead","errorCode":"INVALID_FIELD"}]"#,
        ),
        success: ("201 Created", r#"{"id":"1","success":true}"#),
    },
    Refusal {
        route: "method: [POST], path: '/services/data/{v}/composite/sobjects', leads: '$.records[*]', ok: [{at: 'resp:/{i}/success', eq: true}], id: {from: response, at: '/{i}/id'}",
        path: "/services/data/v59.0/composite/sobjects",
        body: r#"{"allOrNone":false,"records":[LEAD]}"#,
        refusal: (
            "200 OK",
            r#"[{"success":false,"errors":[{"statusCode":"INVALID_FIELD","message":"No such column","fields":[]}]}]"#,
        ),
        success: ("200 OK", r#"[{"success":true,"id":"1","errors":[]}]"#),
    },
    Refusal {
        route: "method: [POST], path: /crm/v3/objects/contacts, leads: $.properties, id: {from: response, at: /id}",
        path: "/crm/v3/objects/contacts",
        body: r#"{"associations":[],"properties":LEAD}"#,
        refusal: (
            "400 Bad Request",
            r#"{"status":"error","message":"Property values were not valid: [{\"isValid\":false,\"message\":\"Property \\\"lead_score\\\" does not exist\",\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"lead_score\"}]","correlationId":"0","category":"VALIDATION_ERROR"}"#,
        ),
        success: ("201 Created", r#"{"id":"1","properties":{}}"#),
    },
    Refusal {
        route: "method: [POST], path: '/api/data/{v}/leads', id: {from: response, at: /leadid}",
        path: "/api/data/v9.2/leads",
        body: "LEAD",
        refusal: (
            "400 Bad Request",
            r#"{"error":{"code":"0x80048d19","message":"Does not support untyped value in non-open type. Invalid property 'lead_score' was found"}}"#,
        ),
        success: ("201 Created", r#"{"leadid":"1"}"#),
    },
    Refusal {
        route: "method: [POST], path: /jsonrpc, leads: '$.params.args[5]', ok: [{at: 'resp:/error', absent: true}], id: {from: response, at: '/result/{i}'}",
        path: "/jsonrpc",
        body: r#"{"params":{"service":"object","method":"execute","args":["db",2,"pw","crm.lead","create",LEAD]}}"#,
        refusal: (
            "200 OK",
            r#"{"jsonrpc":"2.0","id":9,"error":{"code":200,"message":"Odoo Server Error","data":{"name":"builtins.ValueError","message":"Invalid field 'lead_score' on model 'crm.lead'"}}}"#,
        ),
        success: ("200 OK", r#"{"jsonrpc":"2.0","id":9,"result":1}"#),
    },
    Refusal {
        route: "method: [POST], path: '/{db}/rpc/', leads: '$.params[0][*]', ok: [{at: 'resp:/error', absent: true}], id: {from: response, at: '/result/{i}'}",
        path: "/lab/rpc/",
        body: r#"{"id":11,"method":"model.sale.opportunity.create","params":[[LEAD],{"language":"en"}]}"#,
        refusal: ("200 OK", r#"{"id":11,"error":["'lead_score'",""]}"#),
        success: ("200 OK", r#"{"id":11,"result":[1]}"#),
    },
    Refusal {
        route: "method: [POST], path: '/{db}/rpc/', leads: '$.params[0][*]', ok: [{at: 'resp:/error', absent: true}], id: {from: response, at: '/result/{i}'}",
        path: "/lab/rpc/",
        body: r#"{"id":1,"method":"model.sale.opportunity.create","params":[[LEAD],{}]}"#,
        refusal: (
            "200 OK",
            r#"{"id":1,"error":["UserError",["The number of digits in the value \"'0.7312'\" for field \"Conversion Probability\" exceeds the limit of \"(1, 4)\".","",null]]}"#,
        ),
        success: ("200 OK", r#"{"id":1,"result":[1]}"#),
    },
    Refusal {
        route: "method: [POST], path: '/{db}/rest/model/sale.opportunity', refused: {status: [500]}, id: {from: response, at: /id}",
        path: "/lab/rest/model/sale.opportunity",
        body: "LEAD",
        refusal: ("500 Internal Server Error", "<!doctype html><title>500</title>"),
        success: ("200 OK", r#"{"id":1}"#),
    },
    Refusal {
        route: "method: [POST], path: /api/leads/, id: {from: response, at: /id}",
        path: "/api/leads/",
        body: "LEAD",
        refusal: (
            "400 Bad Request",
            r#"{"error":true,"errors":{"probability":["A valid integer is required."]}}"#,
        ),
        success: ("201 Created", r#"{"id":1}"#),
    },
];

/// A sidecar with one route that writes `lead_score` into requests.
fn injecting(upstream: &Upstream, route: &str, format: &str) -> Running {
    let inject = format!("inject: {{request: [{{at: /lead_score, value: score, format: {format}}}]}}");
    let route = format!("routes:\n  - {{name: r, action: create, {route}, {inject}}}\n");
    Running::with(upstream.address, &(with_presets("") + &route), write_small_model)
}

#[test]
fn crm_13_a_refused_field_is_left_out_whatever_form_the_refusal_has() {
    for Refusal { route, path, body, refusal, success } in REFUSALS {
        let upstream = Upstream::start(move |request| {
            let (status, body) = if request.text().contains("lead_score") { refusal } else { success };
            answer(status, &[JSON], body)
        });
        let sidecar = injecting(&upstream, route, "{decimals: 4}");
        let body = body.replace("LEAD", KAY);
        let reply = sidecar.post(path, &body);
        assert_eq!((reply.header("leadwire"), reply.text()), (Some("scored"), success.1), "{path}");
        let injected = body.replace(KAY, &KAY.replace('}', r#","lead_score":0.7312}"#));
        let sent: Vec<String> = upstream.requests().iter().map(|request| request.text().to_owned()).collect();
        assert_eq!(sent, [injected, body.clone()], "{path}");
        sidecar.post(path, &body);
        assert_eq!(upstream.requests().len(), 3, "{path}: the injection rests");
        assert_eq!(sidecar.metric(r#"leadwire_injection_refused_total{route="r"}"#), 1.0);
        assert_eq!(logged(sidecar), ["r 1", "r 1"], "{path}");
    }
}

#[test]
fn crm_13_what_is_refused_without_the_field_too_pauses_nothing() {
    for Refusal { route, path, body, refusal, .. } in REFUSALS {
        let upstream = Upstream::start(move |_| answer(refusal.0, &[JSON], refusal.1));
        let sidecar = injecting(&upstream, route, "{decimals: 4}");
        let body = body.replace("LEAD", KAY);
        for sent in [2, 4] {
            let reply = sidecar.post(path, &body);
            assert_eq!((reply.header("leadwire"), reply.text()), (Some(REFUSED), refusal.1), "{path}");
            assert_eq!(upstream.requests().len(), sent, "{path}: it is tried again");
        }
        assert_eq!(logged(sidecar), [""; 0], "{path}");
    }
}

#[test]
fn crm_13_what_cannot_be_written_to_is_sent_as_it_is_and_once() {
    let route = "method: [POST], path: /xmlrpc/2/object, leads: '$.params[5][0]', ok: [{at: 'resp:/fault', absent: true}], id: {from: response, at: '/result/{i}'}";
    for (name, outcome, log) in
        [("node_odoo/002", "scored", &["r 1102"][..]), ("node_odoo/003", REFUSED, &[])]
    {
        let stage = Stage::new();
        let played = Played { sidecar: injecting(&stage.upstream, route, "{}"), stage };
        let Some(reply) = played.play(name) else { return };
        assert_eq!(reply.header("leadwire"), Some(outcome), "{name}");
        assert_eq!(played.stage.upstream.requests().len(), 1, "{name}");
        assert_eq!(logged(played.sidecar), log, "{name}");
    }
}

#[test]
fn a_lead_in_which_an_injected_field_stands_twice_goes_on_as_it_is() {
    let upstream = Upstream::start(|_| created("00Q1"));
    let sidecar = injecting(&upstream, REFUSALS[0].route, "{}");
    let body = REFUSALS[0].body.replace("LEAD", r#"{"LastName":"K","lead_score":1,"lead_score":2}"#);
    assert_eq!(sidecar.post(REFUSALS[0].path, &body).header("leadwire"), Some("skipped;reason=duplicate"));
    assert_eq!(upstream.request().text(), body);
}

#[test]
fn crm_13_a_crm_that_takes_four_digits_stores_them() {
    let tryton = &REFUSALS[6];
    let check = |format: &str, sent: &[bool]| {
        let upstream = Upstream::start(|request| {
            let score =
                request.text().split("\"lead_score\":").nth(1).map(|rest| rest.split('}').next().unwrap());
            let fits = score.is_none_or(|score| score.len() <= "0.7312".len());
            answer("200 OK", &[JSON], if fits { tryton.success.1 } else { tryton.refusal.1 })
        });
        let sidecar = injecting(&upstream, tryton.route, format);
        let reply = sidecar.post(tryton.path, &tryton.body.replace("LEAD", KAY));
        assert_eq!((reply.header("leadwire"), reply.text()), (Some("scored"), tryton.success.1));
        let requests = upstream.requests();
        let rounded = requests.iter().map(|request| request.text().contains(r#""lead_score":0.7312}"#));
        assert_eq!(rounded.collect::<Vec<_>>(), sent, "{format}");
    };
    check("{clamp: [0, 1], decimals: 4}", &[true]);
    // In full it is refused, and goes on without.
    check("{}", &[false, false]);
}

#[test]
fn crm_13_what_may_have_been_stored_is_never_sent_again() {
    let body = REFUSALS[0].body.replace("LEAD", KAY);
    let upstream = Upstream::start(|_| answer("500 Internal Server Error", &[], "oops"));
    let sidecar = injecting(&upstream, REFUSALS[0].route, "{}");
    assert_eq!((sidecar.post(CREATE, &body).status(), upstream.requests().len()), (500, 1));

    // It keeps the request and says nothing until the test is over.
    let (over, wait) = std::sync::mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let upstream = Upstream::start(move |_| {
        _ = wait.lock().unwrap().recv();
        Vec::new()
    });
    let config = with_presets("").replace("limits: {", "limits: {answer: 100ms, ");
    let route = format!(
        "routes: [{{name: r, action: create, {}, inject: {{request: [{{at: /lead_score, value: score}}]}}}}]\n",
        REFUSALS[0].route
    );
    let sidecar = Running::with(upstream.address, &(config + &route), write_small_model);
    assert_eq!(sidecar.post(CREATE, &body).status(), 504);
    assert_eq!(upstream.connections(), 1);
    drop(over);

    // Of two, one is accepted: neither had a score in it, and nothing is sent again.
    let partly = r#"[{"id":"1","success":true,"errors":[]},{"success":false,"errors":[{"statusCode":"INVALID_FIELD"}]}]"#;
    let upstream = Upstream::start(move |_| ok(partly));
    let sidecar = injecting(&upstream, REFUSALS[1].route, "{}");
    let body = REFUSALS[1].body.replace("LEAD", &format!("{KAY},{KAY}"));
    let reply = sidecar.post(REFUSALS[1].path, &body);
    assert_eq!((reply.header("leadwire"), reply.text()), (Some("scored"), partly));
    assert_eq!(upstream.request().text(), body);
    assert_eq!(logged(sidecar), ["r 1"]);
}

/// A composite of 200 records, those at `accounts` no leads, and its answer, in which those at `bad` are refused.
fn composite(accounts: impl Fn(usize) -> bool, bad: &[usize]) -> (String, String) {
    let record = |i| {
        let kind = if accounts(i) { "Account" } else { "Lead" };
        format!(
            r#"{{"attributes":{{"type":"{kind}"}},"LastName":"K{i}","Company":"Acme","AnnualRevenue":{}}}"#,
            i * 100
        )
    };
    let result = |i| {
        match bad.contains(&i) {
        true => r#"{"success":false,"errors":[{"statusCode":"INVALID_FIELD","message":"No such column","fields":[]}]}"#.to_owned(),
        false => format!(r#"{{"id":"id{i:03}","success":true,"errors":[]}}"#),
    }
    };
    let join = |item: &dyn Fn(usize) -> String| (0..200).map(item).collect::<Vec<_>>().join(",");
    let records = join(&record);
    (format!(r#"{{"allOrNone":false,"records":[{records}]}}"#), format!("[{}]", join(&result)))
}

/// Sends a composite: it goes on as it is, as does its answer, and the leads of these places are recorded by their ids.
fn check_composite((body, results): (String, String), accepted: impl Fn(usize) -> bool) {
    let upstream = in_turn(vec![ok(&results)]);
    let sidecar = start_presets(&upstream, "salesforce");
    let reply = sidecar.post("/services/data/v59.0/composite/sobjects", &body);
    assert_eq!((reply.header("leadwire"), reply.header("x-lead-score")), (Some("scored"), None));
    assert_eq!((upstream.request().text(), reply.text()), (body.as_str(), results.as_str()));
    let (store, _folder) = sidecar.stop();
    for i in 0..200 {
        let rows = store.scores_of(&format!("id{i:03}")).unwrap();
        assert_eq!(rows.len(), usize::from(accepted(i)), "{i}");
        // Each under the id of its own place.
        let expected = format!("\"K{i}\"");
        assert!(rows.iter().all(|row| row.features.contains(&expected)), "{i}: {rows:?}");
    }
    assert_eq!(store.score_count().unwrap(), (0..200).filter(|i| accepted(*i)).count() as u64);
}

#[test]
fn crm_14_duplicate_keys_and_composites_of_200_of_one_kind_and_of_two() {
    let upstream = in_turn(vec![created("00Q1")]);
    let sidecar = start_presets(&upstream, "salesforce");
    let twice = r#"{"LastName":"a","Company":"b","LastName":"c"}"#;
    assert_eq!(sidecar.post(CREATE, twice).header("leadwire"), Some("skipped;reason=duplicate"));
    assert_eq!(upstream.request().text(), twice);
    assert_eq!(logged(sidecar), [""; 0]);
    check_composite(composite(|_| false, &[]), |_| true);
    check_composite(composite(|i| i % 3 == 0, &[]), |i| i % 3 != 0);
}

#[test]
fn of_a_composite_of_200_with_three_bad_records_the_others_are_recorded() {
    let bad = [0, 57, 199];
    check_composite(composite(|_| false, &bad), |i| !bad.contains(&i));
}

#[test]
fn crm_15_secrets_are_written_nowhere() {
    let Some(captures) = Capture::all() else { return };
    // As long as what stood there, so that no Content-Length changes.
    let secrets = [("admin", "zQ7xV"), ("api_token=lab", "api_token=Wk9")];
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(&stage.upstream, folder.path());
    let mut told = 0;
    for capture in captures {
        let client = capture.name.split('/').next().unwrap();
        if !(client.contains("odoo") || client.contains("pipedrive")) {
            continue;
        }
        let mut request = String::from_utf8(capture.request).unwrap();
        for (recorded, secret) in secrets {
            told += request.matches(recorded).count();
            request = request.replace(recorded, secret);
        }
        stage.send(
            &capture.response,
            &mut Client::connect(process.listen.parse().unwrap()),
            request.as_bytes(),
        );
    }
    assert!(told >= 20, "{told} secrets sent");
    let metrics = Client::connect(process.admin.parse().unwrap()).exchange("GET", "/metrics", &[], b"");
    let mut written = [process.stop().into_bytes(), metrics.body].concat();
    for file in std::fs::read_dir(folder.path().join("state")).unwrap() {
        written.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let written = String::from_utf8_lossy(&written);
    for secret in ["zQ7xV", "Wk9"] {
        assert!(!written.contains(secret), "{secret} is written");
    }
    assert!(written.contains("odoo.create") && written.contains("ready"), "what is meant to be written is");
}

/// The binary, so that all its log lines are seen.
struct Process {
    child: std::process::Child,
    listen: String,
    admin: String,
    log: std::thread::JoinHandle<String>,
}

impl Process {
    fn start(upstream: &Upstream, folder: &std::path::Path) -> Self {
        write_small_model(&folder.join("models"));
        let file = folder.join("leadwire.yaml");
        let config = with_presets("odoo, pipedrive")
            .replace("listen: x", "listen: 127.0.0.1:0")
            .replace("admin: x", "admin: 127.0.0.1:0")
            .replace("upstream: x", &format!("upstream: http://{}", upstream.address))
            .replace("models: x", &format!("models: {}", folder.join("models").display()))
            .replace("state: x", &format!("state: {}", folder.join("state").display()));
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_leadwire"))
            .args(["run", "--log", "json", "--workers", "1", "-c"])
            .arg(&file)
            .env("LEADWIRE_LOG", "trace")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let ready = ready(&mut lines);
        let addresses: serde_json::Value = serde_json::from_str(&ready).unwrap();
        let address = |name: &str| addresses[name].as_str().unwrap().to_owned();
        let (listen, admin) = (address("listen"), address("admin"));
        let log = std::thread::spawn(move || lines.fold(ready, |log, line| log + "\n" + &line));
        Self { child, listen, admin, log }
    }

    /// Drains it; what it logged.
    fn stop(mut self) -> String {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        assert!(self.child.wait().unwrap().success());
        self.log.join().unwrap()
    }
}

#[test]
fn crm_16_a_change_of_one_or_two_fields_never_takes_the_place_of_a_score() {
    for (preset, create, change) in [
        ("salesforce", "sf_simple_salesforce/001", "sf_simple_salesforce/004"),
        ("hubspot", "hs_python/001", "hs_python/003"),
        ("pipedrive", "pipedrive_python/001", "pipedrive_python/002"),
    ] {
        // Of a lead that nobody has seen.
        check(preset, &[(change, FEATURES)], &[]);
        let played = Played::new(preset);
        let Some(created) = played.play(create) else { return };
        assert_eq!(created.header("leadwire"), Some("scored"));
        assert_eq!(played.play(change).unwrap().header("leadwire"), Some(FEATURES), "{preset}");
        assert_eq!(logged(played.sidecar).len(), 1, "{preset}");
    }
}

#[test]
fn reads_show_the_last_score_of_leads_that_are_known_and_after_a_restart_too() {
    let lists = ok(
        r#"{"totalSize":2,"done":true,"records":[{"attributes":{"type":"Lead"},"Id":"00Q1"},{"attributes":{"type":"Lead"},"Id":"00Q2"}]}"#,
    );
    let upstream =
        Upstream::start(move |request| match request.start.split(' ').collect::<Vec<_>>().as_slice() {
            ["POST", ..] => created("00Q1"),
            [_, path, _] if path.contains("/query") => lists.clone(),
            [_, path, _] => ok(&format!(r#"{{"Id":"{}"}}"#, path.rsplit('/').next().unwrap())),
            _ => Vec::new(),
        });
    let sidecar = start_presets(&upstream, "salesforce");
    let create = sidecar.post(CREATE, r#"{"LastName":"K","AnnualRevenue":20000}"#);
    assert_eq!(create.header("x-lead-score"), Some("73"));
    let check = |sidecar: &Running| {
        let read = |path: &str| {
            let reply = sidecar.client().exchange("GET", &format!("/services/data/v59.0/{path}"), &[], b"");
            (reply.text().to_owned(), reply.header("leadwire").unwrap().to_owned())
        };
        let (scored, passed) = ("scored".to_owned(), "passed".to_owned());
        let known = r#"{"Id":"00Q1","Lead_Score__c":73}"#.to_owned();
        assert_eq!(read("sobjects/Lead/00Q1"), (known, scored.clone()));
        assert_eq!(read("sobjects/Lead/00Q2"), (r#"{"Id":"00Q2"}"#.to_owned(), passed));
        let both = r#"{"totalSize":2,"done":true,"records":[{"attributes":{"type":"Lead"},"Id":"00Q1","Lead_Score__c":73},{"attributes":{"type":"Lead"},"Id":"00Q2"}]}"#;
        assert_eq!(read("query?q=SELECT+Id+FROM+Lead"), (both.to_owned(), scored));
    };
    check(&sidecar);
    let sidecar = sidecar.restart();
    check(&sidecar);
}

#[test]
fn hubspots_list_and_search_show_known_scores_in_chunks_and_in_gzip() {
    let list =
        r#"{"results":[{"id":"2","properties":{"email":"b@example.test"}},{"id":"1","properties":{}}]}"#;
    let (half, rest) = list.split_at(20);
    let chunks = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{half}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n",
        half.len(),
        rest.len()
    );
    let packed = gzip(list.as_bytes());
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        packed.len()
    );
    let created = answer("201 Created", &[JSON], r#"{"id":"1","properties":{}}"#);
    let upstream = in_turn(vec![created, chunks.into_bytes(), [head.as_bytes(), &packed].concat(), ok(list)]);
    let sidecar = start_presets(&upstream, "hubspot");
    let contacts = "/crm/v3/objects/contacts";
    let create = sidecar.post(contacts, r#"{"properties":{"lastname":"K","annualrevenue":"20,000"}}"#);
    assert_eq!(create.text(), r#"{"id":"1","properties":{"lead_score":"73"}}"#);
    let get = || sidecar.client().exchange("GET", contacts, &[("Accept-Encoding", "gzip")], b"");
    let search = || sidecar.post("/crm/v3/objects/contacts/search", r#"{"limit":2}"#);
    for (form, reply) in [("chunks", get()), ("gzip", get()), ("plain", search())] {
        let expected = list.replace(r#""properties":{}"#, r#""properties":{"lead_score":"73"}"#);
        assert_eq!((reply.text(), reply.header("leadwire")), (expected.as_str(), Some("scored")), "{form}");
    }
}

/// Creates a lead of 50 points and reads it: where `KNOWN` stands in an answer, the CRM has nothing and the client sees the score.
fn check_reads(preset: &str, create: Exchange<'_>, score: &str, reads: &[Exchange<'_>]) {
    let stage = Stage::new();
    let sidecar = start_presets(&stage.upstream, preset);
    let (method, path, body, response) = create;
    let (_, reply) = stage.play(&sidecar, &exchange(method, path, body, ok(response)));
    assert_eq!(
        (reply.header("leadwire"), reply.header("x-lead-score")),
        (Some("scored"), Some("50")),
        "{preset}"
    );
    for (method, path, body, response) in reads {
        let read = exchange(method, path, body, ok(&response.replace(",KNOWN", "")));
        let (request, reply) = stage.play(&sidecar, &read);
        assert_eq!(request.text(), *body, "{path}");
        assert_eq!(reply.text(), response.replace("KNOWN", score), "{preset} {path}");
        assert_eq!(reply.header("leadwire"), Some("scored"), "{preset} {path}");
    }
    let (store, _folder) = sidecar.stop();
    assert_eq!(store.score_count().unwrap(), 1, "{preset}: a read is no score");
}

#[test]
fn reads_of_hosted_crms_show_the_last_score_where_their_records_stand() {
    let guid = "3fe061e5-d125-4771-9aad-cec79a2bc3c2";
    let (list, one) = (
        format!(r#"{{"value":[{{"leadid":"x"}},{{"leadid":"{guid}",KNOWN}}]}}"#),
        format!(r#"{{"leadid":"{guid}",KNOWN}}"#),
    );
    let path = format!("/api/data/v9.2/leads({guid})");
    let batch = format!(r#"{{"Ids":["{guid}"]}}"#);
    check_reads(
        "dynamics",
        (
            "POST",
            "/api/data/v9.2/leads/Microsoft.Dynamics.CRM.CreateMultiple",
            r#"{"Targets":[{"lastname":"K"}]}"#,
            &batch,
        ),
        r#""new_leadscore":50"#,
        &[("GET", &path, "", &one), ("GET", "/api/data/v9.2/leads?$top=2", "", &list)],
    );
    check_reads(
        "zoho",
        (
            "POST",
            "/crm/v8/Leads",
            r#"{"data":[{"Last_Name":"K"}]}"#,
            r#"{"data":[{"details":{"id":"7"},"status":"success"}]}"#,
        ),
        r#""Lead_Score":50"#,
        &[
            ("GET", "/crm/v8/Leads/7", "", r#"{"data":[{"id":"7",KNOWN}]}"#),
            ("GET", "/crm/v8/Leads", "", r#"{"data":[{"id":"6"},{"id":"7",KNOWN}],"info":{"count":2}}"#),
        ],
    );
    check_reads(
        "pipedrive",
        ("POST", "/v1/leads", r#"{"person_id":1}"#, r#"{"success":true,"data":{"id":"7e1c"}}"#),
        r#""lead_score":50"#,
        &[
            ("GET", "/api/v1/leads/7e1c", "", r#"{"success":true,"data":{"id":"7e1c",KNOWN}}"#),
            ("GET", "/api/v1/leads", "", r#"{"success":true,"data":[{"id":"7e1c",KNOWN},{"id":"0"}]}"#),
            ("GET", "/v1/leads/7e1c?api_token=x", "", r#"{"success":true,"data":{"id":"7e1c",KNOWN}}"#),
            ("GET", "/v1/leads", "", r#"{"success":true,"data":[{"id":"7e1c",KNOWN},{"id":"0"}]}"#),
        ],
    );
}

#[test]
fn reads_of_self_hosted_crms_show_the_last_score_where_their_records_stand() {
    check_reads(
        "espocrm",
        ("POST", "/api/v1/Lead", r#"{"lastName":"K"}"#, r#"{"id":"65x"}"#),
        r#""cLeadScore":50"#,
        &[
            ("GET", "/api/v1/Lead/65x", "", r#"{"id":"65x",KNOWN}"#),
            ("GET", "/api/v1/Lead", "", r#"{"total":2,"list":[{"id":"1"},{"id":"65x",KNOWN}]}"#),
        ],
    );
    let suite = r#"{"data":{"type":"Lead","id":"7e1c","attributes":{"a":1,KNOWN}}}"#;
    let list =
        r#"{"data":[{"type":"Lead","id":"7e1c","attributes":{"a":1,KNOWN}},{"id":"0","attributes":{}}]}"#;
    check_reads(
        "suitecrm",
        (
            "POST",
            "/Api/V8/module",
            r#"{"data":{"type":"Leads","attributes":{"last_name":"K"}}}"#,
            r#"{"data":{"id":"7e1c","attributes":{}}}"#,
        ),
        r#""lead_score_c":"50""#,
        &[
            ("GET", "/Api/V8/module/Leads/7e1c", "", suite),
            ("GET", "/Api/V8/module/Leads", "", list),
            ("GET", "/legacy/Api/V8/module/Leads/7e1c", "", suite),
            ("GET", "/legacy/Api/V8/module/Leads", "", list),
        ],
    );
    let call = r#"{"params":{"model":"crm.lead","args":[[7]],"kwargs":{}}}"#;
    let records = r#"{"result":{"length":2,"records":[{"id":7,KNOWN},{"id":8}]}}"#;
    check_reads(
        "odoo",
        ("POST", "/json/2/crm.lead/create", r#"{"vals_list":[{"name":"K"}]}"#, "[7]"),
        r#""x_lead_score":50"#,
        &[
            ("POST", "/web/dataset/call_kw/crm.lead/read", call, r#"{"result":[{"id":7,KNOWN},{"id":8}]}"#),
            ("POST", "/web/dataset/call_kw/crm.lead/web_search_read", call, records),
        ],
    );
    check_reads(
        "frappe",
        ("POST", "/api/resource/CRM%20Lead", r#"{"last_name":"K"}"#, r#"{"data":{"name":"L-1"}}"#),
        r#""custom_lead_score":50"#,
        &[
            ("GET", "/api/resource/CRM%20Lead/L-1", "", r#"{"data":{"name":"L-1",KNOWN}}"#),
            ("GET", "/api/resource/CRM%20Lead", "", r#"{"data":[{"name":"L-1",KNOWN},{"name":"L-2"}]}"#),
        ],
    );
}
