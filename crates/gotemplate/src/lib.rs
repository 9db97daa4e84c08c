//! Go's `text/template` with Sprig and Helm's functions: a language, usable on its own.
//!
//! Values are Go's, with Go's types, because templates can see them (`typeOf`, `kindIs`, `eq 1 1.0` is an error).
//! Maps are shared as Go's are: what `set` changes is seen by everybody who has the map.

mod function;
pub mod semver;
mod value;
pub mod yaml;

pub use function::{Arguments, Fault, Function, Parameter, Run};
pub use value::{Element, IntKind, List, Map, Object, Text, Value};
