//! Go's `text/template` with Sprig and Helm's functions: a language, usable on its own.
//!
//! Values are Go's, with Go's types, because templates can see them (`typeOf`, `kindIs`, `eq 1 1.0` is an error).
//! Maps are shared as Go's are: what `set` changes is seen by everybody who has the map.
//!
//! What comes out is what Helm 4 gives, errors included, byte for byte; only what is random or of the moment is decided by the
//! caller. Templates are not trusted: stack, memory and steps of a run are bounded, see [`Limits`].
//!
//! ```
//! use larder_gotemplate::{RunOptions, Templates, helm, yaml};
//!
//! let mut templates = Templates::new(helm());
//! templates.parse("_names", r#"{{ define "name" }}{{ .Values.name | lower | quote }}{{ end }}"#)?;
//! templates.parse("pod", "image: {{ include \"name\" . }}\n")?;
//! let data = yaml::parse(b"Values: {name: Redis}").expect("this is YAML");
//! let output = templates.execute("pod", &data, &RunOptions::default())?;
//! assert_eq!(output.text.to_string(), "image: \"redis\"\n");
//!
//! let wrong = templates.parse("wrong", "{{ .Values.name | lowercase }}").unwrap_err();
//! assert_eq!(wrong.to_string(), r#"template: wrong:1: function "lowercase" not defined"#);
//! # Ok::<(), larder_gotemplate::Error>(())
//! ```

mod argument;
mod builtin;
mod call;
mod error;
mod evaluator;
mod float;
mod function;
mod helm;
mod inclusion;
mod json;
mod lexer;
mod node;
mod number;
mod parser;
mod pipeline;
mod print;
mod printf;
mod quote;
mod random;
mod run;
mod rune;
pub mod semver;
mod sprig;
mod stack;
mod table;
mod templates;
mod text;
mod value;
pub mod yaml;

pub use error::{Error, Place};
pub use function::{Arguments, Fault, Function, Parameter, Run};
pub use run::{Cause, Diagnostic, Limits, Lookup, Output, RunOptions};
pub use table::{Table, go, helm};
pub use templates::Templates;
pub use text::Text;
pub use value::{Element, IntKind, List, Map, Object, Value};
