//! The functions of Sprig 3.3.0 (`TxtFuncMap`), but for `env` and `expandenv`, which Helm takes away, and `fail`, which belongs to
//! the run.

#[cfg(test)]
pub(crate) mod call;
pub(crate) mod cast;
mod dates;
mod decimal;
mod defaults;
mod dicts;
mod duration;
mod encoding;
mod equality;
mod hashes;
mod instant;
mod layout;
mod letters;
mod lists;
mod merge;
mod numeric;
mod paths;
mod pattern;
mod random;
mod regex;
pub(crate) mod runes;
mod strings;
mod types;
mod version;
pub(crate) mod weight;
mod wrap;
mod zone;

use crate::function::Function;

/// The functions, by file.
pub(crate) const TABLES: &[&[Function]] = &[
    dates::FUNCTIONS,
    defaults::FUNCTIONS,
    dicts::FUNCTIONS,
    encoding::FUNCTIONS,
    hashes::FUNCTIONS,
    letters::FUNCTIONS,
    lists::FUNCTIONS,
    numeric::FUNCTIONS,
    paths::FUNCTIONS,
    random::FUNCTIONS,
    regex::FUNCTIONS,
    strings::FUNCTIONS,
    types::FUNCTIONS,
    version::FUNCTIONS,
    wrap::FUNCTIONS,
];
