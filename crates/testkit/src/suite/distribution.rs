//! What a registry must do: one case for every sentence of the distribution specification (1.1, and what its `main` branch
//! adds) that asks something of a registry, spoken in plain HTTP/1.1 to one that runs.
//!
//! Left out is what is asked of clients, and what nobody can see from outside in reasonable time: that the server SHOULD
//! eventually time out unfinished uploads. There is one filter of referrers, so the list of several cannot be seen either.
//!
//! ```no_run
//! use larder_testkit::DockerRegistry;
//! use larder_testkit::suite::distribution::{self, Target};
//! let registry = DockerRegistry::start()?;
//! let report = distribution::conformance(&Target::new(&registry.host()));
//! println!("{report}");
//! assert!(report.violations.is_empty());
//! # anyhow::Ok(())
//! ```

mod chunked;
mod deletes;
mod document;
mod documents;
mod general;
mod manifests;
mod mounts;
mod names;
mod preconditions;
mod pull;
mod ranges;
mod referrers;
mod reply;
mod tags;
mod trial;
mod uploads;

use std::fmt;
use trial::{Observed, Trial};

/// A running registry that speaks plain HTTP, and how to talk to it.
#[derive(Debug, Clone)]
pub struct Target {
    /// `HOST:PORT`.
    pub address: String,
    /// Sent as `Authorization` with every request. It must allow everything below [`Target::prefix`].
    pub authorization: Option<String>,
    /// The first component of every repository the suite writes to.
    pub prefix: String,
    /// Makes all content. A second run against the same registry wants another seed and another prefix.
    pub seed: u64,
}

/// How much a sentence asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The specification, or an RFC it refers to, says MUST (or states a fact about registries).
    Must,
    /// It says SHOULD.
    Should,
    /// It leaves the matter open (MAY, or silence), and this is what we offer or how we are careful.
    Own,
}

/// One thing asked of a registry.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// `group/what`, unique.
    pub id: &'static str,
    /// The heading of the specification it is under, or the RFC's section.
    pub section: &'static str,
    /// How much is asked.
    pub level: Level,
    /// The sentence, shortened where it is long; our own words at [`Level::Own`] where there is none.
    pub sentence: &'static str,
    run: fn(&Trial<'_>) -> anyhow::Result<()>,
}

/// A case that did not hold, and what happened instead.
#[derive(Debug, Clone)]
pub struct Violation {
    /// The case.
    pub case: Case,
    /// Requests and answers.
    pub what: String,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// How many cases ran.
    pub cases: usize,
    /// Those that did not hold, in order.
    pub violations: Vec<Violation>,
}

/// Runs every case.
pub fn conformance(target: &Target) -> Report {
    conformance_of(target, |_| true)
}

/// Runs the cases that `wanted` picks.
pub fn conformance_of(target: &Target, wanted: impl Fn(&Case) -> bool) -> Report {
    let observed = Observed::default();
    let mut report = Report { cases: 0, violations: Vec::new() };
    for case in cases().filter(|case| wanted(case)) {
        report.cases += 1;
        if let Err(error) = (case.run)(&Trial::new(target, case.id, &observed)) {
            report.violations.push(Violation { case, what: format!("{error:#}") });
        }
    }
    report
}

/// All cases, in the order they run.
pub fn cases() -> impl Iterator<Item = Case> {
    // `general` is the last: some of its cases judge every answer seen before.
    [
        pull::CASES,
        ranges::CASES,
        preconditions::CASES,
        uploads::CASES,
        chunked::CASES,
        mounts::CASES,
        manifests::CASES,
        documents::CASES,
        names::CASES,
        tags::CASES,
        referrers::CASES,
        deletes::CASES,
        general::CASES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

impl Target {
    /// An open registry at `HOST:PORT`.
    pub fn new(address: &str) -> Self {
        Self { address: address.into(), authorization: None, prefix: "conformance".into(), seed: 1 }
    }
}

impl Report {
    /// Whether the case of this id is among the violations.
    pub fn violates(&self, id: &str) -> bool {
        self.violations.iter().any(|violation| violation.case.id == id)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Violation { case, what } in &self.violations {
            writeln!(f, "{} ({:?}): {what}\n    {}: “{}”", case.id, case.level, case.section, case.sentence)?;
        }
        write!(f, "{} cases, {} violations", self.cases, self.violations.len())
    }
}

type Run = fn(&Trial<'_>) -> anyhow::Result<()>;

const fn must(id: &'static str, section: &'static str, sentence: &'static str, run: Run) -> Case {
    Case { id, section, level: Level::Must, sentence, run }
}

const fn should(id: &'static str, section: &'static str, sentence: &'static str, run: Run) -> Case {
    Case { id, section, level: Level::Should, sentence, run }
}

const fn own(id: &'static str, section: &'static str, sentence: &'static str, run: Run) -> Case {
    Case { id, section, level: Level::Own, sentence, run }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_an_id_of_its_own_and_says_where_it_is_from() {
        let mut seen = std::collections::BTreeSet::new();
        for case in cases() {
            assert!(seen.insert(case.id), "{} twice", case.id);
            assert!(
                case.id.contains('/') && !case.section.is_empty() && case.sentence.len() > 10,
                "{case:?}"
            );
        }
        assert!(seen.len() > 100, "{}", seen.len());
    }
}
