//! The bearer token, compared in constant time.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The digest of the token; the token itself is not kept.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// The token's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("admin_token: cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds too little to be a secret.
    #[error("admin_token: {} holds fewer than 16 characters", path.display())]
    Short {
        /// The file.
        path: PathBuf,
    },
}

impl Token {
    /// Reads the token from a file, white space around it left out.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TokenError::File { path: path.to_owned(), source })?;
        match text.trim() {
            short if short.len() < 16 => Err(TokenError::Short { path: path.to_owned() }),
            token => Ok(Self(Sha256::digest(token).into())),
        }
    }

    /// Whether an `Authorization` header's value carries the token. Digests are compared without stopping at the first
    /// difference, so the time taken tells nothing.
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let Some(given) = authorization.and_then(|value| value.strip_prefix(b"Bearer ")) else {
            return false;
        };
        let given: [u8; 32] = Sha256::digest(given).into();
        given.iter().zip(self.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_is_admitted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").unwrap();
        let token = Token::load(&path).unwrap();
        assert!(token.admits(Some(b"Bearer 0123456789abcdef")));
        for wrong in
            [None, Some(&b"Bearer 0123456789abcdeF"[..]), Some(b"0123456789abcdef"), Some(b"Bearer ")]
        {
            assert!(!token.admits(wrong));
        }
        std::fs::write(&path, "short").unwrap();
        assert!(Token::load(&path).unwrap_err().to_string().contains("fewer than 16"));
        std::fs::remove_file(&path).unwrap();
        let told = format!("{:#}", anyhow::Error::from(Token::load(&path).unwrap_err()));
        assert_eq!(told.matches("No such file").count(), 1, "{told}");
    }
}
