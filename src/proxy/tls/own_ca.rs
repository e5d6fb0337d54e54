//! The own CA: made where there is none, and looked at before it signs.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, GeneralSubtree, IsCa,
    KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::pki_types::CertificateDer;

use super::error::TlsError;
use crate::config::{Egress, EgressHost, PairFiles};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a CA is valid that is made here. Clients are told to trust it by hand, so it outlives them.
const VALID: Duration = Duration::from_secs(3652 * 24 * 60 * 60);

/// Whether there is neither a certificate nor a key. Where one of them is, the other is missing, and nothing is made.
pub fn is_missing(ca: &PairFiles) -> bool {
    !ca.cert.exists() && !ca.key.exists()
}

/// Makes the own CA where there is none. It can sign for the hosts that are named, and for no others, so that a key that
/// is stolen opens no more than that. Whether there was none.
pub fn make_missing(egress: &Egress) -> Result<bool, TlsError> {
    if !is_missing(&egress.ca) {
        return Ok(false);
    }
    let PairFiles { cert, key } = &egress.ca;
    let failed = |error: rcgen::Error| TlsError::Make { path: cert.clone(), reason: error.to_string() };
    let pair = KeyPair::generate().map_err(failed)?;
    let made = params(egress).self_signed(&pair).map_err(failed)?;
    write(key, 0o600, &pair.serialize_pem())?;
    write(cert, 0o644, &made.pem())?;
    Ok(true)
}

/// Whether a certificate may sign others.
pub(super) fn may_sign(cert: &CertificateDer<'_>) -> bool {
    let Ok((_, cert)) = x509_parser::parse_x509_certificate(cert) else { return false };
    // An extension that stands twice is an error here.
    let usage = cert.key_usage();
    cert.is_ca() && usage.is_ok_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()))
}

/// From an hour ago, for clocks that are late, for so long.
pub(super) fn valid_for(params: &mut CertificateParams, time: Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY / 24);
    (params.not_before, params.not_after) = (start, start + time);
}

fn params(egress: &Egress) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "Leadwire egress CA");
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(constraints(&egress.hosts));
    valid_for(&mut params, VALID);
    params
}

fn constraints(hosts: &[EgressHost]) -> NameConstraints {
    let subtree = |host: &EgressHost| match host.name.parse::<IpAddr>() {
        Ok(ip) => {
            GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(ip, if ip.is_ipv4() { 32 } else { 128 }))
        }
        Err(_) => GeneralSubtree::DnsName(host.name.to_string()),
    };
    let permitted: Vec<_> = hosts.iter().map(subtree).collect();
    // What is permitted of one kind of name says nothing of the others.
    let addresses = [CidrSubnet::from_v4_prefix([0; 4], 0), CidrSubnet::from_v6_prefix([0; 16], 0)];
    let has_address = permitted.iter().any(|tree| matches!(tree, GeneralSubtree::IpAddress(_)));
    let has_name = permitted.iter().any(|tree| matches!(tree, GeneralSubtree::DnsName(_)));
    let mut excluded = Vec::new();
    if !has_address {
        excluded.extend(addresses.map(GeneralSubtree::IpAddress));
    }
    if !has_name {
        excluded.push(GeneralSubtree::DnsName(String::new()));
    }
    NameConstraints { permitted_subtrees: permitted, excluded_subtrees: excluded }
}

/// A new file. One that came in the meantime is left as it is.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), TlsError> {
    let failed = |error: io::Error| TlsError::Make { path: path.to_owned(), reason: error.to_string() };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
}
