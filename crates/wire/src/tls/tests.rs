//! Real handshakes between our two sides, in memory, with certificates made on the spot.
#![allow(clippy::unwrap_used)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    PKCS_RSA_SHA256, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::*;

/// An authority that issues certificates into files of its own folder.
struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        Self::named("Test Authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ca(&self) -> PathBuf {
        self.file("ca.pem")
    }

    fn issue(&self, label: &str, names: &[&str]) -> CertificateFiles {
        self.issue_with(label, names, &rcgen::PKCS_ECDSA_P256_SHA256, |_| ())
    }

    fn issue_with(
        &self,
        label: &str,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
        adjust: impl FnOnce(&mut CertificateParams),
    ) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        adjust(&mut params);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let files = CertificateFiles {
            certificate: self.file(&format!("{label}.pem")),
            key: self.file(&format!("{label}-key.pem")),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn trust(&self) -> ServerTrust {
        ServerTrust::from_file(&self.ca()).unwrap()
    }
}

type Ends = (io::Result<client::TlsStream<DuplexStream>>, io::Result<server::TlsStream<DuplexStream>>);

async fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, name: &str) -> Ends {
    let (near, far) = duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connect = TlsConnector::from(Arc::clone(client)).connect(name, near);
    let accept = TlsAcceptor::from(Arc::clone(server)).accept(far);
    tokio::join!(connect, accept)
}

/// The certificate that a client got who asked for `name` and would have taken any.
async fn certificate_for(server: &ServerTls, name: &str) -> CertificateDer<'static> {
    let anyone = ClientTls::build(&ServerTrust::anyone(), None, &[]).unwrap();
    let (client, _) = handshake(&anyone.config, &server.config, name).await;
    let stream = client.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn der(files: &CertificateFiles) -> CertificateDer<'static> {
    let bytes = std::fs::read(&files.certificate).unwrap();
    super::files::certificates(&files.certificate, &bytes).unwrap()[0].clone()
}

fn serve(certificates: &[CertificateFiles]) -> ServerTls {
    ServerTls::build(certificates, MinVersion::Tls12, &[b"h2", b"http/1.1"]).unwrap()
}

#[tokio::test]
async fn the_server_name_chooses_the_certificate() {
    let authority = Authority::new();
    let first = authority.issue("first", &["first.test"]);
    let second = authority.issue("second", &["second.test", "Also-Second.test"]);
    let wild = authority.issue("wild", &["*.wild.test"]);
    let inner = authority.issue("inner", &["exact.wild.test"]);
    let all = [first.clone(), second.clone(), wild.clone(), inner.clone()];
    let server = serve(&all);
    for (name, expected) in [
        ("first.test", &first),
        ("second.test", &second),
        ("SECOND.test", &second),
        ("also-second.test", &second),
        ("any.wild.test", &wild),
        ("exact.wild.test", &inner),
        ("two.labels.wild.test", &first),
        ("wild.test", &first),
        ("unknown.test", &first),
        ("127.0.0.1", &first),
    ] {
        assert_eq!(certificate_for(&server, name).await, der(expected), "{name}");
    }
}

#[tokio::test]
async fn one_name_may_have_a_certificate_per_key_type() {
    let authority = Authority::new();
    let default = authority.issue("default", &["default.test"]);
    let ecdsa = authority.issue("ecdsa", &["both.test"]);
    let rsa = authority.issue_with("rsa", &["both.test"], &PKCS_RSA_SHA256, |_| ());
    let server = serve(&[default, ecdsa.clone(), rsa.clone()]);
    assert_eq!(certificate_for(&server, "both.test").await, der(&ecdsa));

    // A client of TLS 1.2 that has only RSA suites offers ECDSA signatures no less, so take those away from it.
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.signature_verification_algorithms = rustls::crypto::WebPkiSupportedAlgorithms {
        all: provider.signature_verification_algorithms.all,
        mapping: rsa_only(provider.signature_verification_algorithms.mapping),
    };
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (near, _) = handshake(&Arc::new(client), &server.config, "both.test").await;
    let shown = near.unwrap().get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(shown, der(&rsa));
}

type SignatureMapping =
    &'static [(rustls::SignatureScheme, &'static [&'static dyn rustls::pki_types::SignatureVerificationAlgorithm])];

fn rsa_only(mapping: SignatureMapping) -> SignatureMapping {
    let rsa: Vec<_> = mapping
        .iter()
        .copied()
        .filter(|(scheme, _)| scheme.as_str().is_some_and(|name| name.starts_with("RSA")))
        .collect();
    Box::leak(rsa.into_boxed_slice())
}

#[tokio::test]
async fn an_upstream_of_an_unknown_authority_is_refused() {
    let (ours, theirs) = (Authority::named("Ours"), Authority::named("Theirs"));
    let server = serve(&[theirs.issue("site", &["site.test"])]);
    let client = ClientTls::build(&ours.trust(), None, &[]).unwrap();
    let (near, far) = handshake(&client.config, &server.config, "site.test").await;
    assert_eq!(HandshakeFault::of(&near.unwrap_err()), HandshakeFault::UnknownIssuer);
    assert_eq!(HandshakeFault::of(&far.unwrap_err()), HandshakeFault::Refused);

    let careless = ClientTls::build(&ServerTrust::anyone(), None, &[]).unwrap();
    let (near, _) = handshake(&careless.config, &server.config, "site.test").await;
    near.unwrap();
}

#[tokio::test]
async fn a_wrong_name_or_time_is_refused() {
    let authority = Authority::new();
    let client = ClientTls::build(&authority.trust(), None, &[]).unwrap();
    let server = serve(&[authority.issue("site", &["site.test"])]);
    let (near, _) = handshake(&client.config, &server.config, "other.test").await;
    assert_eq!(HandshakeFault::of(&near.unwrap_err()), HandshakeFault::CertificateName);

    let old = authority.issue_with("old", &["old.test"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let (near, _) = handshake(&client.config, &serve(&[old]).config, "old.test").await;
    assert_eq!(HandshakeFault::of(&near.unwrap_err()), HandshakeFault::CertificateTime);
}

#[tokio::test]
async fn the_minimum_version_is_kept() {
    let authority = Authority::new();
    let site = [authority.issue("site", &["site.test"])];
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let old_client = Arc::new(
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    );
    let strict = ServerTls::build(&site, MinVersion::Tls13, &[]).unwrap();
    let (near, far) = handshake(&old_client, &strict.config, "site.test").await;
    assert_eq!(HandshakeFault::of(&far.unwrap_err()), HandshakeFault::Version);
    assert_eq!(HandshakeFault::of(&near.unwrap_err()), HandshakeFault::Version);

    let (near, _) = handshake(&old_client, &serve(&site).config, "site.test").await;
    let version = near.unwrap().get_ref().1.protocol_version();
    assert_eq!(version, Some(ProtocolVersion::TLSv1_2));

    let client = ClientTls::build(&authority.trust(), None, &[]).unwrap();
    let (near, _) = handshake(&client.config, &strict.config, "site.test").await;
    let version = near.unwrap().get_ref().1.protocol_version();
    assert_eq!(version, Some(ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn the_server_prefers_and_demands_its_own_protocols() {
    let authority = Authority::new();
    let server = serve(&[authority.issue("site", &["site.test"])]);
    for (offered, agreed) in [
        (&[b"http/1.1".as_slice(), b"h2"][..], Some(b"h2".as_slice())),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let client = ClientTls::build(&authority.trust(), None, offered).unwrap();
        let (_, far) = handshake(&client.config, &server.config, "site.test").await;
        assert_eq!(far.unwrap().get_ref().1.alpn_protocol(), agreed);
    }
    let client = ClientTls::build(&authority.trust(), None, &[b"spdy/3"]).unwrap();
    let (near, far) = handshake(&client.config, &server.config, "site.test").await;
    assert_eq!(HandshakeFault::of(&far.unwrap_err()), HandshakeFault::Alpn);
    assert_eq!(HandshakeFault::of(&near.unwrap_err()), HandshakeFault::Alpn);
}

#[tokio::test]
async fn an_upstream_sees_our_client_certificate() {
    let authority = Authority::new();
    let site = authority.issue("site", &["site.test"]);
    let us = authority.issue_with("us", &["gateway.test"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let server = demanding_server(&authority, &site);

    let client = ClientTls::build(&authority.trust(), Some(&us), &[]).unwrap();
    assert_eq!(client.certificate.unwrap().names, ["gateway.test"]);
    let (near, far) = handshake(&client.config, &server, "site.test").await;
    near.unwrap();
    assert_eq!(far.unwrap().get_ref().1.peer_certificates().unwrap()[0], der(&us));

    let nobody = ClientTls::build(&authority.trust(), None, &[]).unwrap();
    let (near, far) = handshake(&nobody.config, &server, "site.test").await;
    assert_eq!(HandshakeFault::of(&far.unwrap_err()), HandshakeFault::Certificate);
    // In TLS 1.3 the client has finished by then, and learns of it from its first read.
    let refused = near.unwrap().read_u8().await.unwrap_err();
    assert_eq!(HandshakeFault::of(&refused), HandshakeFault::Refused);
}

fn demanding_server(authority: &Authority, site: &CertificateFiles) -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let key = std::fs::read(&site.key).unwrap();
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(vec![der(site)], files::private_key(&site.key, &key).unwrap());
    Arc::new(config.unwrap())
}

#[tokio::test]
async fn a_second_connection_resumes_by_ticket_without_early_data() {
    let authority = Authority::new();
    let server = serve(&[authority.issue("site", &["site.test"])]);
    let client = ClientTls::build(&authority.trust(), None, &[b"h2"]).unwrap();
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (near, far) = handshake(&client.config, &server.config, "site.test").await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        // The tickets come after the handshake; reading a byte takes them in.
        far.write_all(b"x").await.unwrap();
        far.flush().await.unwrap();
        near.read_u8().await.unwrap();
        kinds.push(near.get_ref().1.handshake_kind().unwrap());
        assert!(!near.get_ref().1.is_early_data_accepted());
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

#[tokio::test]
async fn what_is_not_tls_has_a_name() {
    let authority = Authority::new();
    let server = serve(&[authority.issue("site", &["site.test"])]);
    for (sent, expected) in [
        (b"GET / HTTP/1.1\r\nhost: site.test\r\n\r\n".as_slice(), HandshakeFault::NotTls),
        (b"\x16\x03\x01", HandshakeFault::Closed),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", HandshakeFault::Protocol),
        (b"", HandshakeFault::Closed),
    ] {
        let (mut near, far) = duplex(1024);
        near.write_all(sent).await.unwrap();
        near.shutdown().await.unwrap();
        let accepted = TlsAcceptor::from(Arc::clone(&server.config)).accept(far).await;
        assert_eq!(HandshakeFault::of(&accepted.unwrap_err()), expected, "{sent:?}");
    }
}

#[test]
fn faults_are_numbered_in_order_and_named_apart() {
    let names: std::collections::HashSet<_> = HandshakeFault::ALL.iter().map(|fault| fault.name()).collect();
    assert_eq!(names.len(), HandshakeFault::ALL.len());
    for (number, fault) in HandshakeFault::ALL.into_iter().enumerate() {
        assert_eq!(fault as usize, number);
    }
    let late = io::Error::from(io::ErrorKind::TimedOut);
    assert_eq!(HandshakeFault::of(&late).name(), "timeout");
}

fn build(certificate: &Path, key: &Path) -> Result<ServerTls, TlsError> {
    let files = CertificateFiles { certificate: certificate.to_owned(), key: key.to_owned() };
    ServerTls::build(&[files], MinVersion::Tls12, &[])
}

#[test]
fn each_mistake_in_the_files_is_named() {
    let authority = Authority::new();
    let one = authority.issue("one", &["one.test"]);
    let two = authority.issue("two", &["two.test"]);
    let raw = authority.file("raw.der");
    std::fs::write(&raw, der(&one)).unwrap();
    let sealed = authority.file("sealed.pem");
    let label = "ENCRYPTED PRIVATE KEY-----";
    std::fs::write(&sealed, format!("-----BEGIN {label}\nAAAA\n-----END {label}\n")).unwrap();
    let old_sealed = authority.file("old-sealed.pem");
    let section = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n\
                   -----END RSA PRIVATE KEY-----\n";
    std::fs::write(&old_sealed, section).unwrap();
    let cut = authority.file("cut.pem");
    std::fs::write(&cut, "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    let nonsense = authority.file("nonsense.pem");
    let sections =
        ["CERTIFICATE", "PRIVATE KEY"].map(|label| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n"));
    std::fs::write(&nonsense, sections.concat()).unwrap();
    let huge = authority.file("huge.pem");
    std::fs::write(&huge, vec![b'\n'; 2 * 1024 * 1024]).unwrap();
    let none = authority.file("none.pem");

    let failed = |certificate: &Path, key: &Path| build(certificate, key).unwrap_err();
    assert!(matches!(failed(&none, &one.key), TlsError::Read { path, .. } if path == none));
    assert!(matches!(failed(&one.certificate, &none), TlsError::Read { path, .. } if path == none));
    assert!(matches!(failed(&huge, &one.key), TlsError::TooLarge { path, .. } if path == huge));
    assert!(matches!(failed(&raw, &one.key), TlsError::NotPem { path } if path == raw));
    assert!(matches!(failed(&one.certificate, &raw), TlsError::NotPem { path } if path == raw));
    assert!(matches!(failed(&cut, &one.key), TlsError::BadPem { path, .. } if path == cut));
    assert!(matches!(failed(&one.key, &one.key), TlsError::NoCertificate { path } if path == one.key));
    assert!(matches!(
        failed(&one.certificate, &one.certificate),
        TlsError::NoKey { path } if path == one.certificate
    ));
    for file in [&sealed, &old_sealed] {
        assert!(matches!(
            failed(&one.certificate, file),
            TlsError::EncryptedKey { path } if path == *file
        ));
    }
    assert!(matches!(
        failed(&nonsense, &one.key),
        TlsError::BadCertificate { path, .. } if path == nonsense
    ));
    assert!(matches!(
        failed(&one.certificate, &nonsense),
        TlsError::BadKey { path, .. } if path == nonsense
    ));
    assert!(matches!(
        failed(&one.certificate, &two.key),
        TlsError::KeyMismatch { certificate, key } if certificate == one.certificate && key == two.key
    ));
    assert!(matches!(ServerTls::build(&[], MinVersion::Tls12, &[]).unwrap_err(), TlsError::NoServerCertificate));
    let message = failed(&one.certificate, &two.key).to_string();
    assert!(message.contains("two-key.pem") && message.contains("one.pem"), "{message}");
}

#[test]
fn a_client_side_names_its_mistakes_too() {
    let authority = Authority::new();
    let one = authority.issue("one", &["one.test"]);
    let two = authority.issue("two", &["two.test"]);
    let mixed = CertificateFiles { certificate: one.certificate, key: two.key.clone() };
    let error = ClientTls::build(&ServerTrust::anyone(), Some(&mixed), &[]).unwrap_err();
    assert!(matches!(error, TlsError::KeyMismatch { .. }));
    let error = ServerTrust::from_file(&two.key).unwrap_err();
    assert!(matches!(error, TlsError::NoCertificate { path } if path == two.key));
}

#[test]
fn certificate_and_key_may_share_a_file() {
    let authority = Authority::new();
    let site = authority.issue("site", &["site.test"]);
    let both = authority.file("both.pem");
    let texts = [&site.key, &site.certificate].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&both, texts.concat()).unwrap();
    assert_eq!(build(&both, &both).unwrap().certificates[0].names, ["site.test"]);
}

#[test]
fn doubtful_certificates_are_loaded_with_a_warning() {
    let authority = Authority::new();
    let site = authority.issue_with("site", &["Site.test"], &rcgen::PKCS_ECDSA_P256_SHA256, |params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let nameless = authority.issue("nameless", &["192.0.2.1"]);
    let server = serve(&[site, nameless]);
    let (site, nameless) = (&server.certificates[0], &server.certificates[1]);
    assert_eq!(site.names, ["site.test"]);
    let day = Duration::from_secs(24 * 60 * 60);
    let second = Duration::from_secs(1);
    for (now, expected) in [
        (site.not_before - second, Some(CertificateWarning::NotYetValid)),
        (site.not_before, None),
        (site.not_before + 100 * day, None),
        (site.not_after, None),
        (site.not_after + second, Some(CertificateWarning::Expired)),
    ] {
        assert_eq!(site.warning(now), expected);
    }
    let y2001 = SystemTime::UNIX_EPOCH + Duration::from_secs(978_307_200);
    assert_eq!(site.not_before, y2001);
    let within = nameless.not_before + day;
    assert_eq!(nameless.warning(within), Some(CertificateWarning::NoNames));
}

#[test]
fn the_fingerprint_follows_the_contents() {
    let authority = Authority::new();
    let site = authority.issue("site", &["site.test"]);
    let all = [site.clone()];
    let server = serve(&all);
    assert_eq!(ServerTls::fingerprint_of(&all).unwrap(), server.fingerprint);

    let same = std::fs::read(&site.certificate).unwrap();
    std::fs::write(&site.certificate, &same).unwrap();
    assert_eq!(ServerTls::fingerprint_of(&all).unwrap(), server.fingerprint);

    authority.issue("site", &["site.test"]);
    assert_ne!(ServerTls::fingerprint_of(&all).unwrap(), server.fingerprint);

    let trust = authority.trust();
    let ca = authority.ca();
    assert_eq!(trust.fingerprint(), Some(Fingerprint::of([ca.as_path()]).unwrap()));
    std::fs::remove_file(&site.key).unwrap();
    assert!(matches!(
        ServerTls::fingerprint_of(&all),
        Err(TlsError::Read { path, .. }) if path == site.key
    ));
}
