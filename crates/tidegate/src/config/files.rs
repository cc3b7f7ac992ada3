//! Whether the files that a document names are there and can be read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use tidegate_gateway::config::document::{Certificate, Document};
use tidegate_gateway::config::{DocumentPath, Problem};

/// Every named file that cannot be read.
pub(super) fn unreadable(document: &Document, folder: &Path) -> Vec<Problem> {
    let named = named(document);
    let problem = |(path, file): (DocumentPath, &str)| {
        let error = readable(&folder.join(file)).err()?;
        Some(Problem::new(path, format!("the file cannot be read: {error}")))
    };
    named.into_iter().filter_map(problem).collect()
}

/// Reads one byte: a folder can be opened, but not read.
fn readable(path: &Path) -> io::Result<()> {
    File::open(path)?.read(&mut [0]).map(|_| ())
}

fn named(document: &Document) -> Vec<(DocumentPath, &str)> {
    let mut files = Vec::new();
    let listeners = DocumentPath::root().key("listeners");
    for (index, listener) in document.listeners.iter().enumerate() {
        let place = listeners.index(index).key("tls").key("certificates");
        let certificates = listener.tls.iter().flat_map(|tls| &tls.certificates);
        for (index, Certificate { certificate, key }) in certificates.enumerate() {
            files.push((place.index(index).key("certificate"), certificate.as_str()));
            files.push((place.index(index).key("key"), key.as_str()));
        }
    }
    let upstreams = DocumentPath::root().key("upstreams");
    for (name, upstream) in &document.upstreams {
        let place = upstreams.key(name).key("tls");
        let Some(tls) = &upstream.tls else { continue };
        for (key, file) in [("ca", &tls.ca), ("certificate", &tls.certificate), ("key", &tls.key)] {
            files.extend(file.as_deref().map(|file| (place.key(key), file)));
        }
    }
    files
}
