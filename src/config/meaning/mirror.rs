//! Where copies of requests go.

use std::net::SocketAddr;

use super::{text, tls};
use crate::config::{
    findings::{Findings, KeyPath},
    mirror::Mirror,
    raw::{RawMirror, RawUpstreamTls},
};

/// The mirror; one that is spoken to by https trusts whom `upstream_tls` trusts, unless it says otherwise.
pub(super) fn mirror(
    raw: &RawMirror,
    upstream_tls: Option<&RawUpstreamTls>,
    listen: Option<SocketAddr>,
    findings: &mut Findings,
) -> Option<Mirror> {
    let at = KeyPath::default().key("mirror");
    let url = at.key("upstream");
    let upstream = findings.take(&url, text::upstream(&raw.upstream));
    if let (Some(listen), Some((upstream, _))) = (listen, &upstream)
        && text::is_own(listen, upstream)
    {
        findings.wrong(&url, "is Leadwire's own listen address");
    }
    let timeout = findings.take(&at.key("timeout"), text::duration(&raw.timeout, ("100ms", "10m")));
    let bytes = findings.take(&at.key("bytes"), text::size(&raw.bytes, ("1MiB", "1GiB")));
    let (mut upstream, is_https) = upstream?;
    let ca = raw.ca.as_ref().or_else(|| upstream_tls?.ca.as_ref());
    if is_https {
        upstream.tls = Some(tls::trusting(ca, upstream.host(), (&at.key("ca"), &url), findings)?);
    } else if raw.ca.is_some() {
        findings.wrong(&at.key("ca"), "has no meaning where the mirror's upstream is http://");
    }
    Some(Mirror { upstream, percent: raw.percent, timeout: timeout?, bytes: bytes? })
}
