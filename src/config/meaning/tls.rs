//! Certificates and keys, by the names of their files.

use rustls::pki_types::ServerName;
use serde_json::Value as Json;

use super::text;
use crate::config::{
    findings::{Complaint, Findings, KeyPath},
    raw::{ClientAuth, RawConfig, RawTls, RawUpstreamTls},
    settings::Upstream,
    tls::{ClientCa, PairFiles, Tls, TlsVersion, UpstreamTls},
};

/// TLS for the clients.
pub(super) fn listen(raw: &RawTls, findings: &mut Findings) -> Option<Tls> {
    let at = KeyPath::default().key("tls");
    let first = pair(&raw.cert, &raw.key, &at, findings);
    let others = raw.others.iter().enumerate();
    let others =
        others.map(|(index, other)| pair(&other.cert, &other.key, &at.key("others").item(index), findings));
    let pairs: Option<Vec<_>> = others.collect::<Vec<_>>().into_iter().collect();
    let ca = raw.client_ca.as_deref();
    let clients = ca.and_then(|file| findings.take(&at.key("client_ca"), text::file(file)));
    let required = raw.client_auth != Some(ClientAuth::Optional);
    if raw.client_auth.is_some() && ca.is_none() {
        findings.wrong(&at.key("client_auth"), "has no meaning without client_ca");
    }
    let min_version = findings.take(&at.key("min_version"), version(raw.min_version.as_ref()));
    Some(Tls {
        pairs: std::iter::once(first?).chain(pairs?).collect(),
        clients: clients.map(|file| ClientCa { file, required }),
        min_version: min_version?,
    })
}

/// The upstream with what an https one is spoken to with.
pub(super) fn upstream(
    raw: &RawConfig,
    (mut upstream, is_https): (Upstream, bool),
    at: &KeyPath,
    findings: &mut Findings,
) -> Option<Upstream> {
    let default = RawUpstreamTls::default();
    let settings = raw.upstream_tls.as_ref();
    if is_https {
        upstream.tls = Some(upstream_tls(settings.unwrap_or(&default), upstream.host(), at, findings)?);
    } else if settings.is_some() && raw.egress.is_none() {
        // Taken for granted by whoever wrote it, so it is not passed over.
        let key = KeyPath::default().key("upstream_tls");
        findings.wrong(&key, "has no meaning where upstream is not https://");
    }
    Some(upstream)
}

fn upstream_tls(
    raw: &RawUpstreamTls,
    host: &str,
    upstream: &KeyPath,
    findings: &mut Findings,
) -> Option<UpstreamTls> {
    let at = KeyPath::default().key("upstream_tls");
    let ca = raw.ca.as_deref().and_then(|file| findings.take(&at.key("ca"), text::file(file)));
    let pair = match (&raw.cert, &raw.key) {
        (Some(cert), Some(key)) => pair(cert, key, &at, findings),
        (None, None) => None,
        (Some(_), None) => {
            findings.wrong(&at.key("cert"), "needs its key");
            None
        }
        (None, Some(_)) => {
            findings.wrong(&at.key("key"), "needs its cert");
            None
        }
    };
    let (name, named_at) = match &raw.server_name {
        Some(name) => (name.as_str(), at.key("server_name")),
        None => (host, upstream.clone()),
    };
    let server_name = findings.take(&named_at, server_name(name));
    let min_version = findings.take(&at.key("min_version"), version(raw.min_version.as_ref()));
    Some(UpstreamTls { ca, pair, server_name: server_name?, min_version: min_version? })
}

/// How a server is spoken to of which nothing is known but its CAs, `ca_at`, and its URL, `url`.
pub(super) fn trusting(
    ca: Option<&String>,
    host: &str,
    (ca_at, url): (&KeyPath, &KeyPath),
    findings: &mut Findings,
) -> Option<UpstreamTls> {
    let ca = ca.and_then(|file| findings.take(ca_at, text::file(file)));
    let server_name = findings.take(url, server_name(host));
    Some(UpstreamTls { ca, pair: None, server_name: server_name?, min_version: TlsVersion::default() })
}

fn pair(cert: &str, key: &str, at: &KeyPath, findings: &mut Findings) -> Option<PairFiles> {
    let cert = findings.take(&at.key("cert"), text::file(cert));
    let key = findings.take(&at.key("key"), text::file(key));
    Some(PairFiles { cert: cert?, key: key? })
}

fn server_name(text: &str) -> Result<ServerName<'static>, Complaint> {
    let name = ServerName::try_from(text.to_owned());
    name.map_err(|_| format!("{text:?} is not a name that a certificate can hold").into())
}

/// `1.2` without quotes is a number in YAML, and means the same.
pub(super) fn version(raw: Option<&Json>) -> Result<TlsVersion, Complaint> {
    let text = match raw {
        None => return Ok(TlsVersion::default()),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    match text.as_str() {
        "1.2" => Ok(TlsVersion::Tls12),
        "1.3" => Ok(TlsVersion::Tls13),
        _ => Err(format!("{text:?} is not a version of TLS that is spoken; expected 1.2 or 1.3").into()),
    }
}
