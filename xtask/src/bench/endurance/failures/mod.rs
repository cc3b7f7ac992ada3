//! `cargo xtask bench failures`: what clients notice of upstreams that fail.
//!
//! Each turn is a gateway of its own in front of three endpoints, with requests at a fixed rate. After a while in which
//! all are well one endpoint falls sick, or all do for a time. The test of the real process counts the same in requests;
//! here it is time that counts.

mod endpoint;
mod load;

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::super::candidate::require;
use super::super::folder::{Folder, Ports};
use super::super::server::Server;
use super::options::{Number, parse};
use crate::Outcome;
use endpoint::{Account, Mood};
use load::Asked;

const OPTIONS: &[Number] = &[
    ("--rate", 2000, "requests per second, whether answers come or not"),
    ("--seconds", 10, "seconds in which one endpoint is sick, or all are slow"),
    ("--outage", 60, "seconds in which all endpoints answer 503"),
];

const SICKNESSES: [(&str, Mood); 5] = [
    ("one dead", Mood::Dead),
    ("one slow", Mood::Slow),
    ("one flapping", Mood::Flapping),
    ("one with 30% 503", Mood::Busy),
    ("one resetting", Mood::Resetting),
];

/// Routes of `bench/failures.yaml`: what is on by default, and a list of policies.
const ROUTES: [&str; 2] = ["/default", "/listed"];

/// The route with a deadline of 200 ms and nothing else.
const DEADLINE: &str = "/deadline";

/// All are well for so long before something fails, and after an outage.
const AROUND: Duration = Duration::from_secs(10);

/// The load begins so long after its clients do.
const LEAD: Duration = Duration::from_millis(500);

/// Goodput is the share of successes in spells of this length, one every tenth of it.
const SPELL: Duration = Duration::from_secs(1);

/// A turn: who is ill, and how long.
struct Turn<'t> {
    name: &'t str,
    route: &'t str,
    /// How each endpoint is while it is sick.
    moods: [Mood; 3],
    sick_for: Duration,
    /// Whether the turn goes on when all are well again.
    returns: bool,
    rate: u32,
}

/// What came of it.
struct Counted {
    asked: Vec<Asked>,
    /// Attempts beyond the first of a request, while somebody was sick.
    repeated: u64,
}

pub(in super::super) fn run(words: &[String]) -> Outcome {
    let Some(options) = parse("failures", OPTIONS, words)? else { return Ok(()) };
    let [rate, seconds, outage] = options.numbers[..] else { return Err("three numbers".into()) };
    let rate = u32::try_from(rate)?.max(1);
    let [one, all] = [seconds, outage].map(Duration::from_secs);
    println!(
        "| upstream | route | requests | success % | retries % | p99 ms | longest ms | sent late ms | 99% again after s |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for route in ROUTES {
        for (name, sick) in SICKNESSES {
            let moods = [sick, Mood::Well, Mood::Well];
            Turn { name, route, moods, sick_for: one, returns: false, rate }.measure(&options.program)?;
        }
        let name = &format!("all with 503 for {outage} s");
        let moods = [Mood::Failing; 3];
        Turn { name, route, moods, sick_for: all, returns: true, rate }.measure(&options.program)?;
    }
    let moods = [Mood::Slow; 3];
    Turn { name: "all slow", route: DEADLINE, moods, sick_for: one, returns: false, rate }.measure(&options.program)?;
    println!("\nBars: success 99.9% with one sick endpoint; retries 10% in the outage; 99% again within 5 s.");
    println!("Nothing takes longer than its total by more than 5 ms: 2 s for `/listed`, 200 ms for `/deadline`.");
    println!("Only what was due while somebody was sick is counted.");
    Ok(())
}

impl Turn<'_> {
    fn measure(&self, program: &Path) -> Outcome {
        let Counted { asked, repeated } = self.take(program)?;
        let sick = AROUND..AROUND + self.sick_for;
        let counted: Vec<_> = asked.iter().filter(|asked| sick.contains(&asked.due)).collect();
        let good = counted.iter().filter(|asked| asked.good).count();
        let mut times: Vec<_> = counted.iter().map(|asked| asked.took).collect();
        times.sort_unstable();
        let late = asked.iter().map(|asked| asked.late).max().unwrap_or_default();
        let again = self.returns.then(|| recovery(&asked, sick.end).map_or("never".to_owned(), seconds));
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.name,
            self.route,
            counted.len(),
            percent(good as u64, counted.len()),
            percent(repeated, counted.len()),
            times.get(times.len() * 99 / 100).copied().map(millis).unwrap_or_default(),
            times.last().copied().map(millis).unwrap_or_default(),
            millis(late),
            again.unwrap_or_default(),
        );
        Ok(())
    }

    fn take(&self, program: &Path) -> Outcome<Counted> {
        let length = AROUND + self.sick_for + if self.returns { AROUND } else { Duration::ZERO };
        let requests = usize::try_from(length.as_secs() * u64::from(self.rate))?;
        let account = Account::new(requests);
        let (_folder, _gateway, [port, sick]) = self.start(program, &account)?;
        let begin = Instant::now() + LEAD;
        let before = AtomicU64::new(0);
        let after = AtomicU64::new(0);
        let meanwhile = || {
            sleep((begin + AROUND).saturating_duration_since(Instant::now()));
            before.store(account.repeated(), Relaxed);
            account.sick.store(true, Relaxed);
            if self.moods[0] == Mood::Dead {
                // Wakes who listens, so that nobody does.
                _ = TcpStream::connect(("127.0.0.1", sick));
            }
            sleep((begin + AROUND + self.sick_for).saturating_duration_since(Instant::now()));
            account.sick.store(false, Relaxed);
            after.store(account.repeated(), Relaxed);
        };
        let asked = load::run((port, self.route), (begin, self.rate, requests), meanwhile)?;
        let repeated = after.into_inner() - before.into_inner();
        Ok(Counted { asked, repeated })
    }

    /// A gateway on one core in front of three endpoints. The ports are its own and that of the first endpoint.
    fn start(&self, program: &Path, account: &Arc<Account>) -> Outcome<(Folder, Server, [u16; 2])> {
        require(["openssl", "taskset"])?;
        let folder = Folder::create()?;
        let ports = Ports::free()?;
        let [sick, second, third] = self.moods.map(|mood| endpoint::start(mood, account));
        let sick = sick?;
        let marks = [&ports.marks()[..], &[("first", sick), ("second", second?), ("third", third?)]].concat();
        let configuration = folder.fill("failures.yaml", "gateway", &marks)?;
        let words = ["run".to_owned(), "--config".to_owned(), configuration.display().to_string()];
        let command: Vec<String> = std::iter::once(program.display().to_string()).chain(words).collect();
        let mut gateway = Server::start("gateway", "0", folder.path(), &command)?;
        gateway.wait_for(ports.http)?;
        Ok((folder, gateway, [ports.http, sick]))
    }
}

/// How long after `from` the first spell begins in which 99% succeed.
fn recovery(asked: &[Asked], from: Duration) -> Option<Duration> {
    let last = asked.last()?.due.checked_sub(SPELL)?;
    let mut begins = (0..).map(|tenth| from + SPELL / 10 * tenth).take_while(|begin| *begin <= last);
    let recovered = |begin: &Duration| {
        let spell = asked.iter().filter(|asked| (*begin..*begin + SPELL).contains(&asked.due));
        let (all, good) = spell.fold((0, 0), |(all, good), asked| (all + 1, good + u32::from(asked.good)));
        good * 100 >= all * 99
    };
    begins.find(recovered).map(|begin| begin - from)
}

fn percent(part: u64, whole: usize) -> String {
    #[expect(clippy::cast_precision_loss)]
    let share = 100.0 * part as f64 / whole.max(1) as f64;
    format!("{share:.2}")
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_begins_where_a_second_is_good() {
        let asked = |tenth: u32, good| {
            let zero = Duration::ZERO;
            Asked { due: SPELL / 10 * tenth, late: zero, took: zero, good }
        };
        let asked: Vec<_> = (0..60).map(|tenth| asked(tenth, tenth >= 24)).collect();
        assert_eq!(recovery(&asked, SPELL), Some(SPELL / 10 * 14));
        assert_eq!(recovery(&asked[..25], SPELL), None);
    }
}
