//! What is wrong with a certificate, a key or a CA. Nothing that a key's file holds is repeated.

use std::path::PathBuf;

/// TLS cannot be spoken with these files.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: cannot be read: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// No certificate, or something between the marks that is none.
    #[error("{}: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        reason: &'static str,
    },
    /// A certificate that cannot be used.
    #[error("{}: not a certificate that can be used: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: rustls::Error,
    },
    /// A key of a kind that cannot be used.
    #[error("{}: not a private key that can be used; RSA, ECDSA and Ed25519 are", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// A certificate and a key of different pairs.
    #[error("{}: does not belong to the certificate in {}", key.display(), cert.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        cert: PathBuf,
    },
    /// It was valid once.
    #[error("{}: expired {days} days ago", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// Whole days since then.
        days: u64,
    },
    /// It is not valid yet.
    #[error("{}: not valid yet, for {days} days", path.display())]
    NotYet {
        /// The file.
        path: PathBuf,
        /// Whole days until then.
        days: u64,
    },
    /// A certificate that signs no others.
    #[error("{}: not the certificate of a CA", path.display())]
    NotCa {
        /// The file.
        path: PathBuf,
    },
    /// A CA that may not sign for a host that is stood in for.
    #[error(
        "{}: may not sign for {host}; where Leadwire made it, remove it and its key, and others are made at the next start",
        path.display()
    )]
    NotPermitted {
        /// The file.
        path: PathBuf,
        /// The host.
        host: String,
    },
    /// An own CA that cannot be made, or that cannot sign.
    #[error("{}: cannot be made or used: {reason}", path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nothing to check an upstream's certificate against.
    #[error("the system has no CAs; name a file of them as upstream_tls.ca")]
    NoRoots,
    /// What is left; it has nothing to do with the files.
    #[error("cannot set up TLS: {0}")]
    SetUp(rustls::Error),
}
