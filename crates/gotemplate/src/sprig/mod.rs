//! The functions of Sprig 3.3.0 (`TxtFuncMap`), but for `env` and `expandenv`, which Helm takes away, and `fail`, which belongs to
//! the run.
//!
//! They are Go's to the words of their errors; `tests/sprig/` has some 3,700 calls with Helm's answers. What differs, and stays so:
//!
//! - `now` is the moment of the run and prints without the reading of a monotonic clock; `Local` is UTC.
//! - `keys` and `values` are sorted, where Go's maps have no order.
//! - Random texts, salts and serial numbers come from the seed of the run; keys and certificates are placeholders (`certificates`).
//! - `getHostByName` asks nobody.
//! - Decimals have 38 digits (`decimal`), and regular expressions may be nested 200 levels deep (`pattern`).
//! - Values nested deeper than 500 levels, which in Go may bring the process down, are errors (`weight`).
//! - The words of `fromYaml` and `fromToml` for a broken document are those of other readers.

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
