//! Manifests: streams of YAML or JSON documents, and what images they ask for.
//!
//! What is an image and where is data: `rules.yaml` in this directory, which a user's own [`Rules`] go before.

mod control_plane;
mod elsewhere;
mod embedded;
mod find;
mod parts;
mod pattern;
mod problem;
mod rule;
mod rules;
mod scanner;
mod shape;
mod values;
mod walk;

pub use elsewhere::Elsewhere;
pub use find::{Confidence, Find, ObjectName, Place};
pub use problem::{Misplaced, Problem, Reason};
pub use rules::{RuleError, RuleFault, Rules};
pub use scanner::{Limits, Scan, Scanner};
pub use values::{AppVersions, ValuesOptions};
