//! The temporary folder of one run: certificate, files that the service answers with,
//! configurations.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::scenario::{FILES, SMALL};
use crate::Outcome;
use crate::process::{output, root};

/// The folder; removed when dropped.
pub(super) struct Folder {
    path: PathBuf,
    upstreams: [u16; 2],
}

/// Where one candidate listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) http: u16,
    pub(super) https: u16,
    pub(super) admin: u16,
}

impl Folder {
    /// Makes the folder with everything that all candidates share. The workers of servers started
    /// by root run as another user, so it must be readable by all.
    pub(super) fn create() -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("tidegate-bench-{}", std::process::id()));
        fs::create_dir(&path)?;
        let folder = Self { path, upstreams: free_ports()? };
        fs::create_dir(folder.path.join("files"))?;
        for (name, bytes) in FILES {
            let content = "tide\n".bytes().cycle().take(usize::try_from(bytes)?);
            fs::write(folder.path.join(format!("files{name}")), content.collect::<Vec<u8>>())?;
        }
        folder.make_certificate()?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The two ports of the service.
    pub(super) fn upstreams(&self) -> [u16; 2] {
        self.upstreams
    }

    /// Writes a file of `bench/` with its `${name}` marks filled in, the given ports among them, and
    /// returns where it is.
    pub(super) fn fill(&self, template: &str, name: &str, ports: &[(&str, u16)]) -> Outcome<PathBuf> {
        let mut text = fs::read_to_string(root().join("bench").join(template))?;
        let [up1, up2] = self.upstreams;
        for (mark, port) in ports.iter().chain(&[("up1", up1), ("up2", up2)]) {
            text = text.replace(&format!("${{{mark}}}"), &port.to_string());
        }
        text = text.replace("${folder}", &self.path.display().to_string());
        text = text.replace("${answer}", &"t".repeat(usize::try_from(SMALL)?));
        let file = self.path.join(format!("{name}-{template}"));
        fs::write(&file, text)?;
        Ok(file)
    }

    /// A self-signed P-256 certificate, which is what most of the web serves; HAProxy wants both
    /// parts in one file.
    fn make_certificate(&self) -> Outcome {
        let (key, certificate) = (self.path.join("key.pem"), self.path.join("cert.pem"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        openssl.args(["-nodes", "-days", "2", "-subj", "/CN=bench.example.test"]);
        openssl.args(["-addext", "subjectAltName=DNS:bench.example.test,IP:127.0.0.1"]);
        output(openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate))?;
        let both = [fs::read(certificate)?, fs::read(key)?].concat();
        Ok(fs::write(self.path.join("both.pem"), both)?)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.path);
    }
}

impl Ports {
    pub(super) fn free() -> Outcome<Self> {
        let [http, https, admin] = free_ports()?;
        Ok(Self { http, https, admin })
    }

    /// The ports under the names they have in the files of `bench/`.
    pub(super) fn marks(self) -> [(&'static str, u16); 3] {
        [("http", self.http), ("https", self.https), ("admin", self.admin)]
    }
}

/// Ports that nobody listens on now. Another program may take one before its owner starts; then
/// that one fails to start, and says so.
fn free_ports<const N: usize>() -> Outcome<[u16; N]> {
    let mut listeners = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}
