//! The certificate for the name a client asks for.

use std::sync::Arc;

use rustls::{
    client::verify_server_name,
    pki_types::{DnsName, ServerName},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Certificates, each for the names it holds. The first is for those that ask for no name, or for another one: a client
/// that does not check names goes on, and one that does can say what it was shown.
#[derive(Debug)]
pub(super) struct ByName(pub(super) Vec<Arc<CertifiedKey>>);

impl ByName {
    fn holds(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = ServerName::DnsName(DnsName::try_from(name).ok()?);
        let holds = |pair: &&Arc<CertifiedKey>| {
            let cert = pair.end_entity_cert().and_then(ParsedCertificate::try_from);
            cert.is_ok_and(|cert| verify_server_name(&cert, &name).is_ok())
        };
        self.0.iter().find(holds)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().filter(|_| self.0.len() > 1).and_then(|name| self.holds(name));
        named.or_else(|| self.0.first()).cloned()
    }
}
