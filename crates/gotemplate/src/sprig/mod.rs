//! The functions of Sprig 3.3.0 (`TxtFuncMap`), but for `env` and `expandenv`, which Helm takes away, and `fail`, which belongs to
//! the run.

#[cfg(test)]
pub(crate) mod call;
pub(crate) mod cast;
mod certificates;
mod cipher;
mod date_reader;
mod dates;
mod decimal;
mod defaults;
mod der;
mod dicts;
mod duration;
mod encoding;
mod equality;
mod hashes;
mod instant;
mod kinds;
mod layout;
mod letters;
mod lists;
mod merge;
mod numeric;
mod paths;
mod pattern;
mod pem;
mod random;
mod regex;
mod replacement;
mod rsa;
pub(crate) mod runes;
mod strings;
mod url;
mod version;
pub(crate) mod weight;
mod wrap;
mod x509;
mod zone;

use crate::function::Function;

pub(crate) use instant::Instant;
pub(crate) use zone::Zone;

/// The functions, by file.
pub(crate) const TABLES: &[&[Function]] = &[
    certificates::FUNCTIONS,
    cipher::FUNCTIONS,
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
    kinds::FUNCTIONS,
    url::FUNCTIONS,
    version::FUNCTIONS,
    wrap::FUNCTIONS,
];
