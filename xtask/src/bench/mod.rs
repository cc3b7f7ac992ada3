//! The benchmark: Tidegate and its peers, side by side, with public load tools.
//!
//! All candidates run at once, pinned to one core, in front of the same service, and take turns:
//! round by round every candidate gets the same load, so that a machine that slows down does so for
//! all. The figure that counts is the CPU time of the proxy per request, from the kernel's account
//! of its threads; requests per second only say something about the proxy while it, and not the
//! load on the other cores, is what is full. `bench/README.md` tells how to read the tables.
//! Nothing is asserted here: a time on somebody's machine is no test.

mod candidate;
mod endurance;
mod folder;
mod library;
mod load;
mod options;
mod report;
mod scenario;
mod server;

use crate::Outcome;
use candidate::Candidate;
use folder::{Folder, Ports};
use options::Options;
use report::{Report, Turn};
use scenario::{Protocol, Scenario};
use server::Server;

/// A candidate that has been started.
struct Running<'a> {
    candidate: &'a Candidate,
    server: Server,
    ports: Ports,
}

/// `cargo xtask bench [OPTIONS]`, and its companions.
pub(crate) fn run(words: &[String]) -> Outcome {
    match words.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        Some(("idle", rest)) => endurance::idle(rest),
        Some(("slow", rest)) => endurance::slow(rest),
        Some(("flood", rest)) => endurance::flood(rest),
        Some(("failures", rest)) => endurance::failures(rest),
        Some(("library", rest)) => library::run(rest),
        _ => compare(words),
    }
}

fn compare(words: &[String]) -> Outcome {
    let Some(options) = Options::parse(words)? else {
        print!("{}", options::USAGE);
        return Ok(());
    };
    let [nginx, ..] = candidate::require(["nginx", "wrk", "h2load", "openssl", "taskset"])?;
    let candidates = candidate::chosen(&options)?;
    let folder = Folder::create()?;
    let configuration = folder.fill("upstream.conf", "service", &[])?;
    let command = [nginx.display().to_string(), "-c".to_owned(), configuration.display().to_string()];
    let mut service = Server::start("service", &options.load_cores, folder.path(), &command)?;
    for port in folder.upstreams() {
        service.wait_for(port)?;
    }
    let running = candidates.iter().map(|candidate| Running::start(candidate, &folder, &options));
    let running = running.collect::<Outcome<Vec<_>>>()?;
    let mut report = Report::new(&candidates);
    println!("{}", report.heading());
    for scenario in &options.scenarios {
        measure(scenario, &running, &options, &mut report)?;
        print!("{}", report.table(scenario));
    }
    if let Some(file) = &options.json {
        std::fs::write(file, report.json())?;
    }
    report.verdict()
}

impl<'a> Running<'a> {
    fn start(candidate: &'a Candidate, folder: &Folder, options: &Options) -> Outcome<Self> {
        let ports = Ports::free()?;
        let configuration = folder.fill(candidate.kind.template, &candidate.name, &ports.marks())?;
        let mut command = vec![candidate.program.display().to_string()];
        command.extend(candidate.kind.arguments.iter().map(ToString::to_string));
        command.push(configuration.display().to_string());
        let mut server = Server::start(&candidate.name, &options.proxy_core, folder.path(), &command)?;
        server.wait_for(ports.http)?;
        Ok(Self { candidate, server, ports })
    }

    /// One turn: load to warm up, then load that counts, between two looks at the clock of the
    /// server's threads.
    fn turn(&self, scenario: &Scenario, options: &Options) -> Outcome<Turn> {
        let port = if scenario.protocol == Protocol::Http1 { self.ports.http } else { self.ports.https };
        load::run(scenario, port, options.warm_up, &options.load_cores)?;
        let before = self.server.cpu();
        let counted = load::run(scenario, port, options.turn, &options.load_cores)?;
        let cpu = self.server.cpu().saturating_sub(before);
        if counted.bytes < counted.requests * scenario.answer_bytes {
            return Err(format!("{}: answers are shorter than the service sent them", self.candidate.name).into());
        }
        Ok(Turn { counted, cpu })
    }
}

/// All turns of one scenario. Every other round goes backwards, so that nobody always follows the
/// same neighbour.
fn measure(scenario: &Scenario, running: &[Running<'_>], options: &Options, report: &mut Report<'_>) -> Outcome {
    for round in 0..options.rounds {
        let mut order: Vec<usize> = (0..running.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for number in order {
            let able = running[number].candidate.kind.tls || scenario.protocol == Protocol::Http1;
            if able {
                report.add(scenario, number, running[number].turn(scenario, options)?);
            }
        }
    }
    Ok(())
}
