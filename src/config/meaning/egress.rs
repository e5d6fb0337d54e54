//! For which hosts Leadwire stands in.

use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::DnsName;

use super::{text, tls};
use crate::config::{
    egress::{Egress, EgressHost, Others},
    findings::{Complaint, Findings, KeyPath},
    raw::{RawEgress, RawUpstreamTls},
    tls::PairFiles,
};

const HTTPS: u16 = 443;

/// Egress; hosts are checked against the CAs that `upstream_tls` names.
pub(super) fn egress(
    raw: &RawEgress,
    upstream_tls: Option<&RawUpstreamTls>,
    listen: Option<SocketAddr>,
    findings: &mut Findings,
) -> Option<Egress> {
    let at = KeyPath::default().key("egress");
    if raw.hosts.is_empty() {
        findings.wrong(&at.key("hosts"), "names no host whose https is read");
    }
    let hosts = raw.hosts.iter().enumerate();
    let hosts = hosts.map(|(index, text)| findings.take(&at.key("hosts").item(index), host(text)));
    let hosts: Option<Vec<_>> = hosts.collect::<Vec<_>>().into_iter().collect();
    let ca = at.key("ca");
    let cert = findings.take(&ca.key("cert"), text::file(&raw.ca.cert));
    let key = findings.take(&ca.key("key"), text::file(&raw.ca.key));
    // Whoever can connect could reach whatever this machine can: that is nobody's default.
    let is_open = listen.is_some_and(|listen| !listen.ip().to_canonical().is_loopback());
    if is_open && raw.others.is_none() {
        let hint = Some("write others: refuse, or others: tunnel if that is meant".to_owned());
        let message = "must say what becomes of other hosts where listen is open to the network";
        findings.wrong(&at, Complaint::new(message, hint));
    }
    let default = RawUpstreamTls::default();
    let upstream_tls = upstream_tls.unwrap_or(&default);
    Some(Egress {
        hosts: hosts?,
        ca: PairFiles { cert: cert?, key: key? },
        others: raw.others.unwrap_or(Others::Tunnel),
        // What is wrong with these is told where they stand.
        roots: upstream_tls.ca.as_deref().and_then(|file| text::file(file).ok()),
        min_version: tls::version(upstream_tls.min_version.as_ref()).ok()?,
    })
}

/// `api.hubapi.com`, `*.my.salesforce.com`, `crm.example.com:8443`, `[::1]:8443`
fn host(text: &str) -> Result<EgressHost, Complaint> {
    let shape =
        || Complaint::from(format!("{text:?} is not a host such as api.example.com or *.example.com:8443"));
    let (written, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(shape)?)
        }
        _ => (text, HTTPS),
    };
    let (name, wildcard) = match written.strip_prefix("*.") {
        Some(name) => (name, true),
        None => (written.trim_start_matches('[').trim_end_matches(']'), false),
    };
    let name = name.to_ascii_lowercase();
    let is_address = name.parse::<IpAddr>().is_ok();
    // `*.com` would stand in for everybody.
    let is_broad = wildcard && (is_address || !name.contains('.'));
    if is_broad || !is_address && (name.ends_with('.') || DnsName::try_from(name.as_str()).is_err()) {
        return Err(shape());
    }
    Ok(EgressHost { name: name.into(), wildcard, port })
}
