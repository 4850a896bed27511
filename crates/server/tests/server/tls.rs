//! TLS with real handshakes: who is let in, and certificates that change while the server runs.

use crate::client::request;
use crate::house::{House, KEY, Plan, bearer};
use ballast_server::{TlsFiles, TlsStore};
use ballast_testkit::PATIENCE;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Who signs certificates.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
struct Identity {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    fn sign(&self, until_year: i32) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

/// Writes what a server needs.
fn write(folder: &Path, identity: &Identity) {
    std::fs::write(folder.join("cert.pem"), &identity.certificate).unwrap();
    std::fs::write(folder.join("key.pem"), &identity.key).unwrap();
}

fn files(folder: &Path, client_ca: Option<&Authority>) -> TlsFiles {
    let client_ca = client_ca.map(|authority| {
        std::fs::write(folder.join("clients.pem"), &authority.pem).unwrap();
        folder.join("clients.pem")
    });
    TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem"), client_ca }
}

/// What a client trusts, and what it shows.
fn client(trusted: &Authority, shown: Option<&Identity>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

async fn connect(house: &House, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(house.address).await.unwrap();
    client.connect(ServerName::try_from("localhost").unwrap(), socket).await
}

/// The status of a route that needs a key. A client's certificate is judged after its side of the handshake.
async fn status(house: &House, client: &TlsConnector) -> std::io::Result<u16> {
    let mut stream = connect(house, client).await?;
    let text = request("GET", "/v1/models", &[("authorization", &bearer(KEY))], "");
    stream.write_all(text.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer[9..12].parse().unwrap())
}

/// A server with the certificates of a folder.
async fn open(folder: &Path, client_ca: Option<&Authority>) -> (House, Arc<TlsStore>) {
    let store = Arc::new(TlsStore::open(files(folder, client_ca)).unwrap());
    let given = Arc::clone(&store);
    (House::open_with(Plan::default(), |o| o.tls = Some(given)).await, store)
}

#[tokio::test]
async fn who_trusts_the_authority_is_served_and_who_does_not_sends_nothing() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &ours.sign(2100));
    let (house, _) = open(folder.path(), None).await;
    assert_eq!(status(&house, &client(&ours, None)).await.unwrap(), 200);
    let refused = status(&house, &client(&theirs, None)).await.unwrap_err().to_string();
    assert!(refused.contains("invalid peer certificate"), "{refused}");
    let mut plain = TcpStream::connect(house.address).await.unwrap();
    plain.write_all(request("GET", "/livez", &[], "").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(plain.read_to_end(&mut answer).await);
    assert!(!answer.starts_with(b"HTTP"), "nothing is told without TLS");
}

#[tokio::test]
async fn clients_show_a_certificate_of_their_authority() {
    let (ours, clients, strangers) = (Authority::new(), Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &ours.sign(2100));
    let (house, _) = open(folder.path(), Some(&clients)).await;
    assert_eq!(status(&house, &client(&ours, Some(&clients.sign(2100)))).await.unwrap(), 200);
    assert!(status(&house, &client(&ours, None)).await.is_err(), "without one");
    assert!(status(&house, &client(&ours, Some(&strangers.sign(2100)))).await.is_err(), "of another authority");
    assert!(status(&house, &client(&ours, Some(&clients.sign(2001)))).await.is_err(), "that has expired");
    assert_eq!(status(&house, &client(&ours, Some(&clients.sign(2100)))).await.unwrap(), 200);
}

#[tokio::test]
async fn certificates_are_renewed_without_losing_a_connection() {
    let ours = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &ours.sign(2100));
    let (house, store) = open(folder.path(), None).await;
    let client = client(&ours, None);
    let mut kept = connect(&house, &client).await.unwrap();
    write(folder.path(), &ours.sign(2001));
    store.reload().unwrap();
    let refused = status(&house, &client).await.unwrap_err().to_string();
    assert!(refused.contains("expired"), "{refused}");
    std::fs::write(folder.path().join("key.pem"), "no key").unwrap();
    assert!(store.reload().is_err(), "what cannot be used is not taken");
    assert!(status(&house, &client).await.unwrap_err().to_string().contains("expired"));
    write(folder.path(), &ours.sign(2100));
    assert!(store.reload_if_changed().unwrap());
    assert_eq!(status(&house, &client).await.unwrap(), 200);
    kept.write_all(request("GET", "/livez", &[], "").as_bytes()).await.unwrap();
    let mut answer = String::new();
    kept.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn who_never_shakes_hands_keeps_nobody_waiting_and_is_dropped() {
    let ours = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &ours.sign(2100));
    let store = Arc::new(TlsStore::open(files(folder.path(), None)).unwrap());
    let house = House::open_with(Plan::default(), |o| {
        o.tls = Some(store);
        o.handshake_timeout = Duration::from_millis(50);
        o.header_timeout = Duration::from_secs(3600);
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut socket = TcpStream::connect(house.address).await.unwrap();
        socket.write_all(b"\x16").await.unwrap();
        silent.push(socket);
    }
    assert_eq!(status(&house, &client(&ours, None)).await.unwrap(), 200);
    for mut socket in silent {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the server has hung up");
    }
}

#[test]
fn files_that_do_not_fit_together_are_refused() {
    let (ours, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let open = || TlsStore::open(files(folder.path(), None)).map(drop).map_err(|error| error.to_string());
    assert!(open().unwrap_err().starts_with("certificate: "));
    let (first, second) = (ours.sign(2100), ours.sign(2100));
    write(folder.path(), &Identity { certificate: first.certificate.clone(), key: second.key });
    assert!(open().unwrap_err().starts_with("TLS: "));
    write(folder.path(), &Identity { certificate: first.certificate, key: "nothing".to_owned() });
    assert_eq!(open().unwrap_err(), "private key: expected PEM of it");
    write(folder.path(), &Identity { certificate: "x".repeat(2 << 20), key: first.key });
    assert!(open().unwrap_err().contains("expected at most"));
}
