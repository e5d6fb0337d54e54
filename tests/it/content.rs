//! Leads in bodies that are not plain JSON: forms, CSV, batches, XML, and whatever is compressed. They are scored, and what
//! cannot be spliced into goes on byte for byte.

use std::io::{Read, Write};

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};

use crate::{
    scoring::start,
    support::{CREATE, LEAD, Message, Running, Upstream, answer, created},
};

const ID: &str = "00Q8d0000000000001";

/// Salesforce's create, injecting into both bodies.
const BOTH: &str = r#"
  - name: lead.create
    method: [POST]
    path: /services/data/{version}/sobjects/Lead
    id: {from: response, at: /id}
    action: create
    inject:
      headers: {X-Lead-Score: points}
      request: [{at: /Lead_Score__c, value: points}]
      response: [{at: /Lead_Score__c, value: points}]
"#;

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// `{"LastName":"x","age__c":56,"job__c":"housemaid"}`, as Node's zlib writes it.
const BROTLI: &[u8] = b"\x0b\x18\x80{\"LastName\":\"x\",\"age__c\":56,\"job__c\":\"housemaid\"}\x03";

/// Sends a body that must be scored and go on as it is.
fn check_scored(
    sidecar: &Running,
    upstream: &Upstream,
    to: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Message {
    let reply = sidecar.client().exchange("POST", to, headers, body);
    let request = upstream.requests().pop().unwrap();
    assert_eq!(request.body, body, "{headers:?}: not a byte is changed");
    for (name, value) in headers {
        assert_eq!(request.header(name), Some(*value), "{name}");
    }
    assert_eq!(reply.header("leadwire"), Some("scored"), "{headers:?}");
    reply
}

#[test]
fn compressed_leads_are_scored_and_go_on_compressed() {
    let upstream = Upstream::start(|_| created(ID));
    let sidecar = Running::start(upstream.address);
    let lead = LEAD.as_bytes();
    let plain = sidecar.post(CREATE, LEAD).header("x-lead-score").unwrap().to_owned();
    for (coding, body) in [
        ("gzip", gzip(lead)),
        ("x-gzip", gzip(lead)),
        ("deflate", zlib(lead)),
        ("deflate", deflate(lead)),
        ("deflate, gzip", gzip(&zlib(lead))),
        ("identity", lead.to_vec()),
    ] {
        let headers = [("Content-Type", "application/json"), ("Content-Encoding", coding)];
        let reply = check_scored(&sidecar, &upstream, CREATE, &headers, &body);
        assert_eq!(reply.header("x-lead-score"), Some(plain.as_str()), "{coding}");
    }
    check_scored(&sidecar, &upstream, CREATE, &[("Content-Encoding", "br")], BROTLI);
}

#[test]
fn a_score_goes_into_a_compressed_body_by_sending_it_plain() {
    let upstream = Upstream::start(|_| created(ID));
    let sidecar = start(&upstream, BOTH);
    let headers = [("Content-Encoding", "gzip"), ("Content-MD5", "of the original")];
    let reply = sidecar.client().exchange("POST", CREATE, &headers, &gzip(LEAD.as_bytes()));
    let points = reply.header("x-lead-score").unwrap();
    let request = upstream.request();
    let expected = format!("{},\"Lead_Score__c\":{points}}}", LEAD.strip_suffix('}').unwrap());
    assert_eq!(request.text(), expected);
    assert_eq!(request.header("content-length"), Some(expected.len().to_string().as_str()));
    assert_eq!(["content-encoding", "content-md5"].map(|name| request.header(name)), [None, None]);
}

#[test]
fn a_refused_field_is_left_out_by_sending_the_compressed_original() {
    let upstream = Upstream::start(|request| match request.header("content-encoding") {
        Some(_) => created(ID),
        None => answer("400 Bad Request", &[], "[]"),
    });
    let sidecar = start(&upstream, BOTH);
    let body = gzip(LEAD.as_bytes());
    let reply = sidecar.client().exchange("POST", CREATE, &[("Content-Encoding", "gzip")], &body);
    assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
    let [plain, original] = upstream.requests().try_into().unwrap();
    assert!(plain.text().contains("Lead_Score__c"));
    assert_eq!((original.body, original.headers.len()), (body, plain.headers.len() + 1));
}

/// An answer in gzip, as a CRM gives it to a client that offers that.
fn gzipped(body: &str) -> Vec<u8> {
    let body = gzip(body.as_bytes());
    let head = format!(
        "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nVary: Accept-Encoding\r\n\
         ETag: \"x\"\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

#[test]
fn a_compressed_answer_is_enriched_and_sent_plain() {
    let upstream = Upstream::start(|_| gzipped(r#"{"id":"00Q1","success":true}"#));
    let sidecar = start(&upstream, BOTH);
    let offers = [("Accept-Encoding", "gzip, deflate, br, zstd")];
    let reply = sidecar.client().exchange("POST", CREATE, &offers, LEAD.as_bytes());
    let points = reply.header("x-lead-score").unwrap();
    let expected = format!(r#"{{"id":"00Q1","success":true,"Lead_Score__c":{points}}}"#);
    assert_eq!((reply.status(), reply.text()), (201, expected.as_str()));
    assert_eq!(reply.header("content-length"), Some(expected.len().to_string().as_str()));
    assert_eq!(["content-encoding", "etag"].map(|name| reply.header(name)), [None, None]);
    assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
    assert_eq!(upstream.request().header("accept-encoding"), Some("gzip, deflate, br"));
    let (store, _folder) = sidecar.stop();
    assert_eq!(store.scores_of("00Q1").unwrap().len(), 1);
}

#[test]
fn a_compressed_answer_that_is_only_read_stays_as_it_is() {
    let upstream = Upstream::start(|_| gzipped(r#"{"id":"00Q1"}"#));
    let routes = BOTH.split("    inject:").next().unwrap();
    let sidecar = start(&upstream, routes);
    let reply = sidecar.client().exchange("POST", CREATE, &[("Accept-Encoding", "gzip")], LEAD.as_bytes());
    assert_eq!((reply.header("content-encoding"), reply.header("etag")), (Some("gzip"), Some("\"x\"")));
    let mut text = String::new();
    flate2::read::GzDecoder::new(reply.body.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text, r#"{"id":"00Q1"}"#);
    let (store, _folder) = sidecar.stop();
    assert_eq!(store.scores_of("00Q1").unwrap().len(), 1, "its id was read");
}

#[test]
fn an_answer_in_an_unknown_coding_is_left_alone() {
    let body = "(zstd)";
    let headers = [("Content-Encoding", "zstd")];
    let upstream = Upstream::start(move |_| answer("200 OK", &headers, body));
    let asks = BOTH.replace("    action:", "    ok: [{at: resp:/success, eq: true}]\n    action:");
    for (routes, leadwire) in [(BOTH, "scored"), (&asks, "skipped;reason=encoding")] {
        let sidecar = start(&upstream, routes);
        let reply = sidecar.post(CREATE, LEAD);
        assert_eq!((reply.text(), reply.header("content-encoding")), (body, Some("zstd")));
        assert_eq!(reply.header("leadwire"), Some(leadwire));
    }
}

#[test]
fn a_bomb_passes_through_unscored() {
    let upstream = Upstream::start(|_| created(ID));
    let sidecar = Running::start(upstream.address);
    let bomb = gzip(&vec![b' '; 64 << 20]);
    let headers = [("Content-Encoding", "gzip")];
    let reply = sidecar.client().exchange("POST", CREATE, &headers, &bomb);
    assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("skipped;reason=body")));
    assert_eq!(upstream.request().body, bomb);
    let reply = sidecar.client().exchange("POST", CREATE, &headers, &bomb[..100]);
    assert_eq!(reply.header("leadwire"), Some("skipped;reason=encoding"), "cut off");
}

#[test]
fn a_byte_order_mark_stays_and_the_score_lands_behind_it() {
    let upstream = Upstream::start(|_| created(ID));
    let sidecar = start(&upstream, BOTH);
    let lead = format!("\u{feff}{LEAD}");
    // No Content-Type: the body says what it is.
    let reply = sidecar.client().exchange("POST", CREATE, &[], lead.as_bytes());
    let points = reply.header("x-lead-score").unwrap();
    let expected = format!("{},\"Lead_Score__c\":{points}}}", lead.strip_suffix('}').unwrap());
    assert_eq!(upstream.request().text(), expected);
}

#[test]
fn a_form_is_scored_and_never_written_to() {
    let upstream = Upstream::start(|_| created(ID));
    let sidecar = start(&upstream, BOTH);
    let form = b"oid=00D&age__c=56&job__c=housemaid&company=Acme+%26+Sons";
    for headers in [&[("Content-Type", "application/x-www-form-urlencoded")][..], &[]] {
        let reply = check_scored(&sidecar, &upstream, CREATE, headers, form);
        assert!(reply.text().contains("Lead_Score__c"), "the answer is JSON, and takes the score");
    }
    let skipped = r#"leadwire_injection_skipped_total{route="lead.create"}"#;
    assert_eq!(sidecar.metric(skipped), 2.0);
}

#[test]
fn routes_on_one_path_are_told_apart_by_content() {
    let upstream = Upstream::start(|_| created(ID));
    let route = |name: &str, content: &str| {
        format!(
            "  - {{name: {name}, method: [POST], path: /api/resource/CRM%20Lead, content: \"{content}\", action: create}}\n"
        )
    };
    let routes =
        ["json", "form-json:data", "xml"].map(|content| route(content.split(':').next().unwrap(), content));
    let sidecar = start(&upstream, &routes.concat());
    let path = "/api/resource/CRM%20Lead";
    let form = "application/x-www-form-urlencoded";
    let inner = "data=%7B%22doctype%22%3A+%22CRM+Lead%22%2C+%22age__c%22%3A+56%7D";
    for (content_type, body, route, outcome) in [
        ("application/json", r#"{"age__c":56}"#, "json", "scored"),
        (form, inner, "form-json", "scored"),
        // By its own account JSON, and there is a route for that.
        ("text/plain", r#"{"age__c":56}"#, "json", "scored"),
        // What no route reads by its type, the first that can reads all the same.
        ("image/png", r#"{"age__c":56}"#, "json", "scored"),
        (form, r#"{"age__c":56}"#, "json", "scored"),
        ("application/xml", "<a/>", "xml", "skipped"),
    ] {
        let series = format!(r#"leadwire_requests_total{{route="{route}",outcome="{outcome}"}}"#);
        let before = sidecar.metric(&series);
        sidecar.client().exchange("POST", path, &[("Content-Type", content_type)], body.as_bytes());
        assert_eq!(upstream.requests().pop().unwrap().text(), body);
        assert_eq!(sidecar.metric(&series), before + 1.0, "{content_type} {body}");
    }
}

#[test]
fn every_row_of_a_chunked_csv_upload_is_scored() {
    let upstream = Upstream::start(|_| answer("201 Created", &[], ""));
    let routes =
        "  - {name: bulk, method: [PUT], path: '/jobs/ingest/{job}/batches', leads: '$[*]', action: create}";
    let sidecar = start(&upstream, routes);
    let csv = "LastName,age__c,job__c\nK6,56,housemaid\n\"K,7\",,admin.\nK8,41,\n";
    let mut client = sidecar.client();
    client.send(b"PUT /jobs/ingest/750/batches HTTP/1.1\r\nHost: a\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunk in csv.as_bytes().chunks(7) {
        client.send(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    client.send(b"0\r\n\r\n");
    let reply = client.receive();
    assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")));
    assert_eq!(upstream.request().text(), csv);
    assert_eq!(sidecar.metric(r#"leadwire_score_count{model="lead",version="1",arm="champion"}"#), 3.0);
}

#[test]
fn a_batch_goes_on_byte_for_byte_and_its_creates_are_scored() {
    let part = "Content-Type: application/http\r\nContent-ID: ";
    let parts = move |answers: [&str; 2]| {
        format!("--r\r\n{part}1\r\n\r\n{}\r\n--r\r\n{part}2\r\n\r\n{}\r\n--r--\r\n", answers[0], answers[1])
    };
    let upstream = Upstream::start(move |_| {
        let accepted = "HTTP/1.1 201 Created\r\n\r\n{\"leadid\":\"7\"}";
        let body = parts([accepted, "HTTP/1.1 400 Bad Request\r\n\r\n{}"]);
        answer("200 OK", &[("Content-Type", "multipart/mixed; boundary=r")], &body)
    });
    let routes = r#"
  - name: batch
    method: [POST]
    path: /api/data/{v}/$batch
    leads: "$[?@.method=='POST'].body"
    ok: [{at: "resp:/{i}/status", eq: 201}]
    id: {from: response, at: "/{i}/body/leadid"}
    action: create
"#;
    let sidecar = start(&upstream, routes);
    let create = |age: u8| {
        format!(
            "POST http://h:1/api/data/v9.2/leads HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{{\"age__c\":{age}}}"
        )
    };
    let body = format!(
        "\r\n--b\r\nContent-Type: multipart/mixed;boundary=c\r\n\r\n--c\r\n{part}1\r\n\r\n{}\r\n\r\n--c\r\n{part}2\r\n\r\n{}\r\n--c--\r\n\r\n--b--\r\n",
        create(56),
        create(41)
    );
    let headers = [("Content-Type", "multipart/mixed; boundary=\"b\"")];
    check_scored(&sidecar, &upstream, "/api/data/v9.2/$batch", &headers, body.as_bytes());
    let (store, _folder) = sidecar.stop();
    assert_eq!(store.score_count().unwrap(), 1, "the second was not accepted");
    assert_eq!(store.scores_of("7").unwrap().len(), 1);
}

#[test]
fn an_xml_rpc_create_is_scored_unless_a_fault_answers_it() {
    let upstream = Upstream::start(|request| {
        let body = match request.text().contains("no_such") {
            true => {
                "<?xml version='1.0'?><methodResponse><fault><value><struct><member><name>faultCode</name><value><int>1</int></value></member></struct></value></fault></methodResponse>"
            }
            false => {
                "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><int>1102</int></value>\n</param>\n</params>\n</methodResponse>\n"
            }
        };
        answer("200 OK", &[("Content-Type", "text/xml")], body)
    });
    let routes = r#"
  - name: odoo.create
    method: [POST]
    path: /xmlrpc/2/object
    content: xmlrpc
    when: [{at: /method, eq: execute_kw}, {at: /params/4, eq: create}]
    leads: $.params[5][*]
    ok: [{at: "resp:/fault", absent: true}]
    id: {from: response, at: "/result"}
    action: create
    inject: {headers: {X-Lead-Score: points}, response: [{at: /result, value: points}]}
"#;
    let sidecar = start(&upstream, routes);
    let call = |field: &str| {
        let strings = ["lab", "2", "admin", "crm.lead", "create"];
        let params: String = strings
            .iter()
            .map(|text| format!("<param><value><string>{text}</string></value></param>"))
            .collect();
        format!(
            "<?xml version=\"1.0\"?><methodCall><methodName>execute_kw</methodName><params>{params}<param><value><array>\
             <data><value><struct><member><name>{field}</name><value><int>56</int></value></member></struct></value>\
             </data></array></value></param></params></methodCall>"
        )
    };
    let headers = [("Content-Type", "text/xml")];
    let reply = check_scored(&sidecar, &upstream, "/xmlrpc/2/object", &headers, call("age__c").as_bytes());
    assert!(reply.text().contains("<int>1102</int>") && reply.header("x-lead-score").is_some());
    let skipped = r#"leadwire_injection_skipped_total{route="odoo.create"}"#;
    assert_eq!(sidecar.metric(skipped), 1.0, "XML is not written to");
    let refused = call("age__c").replace("lab", "no_such");
    let reply = sidecar.client().exchange("POST", "/xmlrpc/2/object", &headers, refused.as_bytes());
    assert_eq!(reply.header("leadwire"), Some("skipped;reason=refused"));
    let (store, _folder) = sidecar.stop();
    assert_eq!((store.scores_of("1102").unwrap().len(), store.score_count().unwrap()), (1, 1));
}
