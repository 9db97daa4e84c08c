//! `soak deliver`: deliveries to real nodes whose connections break, whose disks fill, whose programs are killed, and whose sender
//! is killed: nearly all end well by themselves, all others by the same command again, and no byte is ever wrong.

use anyhow::{Context, Result, ensure};
use larder_testkit::nodes::Trial;
use larder_testkit::{Home, Random};
use std::path::Path;
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many deliveries.
    #[arg(long, default_value_t = 1000)]
    deliveries: u32,
    /// By which methods.
    #[arg(long, value_delimiter = ',', default_values_t = ["agent", "thin", "tunnel", "archive"].map(str::to_owned))]
    methods: Vec<String>,
}

/// How many of a thousand disturbed deliveries may give up before a person looks; those whose sender was killed or whose disk was
/// full need another command anyway.
const GIVEN_UP_PER_THOUSAND: f64 = 1.0;

pub(super) fn run(arguments: &Arguments, binary: &Path, random: &mut Random) -> Result<()> {
    let mut trial = Trial::start(Home::with_program(binary)?, random)?;
    let methods: Vec<&str> = arguments.methods.iter().map(String::as_str).collect();
    let start = Instant::now();
    for number in 1..=arguments.deliveries {
        let told = trial.tally().given_up.len();
        trial.delivery(&methods, random).with_context(|| format!("in delivery {number}"))?;
        for said in &trial.tally().given_up[told..] {
            println!("gave up: {said}");
        }
        if number % 50 == 0 {
            println!("{:.0} s: {}", start.elapsed().as_secs_f64(), trial.tally());
        }
    }
    let tally = trial.tally();
    println!("{tally}");
    let allowed = GIVEN_UP_PER_THOUSAND * f64::from(tally.deliveries) / 1000.0;
    let given_up = tally.given_up.len();
    ensure!(given_up as f64 <= allowed, "{given_up} of {} deliveries gave up", tally.deliveries);
    Ok(())
}
