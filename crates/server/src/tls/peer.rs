//! The certificate that a client has shown: put down by the handshake, read by the requests after it.

use crate::CertificateName;
use rustls::pki_types::CertificateDer;
use std::sync::OnceLock;

/// Alternative names of a certificate that are looked at.
const NAMES_MAX: usize = 64;

/// What a connection's client has shown; nothing before the handshake is over, or where it was not asked for one.
#[derive(Debug, Default)]
pub(crate) struct PeerCertificate(OnceLock<Vec<CertificateName>>);

impl PeerCertificate {
    /// What it is known by: itself, then its names in their order.
    pub(crate) fn names(&self) -> &[CertificateName] {
        self.0.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// The handshake is over, and this certificate was found good.
    pub(super) fn note(&self, certificate: &CertificateDer<'_>) {
        self.0.get_or_init(|| names(certificate));
    }
}

fn names(certificate: &CertificateDer<'_>) -> Vec<CertificateName> {
    let itself = CertificateName::of_der(certificate);
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else { return vec![itself] };
    let dns = parsed.valid_dns_names().map(CertificateName::of_dns);
    let uris = parsed.valid_uri_names().map(|uri| CertificateName::Uri(uri.to_owned()));
    std::iter::once(itself).chain(dns.chain(uris).take(NAMES_MAX)).collect()
}
