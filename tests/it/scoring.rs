//! Traffic that is ours: leads are scored once, the score is written where the route says, and every other byte stays.

use leadwire::leadlog::Store;

use crate::support::{
    CONFIG, CREATE, LEAD, Message, Running, Upstream, answer, copy_folder, created, shipped_model, wait,
};

const ID: &str = "00Q8d0000000000001";

/// An upstream that accepts every lead.
fn crm() -> Upstream {
    Upstream::start(|_| created(ID))
}

/// The shipped configuration with other routes.
pub fn config(routes: &str) -> String {
    let (before, rest) = CONFIG.split_once("\nroutes:\n").unwrap();
    let (_, features) = rest.split_once("\nfeatures:\n").unwrap();
    let (features, _) = features.split_once("\noutcomes:\n").unwrap();
    format!("{before}\nroutes:\n{routes}\nfeatures:\n{features}\n")
        .replace("presets: [salesforce]", "presets: []")
}

pub fn start(upstream: &Upstream, routes: &str) -> Running {
    Running::with(upstream.address, &config(routes), |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
    })
}

#[test]
fn a_created_lead_is_scored_into_headers_and_answer_and_recorded_under_the_answers_id() {
    let upstream = crm();
    let sidecar = Running::start(upstream.address);
    let spoofed = [
        ("Content-Type", "application/json"),
        ("X-Lead-Score", "100"),
        ("Leadwire", "scored"),
        ("Accept-Encoding", "gzip"),
    ];
    let reply = sidecar.client().exchange("POST", CREATE, &spoofed, LEAD.as_bytes());
    let request = upstream.request();
    assert_eq!(request.text(), LEAD, "the request's body is not touched");
    let forged = ["x-lead-score", "leadwire"].map(|name| request.header(name));
    assert_eq!((forged, request.header("accept-encoding")), ([None, None], Some("gzip")));
    let points: u8 = reply.header("x-lead-score").unwrap().parse().unwrap();
    assert_eq!(
        reply.text(),
        format!(r#"{{"id":"{ID}","success":true,"errors":[],"Lead_Score__c":{points}}}"#)
    );
    assert_eq!(reply.header("content-length"), Some(reply.body.len().to_string().as_str()));
    assert_eq!(
        (reply.status(), reply.header("leadwire"), reply.header("x-lead-model")),
        (201, Some("scored"), Some("lead/1"))
    );
    let names: Vec<&str> = reply.headers.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["X-Lead-Score", "X-Lead-Grade", "X-Lead-Model", "Leadwire"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let version = leadwire::registry::Version::load(&shipped_model()).unwrap();
    assert_eq!(sidecar.metric(r#"leadwire_requests_total{route="lead.create",outcome="scored"}"#), 1.0);
    assert_eq!(sidecar.metric(r#"leadwire_score_count{model="lead",version="1",arm="champion"}"#), 1.0);
    let (store, _folder) = sidecar.stop();
    let [row] = store.scores_of(ID).unwrap().try_into().unwrap();
    assert_eq!((row.score * 100.0).round() as u8, points);
    assert_eq!(row.grade, reply.header("x-lead-grade").unwrap());
    assert_eq!(
        (row.route.as_str(), row.arm.as_str(), row.decision.as_str()),
        ("lead.create", "champion", "response")
    );
    assert_eq!(
        (row.model.as_str(), row.version.as_str(), row.digest.as_str()),
        ("lead", "1", &*version.id.digest)
    );
    let features: serde_json::Value = serde_json::from_str(&row.features).unwrap();
    assert_eq!(
        (&features["age"], &features["job"], features.as_object().unwrap().len()),
        (&56.0.into(), &"housemaid".into(), 20)
    );
    assert!(row.latency_ns > 0);
}

#[test]
fn nothing_of_a_lead_but_its_features_and_id_is_stored() {
    let upstream = crm();
    let sidecar = Running::start(upstream.address);
    let lead = LEAD.replace("Lead00000", "Zweistein").replace("[not provided]", "Geheim GmbH");
    let headers = [("Authorization", "Bearer geheim-token"), ("Content-Type", "application/json")];
    assert_eq!(
        sidecar.client().exchange("POST", CREATE, &headers, lead.as_bytes()).header("leadwire"),
        Some("scored")
    );
    let metrics = sidecar.admin("/metrics");
    let (_, folder) = sidecar.stop();
    let mut everything = metrics.into_bytes();
    for file in std::fs::read_dir(folder.path().join("state")).unwrap() {
        everything.extend(std::fs::read(file.unwrap().path()).unwrap());
    }
    let text = String::from_utf8_lossy(&everything);
    for secret in ["Zweistein", "Geheim", "geheim-token"] {
        assert!(!text.contains(secret), "{secret} is stored");
    }
    assert!(text.contains("housemaid"), "features are");
}

const INJECT: &str = r#"
  - name: lead.create
    method: [POST]
    path: /services/data/{version}/sobjects/Lead
    id: {from: response, at: /id}
    action: create
    inject:
      request:
        - {at: /Lead_Score__c, value: score, format: {clamp: [0, 1], decimals: 4}}
        - {at: /Status, value: grade}
"#;

#[test]
fn a_score_goes_into_the_request_and_every_other_byte_stays() {
    let upstream = crm();
    let sidecar = start(&upstream, INJECT);
    let lead = LEAD.replacen('{', "{ \"Odd\" : 12000.00,\"Odd\":1e2,\n", 1);
    let reply = sidecar.post(CREATE, &lead);
    assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
    assert_eq!(reply.text(), String::from_utf8(created(ID)).unwrap().split("\r\n\r\n").nth(1).unwrap());
    let request = upstream.request();
    let sent: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let (score, grade) = (&sent["Lead_Score__c"], sent["Status"].as_str().unwrap());
    let expected = lead.replace("\"Status\":\"Open - Not Contacted\"", &format!("\"Status\":\"{grade}\""));
    assert_eq!(
        request.text(),
        format!("{},\"Lead_Score__c\":{score}}}", expected.strip_suffix('}').unwrap())
    );
    assert_eq!(request.header("content-length"), Some(request.body.len().to_string().as_str()));
    let (store, _folder) = sidecar.stop();
    let row = &store.scores_of(ID).unwrap()[0];
    assert_eq!(row.decision, "request");
    assert!((row.score - score.as_f64().unwrap()).abs() < 5.1e-5);
}

/// What the CRM says of a field it does not know.
fn picky(request: &Message) -> Vec<u8> {
    if request.text().contains("Lead_Score__c") {
        let body = r#"[{"message":"No such column 'Lead_Score__c'","errorCode":"INVALID_FIELD"}]"#;
        return answer("400 Bad Request", &[("Content-Type", "application/json")], body);
    }
    created(ID)
}

#[test]
fn a_refused_field_is_left_out_once_and_then_for_a_while() {
    let upstream = Upstream::start(picky);
    let sidecar = start(&upstream, INJECT);
    let reply = sidecar.post(CREATE, LEAD);
    assert_eq!(
        (reply.status(), reply.header("leadwire")),
        (201, Some("scored")),
        "the client sees the success only"
    );
    assert_eq!(upstream.requests().len(), 2);
    assert_eq!(upstream.requests()[1].text(), LEAD, "the original bytes, once");
    assert_eq!(sidecar.post(CREATE, LEAD).status(), 201);
    assert_eq!(upstream.requests().len(), 3, "the injection rests");
    assert_eq!(sidecar.metric(r#"leadwire_injection_refused_total{route="lead.create"}"#), 1.0);
    let (store, _folder) = sidecar.stop();
    let decisions: Vec<String> = store.scores_of(ID).unwrap().into_iter().map(|row| row.decision).collect();
    assert_eq!(decisions, ["recorded", "recorded"]);
}

#[test]
fn a_request_refused_without_the_field_too_pauses_nothing() {
    let upstream = Upstream::start(|_| answer("400 Bad Request", &[], "[]"));
    let sidecar = start(&upstream, INJECT);
    for sent in [2, 4] {
        let reply = sidecar.post(CREATE, LEAD);
        assert_eq!((reply.status(), reply.header("leadwire")), (400, Some("skipped;reason=refused")));
        assert_eq!(upstream.requests().len(), sent);
    }
    assert_eq!(sidecar.metric(r#"leadwire_injection_refused_total{route="lead.create"}"#), 0.0);
    assert_eq!(sidecar.stop().0.score_count().unwrap(), 0, "only accepted leads are recorded");
}

#[test]
fn after_a_server_error_nothing_is_sent_again() {
    let upstream = Upstream::start(|_| answer("500 Internal Server Error", &[], "oops"));
    let sidecar = start(&upstream, INJECT);
    let reply = sidecar.post(CREATE, LEAD);
    assert_eq!((reply.status(), reply.text(), upstream.requests().len()), (500, "oops", 1));
}

#[test]
fn a_collection_scores_its_leads_and_records_the_accepted_ones() {
    let upstream = Upstream::start(|_| {
        let body = r#"[{"id":"001A","success":true,"errors":[]},{"id":"00Q1","success":true,"errors":[]},
            {"success":false,"errors":[{"statusCode":"INVALID_FIELD"}]},{"id":"00Q3","success":true,"errors":[]}]"#;
        answer("200 OK", &[("Content-Type", "application/json")], body)
    });
    let sidecar = Running::start(upstream.address);
    let record = |kind: &str| LEAD.replacen('{', &format!(r#"{{"attributes":{{"type":"{kind}"}},"#), 1);
    let records = [record("Account"), record("Lead"), record("Lead"), record("Lead")].join(", ");
    let body = format!(r#"{{"allOrNone": false, "records": [{records}]}}"#);
    let reply = sidecar.post("/services/data/v59.0/composite/sobjects/", &body);
    assert_eq!(upstream.request().text(), body);
    assert_eq!(
        (reply.header("leadwire"), reply.header("x-lead-score")),
        (Some("scored"), Some("2,2")),
        "of those that were accepted, in their order"
    );
    let (store, _folder) = sidecar.stop();
    let recorded = ["001A", "00Q1", "00Q3"].map(|id| store.scores_of(id).unwrap().len());
    assert_eq!((recorded, store.score_count().unwrap()), ([0, 1, 1], 2));
}

#[test]
fn an_update_without_the_required_features_is_not_scored_but_its_outcome_is_recorded() {
    let upstream = Upstream::start(|_| answer("204 No Content", &[], ""));
    let sidecar = Running::start(upstream.address);
    let update = |body: &str| {
        let path = format!("{CREATE}/{ID}");
        sidecar.client().exchange("PATCH", &path, &[("Content-Type", "application/json")], body.as_bytes())
    };
    let partial = update(r#"{"Status":"Closed - Converted","IsConverted":true}"#);
    assert_eq!((partial.status(), partial.header("leadwire")), (204, Some("skipped;reason=features")));
    assert_eq!((partial.header("content-length"), partial.body.len()), (None, 0));
    let whole = update(LEAD);
    assert_eq!((whole.status(), whole.header("leadwire")), (204, Some("scored")));
    assert!(whole.header("x-lead-score").is_some());
    let (store, _folder): (Store, _) = sidecar.stop();
    let outcome = store.outcome_of(ID).unwrap().unwrap();
    assert_eq!((outcome.won, outcome.route.as_str(), outcome.revenue), (true, "lead.update", None));
    assert_eq!(store.scores_of(ID).unwrap().len(), 1);
}

#[test]
fn a_change_is_scored_with_what_was_last_seen_of_its_lead() {
    let upstream = Upstream::start(|request| match request.start.starts_with("POST") {
        true => created(ID),
        false => answer("204 No Content", &[], ""),
    });
    let sidecar = Running::start(upstream.address);
    let path = format!("{CREATE}/{ID}");
    // One connection, and so one worker: two may score within a millisecond.
    let mut client = sidecar.client();
    let mut send = |method: &str, path: &str, body: &str| {
        client.exchange(method, path, &[("Content-Type", "application/json")], body.as_bytes())
    };
    let outcome = |message: &Message| message.header("leadwire").unwrap().to_owned();
    let five = r#"{"campaign__c":5}"#;
    assert_eq!(outcome(&send("PATCH", &path, five)), "skipped;reason=features", "never seen");
    assert_eq!(outcome(&send("POST", CREATE, LEAD)), "scored");
    assert_eq!(outcome(&send("PATCH", &path, five)), "scored");
    let status = r#"{"Status":"Open"}"#;
    assert_eq!(outcome(&send("PATCH", &path, status)), "skipped;reason=features", "no feature changes");
    let whole = send("PATCH", &path, &LEAD.replace(r#""campaign__c":1.0"#, r#""campaign__c":5"#));
    assert_eq!(outcome(&whole), "scored");
    let cleared = r#"{"campaign__c":null}"#;
    assert_eq!(outcome(&send("PATCH", &path, cleared)), "skipped;reason=features", "no longer what it was");
    let (store, _folder) = sidecar.stop();
    let [first, change, whole] = store.scores_of(ID).unwrap().try_into().unwrap();
    assert_ne!(first.features, change.features);
    assert_eq!((&change.features, change.score), (&whole.features, whole.score));
}

#[test]
fn a_trend_is_told_against_the_lead_log_even_after_a_restart() {
    let upstream = Upstream::start(|_| answer("200 OK", &[("Content-Type", "application/json")], "{}"));
    let routes = r#"
  - name: lead.put
    method: [PUT]
    path: /leads/{id}
    id: {from: "path:id"}
    action: upsert
    inject:
      headers: {X-Trend: trend, X-Score: points}
      response: [{at: /trend, value: trend}]
"#;
    let hot = LEAD
        .replace(r#""poutcome__c":"nonexistent""#, r#""poutcome__c":"success""#)
        .replace(r#""pdays__c":999.0"#, r#""pdays__c":3"#)
        .replace(r#""nr_employed__c":5191.0"#, r#""nr_employed__c":5017"#)
        .replace(r#""euribor3m__c":4.857"#, r#""euribor3m__c":0.75"#);
    let trend = |sidecar: &Running, body: &str| {
        let json = [("Content-Type", "application/json")];
        let reply = sidecar.client().exchange("PUT", "/leads/7", &json, body.as_bytes());
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        let (in_header, in_body) = (reply.header("x-trend"), body["trend"].as_str());
        assert_eq!(in_header, in_body);
        in_header.map(str::to_owned)
    };
    let sidecar = start(&upstream, routes);
    let told = [LEAD, LEAD, &hot, &hot].map(|body| trend(&sidecar, body));
    assert_eq!(
        told.each_ref().map(Option::as_deref),
        [None, Some("steady"), Some("improving"), Some("steady")]
    );
    let (store, folder) = sidecar.stop();
    assert_eq!(store.scores_of("7").unwrap().len(), 4);
    let log = folder.path().join("state/leads.sqlite");
    let sidecar = Running::with(upstream.address, &config(routes), |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
        std::fs::create_dir(models.parent().unwrap().join("state")).unwrap();
        std::fs::copy(&log, models.parent().unwrap().join("state/leads.sqlite")).unwrap();
    });
    // The log is read beside the traffic.
    wait("the log to be read", || sidecar.metric("leadwire_leads_known") == 1.0);
    assert_eq!(trend(&sidecar, LEAD).as_deref(), Some("declining"));
}

#[test]
fn an_id_may_come_from_a_header_of_the_answer() {
    let upstream = Upstream::start(|_| {
        answer(
            "204 No Content",
            &[("OData-EntityId", "https://crm/api/data/v9.2/leads(11111111-2222-3333-4444-555555555555)")],
            "",
        )
    });
    let routes = r#"
  - name: dynamics.create
    method: [POST]
    path: /api/data/{v}/leads
    content: json
    id: {from: "header:OData-EntityId", regex: 'leads\(([0-9A-Fa-f-]{36})\)'}
    action: create
"#;
    let sidecar = start(&upstream, routes);
    assert_eq!(sidecar.post("/api/data/v9.2/leads", LEAD).status(), 204);
    assert_eq!(sidecar.stop().0.scores_of("11111111-2222-3333-4444-555555555555").unwrap().len(), 1);
}

#[test]
fn predicates_tell_requests_to_one_path_apart() {
    let upstream = Upstream::start(|_| answer("200 OK", &[], r#"{"jsonrpc":"2.0","id":1,"result":42}"#));
    let routes = r#"
  - name: odoo.create
    method: [POST]
    path: /jsonrpc
    when: [{at: /params/method, in: [execute, execute_kw]}, {at: "$.params.args[3]", eq: crm.lead}, {at: "header:x-db", exists: true}]
    leads: $.params.args[5]
    ok: [{at: "resp:/error", absent: true}]
    id: {from: response, at: "/result/{i}"}
    action: create
"#;
    let sidecar = start(&upstream, routes);
    let call = |method: &str| {
        format!(r#"{{"params":{{"method":"{method}","args":["db",2,"pw","crm.lead","create",{LEAD}]}}}}"#)
    };
    let post =
        |body: &str, db: &str| sidecar.client().exchange("POST", "/jsonrpc", &[(db, "1")], body.as_bytes());
    assert_eq!(post(&call("execute"), "X-Db").header("leadwire"), Some("scored"));
    assert_eq!(post(&call("read"), "X-Db").header("leadwire"), None, "no predicate, no route");
    assert_eq!(post(&call("execute"), "X-Other").header("leadwire"), None);
    assert_eq!(sidecar.stop().0.scores_of("42").unwrap().len(), 1);
}

#[test]
fn a_signed_body_is_left_alone_both_ways() {
    let upstream = crm();
    let routes = INJECT.to_owned()
        + "      response: [{at: /score, value: points}]\n      headers: {X-S: points}\n    signed_by: X-Signature\n";
    let sidecar = start(&upstream, &routes);
    let reply = sidecar.client().exchange("POST", CREATE, &[("X-Signature", "ab")], LEAD.as_bytes());
    assert_eq!(upstream.request().text(), LEAD);
    assert_eq!(reply.text(), String::from_utf8(created(ID)).unwrap().split("\r\n\r\n").nth(1).unwrap());
    assert!(reply.header("x-s").is_some(), "headers are written");
}

#[test]
fn a_chunked_body_stays_chunked_and_a_byte_order_mark_stays_where_it_is() {
    let upstream = crm();
    let sidecar = start(&upstream, INJECT);
    let mut client = sidecar.client();
    let lead = format!("\u{feff}{LEAD}");
    let (a, b) = lead.as_bytes().split_at(100);
    client
        .send(format!("POST {CREATE} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes());
    for part in [a, b] {
        client.send(&[format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
    }
    client.send(b"0\r\n\r\n");
    assert_eq!(client.receive().header("leadwire"), Some("scored"));
    let request = upstream.request();
    assert_eq!(
        (request.header("transfer-encoding"), request.header("content-length")),
        (Some("chunked"), None)
    );
    assert!(request.text().starts_with("\u{feff}{\"LastName\"") && request.text().contains("Lead_Score__c"));
}

#[test]
fn reasons_are_written_where_a_route_asks_for_them() {
    let upstream = crm();
    let route = INJECT.replace(
        "    inject:\n",
        "    inject:\n      headers: {X-Lead-Reasons: reasons}\n      response: [{at: /Lead_Reasons__c, value: reasons}]\n",
    );
    let sidecar = start(&upstream, &route);
    let reply = sidecar.post(CREATE, LEAD);
    let told = reply.header("x-lead-reasons").unwrap();
    let body: serde_json::Value = serde_json::from_str(reply.text()).unwrap();
    assert_eq!(body["Lead_Reasons__c"], told);
    let reasons: Vec<&str> = told.split("; ").collect();
    assert!((1..=6).contains(&reasons.len()), "{told}");
    for reason in reasons {
        assert!(reason.contains(": ") && (reason.ends_with(" +") || reason.ends_with(" -")), "{told}");
    }
    assert!(!told.contains("93.994") && told.contains("cons price idx: high"), "bands, not values: {told}");
}

#[test]
fn reasons_go_into_the_request_too() {
    let upstream = crm();
    let route = INJECT.replace("value: grade", "value: reasons");
    let sidecar = start(&upstream, &route);
    assert_eq!(sidecar.post(CREATE, LEAD).header("leadwire"), Some("scored"));
    let sent: serde_json::Value = serde_json::from_slice(&upstream.request().body).unwrap();
    assert!(sent["Status"].as_str().unwrap().contains("cons price idx: high"), "{sent}");
}

#[test]
fn a_success_that_cannot_be_read_is_never_sent_again() {
    let upstream = Upstream::start(|_| answer("200 OK", &[("Content-Type", "text/html")], "<p>maybe</p>"));
    let routes = INJECT.replace("    action:", "    ok: [{at: resp:/error, absent: true}]\n    action:");
    let sidecar = start(&upstream, &routes);
    let reply = sidecar.post(CREATE, LEAD);
    assert_eq!((reply.status(), reply.text(), upstream.requests().len()), (200, "<p>maybe</p>", 1));
    assert_eq!(sidecar.stop().0.score_count().unwrap(), 0, "nobody knows whether it is stored");
}

#[test]
fn a_batch_with_one_lead_is_not_injected_and_so_never_sent_twice() {
    let upstream = Upstream::start(|_| answer("400 Bad Request", &[], "[]"));
    let routes = r#"
  - name: lead.collection
    method: [POST]
    path: /batch
    leads: "$.records[?@.type=='Lead']"
    action: create
    inject: {request: [{at: /Lead_Score__c, value: points}]}
"#;
    let sidecar = start(&upstream, routes);
    let lead = LEAD.replacen('{', r#"{"type":"Lead","#, 1);
    let body = format!(r#"{{"records":[{{"type":"Account"}},{lead}]}}"#);
    assert_eq!(sidecar.post("/batch", &body).status(), 400);
    assert_eq!(upstream.request().text(), body);
}

#[test]
fn a_checkbox_is_read_as_the_word_it_stands_for() {
    let upstream = crm();
    let sidecar = start(
        &upstream,
        "  - {name: r, method: [POST], path: /r, action: create, inject: {headers: {X-S: score}}}",
    );
    let score = |housing: &str| {
        let lead = LEAD.replace(r#""housing__c":"no""#, &format!(r#""housing__c":{housing}"#));
        sidecar.post("/r", &lead).header("x-s").unwrap().to_owned()
    };
    let [no, yes, other] = ["\"no\"", "\"yes\"", "\"unheard of\""].map(score);
    assert_eq!(["false", "true"].map(score), [no.clone(), yes.clone()]);
    assert!(no != yes && other != no);
}

#[test]
fn routes_to_one_path_may_differ_by_method_and_by_content() {
    let upstream = crm();
    let routes = r#"
  - {name: list, method: [GET], path: /leads/all, action: read}
  - {name: one, method: [POST], path: "/leads/{id}", action: create}
  - {name: form, method: [POST], path: /both, content: form, action: create, inject: {headers: {X-Form: points}}}
  - {name: json, method: [POST], path: /both, content: json, action: create, inject: {headers: {X-Json: points}}}
"#;
    let sidecar = start(&upstream, routes);
    assert_eq!(sidecar.post("/leads/all", LEAD).header("leadwire"), Some("scored"));
    let both = sidecar.post("/both", LEAD);
    assert!(both.header("x-json").is_some() && both.header("x-form").is_none());
    let form = sidecar.client().exchange(
        "POST",
        "/both",
        &[("Content-Type", "application/x-www-form-urlencoded")],
        b"a=b",
    );
    assert!(form.header("leadwire").is_some_and(|value| value.starts_with("skipped;reason=")));
}

#[test]
fn a_route_without_scores_says_that_it_passed_and_the_crms_own_headers_stay() {
    let upstream = Upstream::start(|_| answer("200 OK", &[("X-Lead-Score", "the CRM's own")], "{}"));
    let routes = "  - {name: fate, method: [POST], path: /fate, action: outcome}\n  - {name: r, method: [POST], path: /r, action: create, inject: {headers: {X-Lead-Score: points}}}\n";
    let sidecar = start(&upstream, routes);
    assert_eq!(sidecar.post("/fate", "{}").header("leadwire"), Some("passed"));
    let skipped = sidecar.post("/r", "{}");
    assert_eq!(skipped.header("leadwire"), Some("skipped;reason=features"));
    assert_eq!(skipped.header("x-lead-score"), Some("the CRM's own"));
}
