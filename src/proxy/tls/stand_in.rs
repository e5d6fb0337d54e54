//! Standing in for a host: a certificate for its name, signed by the own CA when it is first asked for.
//!
//! All certificates share one key, which lives in memory only, so making one costs a signature. They are kept for all
//! workers, at most a thousand of them; past that all are made anew as they are needed.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use rustls::{
    ClientConfig, Error, RootCertStore, ServerConfig,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::{
        ClientHello, ParsedCertificate, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache,
        StoresServerSessions,
    },
    sign::CertifiedKey,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{
    error::TlsError,
    files::TlsFiles,
    own_ca::{may_sign, valid_for},
    sides::{ALPN, Originate, SESSIONS, provider, system_roots, versions},
};
use crate::config::{Egress, TlsVersion};

/// Certificates that are kept.
const MOST_NAMES: usize = 1000;

/// How long a certificate is valid, and after how long another is made in its place.
const VALID: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const FRESH: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// TLS on both sides of the hosts that Leadwire stands in for.
pub(in crate::proxy) struct StandIns {
    issuer: Issuer<'static, KeyPair>,
    /// Of the CA, and those above it.
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    made: ArcSwap<HashMap<Box<str>, Made>>,
    sessions: Arc<dyn StoresServerSessions>,
    tickets: Arc<dyn ProducesTickets>,
    connector: TlsConnector,
}

/// What a host's name is answered with.
#[derive(Clone)]
struct Made {
    acceptor: TlsAcceptor,
    originate: Arc<Originate>,
    at: Instant,
}

/// Keys are nobody's business.
impl std::fmt::Debug for StandIns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandIns").finish_non_exhaustive()
    }
}

impl StandIns {
    /// Reads the CA, and sees that it can sign for every host.
    pub(super) fn new(files: &TlsFiles<'_>, egress: &Egress) -> Result<Self, TlsError> {
        let path = || egress.ca.cert.clone();
        let odd = |error: rcgen::Error| TlsError::Make { path: path(), reason: error.to_string() };
        let chain = files.pair(&egress.ca)?.cert;
        let cert =
            chain.first().filter(|cert| may_sign(cert)).ok_or_else(|| TlsError::NotCa { path: path() })?;
        let key = KeyPair::try_from(&files.private_key(&egress.ca.key)?);
        let key = key.map_err(|_| TlsError::Key { path: egress.ca.key.clone() })?;
        let issuer = Issuer::from_ca_cert_der(cert, key).map_err(odd)?;
        let stand_ins = Self {
            issuer,
            chain,
            key: KeyPair::generate().map_err(odd)?,
            made: ArcSwap::default(),
            sessions: ServerSessionMemoryCache::new(SESSIONS),
            tickets: aws_lc_rs::Ticketer::new().map_err(TlsError::SetUp)?,
            connector: connector(files, egress)?,
        };
        stand_ins.check(egress)?;
        Ok(stand_ins)
    }

    /// What answers for a host, and what the host itself is spoken to with; made where it is not known.
    pub(in crate::proxy) fn host(&self, host: &str) -> Result<(TlsAcceptor, Arc<Originate>), TlsError> {
        if let Some(made) = self.made.load().get(host).filter(|made| made.at.elapsed() < FRESH) {
            return Ok((made.acceptor.clone(), Arc::clone(&made.originate)));
        }
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| TlsError::SetUp(Error::UnsupportedNameType))?;
        let originate = Arc::new(Originate {
            connector: self.connector.clone(),
            // Stand-ins speak HTTP/1.1 with the client, so nothing else is asked for.
            with_http2: self.connector.clone(),
            name,
        });
        let made = Made { acceptor: self.make(host)?, originate, at: Instant::now() };
        self.made.rcu(|known| {
            let mut known = if known.len() < MOST_NAMES { HashMap::clone(known) } else { HashMap::new() };
            known.insert(host.into(), made.clone());
            known
        });
        Ok((made.acceptor, made.originate))
    }

    fn make(&self, host: &str) -> Result<TlsAcceptor, TlsError> {
        let leaf = self.leaf(host)?;
        let chain = std::iter::once(leaf).chain(self.chain.iter().cloned()).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(TlsError::SetUp)?;
        let name = (host.parse::<IpAddr>().is_err()).then(|| host.into());
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(TlsVersion::Tls12))
            .map_err(TlsError::SetUp)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(OneName { name, key: Arc::new(key) }));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.session_storage = Arc::clone(&self.sessions);
        config.ticketer = Arc::clone(&self.tickets);
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn leaf(&self, host: &str) -> Result<CertificateDer<'static>, TlsError> {
        let general = |error: rcgen::Error| TlsError::SetUp(Error::General(error.to_string()));
        let mut params = CertificateParams::new([host.to_owned()]).map_err(general)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "Leadwire egress");
        params.distinguished_name = name;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        // By default it is made of the key, and so would be the same for all.
        let mut serial = [0; 16];
        let filled = provider().secure_random.fill(&mut serial);
        filled.map_err(|_| TlsError::SetUp(Error::FailedToGetRandomBytes))?;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        valid_for(&mut params, VALID);
        let leaf = params.signed_by(&self.key, &self.issuer).map_err(general)?;
        Ok(leaf.der().clone())
    }

    /// A CA may be limited to names, and whoever checks it would refuse others.
    fn check(&self, egress: &Egress) -> Result<(), TlsError> {
        let mut roots = RootCertStore::empty();
        let path = || egress.ca.cert.clone();
        let cert = self.chain.first().cloned().into_iter();
        roots.add_parsable_certificates(cert);
        for host in &egress.hosts {
            let name = if host.wildcard { format!("any.{}", host.name) } else { host.name.to_string() };
            let leaf = self.leaf(&name)?;
            let verified = ParsedCertificate::try_from(&leaf).and_then(|leaf| {
                let algorithms = provider().signature_verification_algorithms.all;
                verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], UnixTime::now(), algorithms)
            });
            verified.map_err(|_| TlsError::NotPermitted { path: path(), host: name })?;
        }
        Ok(())
    }
}

fn connector(files: &TlsFiles<'_>, egress: &Egress) -> Result<TlsConnector, TlsError> {
    let roots = egress.roots.as_deref().map_or_else(system_roots, |path| files.roots(path))?;
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(versions(egress.min_version)).map_err(TlsError::SetUp)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The certificate of the host that the client asked to be connected to. A client that then asks for another is turned
/// away: what it gets is what was looked at.
#[derive(Debug)]
struct OneName {
    /// `None` for an address, which no client names.
    name: Option<Box<str>>,
    key: Arc<CertifiedKey>,
}

impl ResolvesServerCert for OneName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_same = match (hello.server_name(), &self.name) {
            (None, _) => true,
            (Some(asked), Some(name)) => asked.eq_ignore_ascii_case(name),
            (Some(_), None) => false,
        };
        is_same.then(|| Arc::clone(&self.key))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config::Config,
        proxy::tls::{TlsFiles, TlsSides, make_missing},
    };

    fn made(folder: &Path, hosts: &str) -> Arc<StandIns> {
        let [cert, key] = ["ca.crt", "ca.key"].map(|name| folder.join(name).display().to_string());
        // Any CA does for the hosts, which are not spoken with.
        let yaml = format!(
            "upstream: http://crm\nupstream_tls: {{ca: '{cert}'}}\n\
             egress: {{hosts: [{hosts}], ca: {{cert: '{cert}', key: '{key}'}}}}"
        );
        let config = Config::parse(&yaml, &|_| None).unwrap();
        make_missing(config.egress.as_ref().unwrap()).unwrap();
        let sides = TlsFiles::read(&config).build(&TlsSides::default()).unwrap();
        sides.egress.unwrap()
    }

    #[test]
    fn a_certificate_is_for_one_name_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let stand_ins = made(folder.path(), "'*.my.salesforce.com'");
        let same = |a: &str, b: &str| {
            let [(_, a), (_, b)] = [a, b].map(|host| stand_ins.host(host).unwrap());
            Arc::ptr_eq(&a, &b)
        };
        assert!(same("a.my.salesforce.com", "a.my.salesforce.com"));
        assert!(!same("a.my.salesforce.com", "b.my.salesforce.com"));
        let [first, second] = [0, 1].map(|_| stand_ins.leaf("a.my.salesforce.com").unwrap());
        let serial = |cert: &CertificateDer<'_>| {
            let (_, cert) = x509_parser::parse_x509_certificate(cert).unwrap();
            let days = (cert.validity.not_after.timestamp() - cert.validity.not_before.timestamp()) / 86_400;
            assert_eq!(days, 30);
            cert.raw_serial().to_vec()
        };
        assert_ne!(serial(&first), serial(&second), "no two have the same number");
    }

    #[test]
    fn no_more_names_are_kept_than_a_thousand() {
        let folder = tempfile::tempdir().unwrap();
        let stand_ins = made(folder.path(), "'*.my.salesforce.com'");
        let (made, kept) = (stand_ins.host("a.my.salesforce.com").unwrap(), || stand_ins.made.load().len());
        let full = (0..MOST_NAMES).map(|n| {
            let (acceptor, originate) = made.clone();
            (n.to_string().into(), Made { acceptor, originate, at: Instant::now() })
        });
        stand_ins.made.store(Arc::new(full.collect()));
        stand_ins.host("0").unwrap();
        assert_eq!(kept(), MOST_NAMES);
        stand_ins.host("b.my.salesforce.com").unwrap();
        assert_eq!(kept(), 1);
    }

    #[test]
    fn the_own_ca_signs_for_its_hosts_only() {
        let folder = tempfile::tempdir().unwrap();
        let stand_ins = made(folder.path(), "'*.my.salesforce.com', api.hubapi.com");
        let mut roots = RootCertStore::empty();
        roots.add(stand_ins.chain[0].clone()).unwrap();
        for (name, expected) in [
            ("api.hubapi.com", true),
            ("acme.my.salesforce.com", true),
            ("hubapi.com", false),
            ("evil.test", false),
            ("10.0.0.1", false),
            ("::1", false),
        ] {
            let leaf = stand_ins.leaf(name).unwrap();
            let leaf = ParsedCertificate::try_from(&leaf).unwrap();
            let algorithms = provider().signature_verification_algorithms.all;
            let now = UnixTime::now();
            let verified = verify_server_cert_signed_by_trust_anchor(&leaf, &roots, &[], now, algorithms);
            assert_eq!(verified.is_ok(), expected, "{name}");
        }
    }
}
