//! The bytes of both ends: what the client asks, what the CRM answers, and where a message ends.

use memchr::memmem;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Asked {
    /// A lead of 736 bytes; answered by 201 and 300 bytes.
    Lead,
    /// The same bytes to an object that no route knows.
    Case,
    /// A record; answered by 2 KiB.
    Record,
}

/// Bytes of a lead.
const LEAD: usize = 736;

const FIELDS: &str = concat!(
    r#"{"attributes": {"type": "Lead"}, "FirstName": "Ada", "LastName": "Byron", "Company": "Analytical Engines","#,
    r#" "Email": "ada.byron@engines.example", "LeadSource": "Web", "age__c": 36, "campaign__c": 2, "pdays__c": 999,"#,
    r#" "previous__c": 0, "emp_var_rate__c": 1.1, "cons_price_idx__c": 93.994, "cons_conf_idx__c": -36.4,"#,
    r#" "euribor3m__c": 4.857, "nr_employed__c": 5191.0, "job__c": "management", "marital__c": "single","#,
    r#" "education__c": "university.degree", "default__c": "no", "housing__c": "yes", "loan__c": "no","#,
    r#" "contact__c": "cellular", "month__c": "may", "day_of_week__c": "mon", "poutcome__c": "nonexistent","#,
    r#" "Description": ""#
);

impl Asked {
    /// The whole request.
    pub fn request(self) -> Vec<u8> {
        let (method, path) = match self {
            Self::Lead => ("POST", "/services/data/v64.0/sobjects/Lead"),
            Self::Case => ("POST", "/services/data/v64.0/sobjects/Case"),
            Self::Record => ("GET", "/services/data/v64.0/sobjects/Account/0015g00000XyZaB"),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: crm.example\r\nauthorization: Bearer 00D5g000004XyZ!AQcAQ\r\n\
             user-agent: bench\r\naccept: application/json\r\n"
        );
        if self == Self::Record {
            return format!("{head}\r\n").into_bytes();
        }
        let text = "x".repeat(LEAD - FIELDS.len() - 2);
        format!("{head}content-type: application/json\r\ncontent-length: {LEAD}\r\n\r\n{FIELDS}{text}\"}}")
            .into_bytes()
    }
}

/// The CRM's answers; each record that is created has an id of its own.
pub struct Answers {
    created: Vec<u8>,
    record: Vec<u8>,
    id_at: usize,
    next: u64,
}

/// Digits of an id that differ from record to record.
const DIGITS: usize = 12;

impl Answers {
    pub fn new() -> Self {
        let id = "00Q5g0";
        let start =
            format!(r#"{{"id": "{id}{}", "success": true, "errors": [], "padding": ""#, "0".repeat(DIGITS));
        let body =
            |start: &str, length: usize| format!("{start}{}\"}}", "y".repeat(length - start.len() - 2));
        let answer = |status: &str, body: &str| {
            let length = body.len();
            format!(
                "HTTP/1.1 {status}\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                 content-type: application/json;charset=UTF-8\r\ncontent-length: {length}\r\n\r\n{body}"
            )
            .into_bytes()
        };
        let created = answer("201 Created", &body(&start, 300));
        let record = answer("200 OK", &body(r#"{"Name": ""#, 2048));
        let id_at = memmem::find(&created, id.as_bytes()).map_or(0, |at| at + id.len());
        Self { created, record, id_at, next: 0 }
    }

    /// The answer to a request.
    pub fn to(&mut self, request: &[u8]) -> &[u8] {
        if request.starts_with(b"GET") {
            return &self.record;
        }
        self.next += 1;
        let mut rest = self.next;
        for digit in self.created.iter_mut().skip(self.id_at).take(DIGITS).rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        &self.created
    }
}

/// Length of the message that a buffer starts with, once all of it is there.
pub fn length(buffer: &[u8]) -> Option<usize> {
    let head = memmem::find(buffer, b"\r\n\r\n")? + 4;
    let (head, body) = buffer.split_at(head);
    let length = match header(head, b"content-length") {
        Some(length) => std::str::from_utf8(length).ok()?.parse().ok()?,
        // Only an answer that was written anew comes in chunks.
        None if header(head, b"transfer-encoding").is_some() => memmem::find(body, b"0\r\n\r\n")? + 5,
        None => 0,
    };
    (body.len() >= length).then_some(head.len() + length)
}

/// A header's value.
pub fn header<'h>(head: &'h [u8], name: &[u8]) -> Option<&'h [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (start, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_long_as_the_tables_say() {
        let body =
            |message: &[u8]| length(message).unwrap() - memmem::find(message, b"\r\n\r\n").unwrap() - 4;
        for (asked, request, answer) in
            [(Asked::Lead, 736, 300), (Asked::Case, 736, 300), (Asked::Record, 0, 2048)]
        {
            let message = asked.request();
            assert_eq!(body(&message), request, "{asked:?}");
            assert_eq!(length(&message), Some(message.len()), "{asked:?}");
            assert_eq!(body(Answers::new().to(&message)), answer, "{asked:?}");
        }
    }

    #[test]
    fn each_record_has_an_id_of_its_own() {
        let (mut answers, request) = (Answers::new(), Asked::Lead.request());
        let first = String::from_utf8(answers.to(&request).to_vec()).unwrap();
        let second = String::from_utf8(answers.to(&request).to_vec()).unwrap();
        assert!(first.contains(r#""id": "00Q5g0000000000001""#), "{first}");
        assert!(second.contains(r#""id": "00Q5g0000000000002""#), "{second}");
    }

    #[test]
    fn a_message_ends_where_its_head_says() {
        let check = |message: &str, expected| assert_eq!(length(message.as_bytes()), expected, "{message:?}");
        check("HTTP/1.1 200 OK\r\nContent-Le", None);
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", None);
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some(40));
        check("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP", Some(40));
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", None);
        check("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Some(59));
        check("GET / HTTP/1.1\r\n\r\n", Some(18));
    }
}
