//! A route: the rule that recognises leads, and what it writes where.

use std::sync::Arc;

use http::{HeaderName, Method, StatusCode};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::at::{Pointer, Predicate, Selector};

/// A rule that recognises leads in requests to one path.
#[derive(Clone, Debug)]
pub struct Route {
    /// Unique; the label in metrics and the lead log.
    pub name: Arc<str>,
    /// Never empty.
    pub methods: Vec<Method>,
    /// Template over the percent-encoded path: `/services/data/{version}/sobjects/Lead`, `/leads({id})`.
    pub path: Box<str>,
    /// How the body is read.
    pub content: Content,
    /// All must hold for the route to take the request. Request side only.
    pub when: Vec<Predicate>,
    /// Finds the lead objects in the request's body; for [`Action::Read`] the records in the answer's.
    pub leads: Selector,
    /// All must hold, beside status 2xx where none looks at the response's body, for the CRM to have accepted the lead.
    pub ok: Vec<Predicate>,
    /// Where the record's id stands.
    pub id: Option<Id>,
    /// Which item of the answer belongs to which lead, where its order does not say.
    pub pairing: Option<Pairing>,
    /// Statuses beside the client errors by which the CRM refuses what was written, 400..=599.
    pub refused: Vec<StatusCode>,
    /// What the request does to the record.
    pub action: Action,
    /// The model that scores.
    pub model: Arc<str>,
    /// What is written where.
    pub inject: Inject,
    /// The header that signs the body. Where it is present, bodies are left alone and only headers are written.
    pub signed_by: Option<HeaderName>,
}

/// How a body is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// By Content-Type, or by the body's first byte where that is missing.
    Auto,
    /// JSON, whatever the Content-Type says.
    Json,
    /// `application/x-www-form-urlencoded`
    Form,
    /// JSON inside this field of a form.
    FormJson(Box<str>),
    /// Comma-separated values with a header line.
    Csv,
    /// `multipart/mixed` with an HTTP request in each part.
    MultipartBatch,
    /// XML-RPC.
    XmlRpc,
    /// Any XML: elements by their names, without namespaces.
    Xml,
}

impl Content {
    /// Whether a value can be written into such a body. Of one that goes by its type that shows with the body.
    pub fn is_written_to(&self) -> bool {
        matches!(self, Content::Auto | Content::Json)
    }
}

/// What a request does to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A new record, whole.
    Create,
    /// A change, which holds only some fields.
    Update,
    /// Either.
    Upsert,
    /// Nothing; the answer may hold records.
    Read,
    /// Nothing to score; outcome rules read it.
    Outcome,
}

/// A record's id.
#[derive(Clone, Debug)]
pub struct Id {
    /// Where it stands.
    pub from: IdSource,
    /// The id is this pattern's first group, or all that it matches where it has none. Without a match there is no id.
    pub regex: Option<Regex>,
}

/// Where a record's id stands.
#[derive(Clone, Debug)]
pub enum IdSource {
    /// In the answer's body, from its root; for [`Action::Read`] from the record.
    Response(Pointer),
    /// In the request's body, from its root.
    Request(Pointer),
    /// In the request's body: the k-th result is that of the k-th lead. A list holds the ids of several records that
    /// are all as the lead object says.
    Each(Selector),
    /// What this `{name}` of the path stood for.
    Path(Box<str>),
    /// In a header of the answer.
    Header(HeaderName),
}

/// Two values that are equal, but for case and white space around, where a lead and an item of the answer belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairing {
    /// Relative to the lead object.
    pub request: Pointer,
    /// From the answer's root; has one `{i}`.
    pub response: Pointer,
}

/// What a route writes. All empty: scores are only recorded.
#[derive(Clone, Debug, Default)]
pub struct Inject {
    /// Into the headers of a scored answer.
    pub headers: Vec<HeaderTarget>,
    /// Headers are written where at most so many leads have a score; several are separated by commas, in their order.
    pub max_items: usize,
    /// Into the request's body, relative to the lead object. Opt-in: a CRM may refuse a field it does not know.
    pub request: Vec<BodyTarget>,
    /// Into the answer's body: from its root, or from the item where the pointer has `{i}`.
    pub response: Vec<BodyTarget>,
}

impl Inject {
    /// Whether `field` is written of a request's leads. Headers and requests' bodies take that of a single lead.
    pub fn writes(&self, field: Field, is_single: bool) -> bool {
        let into = |targets: &[BodyTarget]| targets.iter().any(|target| target.value == field);
        let into_headers = || self.headers.iter().any(|target| target.value == field);
        into(&self.response) || is_single && (into_headers() || into(&self.request))
    }
}

/// A header that is written.
#[derive(Clone, Debug)]
pub struct HeaderTarget {
    /// The header's name.
    pub name: HeaderName,
    /// What goes in.
    pub value: Field,
}

/// A member of a JSON body that is replaced, or added where it is absent.
#[derive(Clone, Debug)]
pub struct BodyTarget {
    /// Where; the last step names the member, so there is at least one.
    pub at: Pointer,
    /// What goes in.
    pub value: Field,
    /// How it is written.
    pub format: Format,
}

/// What a target in a body is written for. There is one value yet; it is taken so that a file can say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Per {
    /// Each lead.
    #[default]
    Item,
}

/// How a member is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    /// In place of what is there, or new.
    #[default]
    ReplaceOrAdd,
}

/// What follows when the CRM refuses what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnRefused {
    /// The original bytes are sent once.
    #[default]
    ReplayOriginal,
}

/// What can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    /// The probability, 0..1.
    Score,
    /// 0..100, whole.
    Points,
    /// A, B, C or D.
    Grade,
    /// `lead/3`
    Model,
    /// `job: services +; campaign: high -`
    Reasons,
    /// improving, steady or declining against the lead's previous score; nothing where there is none.
    Trend,
}

/// How a number is written: clamped, then scaled, then rounded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Format {
    /// Least and greatest value.
    pub clamp: Option<(f64, f64)>,
    /// Factor.
    pub scale: Option<f64>,
    /// Digits after the point at most, 0..=9. None: the shortest text that reads back to the same f32.
    pub decimals: Option<u8>,
    /// The JSON type.
    pub write_as: WriteAs,
}

/// The JSON type of a written value. Grade, model, reasons and trend are always text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WriteAs {
    /// `73.12`
    #[default]
    Number,
    /// `73`, rounded
    Integer,
    /// `"73.12"`
    #[serde(rename = "string")]
    Text,
}
