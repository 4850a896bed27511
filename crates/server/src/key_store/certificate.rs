//! What a client's certificate is known by in a file of keys.

use crate::tls::{self, TlsError, TlsFile};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// Longest name of a certificate.
pub const CERTIFICATE_NAME_BYTES_MAX: usize = 512;

/// What a client's certificate is known by.
///
/// The certificate itself is checked by the handshake, against the authority that the server was told
/// ([`crate::TlsFiles::client_ca`]); this says only whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CertificateName {
    /// SHA-256 of its DER: this certificate and no other.
    Sha256([u8; 32]),
    /// A DNS name among its alternative names, in lower case: it stays with certificates that are renewed. A wildcard
    /// is a name like others.
    Dns(String),
    /// A URI among its alternative names, such as a SPIFFE identifier.
    Uri(String),
}

/// A text that names no certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected sha256: and 64 hexadecimal digits, dns: and a name, or uri: and a URI")]
pub struct CertificateNameError;

impl CertificateName {
    /// This certificate and no other.
    #[must_use]
    pub fn of_der(der: &[u8]) -> Self {
        Self::Sha256(Sha256::digest(der).into())
    }

    /// The first certificate of a file in PEM, and no other.
    ///
    /// # Errors
    /// If the file cannot be read, or has none.
    pub fn of_pem_file(path: &Path) -> Result<Self, TlsError> {
        tls::certificates(TlsFile::ClientCertificate, path).map(|found| Self::of_der(&found[0]))
    }

    /// A DNS name, as it is compared.
    pub(crate) fn of_dns(name: &str) -> Self {
        Self::Dns(name.to_ascii_lowercase())
    }
}

impl FromStr for CertificateName {
    type Err = CertificateNameError;

    fn from_str(text: &str) -> Result<Self, CertificateNameError> {
        let is_name = |name: &str| {
            (1..=CERTIFICATE_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        let (kind, name) = text.split_once(':').filter(|(_, name)| is_name(name)).ok_or(CertificateNameError)?;
        match kind {
            "sha256" => super::record::unhex(&name.replace(':', "")).map(Self::Sha256).ok_or(CertificateNameError),
            "dns" => Ok(Self::of_dns(name)),
            "uri" => Ok(Self::Uri(name.to_owned())),
            _ => Err(CertificateNameError),
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => write!(f, "sha256:{}", super::record::hex(digest)),
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let digits = "0123456789abcdef".repeat(4);
        for text in [format!("sha256:{digits}"), "dns:client.example".to_owned(), "uri:spiffe://a/b".to_owned()] {
            assert_eq!(text.parse::<CertificateName>().unwrap().to_string(), text);
        }
        assert_eq!("dns:Client.Example".parse(), Ok(CertificateName::of_dns("client.example")));
        let pairs: Vec<&str> = vec!["AB"; 32];
        assert_eq!(
            format!("sha256:{}", pairs.join(":")).parse(),
            Ok(CertificateName::Sha256([0xab; 32])),
            "as openssl"
        );
        let long = format!("dns:{}", "x".repeat(CERTIFICATE_NAME_BYTES_MAX + 1));
        for wrong in ["", "dns:", "client.example", "sha256:00", "cn:client", "dns:two words", "uri:ä", &long] {
            assert_eq!(wrong.parse::<CertificateName>(), Err(CertificateNameError), "{wrong}");
        }
    }
}
