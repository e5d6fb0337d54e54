//! What the whole room promises: every mistake has its place and its cure, the shipped file stays true.

use std::{fmt::Write, path::Path, time::Duration};

use serde_json::Value as Json;

use super::{
    document::{self, Node, Value},
    *,
};

const NO_ENV: &dyn Fn(&str) -> Option<String> = &|_| None;

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse(text, NO_ENV)
}

/// The problems, one a line; empty if there are none.
fn told(text: &str) -> String {
    parse(text).err().map(|problems| problems.to_string()).unwrap_or_default()
}

/// A file whose second line and those below are under test.
fn with(rest: &str) -> String {
    format!("upstream: http://crm\n{rest}\n")
}

/// A file with one route, which stands on line 3; `more` is appended to it.
fn route(more: &str) -> String {
    with(&format!("routes:\n  - {{name: a, method: [POST], path: '/x/{{id}}', action: create, {more}}}"))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn problems_of_the_whole() {
    for (text, expected) in [
        ("", "1:1: upstream: required key is missing"),
        ("# nothing\n", "1:1: upstream: required key is missing"),
        ("[]", "1:1: expected a mapping, found a list"),
        ("upstream: ftp://crm", "1:11: upstream: not a URL such as http://127.0.0.1:8069"),
        ("upstream: https://", "1:11: upstream: not a URL such as http://127.0.0.1:8069"),
        (
            "upstream: https://crm/api",
            "1:11: upstream: a path or query has no place in the upstream's URL; write https://crm",
        ),
        ("upstream: https://c!m", r#"1:11: upstream: "c!m" is not a name that a certificate can hold"#),
        ("upstream: https://127.0.0.1:8080", "1:11: upstream: is Leadwire's own listen address"),
        (
            &with("upstream_tls: {ca: ca.pem}"),
            "2:15: upstream_tls: has no meaning where upstream is not https://",
        ),
        ("upstream: https://crm\nupstream_tls: {cert: a.pem}", "2:22: upstream_tls.cert: needs its key"),
        ("upstream: https://crm\nupstream_tls: {key: a.pem}", "2:21: upstream_tls.key: needs its cert"),
        (
            "upstream: https://crm\nupstream_tls: {server_name: 'a b', ca: ''}",
            "2:29: upstream_tls.server_name: \"a b\" is not a name that a certificate can hold\n\
             2:40: upstream_tls.ca: expected the name of a file",
        ),
        (&with("egress: {hosts: [a.b]}"), "2:9: egress.ca: required key is missing"),
        (
            &with("egress: {hosts: [], ca: {cert: '', key: ''}}"),
            "2:17: egress.hosts: names no host whose https is read\n\
             2:32: egress.ca.cert: expected the name of a file\n\
             2:41: egress.ca.key: expected the name of a file",
        ),
        (
            &with("egress: {hosts: ['*.com'], ca: {cert: c, key: k}}"),
            "2:18: egress.hosts[0]: \"*.com\" is not a host such as api.example.com or *.example.com:8443",
        ),
        (
            &with("egress: {hosts: [a.b, 'https://a.b'], ca: {cert: c, key: k}, others: refuse}"),
            "2:23: egress.hosts[1]: \"https://a.b\" is not a host such as api.example.com or *.example.com:8443",
        ),
        (
            &with("egress: {hosts: ['a:0'], ca: {cert: c, key: k}, others: pass}"),
            "2:18: egress.hosts[0]: \"a:0\" is not a host such as api.example.com or *.example.com:8443\n\
             2:57: egress.others: \"pass\" is not known here; expected one of tunnel, refuse",
        ),
        (
            &with("listen: 0.0.0.0:8080\negress: {hosts: [a.b], ca: {cert: c, key: k}}"),
            "3:9: egress: must say what becomes of other hosts where listen is open to the network; \
             write others: refuse, or others: tunnel if that is meant",
        ),
        (&with("mirror: {percent: 10}"), "2:9: mirror.upstream: required key is missing"),
        (&with("mirror: {upstream: 'http://s', percent: 101}"), "2:41: mirror.percent: 101 is more than 100"),
        (
            &with("mirror: {upstream: 's', timeout: 1ms, bytes: 1KiB}"),
            "2:20: mirror.upstream: not a URL such as http://127.0.0.1:8069\n\
             2:34: mirror.timeout: must be from 100ms to 10m\n\
             2:46: mirror.bytes: must be from 1MiB to 1GiB",
        ),
        (
            &with("mirror: {upstream: 'http://127.0.0.1:8080'}"),
            "2:20: mirror.upstream: is Leadwire's own listen address",
        ),
        (
            &with("mirror: {upstream: 'http://s', ca: a.pem}"),
            "2:36: mirror.ca: has no meaning where the mirror's upstream is http://",
        ),
        (&with("mirror: {upstream: 'https://s', ca: ''}"), "2:37: mirror.ca: expected the name of a file"),
        (
            &with(
                "rollout: {steps: [50, 10, 100], interval: 1ms, samples: 499, approvals: [shadow], dwel: 1h}",
            ),
            "2:18: rollout.steps: must rise and end with 100, such as [10, 50, 100]\n\
             2:43: rollout.interval: must be from 1s to 1h\n\
             2:57: rollout.samples: 499 is less than 500\n\
             2:74: rollout.approvals[0]: \"shadow\" is not known here; expected one of canary, ramp, production\n\
             2:83: rollout.dwel: unknown key; did you mean \"dwell\"?",
        ),
        (
            &with(
                "rollout: {steps: [10, 50], shadow: {min: 2d, max: 1d}, harm: {alpha: 0, leads: 5000, conversions: 9}}",
            ),
            "2:18: rollout.steps: must rise and end with 100, such as [10, 50, 100]\n\
             2:51: rollout.shadow.max: must be more than min\n\
             2:70: rollout.harm.alpha: must be more than 0 and at most 0.2",
        ),
        (
            &with("log: {keep: 29d}"),
            "2:13: log.keep: shorter than rollout.horizon: leads would be removed before it is known what became of them",
        ),
        (
            &with("rollout: {training: {gain: -0.1, positives: 19, ece: 0.6, segmnt: 1}}"),
            "2:28: rollout.training.gain: must be from 0 to 0.5\n\
             2:45: rollout.training.positives: 19 is less than 20\n\
             2:54: rollout.training.ece: must be from 0 to 0.5\n\
             2:59: rollout.training.segmnt: unknown key; did you mean \"segment\"?",
        ),
        (
            &with("rollout: {training: {alpha: 0.3, margin: 0.6, slowdown: 0.9}}"),
            "2:29: rollout.training.alpha: must be more than 0 and at most 0.2\n\
             2:42: rollout.training.margin: must be from 0 to 0.5\n\
             2:57: rollout.training.slowdown: must be from 1 to 100",
        ),
        (&with("rollout: {steps: [100]}"), "2:18: rollout.steps: expected at least 2 values, found 1"),
        (
            &with("rollout: {steps: [0, 100], paired: {alpha: 0.3}, benefit: {alpha: 0.05}}"),
            "2:19: rollout.steps[0]: 0 is less than 1\n\
             2:44: rollout.paired.alpha: must be more than 0 and at most 0.2\n\
             2:59: rollout.benefit.leads: required key is missing\n\
             2:59: rollout.benefit.conversions: required key is missing",
        ),
        (&with("tls: {cert: a.pem}"), "2:6: tls.key: required key is missing"),
        (&with("tls: {cert: '', key: k.pem}"), "2:13: tls.cert: expected the name of a file"),
        (
            &with("tls: {cert: a, key: k, others: [{cert: b, key: ''}]}"),
            "2:48: tls.others[0].key: expected the name of a file",
        ),
        (
            &with("tls: {cert: a, key: k, client_auth: optional}"),
            "2:37: tls.client_auth: has no meaning without client_ca",
        ),
        (
            &with("tls: {cert: a, key: k, min_version: 1.1}"),
            r#"2:37: tls.min_version: "1.1" is not a version of TLS that is spoken; expected 1.2 or 1.3"#,
        ),
        (
            &with("tls: {cert: a, key: k, client_ca: c, client_auth: never}"),
            r#"2:51: tls.client_auth: "never" is not known here; expected one of required, optional"#,
        ),
        (
            "upstream: http://me:pw@crm",
            "1:11: upstream: a user name or password has no place in the upstream's URL",
        ),
        (
            "upstream: http://crm:80/api?x",
            "1:11: upstream: a path or query has no place in the upstream's URL; write http://crm:80",
        ),
        ("upstream: http://crm:99999", r#"1:11: upstream: "99999" is not a port"#),
        ("upstream: http://127.0.0.1:8080", "1:11: upstream: is Leadwire's own listen address"),
        ("upstream: h2c://127.0.0.1:8080", "1:11: upstream: is Leadwire's own listen address"),
        (
            "upstream: h2c://crm/api",
            "1:11: upstream: a path or query has no place in the upstream's URL; write h2c://crm",
        ),
        ("upstream: h2://crm", "1:11: upstream: not a URL such as http://127.0.0.1:8069"),
        (
            "upstream: h2c://crm\nupstream_tls: {ca: ca.pem}",
            "2:15: upstream_tls: has no meaning where upstream is not https://",
        ),
        (&with("lisen: 127.0.0.1:1"), r#"2:1: lisen: unknown key; did you mean "listen"?"#),
        (
            &with("listen: :8080"),
            r#"2:9: listen: ":8080" is not an IP address with a port, such as 127.0.0.1:8080; for all addresses write 0.0.0.0:8080"#,
        ),
        (&with("listen: 8080"), "2:9: listen: expected text, found a number; put it in quotes"),
        (&with("admin: 127.0.0.1:8080"), "2:8: admin: 127.0.0.1:8080 is taken by listen"),
        (
            &with("admin: 0.0.0.0:9901"),
            "2:8: admin: 0.0.0.0:9901 is open to the network without a token; set admin_token, or bind to 127.0.0.1",
        ),
        (&with("models: a\nmodels: b"), "3:1: models: the same key stands above"),
        (&with("models: ''"), "2:9: models: expected the name of a directory"),
        (
            &with("presets: [sales-force]"),
            r#"2:11: presets[0]: no preset is called "sales-force"; did you mean "salesforce"?"#,
        ),
        (
            &with("presets: [sap]"),
            "2:11: presets[0]: no preset is called \"sap\"; expected one of salesforce, hubspot, dynamics, zoho, pipedrive, espocrm, suitecrm, odoo, frappe, tryton",
        ),
        (&with("limits: {body: 1MB}"), r#"2:16: limits.body: "1MB" is not a size such as 1MiB"#),
        (&with("limits: {body: 1000}"), "2:16: limits.body: must be from 1KiB to 64MiB"),
        (&with("limits: {body: -1}"), "2:16: limits.body: -1 is less than 0"),
        (&with("limits: {deadline: 2s}"), "2:20: limits.deadline: must be from 100us to 1s"),
        (
            &with("limits: {drain: soon}"),
            r#"2:17: limits.drain: "soon" is not a time such as 10ms, 30s or 2m"#,
        ),
        (&with("limits: {answr: 1s}"), r#"2:10: limits.answr: unknown key; did you mean "answer"?"#),
        (
            &with("secrets: {mask: [authorization]}"),
            r#"2:18: secrets.mask[0]: "authorization" is not header:NAME, query:NAME or a JSON Pointer"#,
        ),
        (
            &with("features: {emp.var: {from: ['/a/{i}'], type: number}}"),
            r#"2:29: features."emp.var".from[0]: {i} has no meaning here"#,
        ),
        (
            &with("features: {age: {from: [age], type: number}}"),
            r#"2:25: features.age.from[0]: a JSON Pointer starts with `/`, "age" does not; did you mean "/age"?"#,
        ),
        (
            &with("features: {age: {from: [], type: number}}"),
            "2:24: features.age.from: names no pointer to read from",
        ),
        (&with("features: {age: {type: number}}"), "2:17: features.age.from: required key is missing"),
        (
            &with("features: {age: {from: [/age], type: nummber}}"),
            r#"2:38: features.age.type: "nummber" is not known here; did you mean "number"?"#,
        ),
        (
            &with("identity: {email: [/a, b], phone: [], fax: [/c]}\nsecrets: {mask: [/a]}"),
            "2:20: identity.email[0]: is masked, by secrets.mask or as a secret of any CRM\n\
             2:24: identity.email[1]: a JSON Pointer starts with `/`, \"b\" does not; did you mean \"/b\"?\n\
             2:39: identity.fax: unknown key; expected one of email, phone",
        ),
        (
            &with("features: {pw: {from: [/a/b], type: number}}\nsecrets: {mask: [/a]}"),
            "2:24: features.pw.from[0]: is masked, by secrets.mask or as a secret of any CRM",
        ),
        (
            &with("features: {pw: {from: [/google_key], type: category}}"),
            "2:24: features.pw.from[0]: is masked, by secrets.mask or as a secret of any CRM",
        ),
        (
            &with("features: {pw: {from: [/b/c], type: number}}\nsecrets: {mask: [/a/b]}"),
            "2:24: features.pw.from[0]: is masked, by secrets.mask or as a secret of any CRM",
        ),
        (
            &with("presets: [salesforce]\noutcomes: [{route: lead.updat, label: 1}]"),
            r#"3:20: outcomes[0].route: no route is called "lead.updat"; did you mean "lead.update"?"#,
        ),
        (
            &with("presets: [salesforce]\noutcomes: [{route: lead.update, label: 2}]"),
            "3:40: outcomes[0].label: 2 is more than 1",
        ),
        (
            &with(
                "presets: [salesforce]\nsecrets: {mask: [/x]}\noutcomes: [{route: lead.update, label: 1, revenue: /x}]",
            ),
            "4:52: outcomes[0].revenue: is masked, by secrets.mask or as a secret of any CRM",
        ),
    ] {
        assert_eq!(told(text), expected, "{text}");
    }
}

/// A `▸` shows where the problem stands.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn problems_of_a_route() {
    for (text, expected) in [
        ("▸methd: [POST]", r#"methd: unknown key; did you mean "method"?"#),
        ("content: ▸jsn", r#"content: "jsn" is not known here; did you mean "json"?"#),
        (
            "content: ▸'form-json:'",
            r#"content: "form-json:" is not known here; did you mean "form-json:FIELD"?"#,
        ),
        (
            "model: ▸../x",
            r#"model: "../x" is not a name: up to 64 letters, digits, dots, hyphens and underscores, no dot first"#,
        ),
        ("signed_by: ▸'a b'", r#"signed_by: "a b" is not a header's name"#),
        ("when: ▸{at: /a, eq: 1}", "when: expected a list, found a mapping"),
        ("when: [▸{eq: 1}]", "when[0].at: required key is missing"),
        (
            "when: [▸{at: /a}]",
            "when[0]: exactly one of eq, in, matches, exists, absent, type is needed, none found",
        ),
        (
            "when: [▸{at: /a, eq: 1, absent: true}]",
            "when[0]: exactly one of eq, in, matches, exists, absent, type is needed, several found",
        ),
        (
            "when: [{at: ▸'resp:/a', eq: 1}]",
            "when[0].at: the answer is not known yet; only the request can be asked here",
        ),
        (
            "when: [{at: ▸method, eq: x}]",
            r#"when[0].at: "method" is not /a/pointer, $.query, header:NAME, path:NAME or query:NAME; did you mean "/method"?"#,
        ),
        (
            "when: [{at: ▸'heder:x', eq: x}]",
            r#"when[0].at: "heder:x" is not /a/pointer, $.query, header:NAME, path:NAME or query:NAME; did you mean "header:x"?"#,
        ),
        (
            "when: [{at: ▸'path:ID', eq: x}]",
            r#"when[0].at: the route's path has no {ID}; did you mean "id"?"#,
        ),
        (
            "when: [{at: 'query:v', eq: ▸5}]",
            "when[0].eq: headers, paths and queries hold text; put it in quotes",
        ),
        ("when: [{at: /a, exists: ▸false}]", "when[0].exists: can only be true; write absent: true"),
        ("when: [{at: /a, in: ▸[]}]", "when[0].in: an empty list holds for nothing"),
        (
            "when: [{at: /a, matches: ▸'('}]",
            r#"when[0].matches: "(" is not a regular expression: unclosed group"#,
        ),
        ("when: [{at: /a, matches: ▸'(a{999}){999}'}]", "when[0].matches: the pattern is too large"),
        ("when: [{at: ▸'/a/{i}', eq: 1}]", "when[0].at: {i} has no meaning here"),
        ("ok: [{at: ▸'resp:path:id', eq: x}]", "ok[0].at: an answer has neither path nor query"),
        (
            "ok: [{at: ▸'req:/id', eq: x}]",
            "ok[0].at: only the answer can be asked here; the request is asked under when",
        ),
        (
            "ok: [{at: ▸'path:id', eq: x}]",
            "ok[0].at: only the answer can be asked here; the request is asked under when",
        ),
        (
            "ok: [{at: ▸/a~2, eq: x}]",
            r#"ok[0].at: in a JSON Pointer `~` is followed by 0 or 1, not so in "a~2""#,
        ),
        ("ok: [{at: /a, eq: ▸[1]}]", "ok[0].eq: expected text or a number or true or false, found a list"),
        ("id: {from: ▸respons}", r#"id.from: "respons" is not known here; did you mean "response"?"#),
        ("id: {from: 'path:id', at: ▸/id}", "id.at: only the body of response or request has an at"),
        ("id: ▸{from: response}", "id: from: response needs an at"),
        ("id: {from: request, at: ▸'$['}", "id.at: \"$[\" is not a query: "),
        ("match: {request: /a, response: ▸/b}", "match.response: needs one {i}, 0 found"),
        ("match: {request: ▸'/{i}', response: '/{i}'}", "match.request: {i} has no meaning here"),
        ("refused: {status: [▸200]}", "refused.status[0]: 200 is less than 400"),
        ("inject: {max_items: ▸0}", "inject.max_items: 0 is less than 1"),
        (
            "inject: {response: [{at: /a, value: score, mode: ▸add}]}",
            r#"inject.response[0].mode: "add" is not known here; expected one of replace-or-add"#,
        ),
        ("id: {from: ▸'path:lead'}", "id.from: the route's path has no {lead}; expected one of id"),
        (
            "id: {from: response, at: ▸$.id}",
            r#"id.at: "$.id" is a query; a JSON Pointer such as /data/id is needed here"#,
        ),
        (
            "inject: {headers: {Content-Length: ▸points}}",
            "inject.headers.Content-Length: content-length frames the message and cannot be written",
        ),
        (
            "inject: {headers: {TE: ▸points}}",
            "inject.headers.TE: te belongs to one connection and cannot be written",
        ),
        (
            "inject: {headers: {X: ▸point}}",
            r#"inject.headers.X: "point" is not known here; did you mean "points"?"#,
        ),
        (
            "inject: {headers: {X-A: score, x-a: ▸grade}}",
            "inject.headers.x-a: the same header stands above; capitals make no difference",
        ),
        (
            "inject: {response: [{at: ▸'', value: score}]}",
            "inject.response[0].at: the last step must name a member",
        ),
        (
            "inject: {response: [{at: ▸'/r/{i}', value: score}]}",
            "inject.response[0].at: the last step must name a member",
        ),
        (
            "inject: {request: [{at: ▸'/{i}/r', value: score}]}",
            "inject.request[0].at: {i} has no meaning here",
        ),
        (
            "inject: {response: [{at: /r, value: grade, format: ▸{scale: 2}}]}",
            "inject.response[0].format: grade, model, reasons and trend are always text",
        ),
        (
            "inject: {response: [{at: /r, value: score, format: {decimals: ▸10}}]}",
            "inject.response[0].format.decimals: 10 is more than 9",
        ),
        (
            "inject: {response: [{at: /r, value: score, format: {clamp: ▸[1, 0]}}]}",
            "inject.response[0].format.clamp: 1 is more than 0",
        ),
        (
            "inject: {response: [{at: /r, value: score, format: {clamp: ▸[1]}}]}",
            "inject.response[0].format.clamp: expected at least 2 values, found 1",
        ),
    ] {
        let told = told(&route(&text.replace('▸', "")));
        let expected = format!("{}: routes[0].{expected}", place(&route(text)));
        // The query's reader has its own words for what is wrong.
        let same = if expected.ends_with(": ") { told.starts_with(&expected) } else { told == expected };
        assert!(same, "{told}\n{expected}");
    }
    let told = told(&route("leads: records"));
    assert!(told.contains(r#"routes[0].leads: "records" is not a query: "#), "{told}");
}

/// `line:column` of the `▸`.
fn place(text: &str) -> String {
    let before = text.split('▸').next().unwrap();
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    format!("{}:{column}", before.matches('\n').count() + 1)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn problems_between_routes() {
    let two = |second: &str| {
        with(&format!(
            "routes:\n  - {{name: a, method: [POST, PUT], path: '/x/{{id}}', action: read}}\n  - {second}"
        ))
    };
    for (second, expected) in [
        (
            "{name: a, method: [GET], path: /y, action: read}",
            "4:12: routes[1].name: routes[0] has the same name",
        ),
        (
            "{name: b, method: [PUT], path: '/x/{key}/', action: read}",
            r#"4:36: routes[1].path: takes the same requests as route "a" in line 3"#,
        ),
        ("{name: b, method: [GET], path: '/x/{key}', action: read}", ""),
        ("{name: b, method: [PUT], path: '/x/{key}', action: read, when: [{at: /a, exists: true}]}", ""),
        (
            "{name: b, method: [GET], path: '/y', action: read, inject: {request: [{at: /s, value: score}]}}",
            "4:74: routes[1].inject.request: a read route sends no lead to write into",
        ),
        (
            "{name: b, method: [GET], path: '/y', action: outcome, inject: {headers: {X: score}}}",
            "4:77: routes[1].inject.headers: an outcome route scores nothing to write",
        ),
        (
            "{name: b, method: [PUT], path: '/y', action: create, content: xmlrpc, inject: {request: [{at: /s, value: score}]}}",
            "4:93: routes[1].inject.request: a body of content xmlrpc is only read; nothing is written into it",
        ),
        (
            "{name: b, method: [PUT], path: '/y', action: create, content: 'form-json:data', inject: {request: [{at: /s, value: score}]}}",
            "4:103: routes[1].inject.request: a body of content form-json:data is only read; nothing is written into it",
        ),
        (
            "{name: b, method: [get], path: /y, action: read}",
            r#"4:24: routes[1].method[0]: "get" is not a method; did you mean "GET"?"#,
        ),
        ("{name: b, method: [], path: /y, action: read}", "4:23: routes[1].method: names no method"),
        (
            "{name: b, method: [GET], path: y, action: read}",
            r#"4:36: routes[1].path: a path starts with `/`, "y" does not"#,
        ),
        (
            "{name: b, method: [GET], path: '/y', action: read, id: {from: 'header:x'}}",
            "4:67: routes[1].id.from: what is read has its id in the answer's record or the path",
        ),
        (
            "{name: b, method: [GET], path: '/{y', action: read}",
            "4:36: routes[1].path: `{` without `}` in \"{y\"",
        ),
        (
            "{name: b, method: [GET], path: /y, action: craete}",
            r#"4:48: routes[1].action: "craete" is not known here; did you mean "create"?"#,
        ),
        ("b", "4:5: routes[1]: expected a mapping, found text"),
    ] {
        assert_eq!(told(&two(second)), expected, "{second}");
    }
    let preset = with(
        "presets: [salesforce]\nroutes:\n  - {name: mine, method: [POST], path: '/services/data/{v}/sobjects/Lead', action: create}",
    );
    assert_eq!(
        told(&preset),
        r#"4:40: routes[0].path: takes the same requests as route "lead.create" of preset "salesforce""#
    );
    let outcome = two("{name: b, method: [GET], path: /y, action: read}\noutcomes: [{route: b, label: 0}]");
    assert_eq!(
        told(&outcome),
        r#"5:20: outcomes[0].route: route "b" has no id, so nothing says whose outcome this is; give the rule an id"#
    );
    let hidden = route("id: {from: response, at: /a/b}").replace("routes:", "secrets: {mask: [/a]}\nroutes:");
    assert_eq!(
        told(&hidden),
        "4:68: routes[0].id: the id of route \"a\" is masked, by secrets.mask or as a secret of any CRM"
    );
}

#[test]
fn one_run_tells_every_mistake() {
    let text = "\
listen: localhost:80
upstrem: http://crm
limits: {body: 1}
routes:
  - name: a
    methd: [POST]
    path: /x
    action: creat
features:
  age: {from: [age], type: number}
";
    let expected = "\
1:1: upstream: required key is missing
1:9: listen: \"localhost:80\" is not an IP address with a port, such as 127.0.0.1:8080; did you mean \"127.0.0.1:80\"?
2:1: upstrem: unknown key; did you mean \"upstream\"?
3:16: limits.body: must be from 1KiB to 64MiB
5:5: routes[0].method: required key is missing
6:5: routes[0].methd: unknown key; did you mean \"method\"?
8:13: routes[0].action: \"creat\" is not known here; did you mean \"create\"?
10:16: features.age.from[0]: a JSON Pointer starts with `/`, \"age\" does not; did you mean \"/age\"?";
    assert_eq!(told(text), expected);
    let problems = parse(text).unwrap_err().in_file(Path::new("config/leadwire.yaml"));
    assert_eq!(problems.len(), 8);
    assert!(problems.to_string().starts_with("config/leadwire.yaml:1:1: upstream: "));
    let json = serde_json::to_value(&problems).unwrap();
    assert_eq!(
        json[2],
        serde_json::json!({"line": 2, "column": 1, "key": "upstrem", "message": "unknown key", "hint": "did you mean \"upstream\"?"})
    );
}

#[test]
fn the_environment_overrides_the_file() {
    let env = |name: &str| match name {
        "LEADWIRE_LISTEN" => Some("0.0.0.0:81".to_owned()),
        "LEADWIRE_UPSTREAM" => Some("http://[::1]:8069/".to_owned()),
        "LEADWIRE_MODELS" => Some("/m".to_owned()),
        "LEADWIRE_STATE" => Some(String::new()),
        _ => None,
    };
    let config = Config::parse("listen: 127.0.0.1:1\n", &env).unwrap();
    assert_eq!(config.listen.to_string(), "0.0.0.0:81");
    assert_eq!((config.upstream.authority.as_str(), config.upstream.port), ("[::1]:8069", 8069));
    assert_eq!((config.models.as_path(), config.state.as_path()), (Path::new("/m"), Path::new("state")));
    let bad = |name: &str| (name == "LEADWIRE_ADMIN").then(|| "9901".to_owned());
    let told = Config::parse(&with(""), &bad).unwrap_err().in_file(Path::new("x.yaml")).to_string();
    assert_eq!(told, "LEADWIRE_ADMIN: \"9901\" is not an IP address with a port, such as 127.0.0.1:8080");
}

#[test]
fn tls_is_what_its_keys_say() {
    let config = parse(
        "upstream: https://crm.example.com\n\
         upstream_tls: {ca: ca, cert: c, key: k, min_version: '1.3'}\n\
         tls: {cert: a, key: b, others: [{cert: d, key: e}], client_ca: f, client_auth: optional, min_version: 1.3}",
    )
    .unwrap();
    let pair = |cert: &str, key: &str| PairFiles { cert: cert.into(), key: key.into() };
    let tls = Tls {
        pairs: vec![pair("a", "b"), pair("d", "e")],
        clients: Some(ClientCa { file: "f".into(), required: false }),
        min_version: TlsVersion::Tls13,
    };
    assert_eq!(tls.files().collect::<Vec<_>>(), ["a", "b", "d", "e", "f"].map(Path::new));
    assert_eq!(config.tls, Some(tls));
    let upstream_tls = UpstreamTls {
        ca: Some("ca".into()),
        pair: Some(pair("c", "k")),
        server_name: "crm.example.com".try_into().unwrap(),
        min_version: TlsVersion::Tls13,
    };
    assert_eq!(upstream_tls.files().collect::<Vec<_>>(), ["c", "k", "ca"].map(Path::new));
    assert_eq!((config.upstream.port, config.upstream.tls), (443, Some(upstream_tls)));

    let config = parse("upstream: https://[::1]:8443\nupstream_tls: {server_name: crm}").unwrap();
    assert_eq!((config.upstream.host(), config.upstream.port), ("::1", 8443));
    let tls = config.upstream.tls.unwrap();
    assert_eq!((tls.server_name.to_str(), tls.min_version), ("crm".into(), TlsVersion::Tls12));
    let config = parse("upstream: http://crm\ntls: {cert: a, key: b, client_ca: c}").unwrap();
    assert!(config.upstream.tls.is_none() && config.tls.unwrap().clients.unwrap().required);
    let h2c = |text: &str| parse(text).map(|config| (config.upstream.h2c, config.upstream.port)).unwrap();
    assert_eq!([h2c("upstream: h2c://crm"), h2c("upstream: http://crm:81")], [(true, 80), (false, 81)]);
}

#[test]
fn a_mirror_trusts_whom_the_upstream_trusts_unless_it_says_otherwise() {
    let mirror = |text: &str| parse(text).unwrap().mirror.unwrap();
    let least = mirror("upstream: http://crm\nmirror: {upstream: 'http://staging'}");
    let second = Duration::from_secs(1);
    assert_eq!((least.percent, least.timeout, least.bytes), (100, 5 * second, 16 << 20));
    assert_eq!((least.upstream.host(), least.upstream.port, &least.upstream.tls), ("staging", 80, &None));
    let ca = |more: &str| {
        let mirror = mirror(&format!("upstream: https://crm\n{more}"));
        let tls = mirror.upstream.tls.unwrap();
        assert_eq!((tls.server_name.to_str(), tls.pair), ("staging".into(), None));
        tls.ca.map(|ca| ca.display().to_string())
    };
    assert_eq!(ca("mirror: {upstream: 'https://staging:8443'}"), None);
    let upstream_tls = "upstream_tls: {ca: a.pem, cert: c, key: k, server_name: crm2}\n";
    assert_eq!(
        ca(&format!("{upstream_tls}mirror: {{upstream: 'https://staging'}}")).as_deref(),
        Some("a.pem")
    );
    assert_eq!(
        ca(&format!("{upstream_tls}mirror: {{upstream: 'https://staging', ca: b.pem}}")).as_deref(),
        Some("b.pem")
    );
}

#[test]
fn egress_reads_the_hosts_that_it_names() {
    let text = "upstream: http://crm\nupstream_tls: {ca: a.pem, min_version: 1.3}\nlisten: 0.0.0.0:8080\negress: \
         {hosts: ['*.My.Salesforce.com', api.hubapi.com, 'crm:8443', '[::1]:8443', '::2', 10.0.0.1], \
         ca: {cert: c, key: k}, others: refuse}";
    let egress = parse(text).unwrap().egress.unwrap();
    for (host, port, expected) in [
        ("acme.my.salesforce.com", 443, true),
        ("acme.my.salesforce.com", 8443, false),
        ("my.salesforce.com", 443, false),
        ("api.hubapi.com", 443, true),
        ("hubapi.com", 443, false),
        ("crm", 8443, true),
        ("crm", 443, false),
        ("::1", 8443, true),
        ("::2", 443, true),
        ("10.0.0.1", 443, true),
    ] {
        assert_eq!(egress.reads(host, port), expected, "{host}:{port}");
    }
    assert_eq!(egress.files().collect::<Vec<_>>(), ["c", "k", "a.pem"].map(Path::new));
    assert_eq!((egress.others, egress.min_version), (Others::Refuse, TlsVersion::Tls13));
    let least = "upstream: http://crm\negress: {hosts: [a.b], ca: {cert: c, key: k}}";
    let egress = parse(least).unwrap().egress.unwrap();
    assert_eq!((egress.others, egress.roots, egress.min_version), (Others::Tunnel, None, TlsVersion::Tls12));
}

#[test]
fn settings_have_their_defaults() {
    let config = parse("upstream: http://crm").unwrap();
    assert_eq!(
        (config.listen.to_string(), config.admin.to_string()),
        ("127.0.0.1:8080".into(), "127.0.0.1:9901".into())
    );
    assert_eq!((config.upstream.authority.as_str(), config.upstream.port), ("crm", 80));
    let second = Duration::from_secs(1);
    let limits = Limits {
        body: 1 << 20,
        deadline: second / 100,
        connect: 5 * second,
        upstream: 1_024,
        resolve: 30 * second,
        answer: 60 * second,
        connections: 10_000,
        in_flight: 1_000,
        head: 30 * second,
        idle: 600 * second,
        headers: 512,
        head_size: 128 << 10,
        read: 5 * second,
        stall: 300 * second,
        total: 86_400 * second,
        drain: 30 * second,
        pause: 600 * second,
        refusals: 1,
        known: 50_000,
        known_age: 30 * 86_400 * second,
    };
    assert_eq!(config.limits, limits);
    assert_eq!(config.rollout, Rollout::default());
    assert!(config.routes.is_empty() && config.features.is_empty() && config.masks == Mask::always());
}

#[test]
fn a_lead_is_told_as_the_file_says_and_else_as_the_presets_do() {
    let check = |rest: &str, email: &str, phone: &str| {
        let Identity { email: got, phone: numbers } = parse(&with(rest)).unwrap().identity;
        let texts =
            |pointers: &[Pointer]| pointers.iter().map(Pointer::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!((texts(&got).as_str(), texts(&numbers).as_str()), (email, phone), "{rest}");
    };
    check("", "", "");
    check("presets: [hubspot]", "/email", "/phone /mobilephone");
    check("presets: [hubspot, odoo]", "/email /email_from", "/phone /mobilephone /phone /mobile");
    check("presets: [hubspot]\nidentity: {email: [/contact/mail]}", "/contact/mail", "/phone /mobilephone");
    check("presets: [hubspot]\nidentity: {email: [], phone: [/tel]}", "", "/tel");
    check("presets: [hubspot]\nsecrets: {mask: [/properties/phone]}", "/email", "/mobilephone");
}

#[test]
fn conditions_read_every_place_and_test() {
    let config = parse(&route(
        "when: [{at: 'header:X-A', matches: ^a}, {at: $.a, exists: true}, {at: /n, eq: null}], \
         ok: [{at: /a, in: [1, x, true]}, {at: 'resp:/b', absent: true}, {at: 'header:id', eq: x}, {at: 'resp:/{i}/ok', eq: true}]",
    ))
    .unwrap();
    let route = &config.routes[0];
    let mut seen = String::new();
    for Predicate { at: Lookup { side, place, .. }, test } in route.when.iter().chain(&route.ok) {
        let place = format!("{place:?}");
        let place = place.split(['(', ' ']).next().unwrap();
        writeln!(seen, "{side:?} {place} {test:?}").unwrap();
    }
    assert_eq!(
        seen,
        "Request Header Matches(Regex(\"^a\"))\nRequest Select Exists\nRequest Body Eq(Null)\n\
         Response Body In([Number(1.0), Text(\"x\"), Bool(true)])\nResponse Body Absent\n\
         Response Header Eq(Text(\"x\"))\nResponse Body Eq(Bool(true))\n"
    );
}

/// The example of the product's design, word for word.
#[test]
fn the_designs_example_parses() {
    let text = r#"
listen: 127.0.0.1:8080             # where the CRM's clients connect
upstream: http://127.0.0.1:8069    # the CRM
admin: 127.0.0.1:9901              # health, metrics, rollouts: never on the CRM's port
models: models                     # watched directory
state: state                       # lead log, ledger; created if missing
presets: [salesforce]              # built-in routes; one below with the same name replaces the preset's
limits: {body: 1MiB, deadline: 10ms}
routes:
  - name: lead.create
    method: [POST]
    path: /services/data/{version}/sobjects/Lead
    content: auto                  # auto | json | form | form-json:<field> | csv | multipart-batch | xmlrpc
    when: []                       # [{at: /method, eq: model.sale.opportunity.create}]; at = JSON Pointer, header:X, path:id, query:k
    leads: $                       # RFC 9535; $.records[?@.attributes.type=='Lead'] for batches
    ok: []                         # default: status 2xx; [{at: resp:/error, absent: true}]
    id: {from: response, at: /id}  # response | request | path:NAME | header:NAME with regex
    action: create                 # create | update | upsert | read | outcome
    model: lead
    inject:
      headers: {X-Lead-Score: points, X-Lead-Grade: grade, X-Lead-Model: model}
      response: [{at: /Lead_Score__c, value: points}]
      request: []                  # opt-in; [{at: /Lead_Score__c, value: points, format: {clamp: [0, 100], decimals: 0}}]
features:
  age: {from: [/age__c, /age], type: number}
outcomes:
  - {route: lead.update, when: [{at: /Status, in: [Closed - Converted]}], label: 1, revenue: /Amount__c}
secrets: {mask: ["header:authorization", "query:api_token"]}
"#;
    let config = parse(text).unwrap_or_else(|problems| panic!("{problems}"));
    let preset = parse(&with("presets: [salesforce]")).unwrap();
    let count = |config: &Config| (config.routes.len(), config.features.len(), config.outcomes.len());
    let (routes, features, outcomes) = count(&preset);
    assert_eq!(count(&config), (routes, features + 1, outcomes + 1), "one route replaces the preset's");
}

/// The example that shows every kind of rule, word for word.
#[test]
fn the_example_of_every_rule_parses() {
    let Some(spec) = crate::goldens::bytes("spec/crm.md") else { return };
    let spec = String::from_utf8(spec).unwrap();
    let blocks = spec.split("```yaml\n").skip(1).filter_map(|block| block.split("```").next());
    let example = blocks.into_iter().find(|block| block.contains("routes:")).unwrap();
    let config = parse(&with(example)).unwrap_or_else(|problems| panic!("{problems}"));
    let counts = (config.routes.len(), config.features.len(), config.outcomes.len(), config.aliases.len());
    assert_eq!(counts, (10, 2, 4, 1));
}

/// A file with one route, and rules about it from line 4 on.
fn rules(more: &str) -> String {
    with(&format!(
        "routes: [{{name: a, method: [POST], path: '/x/{{id}}', action: update}}]\nsecrets: {{mask: [/pw]}}\n{more}"
    ))
}

/// A `▸` shows where the problem stands.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn problems_of_rules() {
    for (text, expected) in [
        (
            "outcomes: [{route: a, id: {from: /id, regex: ▸'('}, label: 1}]",
            r#"outcomes[0].id.regex: "(" is not a regular expression: unclosed group"#,
        ),
        (
            "outcomes: [{route: a, each: ▸'$[*]', label: 1, id: /id}]",
            "outcomes[0].each: only an answer has items; write phase: response",
        ),
        (
            "outcomes: [{route: a, phase: response, ids: ▸'$[*]', label: 1}]",
            "outcomes[0].ids: the request's ids; not for phase: response",
        ),
        (
            "outcomes: [{route: a, ids: ▸'$[*]', id: /id, label: 1}]",
            "outcomes[0].ids: there is an id too; one of both says whose outcome this is",
        ),
        ("outcomes: [{route: a, ids: ▸ids, label: 1}]", "outcomes[0].ids: \"ids\" is not a query: "),
        (
            "outcomes: [{route: ▸a, label: 1}]",
            r#"outcomes[0].route: route "a" has no id, so nothing says whose outcome this is; give the rule an id"#,
        ),
        (
            "outcomes: [{route: a, phase: ▸answer, id: /id, label: 1}]",
            r#"outcomes[0].phase: "answer" is not known here; expected one of request, response"#,
        ),
        (
            "outcomes: [{route: a, id: {from: ▸'path:ID', via: alias}, label: 1}]",
            r#"outcomes[0].id.from: the route's path has no {ID}; did you mean "id"?"#,
        ),
        (
            "outcomes: [{route: a, id: {from: 'path:id', via: ▸alia}, label: 1}]",
            r#"outcomes[0].id.via: "alia" is not known here; did you mean "alias"?"#,
        ),
        (
            "outcomes: [{route: a, id: ▸{via: alias}, label: 1}]",
            "outcomes[0].id.from: required key is missing",
        ),
        (
            "outcomes: [{route: a, id: ▸5, label: 1}]",
            "outcomes[0].id: expected text or a mapping, found a number; put it in quotes",
        ),
        (
            "outcomes: [{route: a, id: ▸/pw, label: 1}]",
            "outcomes[0].id: is masked, by secrets.mask or as a secret of any CRM",
        ),
        (
            "outcomes: [{route: a, id: /i, event: ▸'req:/pw', label: 1}]",
            "outcomes[0].event: is masked, by secrets.mask or as a secret of any CRM",
        ),
        (
            "outcomes: [{route: a, phase: response, id: /i, time: ▸'/{i}/t', label: 1}]",
            "outcomes[0].time: {i} has no meaning here",
        ),
        (
            "outcomes: [{route: a, phase: response, id: /i, time: ▸'req:/{i}/t', label: 1}]",
            "outcomes[0].time: {i} has no meaning here",
        ),
        ("outcomes: [{route: a, id: ▸'/{i}/url', label: 1}]", "outcomes[0].id: {i} has no meaning here"),
        (
            "outcomes: [{route: a, id: /i, when: [{at: 'header:x', type: ▸string}], label: 1}]",
            "outcomes[0].when[0].type: headers, paths and queries hold text",
        ),
        (
            "outcomes: [{route: a, id: /i, when: [{at: /x, type: ▸text}], label: 1}]",
            r#"outcomes[0].when[0].type: "text" is not known here; expected one of string, number, boolean, object, array, null"#,
        ),
        (
            "aliases: [{route: ▸b, lead: /id, deal: /id}]",
            r#"aliases[0].route: no route is called "b"; did you mean "a"?"#,
        ),
        ("aliases: [▸{route: a, lead: /id}]", "aliases[0].deal: required key is missing"),
        (
            "aliases: [{route: a, lead: /id, deal: ▸'resp:/pw/x'}]",
            "aliases[0].deal: is masked, by secrets.mask or as a secret of any CRM",
        ),
        (
            "feedback: [{route: ▸b, verdict: {at: /v, up: [x]}}]",
            r#"feedback[0].route: no route is called "b"; did you mean "a"?"#,
        ),
        (
            "feedback: [{route: ▸a, verdict: {at: /v, up: [x]}}]",
            r#"feedback[0].route: route "a" has no id, so nothing says whose score this is about; give the rule an id"#,
        ),
        (
            "feedback: [{route: a, id: /i, verdict: ▸{at: /v}}]",
            "feedback[0].verdict: names no value of the field, under up or under down",
        ),
        (
            "feedback: [{route: a, id: /i, verdict: {at: /v, up: [x, 1], down: [y, ▸1]}}]",
            "feedback[0].verdict.down[1]: stands under up too",
        ),
        (
            "feedback: [{route: a, id: /i, verdict: {at: /v, up: [x], ▸dwn: [y]}}]",
            r#"feedback[0].verdict.dwn: unknown key; did you mean "down"?"#,
        ),
        (
            "feedback: [{route: a, id: /i, verdict: {at: ▸'header:v', up: [x]}}]",
            r#"feedback[0].verdict.at: "header:v" is no JSON Pointer from the lead object, such as /LW_Verdict__c"#,
        ),
        (
            "feedback: [{route: a, id: /i, verdict: {at: ▸'req:/v', up: [x]}}]",
            r#"feedback[0].verdict.at: "req:/v" is no JSON Pointer from the lead object, such as /LW_Verdict__c"#,
        ),
        (
            "feedback: [{route: a, id: /i, verdict: {at: ▸'resp:/v', up: [x]}}]",
            "feedback[0].verdict.at: the answer is not known yet; only the request can be asked here",
        ),
        (
            "feedback: [{route: a, id: /i, verdict: {at: ▸/pw, up: [x]}}]",
            "feedback[0].verdict.at: is masked, by secrets.mask or as a secret of any CRM",
        ),
        (
            "feedback: [{route: a, id: ▸$.i, verdict: {at: /v, up: [x]}}]",
            "feedback[0].id: a query could find what a feature reads; write a pointer",
        ),
        (
            "feedback: [{route: a, id: /i, verdict: {at: /v, up: [x]}, reason: {at: /r, ▸mood: [x]}}]",
            "feedback[0].reason.mood: unknown key; expected one of ",
        ),
        (
            "feedback: [{route: a, id: /i, verdict: {at: /v, up: [x]}, reason: {at: /r, bad_data: [x], duplicate: [▸x]}}]",
            "feedback[0].reason.duplicate[0]: stands under bad_data too",
        ),
        (
            "features: {f: {from: [/g, /f], type: category}}\nfeedback: [{route: a, id: /i, verdict: {at: /v, up: [x]}, note: ▸/f}]",
            r#"feedback[0].note: feature "f" reads this field; what people say of scores goes into none"#,
        ),
        (
            "features: {f: {from: [/f/g], type: category}}\nfeedback: [{route: a, id: /i, verdict: {at: ▸/f, up: [x]}}]",
            r#"feedback[0].verdict.at: feature "f" reads this field; what people say of scores goes into none"#,
        ),
        (
            "features: {f: {from: [/f], type: category}}\nfeedback: [{route: a, id: /i, verdict: {at: /v, up: [x]}, reason: {at: ▸/f/g}}]",
            r#"feedback[0].reason.at: feature "f" reads this field; what people say of scores goes into none"#,
        ),
        (
            "features: {f: {from: [/f], type: category}}\nfeedback: [{route: a, id: /i, verdict: {at: /v, up: [x]}, who: ▸'req:/x/f'}]",
            r#"feedback[0].who: feature "f" reads this field; what people say of scores goes into none"#,
        ),
        (
            "features: {f: {from: [/f], type: number, missing: ▸often}}",
            "features.f.missing: for a number: median, nan or a number",
        ),
        (
            "features: {f: {from: [/f], type: boolean, missing: ▸1}}",
            "features.f.missing: for a boolean: true or false",
        ),
        (
            "features: {f: {from: [/f], type: category, missing: ▸1}}",
            "features.f.missing: for a category: a word; put it in quotes",
        ),
        ("features: {f: {from: [/f], type: number, oov: ▸x}}", "features.f.oov: only a category has it"),
        (
            "features: {f: {from: [/f], type: number, derive: ▸email-domain}}",
            "features.f.derive: only a category has it",
        ),
        (
            "features: {f: {from: [/f], type: category, derive: ▸domain}}",
            r#"features.f.derive: "domain" is not known here; expected one of email-domain"#,
        ),
        ("limits: {pause: ▸2d}", "limits.pause: must be from 1s to 1d"),
        ("limits: {refusals: ▸0}", "limits.refusals: 0 is less than 1"),
        ("limits: {upstream: ▸0}", "limits.upstream: 0 is less than 1"),
        ("limits: {resolve: ▸10ms}", "limits.resolve: must be from 1s to 1h"),
        ("limits: {headers: ▸15}", "limits.headers: 15 is less than 16"),
        ("limits: {head_size: ▸4KiB}", "limits.head_size: must be from 8KiB to 1MiB"),
        ("limits: {read: ▸1ms}", "limits.read: must be from 100ms to 10m"),
        ("limits: {stall: ▸0s}", "limits.stall: must be from 1s to 1d"),
        ("limits: {total: ▸31d}", "limits.total: must be from 1s to 30d"),
        ("limits: {known_age: ▸1s}", "limits.known_age: must be from 1m to 3650d"),
    ] {
        let told = told(&rules(&text.replace('▸', "")));
        assert!(told.starts_with(&format!("{}: {expected}", place(&rules(text)))), "{text}\n{told}");
        assert!(!told.contains('\n') || expected.ends_with(": "), "{told}");
    }
}

#[test]
fn rules_say_what_they_read() {
    let config = parse(&rules(
        "outcomes: [{route: a, phase: response, each: '$.r[*]', id: /id, event: 'header:e', time: 'req:/t', revenue: 'query:v', label: 1},\n\
         {route: a, id: {from: 'path:id', via: alias}, revision: $.rev, revenue: 'resp:/{i}/v', label: 0}]\n\
         features: {a: {from: [/a], type: number, missing: nan}, b: {from: [/b], type: category, missing: 'nan', oov: x, derive: email-domain}}",
    ))
    .unwrap();
    let [first, second] = config.outcomes.as_slice() else { panic!("{:?}", config.outcomes) };
    let text = |at: &Option<Lookup>| {
        at.as_ref().map(|Lookup { side, place, base }| {
            let place = format!("{place:?}");
            format!("{side:?} {} {base:?}", place.split(['(', ' ']).next().unwrap())
        })
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!((first.phase, first.won, first.via_alias), (Phase::Response, true, false));
    assert_eq!(text(&first.id), some("Response Body Item"));
    assert_eq!(text(&first.event), some("Response Header Item"));
    assert_eq!(text(&first.time), some("Request Body Root"));
    assert_eq!(text(&first.revenue), some("Request Query Root"));
    assert_eq!((second.phase, second.won, second.via_alias), (Phase::Request, false, true));
    assert_eq!(text(&second.id), some("Request Path Root"));
    assert_eq!(text(&second.revision), some("Request Select Item"));
    assert_eq!(text(&second.revenue), some("Response Body Root"));
    let [a, b] = config.features.as_slice() else { panic!("{:?}", config.features) };
    assert_eq!((&a.missing, &b.missing), (&Some(Fill::Nan), &Some(Fill::Word("nan".into()))));
    assert_eq!((b.oov.as_deref(), b.derive), (Some("x"), Some(Derive::EmailDomain)));
}

#[test]
fn hostile_text_is_refused_in_bounds() {
    let bomb: String = (1..30).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, n| {
        let below = format!("*a{}, ", n - 1).repeat(9);
        text + &format!("a{n}: &a{n} [{below}]\n")
    });
    let deep_flow = "[".repeat(1 << 20);
    let deep_block = (0..200).fold(String::new(), |text, n| text + &" ".repeat(n) + "a:\n");
    let dashes = "- ".repeat(100_000);
    let long = "a".repeat((1 << 20) + 1);
    let many_keys: String = (0..20_000).map(|n| format!("k{n}: 1\n")).collect();
    for (text, expected) in [
        (bomb.as_str(), "too many values"),
        (&deep_flow, "not YAML"),
        (&deep_block, "nested deeper"),
        (&dashes, "nested deeper"),
        (&long, "longer than"),
        (&many_keys, "and 19901 more"),
        ("a: &a [*a]", "or inside of what it stands for"),
        ("a: *b", "not YAML"),
        ("a:\n\tb: 1", "not YAML"),
        ("a: b: c", "not YAML"),
        ("a: [", "not YAML"),
        ("upstream: http://crm\0\nx: 1", "1:21: control character \\u{0}"),
        ("upstream: http://crm\n---\nx: 1", "2:1: a second document"),
        ("? [a]\n: 1", "a key must be text"),
        ("a: !!binary x", "has no meaning here"),
        ("%YAML 9.9\n", "not YAML"),
    ] {
        let told = told(text);
        let start = text.get(..40).unwrap_or(text);
        assert!(told.contains(expected), "{start}: {}", told.get(..300).unwrap_or(&told));
    }
    let shouting = format!("listen: :{}\n{}: 1", "x".repeat(500_000), "k".repeat(250));
    assert!(told(&shouting).len() < 3000);
    assert_eq!(told("\u{feff}upstream: http://crm\r\n"), "");
    assert_eq!(told("\u{feff}upstrem: x"), told("upstrem: x"));
}

proptest::proptest! {
    /// Whatever replaces a part of a good file is told by our own words, not by the deserialiser's.
    #[test]
    fn no_slip_gets_past_the_shape(
        start in 0_usize..6000,
        length in 0_usize..30,
        slip in r#"(1|-2\.5|true|~|x|\[\]|\{\}|\[x\]|\{a: b\}|'')?"#,
    ) {
        let good: Vec<char> = include_str!("../../config/leadwire.yaml").chars().collect();
        let start = start.min(good.len());
        let end = (start + length).min(good.len());
        let (before, after) = (good[..start].iter(), good[end..].iter());
        let text: String = before.copied().chain(slip.chars()).chain(after.copied()).collect();
        let told = told(&text);
        let foreign = ["invalid type", "invalid value", "invalid length", "missing field", "unknown "];
        let foreign = foreign.iter().any(|words| told.replace("unknown key", "").contains(words));
        proptest::prop_assert!(!foreign, "{}", told);
    }

    #[test]
    fn no_text_panics(text in r#"[\[\]{}:,\-&*!|>'"%@#?a-c0-9 \n\t~.]{0,200}"#) {
        let _ = parse(&text);
    }
}

#[test]
fn the_shipped_file_and_the_schema_agree() {
    let text = include_str!("../../config/leadwire.yaml");
    let config = parse(text).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(config.features.len() >= 19 && config.routes.iter().any(|route| &*route.name == "lead.create"));

    // With the keys that are commented out, which start right behind the `#`.
    let switch = |line: &str| {
        let bare = line.trim_start();
        let indent = &line[..line.len() - bare.len()];
        match bare.strip_prefix('#').filter(|key| !key.starts_with(' ')) {
            Some(key) => format!("{indent}{key}\n"),
            None => format!("{line}\n"),
        }
    };
    let whole: String = text.lines().map(switch).collect();
    let mut shown = Vec::new();
    keys(&document::read(&whole).unwrap(), "", &mut shown);
    let mut wanted = Vec::new();
    let schema = schema();
    properties(&schema, &schema, "", &mut wanted);
    assert!(wanted.len() > 40, "{wanted:?}");
    for (path, description) in wanted {
        let comments: Vec<_> =
            shown.iter().filter(|(key, _)| *key == path).map(|(_, line)| comment(&whole, *line)).collect();
        assert!(comments.contains(&description), "{path} should say: # {description}\nbut says {comments:?}");
    }
}

/// Every key with its line; list items are `[]`, entries of the feature and header maps `*`.
fn keys(node: &Node, path: &str, into: &mut Vec<(String, usize)>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| keys(item, &format!("{path}[]"), into)),
        Value::Map(entries) => {
            for (key, node) in entries {
                let open = matches!(path, ".features" | ".routes[].inject.headers");
                let below = format!("{path}.{}", if open { "*" } else { &key.name });
                into.push((below.clone(), key.mark.line));
                keys(node, &below, into);
            }
        }
        _ => {}
    }
}

/// Every property of the schema with its description, by the same paths. Predicates look alike wherever they stand,
/// and so do targets, so each is wanted once, somewhere.
fn properties(root: &Json, schema: &Json, path: &str, into: &mut Vec<(String, String)>) {
    let schema = schema.get("anyOf").map_or(schema, |branches| &branches[0]);
    let target = schema.get("$ref").and_then(Json::as_str);
    let schema = target.map_or(schema, |name| root.pointer(name.trim_start_matches('#')).unwrap());
    let twice = matches!(
        path,
        ".routes[].when[]" | ".aliases[].when[]" | ".feedback[].when[]" | ".routes[].inject.request[]"
    );
    if twice {
        return;
    }
    for (name, property) in schema.get("properties").and_then(Json::as_object).into_iter().flatten() {
        let below = format!("{path}.{name}");
        let description = property.get("description").and_then(Json::as_str).unwrap_or_default();
        let elsewhere = path.ends_with("when[]") && name != "in" || path.ends_with("ok[]") && name == "in";
        if !elsewhere {
            into.push((below.clone(), description.replace('\n', " ")));
        }
        properties(root, property, &below, into);
    }
    if let Some(items) = schema.get("items") {
        properties(root, items, &format!("{path}[]"), into);
    }
    if let Some(other) = schema.get("additionalProperties").filter(|other| other.is_object()) {
        properties(root, other, &format!("{path}.*"), into);
    }
}

/// The comment right above a line.
fn comment(text: &str, line: usize) -> String {
    let above: Vec<_> = text.lines().take(line - 1).collect();
    let block: Vec<_> = above.iter().rev().map_while(|line| line.trim_start().strip_prefix("# ")).collect();
    block.into_iter().rev().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.yaml");
    let error = Config::load(&missing).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read {}", missing.display()));
    let binary = folder.path().join("bin.yaml");
    std::fs::write(&binary, b"a: 1\nb\xff").unwrap();
    let error = Config::load(&binary).unwrap_err();
    assert_eq!(error.to_string(), format!("{}:2:2: not UTF-8", binary.display()));
}
