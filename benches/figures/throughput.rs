//! Requests a second and CPU time a request, beside a bare server; and what a second core adds.

use anyhow::bail;

use crate::Bench;
use crate::bodies::Body;
use crate::process::Process;
use crate::table::{Row, Sample, Target, thousands};
use crate::wrk::Load;

const CONNECTIONS: u32 = 256;

/// The part of its core that a server must have had for its rate to be its own.
const BUSY: f64 = 0.9;

/// One of the two works whose throughput has a figure to reach.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) body: Body,
    /// The bare server that it is measured beside.
    pub(crate) limit: &'static str,
    /// Of the limit's requests a second: what is asked for, and what is aimed at.
    pub(crate) rate: (f64, f64),
    /// Of the limit's CPU time a request: what is asked for, and what is aimed at.
    pub(crate) cpu: (f64, f64),
}

/// What a server did in one round.
struct Round {
    /// Requests a second.
    rate: f64,
    /// Microseconds of the server's CPU for a request.
    cpu: f64,
    /// How much of a core the server was busy.
    busy: f64,
    /// How much of a core wrk was busy.
    wrk_busy: f64,
}

fn measure(bench: &Bench, process: &Process, url: &str, load: &Load) -> anyhow::Result<Round> {
    let before = process.cpu()?;
    let outcome = bench.wrk.run(url, load)?;
    let cpu = process.cpu()? - before;
    Ok(Round {
        rate: outcome.requests / outcome.seconds,
        cpu: cpu * 1e6 / outcome.requests,
        busy: cpu / outcome.seconds,
        wrk_busy: outcome.cpu / outcome.seconds,
    })
}

/// Weir in a fresh folder, without a ClickHouse: the loader has a figure of its own.
fn weir(bench: &Bench, body: &Body, threads: usize) -> anyhow::Result<Round> {
    let both = bench.cores.both();
    let (cores, wrk_cores) = if threads == 1 { (&both[..1], &both[1..]) } else { (&both[..], &both[..]) };
    let server = bench.programs.weir_alone(threads, cores)?;
    let load = Load { body, connections: CONNECTIONS, seconds: bench.round_seconds, cores: wrk_cores };
    bench.wrk.warm_up(&server.url(), &load)?;
    let round = measure(bench, &server.process, &server.url(), &load)?;
    let metrics = server.metrics()?;
    let taken = metrics.value(r#"weir_events_total{outcome="accepted"}"#)?;
    let repeated = metrics.value(r#"weir_events_total{outcome="repeated"}"#)?;
    #[allow(clippy::cast_precision_loss, reason = "some seconds")]
    let requests = round.rate * bench.round_seconds as f64;
    // Events with ids that were seen before cost nothing: they would flatter the figure.
    if repeated > 0.0 || taken < requests * f64::from(body.events) {
        bail!("{taken} events were taken and {repeated} were repeated");
    }
    Ok(round)
}

/// Both servers in turn, the first one in turn as well.
pub(crate) fn compare(bench: &Bench, work: &Work) -> anyhow::Result<Vec<Row>> {
    let (limit, address) = bench.programs.limit(work.limit, bench.cores.server)?;
    let limit_url = format!("http://{address}/api/events");
    let (seconds, cores) = (bench.round_seconds, [bench.cores.load]);
    let load = Load { body: &work.body, connections: CONNECTIONS, seconds, cores: &cores };
    bench.wrk.warm_up(&limit_url, &load)?;
    let mut rounds = Vec::new();
    for round in 0..bench.rounds {
        let of_limit = || measure(bench, &limit, &limit_url, &load);
        let of_weir = || weir(bench, &work.body, 1);
        let (ours, theirs) = if round % 2 == 0 {
            let ours = of_weir()?;
            (ours, of_limit()?)
        } else {
            let theirs = of_limit()?;
            (of_weir()?, theirs)
        };
        bench.tell(&format!(
            "{}: {:.0}/s and {:.1} µs of {:.0}/s and {:.1} µs",
            work.name, ours.rate, ours.cpu, theirs.rate, theirs.cpu
        ));
        rounds.push((ours, theirs));
    }
    Ok(vec![rate(work, &rounds), cpu(work, &rounds)])
}

fn rate(work: &Work, rounds: &[(Round, Round)]) -> Row {
    let sample = rounds.iter().map(|(ours, theirs)| ours.rate / theirs.rate).collect();
    let of_ours = |figure: fn(&Round) -> f64| rounds.iter().map(|(ours, _)| figure(ours)).collect::<Sample>();
    let of_theirs =
        |figure: fn(&Round) -> f64| rounds.iter().map(|(_, theirs)| figure(theirs)).collect::<Sample>();
    let (ours, theirs) = (of_ours(|round| round.rate).median(), of_theirs(|round| round.rate).median());
    let events = if work.body.events == 1 {
        String::new()
    } else {
        format!(", {} events/s", thousands(ours * f64::from(work.body.events)))
    };
    let absolute = format!(
        "{} of {}{events}; server busy {:.0} % and {:.0} %, wrk {:.0} % and {:.0} %",
        thousands(ours),
        thousands(theirs),
        of_ours(|round| round.busy * 100.0).median(),
        of_theirs(|round| round.busy * 100.0).median(),
        of_ours(|round| round.wrk_busy * 100.0).median(),
        of_theirs(|round| round.wrk_busy * 100.0).median(),
    );
    Row {
        work: format!("{}: requests/s", work.name),
        goal: format!("≥ {:.2}, aiming at {:.2} of `{}`", work.rate.0, work.rate.1, work.limit),
        target: Target::AtLeast(work.rate.0),
        sample,
        sound: of_ours(|round| round.busy).median() >= BUSY && of_theirs(|round| round.busy).median() >= BUSY,
        unit: "",
        absolute,
    }
}

fn cpu(work: &Work, rounds: &[(Round, Round)]) -> Row {
    let ours: Sample = rounds.iter().map(|(ours, _)| ours.cpu).collect();
    let theirs: Sample = rounds.iter().map(|(_, theirs)| theirs.cpu).collect();
    Row {
        work: format!("{}: CPU a request", work.name),
        goal: format!("≤ {:.1} ×, aiming at {:.1} × `{}`", work.cpu.0, work.cpu.1, work.limit),
        target: Target::AtMost(work.cpu.0),
        sample: rounds.iter().map(|(ours, theirs)| ours.cpu / theirs.cpu).collect(),
        sound: true,
        unit: " ×",
        absolute: format!("{:.1} µs to {:.1} µs", ours.median(), theirs.median()),
    }
}

/// A bare server that keeps the bodies beside one that does not: what of Weir's cost is the promise alone.
pub(crate) fn promise(bench: &Bench, body: &Body) -> anyhow::Result<Vec<Row>> {
    let (seconds, cores) = (bench.round_seconds, [bench.cores.load]);
    let load = Load { body, connections: CONNECTIONS, seconds, cores: &cores };
    let (limit, address) = bench.programs.limit("limit", bench.cores.server)?;
    let limit_url = format!("http://{address}/api/events");
    bench.wrk.warm_up(&limit_url, &load)?;
    let mut rounds = Vec::new();
    for _ in 0..bench.rounds {
        let (process, address, _folder) = bench.programs.limit_kept(bench.cores.server)?;
        let url = format!("http://{address}/api/events");
        bench.wrk.warm_up(&url, &load)?;
        let kept = measure(bench, &process, &url, &load)?;
        drop(process);
        rounds.push((measure(bench, &limit, &limit_url, &load)?, kept));
    }
    let work = "a bare server that keeps the single event and does nothing else";
    Ok(told(work, "told, beside `limit`", &rounds))
}

/// One server thread with wrk on the other core, then two threads on both cores, which wrk needs as well.
pub(crate) fn scale(bench: &Bench, works: &[&Work]) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for work in works {
        let mut rounds = Vec::new();
        for _ in 0..bench.scale_rounds {
            let one = weir(bench, &work.body, 1)?;
            let two = weir(bench, &work.body, 2)?;
            bench.tell(&format!(
                "{}: {:.0}/s with one thread, {:.0}/s with two",
                work.name, one.rate, two.rate
            ));
            rounds.push((one, two));
        }
        let work = format!("{}, 2 threads on the 2 cores that wrk needs too", work.name);
        rows.extend(told(&work, "told, beside 1 thread", &rounds));
    }
    Ok(rows)
}

/// The rate and the CPU time of the second of each pair beside the first.
fn told(work: &str, goal: &str, pairs: &[(Round, Round)]) -> Vec<Row> {
    let row = |what: &str, unit, figure: fn(&Round) -> f64| {
        let first: Sample = pairs.iter().map(|(first, _)| figure(first)).collect();
        let second: Sample = pairs.iter().map(|(_, second)| figure(second)).collect();
        Row {
            work: format!("{work}: {what}"),
            goal: goal.to_owned(),
            target: Target::Told,
            sample: pairs.iter().map(|(first, second)| figure(second) / figure(first)).collect(),
            sound: true,
            unit: " ×",
            absolute: format!("{:.1} {unit} to {:.1} {unit}", second.median(), first.median()),
        }
    };
    vec![row("requests/s", "k", |round| round.rate / 1e3), row("CPU a request", "µs", |round| round.cpu)]
}
