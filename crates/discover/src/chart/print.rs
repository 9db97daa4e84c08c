//! A rendering as `helm template` prints it.

use super::document::Document;
use super::pattern::Pattern;
use super::render::Rendered;
use super::split;
use crate::error::{Error, Result};
use std::fmt::Write as _;

/// What is printed of a rendering.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Print {
    /// `--include-crds`: what lies in `crds/` comes first.
    pub crds: bool,
    /// `--no-hooks`
    pub no_hooks: bool,
    /// `--skip-tests`: hooks that are tests are left out.
    pub no_tests: bool,
    /// `--show-only`: only what these templates gave; patterns, relative to the chart.
    pub only: Vec<String>,
}

impl Rendered {
    /// The text that `helm template` writes.
    ///
    /// # Errors
    /// [`Error::NoTemplate`] for a pattern of `only` that fits nothing.
    pub fn print(&self, options: &Print) -> Result<String> {
        let mut manifest = String::new();
        if options.crds {
            for crd in &self.crds {
                put(&mut manifest, &crd.name, &crd.data()?.to_str());
            }
        }
        for document in self.documents.iter().filter(|document| document.hook.is_none()) {
            put(&mut manifest, &document.source, &document.text);
        }
        let mut text = format!("{}\n", manifest.trim());
        if !options.no_hooks {
            let wanted = |hook: &&Document| hook.hook.is_some() && !(options.no_tests && hook.is_test());
            for hook in self.documents.iter().filter(wanted) {
                put(&mut text, &hook.source, &hook.text);
            }
        }
        if options.only.is_empty() { Ok(text) } else { only(&text, &options.only) }
    }
}

fn put(text: &mut String, source: &str, content: &str) {
    write!(text, "---\n# Source: {source}\n{content}\n").expect("a text takes everything");
}

/// Goes through the printed text again, as Helm does.
fn only(text: &str, patterns: &[String]) -> Result<String> {
    let mut found = String::new();
    for pattern in patterns {
        let glob = Pattern::new(pattern);
        let mut missing = true;
        for (_, document) in split::documents(text) {
            let fits = glob.as_ref().zip(source(document)).is_some_and(|(glob, name)| glob.matches(name));
            if fits {
                missing = false;
                writeln!(found, "---\n{document}").expect("a text takes everything");
            }
        }
        if missing {
            return Err(Error::NoTemplate { pattern: pattern.clone() });
        }
    }
    Ok(found)
}

/// What `# Source:` says, without the chart: `# Source: [^/]+/(.+)`, wherever it stands.
fn source(document: &str) -> Option<&str> {
    document.match_indices("# Source: ").find_map(|(at, sign)| {
        let line = document[at + sign.len()..].lines().next()?;
        let (chart, name) = line.split_once('/')?;
        (!chart.is_empty() && !name.is_empty()).then_some(name)
    })
}
