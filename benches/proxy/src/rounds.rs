//! Rounds: each contender in turn, again and again, so that what else the machine does falls on all of them.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use super::{
    load::{Client, Closed},
    peers::{Contender, LEAD_LOG},
    usage::Tree,
    wire::Asked,
};

/// Connections at once.
pub const CONNECTIONS: [usize; 3] = [1, 16, 64];

/// Of the requests that only pass.
const RECORDS: usize = 16;

/// Connections under load whose memory is told.
pub const HELD: [usize; 2] = [64, 1000];

/// Requests a second where time is measured: few enough that none waits for another.
pub const PACE: u32 = 300;

/// How long it all takes.
#[derive(Clone, Copy)]
pub struct Length {
    pub rounds: usize,
    pub lasts: Duration,
    pub paced: Duration,
}

impl Length {
    pub const QUICK: Self =
        Self { rounds: 3, lasts: Duration::from_millis(600), paced: Duration::from_millis(800) };
    pub const FULL: Self =
        Self { rounds: 7, lasts: Duration::from_millis(1500), paced: Duration::from_secs(2) };
}

/// Until pools are filled and connections spread.
const WARM_UP: Duration = Duration::from_millis(150);

/// One contender in one round.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Of processor time a request, in microseconds.
    pub cpu: f64,
    /// Of that, the thread's that writes the lead log.
    pub lead_log: f64,
    pub per_second: f64,
}

/// What was asked of contenders over so many connections, round after round.
pub struct Series {
    pub asked: Asked,
    pub connections: usize,
    /// For each contender its samples, one for each round.
    pub samples: Vec<Vec<Sample>>,
}

/// Latency without a proxy and through each contender, in microseconds, round after round.
#[derive(Default)]
pub struct Paced {
    pub direct: Vec<[f64; 2]>,
    pub contenders: Vec<Vec<[f64; 2]>>,
    /// Whether all took part in real-time scheduling.
    pub real_time: bool,
}

/// The processor time of one kind of request after another.
pub fn cpu(contenders: &[Contender], length: Length) -> anyhow::Result<Vec<Series>> {
    let leads = CONNECTIONS.map(|connections| (Asked::Lead, connections));
    let kinds = leads.into_iter().chain([(Asked::Record, RECORDS)]);
    kinds.map(|(asked, connections)| series(contenders, length, asked, connections)).collect()
}

fn series(
    contenders: &[Contender],
    length: Length,
    asked: Asked,
    connections: usize,
) -> anyhow::Result<Series> {
    let mut samples = vec![Vec::new(); contenders.len()];
    for round in 1..=length.rounds {
        eprintln!("{asked:?}, {connections} connections: round {round} of {}", length.rounds);
        for (contender, samples) in contenders.iter().zip(&mut samples) {
            let asked = if asked == Asked::Lead { contender.asked } else { asked };
            samples.push(sample(contender, length, asked, connections)?);
        }
    }
    Ok(Series { asked, connections, samples })
}

fn sample(contender: &Contender, length: Length, asked: Asked, connections: usize) -> anyhow::Result<Sample> {
    let (tree, Length { lasts, .. }) = (contender.tree(), length);
    let written = RefCell::new(Vec::new());
    let meter = || {
        written.borrow_mut().push(tree.cpu(&|name| name == LEAD_LOG)?);
        tree.cpu(&|_| true)
    };
    let load =
        Closed { address: contender.address, asked, connections, warm_up: WARM_UP, lasts, meter: &meter };
    let counted = load.run().map_err(|error| error.context(contender.name.clone()))?;
    let lead_log = match written.borrow().as_slice() {
        [before, after] => after - before,
        _ => 0,
    };
    let each = |nanoseconds: u64| nanoseconds as f64 / 1e3 / counted.requests as f64;
    let per_second = counted.requests as f64 / counted.lasted.as_secs_f64();
    Ok(Sample { cpu: each(counted.metered), lead_log: each(lead_log), per_second })
}

/// Resident bytes of each contender: idle, then at the end of a load over each of [`HELD`] connections.
pub fn memory(contenders: &[Contender]) -> anyhow::Result<Vec<[u64; 3]>> {
    let under_load = |contender: &Contender, connections: usize| {
        let at_the_end = Cell::new(0);
        let meter = || {
            at_the_end.set(contender.tree().memory()?);
            Ok(0)
        };
        let (address, asked, lasts) = (contender.address, contender.asked, Duration::from_secs(1));
        Closed { address, asked, connections, warm_up: WARM_UP, lasts, meter: &meter }
            .run()
            .map_err(|error| error.context(contender.name.clone()))?;
        anyhow::Ok(at_the_end.get())
    };
    let of = |contender: &Contender| {
        let [few, many] = HELD;
        Ok([contender.tree().memory()?, under_load(contender, few)?, under_load(contender, many)?])
    };
    eprintln!("memory");
    contenders.iter().map(of).collect()
}

/// What each contender adds to the time of an answer.
pub fn paced(contenders: &[Contender], direct: Client, length: Length) -> anyhow::Result<Paced> {
    // The contenders are this process's children.
    let everybody = Tree(std::process::id());
    let mut paced = Paced { real_time: everybody.schedule("--fifo", 1), ..Paced::default() };
    let (mut direct, mut clients) = (direct, Vec::new());
    for contender in contenders {
        clients.push(Client::connect(contender.address, contender.asked)?);
        paced.contenders.push(Vec::new());
    }
    for round in 1..=length.rounds {
        eprintln!("latency: round {round} of {}", length.rounds);
        paced.direct.push(percentiles(direct.pace(PACE, length.paced)?));
        for (client, percents) in clients.iter_mut().zip(&mut paced.contenders) {
            percents.push(percentiles(client.pace(PACE, length.paced)?));
        }
    }
    // Only fails where the first call did.
    everybody.schedule("--other", 0);
    Ok(paced)
}

/// The median and the 99th percentile, in microseconds.
fn percentiles(mut times: Vec<Duration>) -> [f64; 2] {
    times.sort_unstable();
    [0.5, 0.99].map(|share| {
        let at = (times.len() as f64 * share) as usize;
        times.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
    })
}
