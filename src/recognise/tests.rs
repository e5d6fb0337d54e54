//! What the whole room promises: each kind of rule, on the bytes that real clients sent where they are at hand.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::Value as Json;

use super::*;
use crate::{
    config::Config,
    goldens,
    lead::{Alias, Feedback, FeedbackReason, Outcome, Skip, Value, Verdict},
};

const RULES: &str = include_str!("../../tests/data/rules.yaml");

/// A request and its answer.
#[derive(Clone)]
struct Exchange {
    method: Method,
    target: String,
    headers: HeaderMap,
    body: String,
    status: u16,
    answer_headers: HeaderMap,
    answer: String,
}

/// What is made of an exchange.
#[derive(Debug, Default, PartialEq)]
struct Told {
    route: String,
    /// The ids of each accepted lead.
    ids: Vec<Vec<String>>,
    outcomes: Vec<Outcome>,
    aliases: Vec<Alias>,
    feedback: Vec<Feedback>,
    records: Vec<String>,
    values: Vec<Value<'static>>,
}

fn exchange(request: &str, body: &str, status: u16, answer: &str) -> Exchange {
    let (method, target) = request.split_once(' ').unwrap();
    Exchange {
        method: method.parse().unwrap(),
        target: target.to_owned(),
        headers: HeaderMap::new(),
        body: body.to_owned(),
        status,
        answer_headers: HeaderMap::new(),
        answer: answer.to_owned(),
    }
}

/// A recorded exchange, by folder and number.
fn recorded(folder: &str, number: &str) -> Option<Exchange> {
    let index = goldens::json(&format!("captures/crm/{folder}/client/index.json"))?;
    let all = index.as_array().unwrap();
    let one = all.iter().find(|one| one["file"].as_str().unwrap().starts_with(number)).unwrap();
    let text = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
    let headers = |key: &str| {
        let pairs = one[key].as_array().unwrap().iter();
        let pair = |pair: &Json| {
            let name: HeaderName = pair[0].as_str().unwrap().parse().unwrap();
            (name, pair[1].as_str().unwrap().parse::<HeaderValue>().unwrap())
        };
        pairs.map(pair).collect::<HeaderMap>()
    };
    Some(Exchange {
        method: text("method").parse().unwrap(),
        target: text("target"),
        headers: headers("request_headers"),
        body: text("request_body"),
        status: u16::try_from(one["status"].as_u64().unwrap()).unwrap(),
        answer_headers: headers("response_headers"),
        answer: text("response_body"),
    })
}

fn recogniser(yaml: &str) -> Recogniser {
    Recogniser::new(&Config::parse(yaml, &|_| None).unwrap_or_else(|problems| panic!("{problems}")))
}

/// Takes an exchange all the way; an error is why the request is skipped, `None` that it is not ours.
fn told(recogniser: &Recogniser, exchange: &Exchange) -> Result<Option<Told>, Skip> {
    let (path, query) = exchange
        .target
        .split_once('?')
        .map_or((&*exchange.target, None), |(path, query)| (path, Some(query)));
    let head = RequestHead { method: &exchange.method, path, query, headers: &exchange.headers };
    let Some(candidates) = recogniser.candidates(head) else { return Ok(None) };
    candidates.precheck().map_err(|skipped| skipped.reason)?;
    let (mut scratch, mut values) = (Scratch::default(), Vec::new());
    let mut made = String::new();
    let view = match candidates.needs_body() {
        true => candidates.view(exchange.body.as_bytes(), &mut made).map_err(|skipped| skipped.reason)?,
        false => Some(View::json("")),
    };
    let Some(view) = view else { return Ok(None) };
    let read = recogniser.read(&candidates, view, &mut scratch, &mut values);
    let Some(route) = read.map_err(|skipped| skipped.reason)? else { return Ok(None) };
    let mut tape = Tape::default();
    let doc = tape.scan(&exchange.answer).is_ok().then(|| Doc::new(&exchange.answer, &tape));
    let status = StatusCode::from_u16(exchange.status).unwrap();
    let answer = Answer { status, headers: &exchange.answer_headers, doc };
    let pairs = route.pairs(&scratch.notes, answer);
    let ids = scratch.leads.iter().filter_map(|lead| {
        let item = pairs.of(lead.item, lead.key.as_deref()).ok()?;
        let id = lead.id.clone().or_else(|| route.answered_id(answer, item));
        let all = id.iter().chain(&lead.more_ids).map(ToString::to_string).collect();
        route.accepted(answer, item).then_some(all)
    });
    Ok(Some(Told {
        route: route.name.to_string(),
        ids: ids.collect(),
        outcomes: route.outcomes(&scratch.notes, answer),
        aliases: route.aliases(&scratch.notes, answer),
        feedback: route.feedback(&scratch.notes, answer),
        records: route.records(&scratch.notes, answer).iter().map(|record| record.id.to_string()).collect(),
        values: values.into_iter().map(Value::into_owned).collect(),
    }))
}

/// As [`told`], by the rules of the test file.
fn ruled(exchange: &Exchange) -> Told {
    told(&recogniser(RULES), exchange).unwrap().unwrap()
}

fn check_ids(exchange: &Exchange, route: &str, expected: &[&[&str]]) {
    let told = ruled(exchange);
    assert_eq!(told.route, route, "{}", exchange.target);
    assert_eq!(told.ids, expected, "{} {}", exchange.target, exchange.body);
}

fn won(lead: &str, revenue: Option<f64>, via_alias: bool) -> Outcome {
    Outcome { revenue, via_alias, ..Outcome::new(lead, true) }
}

const WRITE: &str = r#"{"id":8,"method":"model.sale.opportunity.write","params":[[12],{"amount":{"__class__":"Decimal","decimal":"2000"}},[13,14],{"amount":{"__class__":"Decimal","decimal":"3000"}},{"language":"en"}]}"#;

#[test]
fn a_write_of_two_pairs_is_two_leads_for_three_ids() {
    let write = exchange("POST /lab/rpc/", WRITE, 200, r#"{"id":8,"result":null}"#);
    check_ids(&write, "tryton.write", &[&["12"], &["13", "14"]]);
    let amounts = ruled(&write).values;
    let number = |amount: f64| Value::Number(amount);
    assert_eq!(amounts, [number(2000.0), Value::Missing, number(3000.0), Value::Missing]);
    let refused = exchange("POST /lab/rpc", WRITE, 200, r#"{"id":8,"error":["'lead_score'",""]}"#);
    check_ids(&refused, "tryton.write", &[]);
}

#[test]
fn odoo_creates_one_or_a_list() {
    for (number, expected) in
        [("003", vec!["1045"]), ("004", vec!["1046", "1047", "1048", "1049", "1050"]), ("005", vec![])]
    {
        let Some(exchange) = recorded("odoo_odoorpc", number) else { return };
        let expected: Vec<Vec<&str>> = expected.into_iter().map(|id| vec![id]).collect();
        let expected: Vec<&[&str]> = expected.iter().map(Vec::as_slice).collect();
        check_ids(&exchange, "odoo.execute", &expected);
    }
    let call = |method: &str, args: &str| {
        format!(r#"{{"params":{{"method":"{method}","args":["db",2,"pw","crm.lead","create",{args}]}}}}"#)
    };
    let of_one = exchange("POST /jsonrpc", &call("execute_kw", r#"[{"name":"x"}]"#), 200, r#"{"result":7}"#);
    check_ids(&of_one, "odoo.execute_kw", &[&["7"]]);
    let two = call("execute_kw", r#"[[{"name":"x"},{"name":"y"}]]"#);
    let of_two = exchange("POST /jsonrpc", &two, 200, r#"{"result":[7,8]}"#);
    check_ids(&of_two, "odoo.execute_kw", &[&["7"], &["8"]]);
}

#[test]
fn odoo_tells_what_became_of_ids() {
    for (number, is_won) in [("007", true), ("008", false)] {
        let Some(exchange) = recorded("odoo_odoorpc", number) else { return };
        let told = ruled(&exchange);
        assert_eq!((&*told.route, told.outcomes), ("odoo.call", vec![Outcome::new("1045", is_won)]));
        let refused = Exchange { answer: r#"{"error":{}}"#.to_owned(), ..exchange };
        assert_eq!(ruled(&refused).outcomes, []);
    }
}

#[test]
fn a_batch_whose_answer_has_another_order_is_matched_by_value() {
    let Some(mut batch) = recorded("hs_python", "004") else { return };
    let ids = |batch: &Exchange| -> Vec<String> { ruled(batch).ids.into_iter().flatten().collect() };
    let in_order = ids(&batch);
    assert_eq!(in_order.len(), 5);
    let mut answer: Json = serde_json::from_str(&batch.answer).unwrap();
    let results = answer["results"].as_array_mut().unwrap();
    results.reverse();
    for result in results.iter_mut() {
        let shouted = format!(" {} ", result["properties"]["email"].as_str().unwrap().to_uppercase());
        result["properties"]["email"] = shouted.into();
    }
    batch.answer = answer.to_string();
    assert_eq!(ids(&batch), in_order, "case and order make no difference");
    answer["results"].as_array_mut().unwrap().remove(4);
    answer["results"][0]["properties"]["email"] = "other@example.test".into();
    batch.answer = answer.to_string();
    assert_eq!(ids(&batch), in_order[1..4], "no equal value, no id");
    answer["results"][1]["properties"]["email"] = answer["results"][2]["properties"]["email"].clone();
    batch.answer = answer.to_string();
    assert_eq!(ids(&batch), in_order[1..2], "a value that stands twice tells nothing");
    batch.answer = "[]".to_owned();
    assert!(ids(&batch).is_empty());
}

#[test]
fn each_lead_of_a_mixed_batch_has_the_answer_at_its_own_index() {
    let body = r#"{"records":[{"attributes":{"type":"Account"}},{"attributes":{"type":"Lead"}},{"attributes":{"type":"Lead"}}]}"#;
    let answer = r#"[{"id":"001","success":true},{"id":"00Q1","success":true},{"success":false}]"#;
    let path = "POST /services/data/v59.0/composite/sobjects";
    check_ids(&exchange(path, body, 200, answer), "salesforce.collection", &[&["00Q1"]]);
    let body = r#"{"compositeRequest":[{"url":"/v/sobjects/Account","body":{}},{"url":"/v/sobjects/Lead","body":{}},{"url":"/v/sobjects/Lead/x","body":{}}]}"#;
    let answer = r#"{"compositeResponse":[{"httpStatusCode":201,"body":{"id":"001"}},{"httpStatusCode":201,"body":{"id":"00Q1"}},{"httpStatusCode":400,"body":{"id":"00Q2"}}]}"#;
    let path = "POST /services/data/v59.0/composite";
    check_ids(&exchange(path, body, 200, answer), "salesforce.composite", &[&["00Q1"]]);
    if let Some(collection) = recorded("sf_simple_salesforce", "007") {
        assert_eq!(ruled(&collection).ids.len(), 5);
    }
}

#[test]
fn an_id_may_stand_in_a_header_of_an_answer_without_a_body() {
    let Some(create) = recorded("node_dynamics", "001") else { return };
    check_ids(&create, "dynamics.create", &[&["3fe061e5-d125-4771-9aad-cec79a2bc3c2"]]);
    assert_eq!(ruled(&create).values[1], Value::Text("example.test".into()));
    let odd = Exchange {
        answer_headers: [("odata-entityid".parse().unwrap(), "x".parse().unwrap())].into_iter().collect(),
        ..create
    };
    check_ids(&odd, "dynamics.create", &[&[]]);
}

#[test]
fn a_deal_is_won_under_another_id_than_its_lead() {
    let alias = |deal: &str, lead: &str| Alias { deal: deal.into(), lead: lead.into() };
    let cases = [
        ("espo_python", "004", alias("op1", "65x")),
        (
            "node_dynamics",
            "006",
            alias("7d035003-76ca-4efa-a63d-77fbbce13df5", "3fe061e5-d125-4771-9aad-cec79a2bc3c2"),
        ),
        ("node_zoho", "002", alias("42", "4150868000000001001")),
    ];
    for (folder, number, expected) in cases {
        let Some(exchange) = recorded(folder, number) else { return };
        assert_eq!(ruled(&exchange).aliases, [expected], "{folder}");
        assert_eq!(ruled(&Exchange { status: 400, ..exchange.clone() }).aliases, []);
        assert_eq!(ruled(&Exchange { answer: "{}".to_owned(), ..exchange }).aliases, []);
    }
    let put = |body: &str, status| exchange("PUT /api/v1/Opportunity/op1", body, status, "{}");
    let closed = r#"{"stage":"Closed Won","amount":11800}"#;
    assert_eq!(ruled(&put(closed, 200)).outcomes, [won("op1", Some(11800.0), true)]);
    assert_eq!(ruled(&put(closed, 400)).outcomes, []);
    let lost = ruled(&put(r#"{"stage":"Closed Lost"}"#, 200)).outcomes;
    assert_eq!(lost, [Outcome { via_alias: true, ..Outcome::new("op1", false) }]);
    assert_eq!(ruled(&put(r#"{"stage":"Open"}"#, 200)).outcomes, []);
}

#[test]
fn recorded_outcomes_of_deals_are_read() {
    for (folder, number, expected) in [
        ("sf_simple_salesforce", "014", won("0065e000000001AAA", Some(11800.0), true)),
        ("node_dynamics", "007", won("3fe061e5-d125-4771-9aad-cec79a2bc3c2", Some(11800.0), true)),
        ("node_zoho", "002", won("4150868000000001001", Some(11800.0), false)),
    ] {
        let Some(exchange) = recorded(folder, number) else { return };
        assert_eq!(ruled(&exchange).outcomes, [expected], "{folder}");
    }
}

#[test]
fn reads_tell_who_has_won() {
    let read = |method: &str, answer: &str| {
        let body = format!(r#"{{"id":1,"method":"model.sale.opportunity.{method}","params":[]}}"#);
        ruled(&exchange("POST /lab/rpc/", &body, 200, answer)).outcomes
    };
    let answer = r#"{"result":[{"id":5,"state":"won","rev":3,"amount":{"decimal":"7.50"}},{"id":6,"state":"lead"},
        {"state":"won"},{"id":7,"state":"won","state":"won"},{"id":8,"state":"won"},{"id":8,"state":"won"},9]}"#;
    let five = Outcome { revision: Some(3), ..won("5", Some(7.5), false) };
    assert_eq!(read("search_read", answer), [five, won("8", None, false)]);
    assert_eq!(read("fields_get", answer), []);
    assert_eq!(read("read", r#"{"result":null}"#), []);
    assert_eq!(read("read", r#"{"error":[],"result":[{"id":5,"state":"won"}]}"#), []);
    assert_eq!(read("read", "not json"), []);
    let lost = r#"{"method":"model.sale.opportunity.lost","params":[[3,"4",null],{}]}"#;
    let told = ruled(&exchange("POST /lab/rpc/", lost, 200, r#"{"result":null}"#));
    assert_eq!(told.outcomes, [Outcome::new("3", false), Outcome::new("4", false)]);
}

#[test]
fn events_carry_their_own_id_revision_and_time() {
    let body = r#"{"events":[
        {"lead":"a","kind":"won","id":"e1","rev":9007199254740993,"at":"2026-11-02T10:20:30Z"},
        {"lead":"b","kind":"lost","id":"e2"},
        {"lead":"c","id":"e3"},
        {"lead":"hidden","kind":"won","id":"e4"},
        {"kind":"sold","id":"e5"}]}"#;
    let answer = r#"{"taken":[true,true,true,true,false],"worth":["1,200.50",1],"at":1793614830123}"#;
    let mut events = exchange("POST /events", body, 200, answer);
    events.headers.insert("x-event", "h1".parse().unwrap());
    let told = ruled(&events);
    let first = Outcome {
        event: Some("e1".into()),
        revision: Some(9_007_199_254_740_993),
        time_ms: Some(1_793_614_830_000),
        ..won("a", Some(1200.5), false)
    };
    let second = |lead: &str| Outcome {
        event: Some("h1".into()),
        time_ms: Some(1_793_614_830_123),
        ..Outcome::new(lead, false)
    };
    assert_eq!(told.outcomes, [first, second("b")], "for one lead the first rule that holds counts");
    // Without an answer that can be read, nothing of it holds.
    let unread = ruled(&Exchange { answer: "<html>".to_owned(), ..events });
    let bare = |lead: &str| Outcome { event: Some("h1".into()), ..Outcome::new(lead, false) };
    assert_eq!(unread.outcomes, [bare("a"), bare("b")]);
}

#[test]
fn reads_without_a_body_have_records() {
    let Some(one) = recorded("sf_simple_salesforce", "006") else { return };
    assert_eq!(
        (ruled(&one).route, ruled(&one).records),
        ("salesforce.lead".to_owned(), vec!["00Q5e000000001023AA".to_owned()])
    );
    let Some(list) = recorded("sf_simple_salesforce", "015") else { return };
    assert_eq!(
        (ruled(&list).route, ruled(&list).records),
        ("salesforce.query".to_owned(), vec!["00Q1".to_owned()])
    );
    assert_eq!(ruled(&Exchange { status: 404, ..list.clone() }).records, Vec::<String>::new());
    let many: Vec<String> =
        (0..3_000).map(|id| format!(r#"{{"Id":{id},"attributes":{{"type":"Lead"}}}}"#)).collect();
    let many = Exchange { answer: format!(r#"{{"records":[{}]}}"#, many.join(",")), ..list };
    assert_eq!(ruled(&many).records.len(), 1_000);
}

#[test]
fn a_read_that_nothing_looks_at_is_not_ours() {
    let config = |more: &str| {
        format!(
            "upstream: http://crm\nroutes: [{{name: r, method: [GET, POST], path: '/r/{{id}}', action: read, {more}}}]\n"
        )
    };
    let get = exchange("GET /r/1", "", 200, "{}");
    let taken = |yaml: &str| told(&recogniser(yaml), &get).unwrap().is_some();
    assert!(!taken(&config("id: {from: 'path:id'}")));
    assert!(taken(&config("id: {from: 'path:id'}, inject: {headers: {X: trend}}")));
    let rule =
        "outcomes: [{route: r, phase: response, id: 'path:id', when: [{at: /won, eq: true}], label: 1}]";
    let by_rule = config("") + rule;
    assert!(taken(&by_rule));
    let won = exchange("GET /r/1", "", 200, r#"{"won":true}"#);
    assert_eq!(told(&recogniser(&by_rule), &won).unwrap().unwrap().outcomes, [Outcome::new("1", true)]);
    let needs_body = |yaml: &str| {
        let recogniser = recogniser(yaml);
        let headers = HeaderMap::new();
        let head = RequestHead { method: &Method::POST, path: "/r/1", query: None, headers: &headers };
        recogniser.candidates(head).unwrap().needs_body()
    };
    assert!(!needs_body(&by_rule));
    assert!(needs_body(&by_rule.replace("{at: /won, eq: true}", "{at: 'req:/a', exists: true}")));
}

#[test]
fn the_most_specific_route_that_holds_takes_the_request() {
    let yaml = |routes: &str| format!("upstream: http://crm\nroutes: [{routes}]");
    let route = |name: &str, path: &str, when: &str| {
        format!("{{name: {name}, method: [POST], path: '{path}', action: create, when: [{when}]}}")
    };
    let check = |routes: &[String], path: &str, body: &str, expected: &str| {
        let told =
            told(&recogniser(&yaml(&routes.join(", "))), &exchange(&format!("POST {path}"), body, 200, "{}"));
        assert_eq!(told.unwrap().map(|told| told.route).as_deref(), Some(expected), "{path} {body}");
    };
    // The literal path goes first, and where its predicates do not hold the template is asked.
    let overlapping = [
        route("any", "/{db}/rpc", "{at: /m, exists: true}"),
        route("main", "/main/rpc/", "{at: /m, eq: a}"),
        route("service", "/main/{service}", "{at: /m, eq: b}"),
        route("all", "/{a}/{b}", ""),
    ];
    for (path, body, expected) in [
        ("/main/rpc", r#"{"m":"a"}"#, "main"),
        ("/main/rpc", r#"{"m":"b"}"#, "service"),
        ("/main/rpc/", r#"{"m":"c"}"#, "any"),
        ("/main/rpc", r#"{"n":"c"}"#, "all"),
        ("/other/rpc", r#"{"m":"a"}"#, "any"),
        ("/main/x", r#"{"m":"b"}"#, "service"),
    ] {
        check(&overlapping, path, body, expected);
    }
    // More literal segments go before one that comes first.
    let counted = [route("first", "/a/{x}/{y}", ""), route("more", "/{x}/b/c", "")];
    check(&counted, "/a/b/c", "{}", "more");
    // Of more templates than are kept the most specific are.
    let shape = |bits: usize| -> String {
        (0..4).map(|at| if bits >> at & 1 == 1 { "/p".to_owned() } else { format!("/{{s{at}}}") }).collect()
    };
    let all: Vec<String> = (0..16).map(|bits| route(&format!("r{bits}"), &shape(bits), "")).collect();
    check(&all, "/p/p/p/p", "{}", "r15");
    check(&all, "/q/p/p/p", "{}", "r14");
    check(&all, "/q/q/q/q", "{}", "r0");
    // As many: then more predicates, under whichever template.
    let asked = [route("early", "/a/{x}/c", ""), route("asking", "/{x}/b/c", "{at: /a, exists: true}")];
    check(&asked, "/a/b/c", r#"{"a":1}"#, "asking");
    check(&asked, "/a/b/c", "{}", "early");
    // Then more predicates.
    let predicates = [
        route("few", "/p", "{at: /a, exists: true}"),
        route("many", "/p", "{at: /a, exists: true}, {at: /b, eq: 1}"),
    ];
    check(&predicates, "/p", r#"{"a":1,"b":1}"#, "many");
    check(&predicates, "/p", r#"{"a":1,"b":2}"#, "few");
}

#[test]
fn types_and_patterns_are_asked_of_numbers_too() {
    for (test, body, expected) in [
        ("{at: /a, matches: '^2'}", r#"{"a":204}"#, true),
        ("{at: /a, matches: '^2'}", r#"{"a":400}"#, false),
        ("{at: /a, matches: '^2'}", r#"{"a":[2]}"#, false),
        ("{at: /a, eq: 2}", r#"{"a":2.0}"#, true),
        ("{at: /a, type: number}", r#"{"a":2}"#, true),
        ("{at: /a, type: string}", r#"{"a":2}"#, false),
        ("{at: /a, type: boolean}", r#"{"a":false}"#, true),
        ("{at: /a, type: object}", r#"{"a":{}}"#, true),
        ("{at: /a, type: array}", r#"{"a":[]}"#, true),
        ("{at: /a, type: 'null'}", r#"{"a":null}"#, true),
        ("{at: /a, type: 'null'}", "{}", false),
    ] {
        let yaml = format!(
            "upstream: http://crm\nroutes: [{{name: r, method: [POST], path: /r, action: create, when: [{test}]}}]"
        );
        let told = told(&recogniser(&yaml), &exchange("POST /r", body, 200, "{}")).unwrap();
        assert_eq!(told.is_some(), expected, "{test} {body}");
    }
}

#[test]
fn what_is_masked_is_missing() {
    let yaml = "upstream: http://crm\nroutes:\n\
        - {name: r, method: [POST], path: /r, action: update, leads: '$.leads[*]', id: {from: request, at: '$..id'}}\n\
        outcomes: [{route: r, id: '$..id', event: '$..id', label: 1}]\nfeatures: {f: {from: [/f], type: number}}\n\
        secrets: {mask: [/login, /leads/1]}";
    let body = r#"{"login":{"id":"secret"},"leads":[{"id":"a","f":1},{"id":"b","f":2},{"id":"c","f":3}]}"#;
    let told = |body: &str| told(&recogniser(yaml), &exchange("POST /r", body, 200, "{}"));
    let read = told(body).unwrap().unwrap();
    assert_eq!(read.values, [Value::Number(1.0), Value::Number(3.0)], "a masked lead is none");
    assert!(!format!("{read:?}").contains("secret"), "{read:?}");
    assert_eq!(
        told(r#"{"login":1,"login":2,"leads":[{}]}"#),
        Err(Skip::Duplicate),
        "nobody knows what is masked"
    );
}

#[test]
fn what_is_kept_of_a_body_is_bounded() {
    let long = "x".repeat(256);
    let yaml = "upstream: http://crm\nroutes:\n\
        - {name: r, method: [POST], path: /r, action: update, leads: '$.leads[*]', id: {from: request, at: /id}}\n\
        - {name: each, method: [POST], path: /each, action: update, id: {from: request, at: '$.ids'}}\n\
        outcomes: [{route: r, event: '$.id', label: 1}, {route: each, ids: '$.ids[*]', label: 1}]";
    let recogniser = recogniser(yaml);
    let told =
        |path: &str, body: &str| told(&recogniser, &exchange(&format!("POST {path}"), body, 200, "{}"));
    let ids = |id: &str| told("/r", &format!(r#"{{"id":"{id}","leads":[{{}}]}}"#)).unwrap().unwrap();
    assert_eq!((ids(&long[1..]).ids[0].len(), ids(&long).ids[0].len()), (1, 0));
    assert_eq!((ids(&long[1..]).outcomes.len(), ids(&long).outcomes.len()), (1, 0));
    let list = |count: usize| {
        format!(r#"{{"ids":[{}]}}"#, (0..count).map(|id| id.to_string()).collect::<Vec<_>>().join(","))
    };
    assert_eq!(told("/each", &list(1_000)).unwrap().unwrap().ids[0].len(), 1_000);
    assert_eq!(told("/each", &list(1_001)), Err(Skip::TooMany));
    let far = format!(r#"{{"leads":[{}{{}}]}}"#, "0,".repeat(10_000));
    assert_eq!(told("/r", &far), Err(Skip::TooMany));
}

#[test]
fn refusals_are_told_from_other_failures() {
    let route = |more: &str| {
        format!(
            "upstream: http://crm\nroutes: [{{name: r, method: [POST], path: /r, action: create, {more}}}]"
        )
    };
    let plain = "inject: {}";
    let rpc = "ok: [{at: /error, absent: true}], refused: {status: [500]}";
    for (more, status, answer, accepted, refused) in [
        (plain, 200, "", true, false),
        (plain, 400, "", false, true),
        (plain, 401, "", false, false),
        (plain, 408, "", false, false),
        (plain, 422, "", false, true),
        (plain, 429, "", false, false),
        (plain, 500, "", false, false),
        (plain, 302, "", false, false),
        (rpc, 500, "<html>", false, true),
        (rpc, 503, "", false, false),
        (rpc, 200, "{}", true, false),
        (rpc, 200, r#"{"error":{}}"#, false, true),
        (rpc, 200, "<html>", false, false),
    ] {
        let recogniser = recogniser(&route(more));
        let headers = HeaderMap::new();
        let head = RequestHead { method: &Method::POST, path: "/r", query: None, headers: &headers };
        let route = recogniser.candidates(head).unwrap().likely().unwrap();
        let mut tape = Tape::default();
        let doc = tape.scan(answer).is_ok().then(|| Doc::new(answer, &tape));
        let answer = Answer { status: StatusCode::from_u16(status).unwrap(), headers: &headers, doc };
        let is = (route.accepted(answer, None), route.is_refused(answer, None));
        assert_eq!(is, (accepted, refused), "{more} {status}");
    }
}

#[test]
fn a_request_is_told_by_its_route_alone() {
    let recogniser = recogniser(RULES);
    let headers = HeaderMap::new();
    let path = "/api/v1/Opportunity/ann@example.test";
    let head = RequestHead { method: &Method::PUT, path, query: Some("api_token=secret"), headers: &headers };
    let route = recogniser.candidates(head).unwrap().likely();
    assert_eq!(Redact(route.as_deref()).to_string(), "espo.deal /api/v1/Opportunity/{id}");
    assert_eq!(Redact(None).to_string(), "unmatched");
}

#[test]
fn an_address_that_stands_twice_is_none_and_hinders_nothing() {
    let yaml = "upstream: http://127.0.0.1:1\nroutes: [{name: r, method: [POST], path: /r, action: create}]\n\
         identity: {email: [/mail], phone: [/tel]}\nfeatures: {budget: {from: [/b], type: number}}";
    let config = Config::parse(yaml, &|_| None).unwrap();
    let check = |body: &str, expected: Result<[Option<&str>; 2], Skip>| {
        let recogniser = Recogniser::with_identity(&config);
        let (method, headers) = (Method::POST, HeaderMap::new());
        let head = RequestHead { method: &method, path: "/r", query: None, headers: &headers };
        let candidates = recogniser.candidates(head).unwrap();
        let (mut scratch, mut values) = (Scratch::default(), Vec::new());
        let read = recogniser.read(&candidates, View::json(body), &mut scratch, &mut values);
        let told = read.map_err(|skipped| skipped.reason).map(|_| {
            assert_eq!((values.len(), recogniser.width(), &values[0]), (3, 3, &Value::Number(7.0)));
            [1, 2].map(|place| match &values[place] {
                Value::Text(text) => Some(text.to_string()),
                _ => None,
            })
        });
        assert_eq!(told, expected.map(|texts| texts.map(|text| text.map(str::to_owned))), "{body}");
    };
    check(r#"{"b":7,"mail":"a@b","tel":"1"}"#, Ok([Some("a@b"), Some("1")]));
    check(r#"{"b":7,"mail":"a@b","tel":"1","tel":"2"}"#, Ok([Some("a@b"), None]));
    check(r#"{"mail":"a@b","b":7,"mail":"c@d"}"#, Ok([None, None]));
    check(r#"{"b":7,"b":8,"mail":"a@b"}"#, Err(Skip::Duplicate));
}

const FEEDBACK: &str = r#"
upstream: http://127.0.0.1:1
routes:
  - {name: update, method: [PATCH], path: "/leads/{id}", content: json, id: {from: "path:id"}, action: update}
  - {name: create, method: [POST], path: /leads, content: json, leads: "$[*]", id: {from: response, at: "/{i}/id"}, ok: [{at: "resp:/{i}/ok", eq: true}], action: create}
features: {age: {from: [/age], type: number}}
feedback:
  - route: update
    when: [{at: "header:x-sales", exists: true}]
    verdict: {at: /v, up: [good, 1, true], down: [bad, 0, false]}
    reason: {at: /r, wrong_score_high: [Too high], not_a_lead: [Spam, 7]}
    who: header:x-sales
    note: /n
  - route: create
    verdict: {at: /v, up: [good], down: [bad]}
    who: /by
"#;

#[test]
fn what_people_say_of_a_score_is_read_of_the_lead() {
    let rules = recogniser(FEEDBACK);
    let check = |body: &str, status: u16, expected: Option<Feedback>| {
        let mut exchange = exchange("PATCH /leads/7", body, status, "");
        exchange.headers.insert("x-sales", "ada".parse().unwrap());
        let told = told(&rules, &exchange).unwrap().unwrap();
        assert_eq!(told.feedback, expected.into_iter().collect::<Vec<_>>(), "{body}");
        assert_eq!((told.outcomes, told.aliases), (vec![], vec![]), "a verdict is no outcome");
    };
    let said = |verdict| Feedback::new("7", verdict).by(Some("ada"));
    check(r#"{"v": "good"}"#, 204, Some(said(Verdict::Up)));
    check(r#"{"v": true}"#, 204, Some(said(Verdict::Up)));
    check(r#"{"v": 0.0}"#, 204, Some(said(Verdict::Down)));
    check(r#"{"v": "good"}"#, 409, None);
    check(r#"{"v": "Good"}"#, 204, None);
    check(r#"{"v": null}"#, 204, None);
    check(r#"{"n": "a note alone"}"#, 204, None);
    check(r#"{"v": "good", "v": "bad"}"#, 204, None);
    let down = said(Verdict::Down);
    let because = |reason| Some(Feedback { reason: Some(reason), ..down.clone() });
    check(r#"{"v": "bad", "r": "Too high"}"#, 204, because(FeedbackReason::WrongScoreHigh));
    check(r#"{"v": "bad", "r": 7}"#, 204, because(FeedbackReason::NotALead));
    check(r#"{"v": "bad", "r": "mood"}"#, 204, because(FeedbackReason::Other));
    check(r#"{"v": "bad", "r": " "}"#, 204, Some(down.clone()));
    let long = "x".repeat(5_000);
    let body = format!(r#"{{"v": "bad", "n": "a\nb {long}"}}"#);
    check(&body, 204, Some(down.noted(Some(&format!("a b {long}")))));
    let silent = told(&rules, &exchange("PATCH /leads/7", r#"{"v": "good"}"#, 204, "")).unwrap().unwrap();
    assert_eq!(silent.feedback, [], "its condition does not hold");
}

#[test]
fn of_many_leads_those_that_were_accepted_are_spoken_of() {
    let body = r#"[{"age": 1, "v": "good", "by": "ada"}, {"age": 2, "v": "bad"}, {"age": 3}, {"age": 4, "v": "bad", "by": 17}]"#;
    let answer =
        r#"[{"ok": true, "id": "a"}, {"ok": false}, {"ok": true, "id": "c"}, {"ok": true, "id": "d"}]"#;
    let told = told(&recogniser(FEEDBACK), &exchange("POST /leads", body, 200, answer)).unwrap().unwrap();
    let up = Feedback::new("a", Verdict::Up).by(Some("ada"));
    let down = Feedback::new("d", Verdict::Down).by(Some("17"));
    assert_eq!(told.feedback, [up, down]);
}
