//! What is spoken with, made of files.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, Error, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName},
    server::{ServerSessionMemoryCache, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::{
    error::TlsError,
    files::{TlsDigests, TlsFiles},
    name::ByName,
    stand_in::StandIns,
};
use crate::config::{ClientCa, Tls, TlsVersion, UpstreamTls};

/// What is spoken inside. Clients may choose, and the first of these that they know is taken.
pub(super) const HTTP2: &[u8] = b"h2";
pub(super) const ALPN: &[u8] = b"http/1.1";

/// Sessions of clients that keep no tickets.
pub(super) const SESSIONS: usize = 4096;

/// What is spoken with on both sides; by default, plain HTTP.
#[derive(Clone, Default)]
pub struct TlsSides {
    digests: TlsDigests,
    shown: Arc<[CertificateDer<'static>]>,
    pub(in crate::proxy) clients: Option<TlsAcceptor>,
    pub(in crate::proxy) upstream: Option<Arc<Originate>>,
    pub(in crate::proxy) mirror: Option<Arc<Originate>>,
    pub(in crate::proxy) egress: Option<Arc<StandIns>>,
}

impl std::fmt::Debug for TlsSides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsSides").finish_non_exhaustive()
    }
}

/// Equal where they are made of the same settings and files.
impl PartialEq for TlsSides {
    fn eq(&self, other: &Self) -> bool {
        self.digests == other.digests
    }
}

impl TlsSides {
    pub(super) fn build(files: &TlsFiles<'_>, before: &Self) -> Result<Self, TlsError> {
        let [of_clients, of_upstream, of_mirror, of_egress] = before.digests;
        let [clients, upstream, mirror, egress] = files.digests;
        let originate = |tls: Option<&UpstreamTls>, same: bool, before: &Option<Arc<Originate>>| match tls {
            Some(_) if same => Ok(before.clone()),
            Some(tls) => Originate::new(files, tls).map(|made| Some(Arc::new(made))),
            None => Ok(None),
        };
        Ok(Self {
            digests: files.digests,
            shown: files.shown().into(),
            clients: match files.clients {
                Some(_) if clients == of_clients => before.clients.clone(),
                Some(tls) => Some(terminate(files, tls)?),
                None => None,
            },
            upstream: originate(files.upstream, upstream == of_upstream, &before.upstream)?,
            mirror: originate(files.mirror, mirror == of_mirror, &before.mirror)?,
            egress: match files.egress {
                Some(_) if egress == of_egress => before.egress.clone(),
                Some(egress) => Some(Arc::new(StandIns::new(files, egress)?)),
                None => None,
            },
        })
    }

    /// Whether a certificate is one of those that are shown.
    pub(super) fn shows(&self, cert: &CertificateDer<'_>) -> bool {
        self.shown.contains(cert)
    }
}

fn terminate(files: &TlsFiles<'_>, tls: &Tls) -> Result<TlsAcceptor, TlsError> {
    let pairs = tls.pairs.iter().map(|pair| files.pair(pair).map(Arc::new));
    let pairs = ByName(pairs.collect::<Result<_, _>>()?);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(tls.min_version))
        .map_err(TlsError::SetUp)?;
    let builder = match &tls.clients {
        Some(clients) => builder.with_client_cert_verifier(verifier(files, clients)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(pairs));
    config.alpn_protocols = vec![HTTP2.to_vec(), ALPN.to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::SetUp)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn verifier(files: &TlsFiles<'_>, clients: &ClientCa) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(files.roots(&clients.file)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let builder = if clients.required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| TlsError::SetUp(Error::General(error.to_string())))
}

/// TLS towards the CRM.
pub(in crate::proxy) struct Originate {
    pub(super) connector: TlsConnector,
    /// Offers HTTP/2 as well.
    pub(super) with_http2: TlsConnector,
    pub(super) name: ServerName<'static>,
}

impl std::fmt::Debug for Originate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Originate").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Originate {
    fn new(files: &TlsFiles<'_>, tls: &UpstreamTls) -> Result<Self, TlsError> {
        let roots = tls.ca.as_deref().map_or_else(system_roots, |path| files.roots(path))?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(tls.min_version))
            .map_err(TlsError::SetUp)?
            .with_root_certificates(roots);
        let mut config = match &tls.pair {
            Some(pair) => {
                let pair = SingleCertAndKey::from(files.pair(pair)?);
                builder.with_client_cert_resolver(Arc::new(pair))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        let mut with_http2 = config.clone();
        with_http2.alpn_protocols.insert(0, HTTP2.to_vec());
        let (connector, with_http2) = (Arc::new(config).into(), Arc::new(with_http2).into());
        Ok(Self { connector, with_http2, name: tls.server_name.clone() })
    }

    /// Shakes hands, and checks that the upstream is who it should be. It may choose HTTP/2 where that is offered.
    pub(in crate::proxy) async fn connect(
        &self,
        stream: TcpStream,
        offers_http2: bool,
    ) -> io::Result<TlsStream<TcpStream>> {
        let connector = if offers_http2 { &self.with_http2 } else { &self.connector };
        connector.connect(self.name.clone(), stream).await
    }
}

/// The CAs of the system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`. They are read when a configuration is taken, and not
/// watched.
pub(super) fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
}

pub(super) fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static NEWEST_FIRST: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match least {
        TlsVersion::Tls12 => &NEWEST_FIRST,
        TlsVersion::Tls13 => NEWEST_FIRST.split_at(1).0,
    }
}

/// Named wherever one is needed: the process has no default that another crate could set first.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
