//! TLS on both sides, by the names of files: what is in them is read where they are used, since they change on their own.

use std::path::{Path, PathBuf};

use rustls::pki_types::ServerName;

/// TLS for the clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Never empty; the first is for clients that ask for no name, or for one that no certificate holds.
    pub pairs: Vec<PairFiles>,
    /// Whose certificates clients show; without it, none are asked for.
    pub clients: Option<ClientCa>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// A certificate chain and its private key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The chain, the certificate itself first.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// Who signs the certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCa {
    /// Certificates in PEM.
    pub file: PathBuf,
    /// Whether clients without a certificate are turned away.
    pub required: bool,
}

/// How an https upstream is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// CAs in PEM; the system's without it.
    pub ca: Option<PathBuf>,
    /// What is shown to the upstream.
    pub pair: Option<PairFiles>,
    /// What the upstream's certificate must hold. A name is asked for as well, an address is not.
    pub server_name: ServerName<'static>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2
    #[default]
    Tls12,
    /// 1.3
    Tls13,
}

impl PairFiles {
    fn files(&self) -> [&Path; 2] {
        [&self.cert, &self.key]
    }
}

impl Tls {
    /// The files it is made of.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let ca = self.clients.iter().map(|clients| clients.file.as_path());
        self.pairs.iter().flat_map(PairFiles::files).chain(ca)
    }
}

impl UpstreamTls {
    /// The files it is made of.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.pair.iter().flat_map(PairFiles::files).chain(self.ca.as_deref())
    }
}
