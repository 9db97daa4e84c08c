//! Rules: where images stand, as data.

use super::elsewhere::ElsewhereRule;
use super::pattern::{Glob, Segment, Step};
use super::rule::{Parts, Rule, missing, shape};
use larder_gotemplate::yaml;
use std::collections::{HashMap, HashSet};

/// Rules, in the order in which they are tried. `rules.yaml` says what they can say.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub(super) rules: Vec<Rule>,
    pub(super) elsewhere: Vec<ElsewhereRule>,
    keys: Index,
    items: Index,
    /// Rules whose fields end with any number of steps.
    anywhere: Vec<usize>,
    /// Keys of which a map with an image in pieces has one.
    pub(super) part_keys: HashSet<String>,
    /// Those of a map whose registry and tag stand in a map around it.
    pub(super) inner_keys: HashSet<String>,
    /// Those of the map around it.
    pub(super) outer_keys: HashSet<String>,
}

/// A rule that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct RuleError {
    /// Line of the file.
    pub line: u32,
    /// What is wrong.
    pub fault: RuleFault,
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    /// The file is not YAML.
    #[error("{0}")]
    Document(String),
    /// Something has not the shape it must have.
    #[error("{what} must be {shape}")]
    Shape {
        /// The key.
        what: &'static str,
        /// A list, a text.
        shape: &'static str,
    },
    /// A key that rules do not have.
    #[error("rules have no {0:?}")]
    Key(String),
    /// A word that the key does not know.
    #[error("{what} cannot be {text:?}; it is one of {words}")]
    Word {
        /// The key.
        what: &'static str,
        /// As written.
        text: String,
        /// All there are.
        words: &'static str,
    },
    /// Something a rule must have.
    #[error("a rule needs {0}")]
    Missing(&'static str),
    /// A pattern of fields that is none.
    #[error("{0:?} is not a pattern of fields")]
    Pattern(String),
}

/// Rules by the last key of their fields.
#[derive(Debug, Clone, Default)]
struct Index {
    exact: HashMap<String, Vec<usize>>,
    /// `*suffix`, by the last byte.
    suffixes: HashMap<u8, Vec<(Glob, Vec<usize>)>>,
    globs: Vec<(Glob, Vec<usize>)>,
}

impl Rules {
    /// The rules that come with the program.
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("a test reads them")
    }

    /// Reads a file of rules.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let (mut rules, mut elsewhere) = (Vec::new(), Vec::new());
        for document in yaml::documents(text.as_bytes(), &yaml::Limits::default()) {
            let document = document.map_err(|error| RuleError {
                line: error.line().unwrap_or(1),
                fault: RuleFault::Document(error.reason()),
            })?;
            let (list, others) = (document.get("rules"), document.get("elsewhere"));
            if list.is_none() && others.is_none() {
                return Err(missing(&document, "a list under the key rules"));
            }
            if let Some(list) = list {
                for node in list.as_list().ok_or_else(|| shape(list, "rules", "a list"))? {
                    rules.push(Rule::parse(node)?);
                }
            }
            if let Some(list) = others {
                for node in list.as_list().ok_or_else(|| shape(list, "elsewhere", "a list"))? {
                    elsewhere.push(ElsewhereRule::parse(node)?);
                }
            }
        }
        Ok(Self { elsewhere, ..Self::of(rules) })
    }

    /// These rules, and after them `others`.
    #[must_use]
    pub fn before(self, others: Self) -> Self {
        let elsewhere = self.elsewhere.into_iter().chain(others.elsewhere).collect();
        Self { elsewhere, ..Self::of(self.rules.into_iter().chain(others.rules).collect()) }
    }

    /// Names of all rules, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| &*rule.name)
    }

    fn of(rules: Vec<Rule>) -> Self {
        let mut indexed = Self { rules, ..Self::default() };
        for (number, rule) in indexed.rules.iter().enumerate() {
            for field in &rule.fields {
                match field.segments.as_slice() {
                    [.., Segment::Key(glob), Segment::Item] => indexed.items.add(glob, number),
                    [.., Segment::Key(glob)] => indexed.keys.add(glob, number),
                    _ => indexed.anywhere.push(number),
                }
            }
        }
        for parts in indexed.rules.iter().filter_map(|rule| rule.parts().cloned()).collect::<Vec<_>>() {
            indexed.add_keys(&parts);
        }
        indexed.anywhere.dedup();
        indexed
    }

    fn add_keys(&mut self, parts: &Parts) {
        let first = |key: &String| key.split('.').next().unwrap_or_default().to_owned();
        if parts.inherit {
            self.inner_keys.extend(parts.repository.iter().map(first));
            self.outer_keys.extend(parts.registry.iter().map(first));
        } else {
            self.part_keys.extend(parts.rarest().iter().map(first));
        }
    }

    /// For each rule whether it is about this kind of object. Rules behind one that excludes all of the object are not.
    pub(super) fn for_kind(&self, group: &str, kind: &str) -> Vec<bool> {
        let everything = |rule: &Rule| {
            rule.excludes() && rule.fields.iter().any(|field| field.segments == [Segment::Steps])
        };
        let mut excluded = false;
        let about = |rule: &Rule| {
            let about = !excluded && rule.is_about_kind(group, kind);
            excluded |= about && everything(rule);
            about
        };
        self.rules.iter().map(about).collect()
    }

    /// Rules whose fields may fit a path with this end, in their order; those for any field are left out if `anywhere` is false.
    pub(super) fn candidates(&self, path: &[Step<'_>], anywhere: bool, found: &mut Vec<usize>) {
        found.clear();
        match path {
            [.., Step::Key(key)] => self.keys.find(key, found),
            [.., Step::Key(key), Step::Index(_)] => self.items.find(key, found),
            _ => {}
        }
        if anywhere {
            found.extend(&self.anywhere);
        }
        if found.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
    }
}

impl Index {
    fn add(&mut self, glob: &Glob, number: usize) {
        let globs = match glob {
            Glob::Exact(key) => {
                self.exact.entry(key.clone()).or_default().push(number);
                return;
            }
            Glob::Suffix(suffix) => match suffix.bytes().last() {
                Some(last) => self.suffixes.entry(last).or_default(),
                None => &mut self.globs,
            },
            _ => &mut self.globs,
        };
        match globs.iter_mut().find(|(known, _)| known == glob) {
            Some((_, numbers)) => numbers.push(number),
            None => globs.push((glob.clone(), vec![number])),
        }
    }

    fn find(&self, key: &str, found: &mut Vec<usize>) {
        if let Some(numbers) = self.exact.get(key) {
            found.extend(numbers);
        }
        let suffixes = key.bytes().last().and_then(|last| self.suffixes.get(&last));
        let globs = suffixes.into_iter().flatten().chain(&self.globs);
        for (_, numbers) in globs.filter(|(glob, _)| glob.matches(key)) {
            found.extend(numbers);
        }
    }
}

const BUILT_IN: &str = include_str!("rules.yaml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_rules_can_be_read_and_have_names_of_their_own() {
        let rules = Rules::built_in();
        let names: HashSet<&str> = rules.names().collect();
        assert_eq!(names.len(), rules.rules.len());
        assert!(names.contains("container"));
    }

    #[test]
    fn a_rule_that_says_something_unknown_is_refused_with_its_line() {
        for (text, line) in [
            ("rules:\n- name: x\n  confidence: sure\n  fields: [a]\n", 3),
            ("rules:\n- name: x\n  confidence: none\n  field: [a]\n", 4),
            ("rules:\n- name: x\n  confidence: none\n", 2),
            ("rules:\n- name: x\n  confidence: none\n  fields:\n  - a..b\n", 5),
            ("rules:\n- name: x\n  confidence: likely\n  fields: [a]\n  read: parts\n", 2),
            ("rules: {}\n", 1),
            ("{\n", 1),
        ] {
            assert_eq!(Rules::parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
