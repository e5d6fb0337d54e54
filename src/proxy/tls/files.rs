//! The files of both sides as they are now, and what is wrong with them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustls::{
    CertificateError, Error, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};

use super::{
    error::TlsError,
    sides::{TlsSides, provider},
};
use crate::config::{Config, Egress, PairFiles, Tls, UpstreamTls};

/// Greatest file in bytes that is read. All CAs there are take a quarter of a MiB.
const MOST: u64 = 4 << 20;

const DAY: u64 = 24 * 60 * 60;

/// The digests of the settings and files of the clients, the upstream, the mirror and egress; `None` where TLS is not
/// spoken.
pub type TlsDigests = [Option<[u8; 32]>; 4];

/// The files of a configuration, read.
pub struct TlsFiles<'c> {
    pub(super) clients: Option<&'c Tls>,
    pub(super) upstream: Option<&'c UpstreamTls>,
    pub(super) mirror: Option<&'c UpstreamTls>,
    pub(super) egress: Option<&'c Egress>,
    contents: BTreeMap<PathBuf, Result<Vec<u8>, String>>,
    pub(super) digests: TlsDigests,
}

/// What the files hold is nobody's business.
impl std::fmt::Debug for TlsFiles<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsFiles").finish_non_exhaustive()
    }
}

impl<'c> TlsFiles<'c> {
    /// Their names, of all sides.
    pub fn names(config: &Config) -> impl Iterator<Item = &Path> {
        let clients = config.tls.iter().flat_map(Tls::files);
        let mirror = config.mirror.as_ref().and_then(|mirror| mirror.upstream.tls.as_ref());
        let upstreams = config.upstream.tls.iter().chain(mirror).flat_map(UpstreamTls::files);
        clients.chain(upstreams).chain(config.egress.iter().flat_map(Egress::files))
    }

    /// Reads them. What cannot be read is told by whoever needs it.
    pub fn read(config: &'c Config) -> Self {
        let (clients, upstream) = (config.tls.as_ref(), config.upstream.tls.as_ref());
        let mirror = config.mirror.as_ref().and_then(|mirror| mirror.upstream.tls.as_ref());
        let egress = config.egress.as_ref();
        let contents = Self::names(config).map(|path| (path.to_owned(), read(path))).collect();
        let mut files = Self { clients, upstream, mirror, egress, contents, digests: [None; 4] };
        files.digests = [
            clients.map(|tls| files.digest(format!("{tls:?}"), tls.files())),
            upstream.map(|tls| files.digest(format!("{tls:?}"), tls.files())),
            mirror.map(|tls| files.digest(format!("{tls:?}"), tls.files())),
            egress.map(|egress| files.digest(format!("{egress:?}"), egress.files())),
        ];
        files
    }

    /// Where they are the same as before, nothing has changed.
    pub fn digests(&self) -> TlsDigests {
        self.digests
    }

    /// What is spoken with, from now on. A side that has not changed is the one of `before`.
    pub fn build(&self, before: &TlsSides) -> Result<TlsSides, TlsError> {
        TlsSides::build(self, before)
    }

    /// Certificates that are not valid now, but for those that `before` shows already. They can be spoken with, but whoever
    /// checks them turns away.
    pub fn untimely(&self, before: &TlsSides) -> Vec<TlsError> {
        let certs = self.pairs().filter_map(|pair| Some((&pair.cert, self.certificates(&pair.cert).ok()?)));
        let first = |(path, chain): (&PathBuf, Vec<CertificateDer<'static>>)| {
            chain.iter().filter(|cert| !before.shows(cert)).find_map(|cert| untimely(path, cert))
        };
        certs.filter_map(first).collect()
    }

    /// Every certificate that is shown, to clients and to the upstream.
    pub(super) fn shown(&self) -> Vec<CertificateDer<'static>> {
        self.pairs().filter_map(|pair| self.certificates(&pair.cert).ok()).flatten().collect()
    }

    /// Everything that is wrong, in the order of the configuration.
    pub fn problems(&self) -> Vec<TlsError> {
        let pairs = self.pairs().filter_map(|pair| self.pair(pair).err());
        let client_ca = self.clients.and_then(|tls| tls.clients.as_ref()).map(|clients| &clients.file);
        let upstream_ca = self.upstream.and_then(|tls| tls.ca.as_ref());
        let mirror_ca = self.mirror.and_then(|tls| tls.ca.as_ref()).filter(|ca| Some(*ca) != upstream_ca);
        let cas = client_ca.into_iter().chain(upstream_ca).chain(mirror_ca);
        let cas = cas.filter_map(|path| self.roots(path).err());
        let mut problems: Vec<TlsError> =
            pairs.chain(cas).chain(self.untimely(&TlsSides::default())).collect();
        if problems.is_empty() {
            problems.extend(self.build(&TlsSides::default()).err());
        }
        problems
    }

    /// Private keys that every user of the system can read.
    pub fn exposed(&self) -> Vec<&Path> {
        let keys = self.pairs().map(|pair| pair.key.as_path());
        let is_open =
            |path: &&Path| fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o004 > 0);
        keys.filter(is_open).collect()
    }

    /// A certificate with its key, which belongs to it.
    pub(super) fn pair(&self, files: &PairFiles) -> Result<CertifiedKey, TlsError> {
        let PairFiles { cert, key } = files;
        let chain = self.certificates(cert)?;
        for certificate in &chain {
            let parsed = ParsedCertificate::try_from(certificate);
            parsed.map_err(|reason| TlsError::Certificate { path: cert.clone(), reason })?;
        }
        let pair = CertifiedKey::from_der(chain, self.private_key(key)?, &provider());
        pair.map_err(|error| match error {
            Error::InconsistentKeys(_) => TlsError::Mismatch { key: key.clone(), cert: cert.clone() },
            _ => TlsError::Key { path: key.clone() },
        })
    }

    /// CAs to trust. One of a kind that is not known is left out, unless no other is there.
    pub(super) fn roots(&self, path: &Path) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(self.certificates(path)?);
        match added {
            0 => Err(TlsError::Pem { path: path.to_owned(), reason: "holds no CA that can be used" }),
            _ => Ok(roots),
        }
    }

    fn pairs(&self) -> impl Iterator<Item = &'c PairFiles> {
        let clients = self.clients.iter().flat_map(|tls| &tls.pairs);
        let upstream = self.upstream.and_then(|tls| tls.pair.as_ref());
        clients.chain(upstream).chain(self.egress.map(|egress| &egress.ca))
    }

    fn certificates(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let wrong = |reason| TlsError::Pem { path: path.to_owned(), reason };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.bytes(path)?).collect();
        match chain {
            Ok(chain) if chain.is_empty() => Err(wrong("holds no certificate in PEM")),
            Ok(chain) => Ok(chain),
            Err(_) => Err(wrong("broken PEM")),
        }
    }

    pub(super) fn private_key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(self.bytes(path)?).map_err(|_| TlsError::Pem {
            path: path.to_owned(),
            reason: "holds no private key in PEM, or only an encrypted one",
        })
    }

    fn bytes(&self, path: &Path) -> Result<&[u8], TlsError> {
        let failed = |reason: &str| TlsError::Read { path: path.to_owned(), reason: reason.to_owned() };
        let read = self.contents.get(path).ok_or_else(|| failed("not looked for"))?;
        read.as_deref().map_err(|reason| failed(reason))
    }

    fn digest<'p>(&self, settings: String, files: impl Iterator<Item = &'p Path>) -> [u8; 32] {
        let mut digest = Sha256::new_with_prefix(settings);
        for path in files {
            match self.bytes(path) {
                Ok(bytes) => digest.update(Sha256::digest(bytes)),
                Err(error) => digest.update(Sha256::digest(error.to_string())),
            }
        }
        digest.finalize().into()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > MOST => Err(format!("more than {} MiB", MOST >> 20)),
        Ok(_) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// The verifier of servers' certificates looks at the dates first, so what it says of one without any CA tells whether
/// these hold.
fn untimely(path: &Path, cert: &CertificateDer<'_>) -> Option<TlsError> {
    let path = path.to_owned();
    let (parsed, now) = (ParsedCertificate::try_from(cert).ok()?, UnixTime::now());
    let algorithms = provider().signature_verification_algorithms.all;
    let verified =
        verify_server_cert_signed_by_trust_anchor(&parsed, &RootCertStore::empty(), &[], now, algorithms);
    let days = |from: UnixTime, to: UnixTime| to.as_secs().saturating_sub(from.as_secs()) / DAY;
    match verified {
        Err(Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after })) => {
            Some(TlsError::Expired { path, days: days(not_after, time) })
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { time, not_before })) => {
            Some(TlsError::NotYet { path, days: days(time, not_before) })
        }
        _ => None,
    }
}
