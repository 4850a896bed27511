//! TLS with real handshakes: who is let in, and certificates that change while the server runs.

use crate::client::request;
use crate::house::{House, KEY, Plan, bearer};
use crate::keys::terms;
use ballast_server::{
    CertificateName, KEY_ID_BYTES, KEY_SECRET_BYTES, KeyFile, KeyStore, NewKey, Scope, TlsFiles, TlsStore,
};
use ballast_testkit::PATIENCE;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
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
        self.sign_for(until_year, &["localhost"], None)
    }

    fn sign_for(&self, until_year: i32, names: &[&str], uri: Option<&str>) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.subject_alt_names.extend(uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
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
        // Long enough for a handshake on a machine that is busy.
        o.handshake_timeout = Duration::from_secs(2);
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

/// A client that offers these protocols.
fn offering(trusted: &Authority, protocols: &[&str]) -> TlsConnector {
    let mut config = ClientConfig::clone(client(trusted, None).config());
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

#[tokio::test]
async fn the_handshake_agrees_on_http_2_with_those_who_offer_it() {
    let ours = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &ours.sign(2100));
    let (house, _) = open(folder.path(), None).await;
    let stream = connect(&house, &offering(&ours, &["h2", "http/1.1"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let executor = hyper_util::rt::TokioExecutor::new();
    let stream = hyper_util::rt::TokioIo::new(stream);
    let (mut requests, connection) = hyper::client::conn::http2::handshake(executor, stream).await.unwrap();
    tokio::spawn(connection);
    for (path, key, status) in [("/v1/models", Some(KEY), 200), ("/v1/models", None, 401), ("/livez", None, 200)] {
        let request = hyper::Request::get(format!("https://localhost{path}"));
        let request = key.into_iter().fold(request, |request, key| request.header("authorization", bearer(key)));
        let body = http_body_util::Empty::<hyper::body::Bytes>::new();
        let answer = requests.send_request(request.body(body).unwrap()).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (status, hyper::Version::HTTP_2), "{path}");
    }
    let older = offering(&ours, &["http/1.1"]);
    assert_eq!(connect(&house, &older).await.unwrap().get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(status(&house, &older).await.unwrap(), 200);
    assert_eq!(status(&house, &client(&ours, None)).await.unwrap(), 200, "who offers nothing speaks HTTP/1.1");
    assert!(connect(&house, &offering(&ours, &["spdy/3"])).await.is_err(), "nothing else is spoken");
}

/// What a client is told who asks for `path`, with a key or without.
async fn told(house: &House, client: &TlsConnector, path: &str, key: Option<&str>) -> (u16, String) {
    let mut stream = connect(house, client).await.unwrap();
    let key = key.map(bearer);
    let headers: Vec<_> = key.iter().map(|key| ("authorization", key.as_str())).collect();
    stream.write_all(request("GET", path, &headers, "").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

#[tokio::test]
async fn a_certificate_opens_what_its_key_may() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &ours.sign(2100));
    let named = |name: &str| clients.sign_for(2100, &[name], None);
    let (exact, renewed, other) = (named("one.example"), named("one.example"), named("two.example"));
    let by_uri = clients.sign_for(2100, &["three.example"], Some("spiffe://example/agent"));
    let der = |identity: &Identity| CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
    let file = KeyFile::new(folder.path().join("keys.json"));
    let names = [
        CertificateName::of_der(&der(&exact)),
        "dns:TWO.example".parse().unwrap(),
        "uri:spiffe://example/agent".parse().unwrap(),
    ];
    for (n, name) in (1..).zip(names) {
        let scopes = if n == 2 { &[Scope::Generate][..] } else { &[Scope::Read] };
        let key = NewKey::new(([n; KEY_ID_BYTES], [n; KEY_SECRET_BYTES]), terms(scopes), 0).unwrap();
        file.add(&key.with_certificate(name)).unwrap();
    }
    let keys = Arc::new(KeyStore::open(file.path()).unwrap());
    let (given, store) = (Arc::clone(&keys), Arc::new(TlsStore::open(files(folder.path(), Some(&clients))).unwrap()));
    let house = House::open_with(Plan::default(), |o| (o.key_store, o.tls) = (Some(given), Some(store))).await;
    let ask = async |identity: &Identity, key| told(&house, &client(&ours, Some(identity)), "/v1/models", key).await.0;
    assert_eq!(ask(&exact, None).await, 200);
    assert_eq!(ask(&renewed, None).await, 401, "the same name, another certificate");
    assert_eq!(ask(&other, None).await, 403, "it may generate only");
    assert_eq!(ask(&by_uri, None).await, 200);
    assert_eq!(ask(&renewed, Some(KEY)).await, 200, "a key opens as before");
    assert_eq!(ask(&exact, Some("another-key-of-some-length")).await, 401, "what is presented counts");
    file.revoke(&file.read().unwrap()[0].id, 0).unwrap();
    keys.reload().unwrap();
    let (status, revoked) = told(&house, &client(&ours, Some(&exact)), "/v1/models", None).await;
    assert!(status == 401 && revoked.contains("api_key_revoked"), "{revoked}");
}
