//! `conformance HOST:PORT [PREFIX [CASES]]`: runs the suite of the distribution specification, or the cases whose names begin so,
//! against any registry that speaks http and lets everybody push below PREFIX, and prints what does not hold.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use larder_testkit::suite::distribution::{Target, conformance_of};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(address) = arguments.next() else {
        println!("usage: conformance HOST:PORT [PREFIX [CASES]]");
        return ExitCode::from(2);
    };
    let mut target = Target::new(&address);
    if let Some(prefix) = arguments.next() {
        target.prefix = prefix;
    }
    let wanted = arguments.next().unwrap_or_default();
    let report = conformance_of(&target, |case| case.id.starts_with(&wanted));
    println!("{report}");
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
