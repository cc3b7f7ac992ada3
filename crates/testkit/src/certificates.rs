//! Certificates for tests: one authority, and leaf certificates that it signs, as PEM files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Signs certificates and is trusted by the clients it configures.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// The certificate as it appears in a handshake.
    pub der: Vec<u8>,
}

impl Authority {
    /// A new authority with a key of its own.
    ///
    /// # Panics
    /// When the system has no randomness.
    pub fn new(common_name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names, nothing to be wrong");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("randomness");
        let certificate = params.self_signed(&key).expect("a valid authority");
        let pem = certificate.pem();
        Self { certificate: certificate.der().clone(), issuer: Issuer::new(params, key), pem }
    }

    /// Writes the authority's certificate into `folder` and returns its path.
    ///
    /// # Panics
    /// When the folder is not writable.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("authority.pem");
        std::fs::write(&path, &self.pem).expect("the folder is writable");
        path
    }

    /// Issues a certificate for these DNS names or addresses, for servers and clients alike, and
    /// writes `NAME.pem` and `NAME.key` into `folder`.
    ///
    /// # Panics
    /// When a name is no name, or the folder is not writable.
    pub fn issue(&self, folder: &Path, file_name: &str, names: &[&str]) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("valid names");
        params.distinguished_name.push(DnType::CommonName, file_name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("randomness");
        let leaf = params.signed_by(&key, &self.issuer).expect("a valid certificate");
        let issued = Issued {
            certificate: folder.join(format!("{file_name}.pem")),
            key: folder.join(format!("{file_name}.key")),
            der: leaf.der().to_vec(),
        };
        std::fs::write(&issued.certificate, leaf.pem()).expect("the folder is writable");
        std::fs::write(&issued.key, key.serialize_pem()).expect("the folder is writable");
        issued
    }

    /// A client that trusts this authority and offers these protocols.
    ///
    /// # Panics
    /// Never: the provider has the default versions.
    pub fn client_config(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.alpn_protocols = alpn(protocols);
        Arc::new(config)
    }

    /// A server with a certificate of this authority that offers these protocols.
    ///
    /// # Panics
    /// When the files of `issued` are gone.
    pub fn server_config(&self, issued: &Issued, protocols: &[&str]) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from_pem_file(&issued.key).expect("the key that was written");
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions")
            .with_no_client_auth()
            .with_single_cert(vec![issued.der.clone().into()], key)
            .expect("the key belongs to the certificate");
        config.alpn_protocols = alpn(protocols);
        Arc::new(config)
    }

    /// What a client has to trust.
    ///
    /// # Panics
    /// Never: the authority is valid.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a valid authority");
        roots
    }
}

fn alpn(protocols: &[&str]) -> Vec<Vec<u8>> {
    protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;
    use crate::client::RawClient;
    use crate::http1::Closed;

    #[test]
    fn a_client_trusts_what_the_authority_issued_and_sees_a_truncation() {
        let folder = crate::gateway::folder();
        let authority = Authority::new("test authority");
        let issued = authority.issue(folder.path(), "server", &["a.test"]);
        let server = authority.server_config(&issued, &["http/1.1"]);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serving = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut connection = rustls::ServerConnection::new(server).expect("a valid configuration");
            let mut stream = rustls::Stream::new(&mut connection, &mut socket);
            let mut ping = [0; 4];
            stream.read_exact(&mut ping).expect("a ping");
            stream.write_all(&ping).expect("a pong");
        });
        let mut client =
            RawClient::connect_tls(address, "a.test", authority.client_config(&["http/1.1"])).expect("a handshake");
        assert_eq!(client.negotiated_protocol().as_deref(), Some(&b"http/1.1"[..]));
        assert_eq!(client.server_certificate(), Some(issued.der));
        client.send("ping");
        assert_eq!(client.read_to_end(), (b"ping".to_vec(), Closed::Truncated));
        serving.join().expect("the server is content");
    }
}
