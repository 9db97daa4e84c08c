//! One execution: what it may use, and what comes out.

use crate::function::Fault;
use crate::stack::STANDARD_BYTES;
use crate::text::Text;
use crate::value::Value;

/// The circumstances of a run. They decide the result: with the same options the same templates give the same bytes.
#[derive(Clone, Default)]
pub struct RunOptions<'a> {
    /// The moment it takes place in: seconds and nanoseconds since 1970.
    pub now: (i64, u32),
    /// Where the random functions start. Each template that is executed has a stream of its own.
    pub seed: u64,
    /// What may be used up.
    pub limits: Limits,
    /// Go on where Helm stops: `required` and `fail` give an empty text, as does a template that is missing, and each is recorded.
    pub tolerant: bool,
    /// The cost of hashed passwords, from 4 to 31, where it shall not be Go's: a hash that nobody uses need not resist anybody.
    pub password_cost: Option<u32>,
    /// The answers to `lookup`; without it there is nothing in the cluster.
    pub lookup: Option<&'a Lookup<'a>>,
}

/// `bcrypt.DefaultCost` of Go.
pub(crate) const GO_PASSWORD_COST: u32 = 10;

/// Answers API version, kind, namespace and name with what a cluster has.
pub type Lookup<'a> = dyn Fn(&[Text; 4]) -> Result<Option<Value>, Fault> + 'a;

/// Limits of a run. To reach one is an error that no tolerance passes over. What a set of templates keeps from earlier runs, such as
/// compiled regular expressions, is not charged again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How much of the thread's stack templates in templates may take. A thread with more may be given more.
    pub stack_bytes: usize,
    /// How often a template may be included within itself, by name. Helm has 1000.
    pub include_depth: usize,
    /// Bytes that all values together may take which are made on the way.
    pub bytes: usize,
    /// Actions, rounds of loops and calls; those with large arguments count more.
    pub steps: u64,
}

/// What a run gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The text, without `<no value>`.
    pub text: Text,
    /// What was passed over, in the order it happened; empty unless [`RunOptions::tolerant`].
    pub diagnostics: Vec<Diagnostic>,
}

/// Something that would have ended the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The message of `required` or `fail`, or which template is missing.
    pub message: String,
    /// The name of the text it happened in.
    pub template: String,
    /// 1-based.
    pub line: u32,
    /// Why it would have ended.
    pub cause: Cause,
}

/// What ends a run that is not tolerant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// `required` or `fail`: the template does not like its values.
    Refused,
    /// A template that nobody defines.
    Undefined,
}

impl Default for Limits {
    fn default() -> Self {
        Self { stack_bytes: STANDARD_BYTES, include_depth: 1000, bytes: 256 << 20, steps: 50_000_000 }
    }
}
