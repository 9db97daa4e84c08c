//! YAML as Helm reads and writes it: `sigs.k8s.io/yaml` 1.6 on go-yaml 2.4, which is YAML 1.1 with exceptions.
//!
//! - [`documents`] reads a stream into [`Node`]s that know their lines; [`parse`] and [`to_value`] give what Go's
//!   `yaml.Unmarshal` into an `interface {}` gives; [`emit`] is `yaml.Marshal`, byte for byte.
//! - The grammar is that of `granit-parser`, which is YAML 1.2; scalars are resolved here, by go-yaml's rules. Differences that
//!   remain: NEL, LS and PS are no line breaks; directives, names of anchors and escapes that go-yaml refuses are read; it is an
//!   error where go-yaml stops before the error, since the first document seems to be at its end.

mod block;
mod builder;
mod conversion;
mod documents;
mod emitter;
mod error;
mod float;
mod inline;
mod key_order;
mod node;
mod number;
mod pretty;
mod repair;
mod scalar;
mod timestamp;
mod writer;

pub use conversion::{check, parse, parse_with, to_text, to_value};
pub use documents::{Documents, Limits, documents};
pub use emitter::emit;
pub use error::Error;
pub use node::{Node, NodeKind, Scalar, Style};
pub use pretty::emit_pretty;
