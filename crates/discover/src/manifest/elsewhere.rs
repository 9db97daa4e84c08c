//! What objects make a cluster ask for besides what is written in them: charts, directories in Git.

use super::pattern::{FieldPattern, Segment, Step};
use super::rule::{Kind, missing, shape, text, texts};
use super::rules::{RuleError, RuleFault};
use super::walk::Walk;
use super::{Reason, control_plane};
use larder_gotemplate::yaml::Node;
use std::fmt;

/// A chart, or manifests, that an object makes a cluster ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Elsewhere {
    /// Address of the repository, without passwords.
    pub repository: Option<String>,
    /// Name of the object that has the address.
    pub source: Option<String>,
    /// The chart.
    pub chart: Option<String>,
    /// Of the chart; a tag or a branch of a repository of source code.
    pub version: Option<String>,
    /// The directory in the repository.
    pub path: Option<String>,
}

/// Where objects of some kinds say what they make a cluster ask for.
#[derive(Debug, Clone)]
pub(super) struct ElsewhereRule {
    kinds: Vec<Kind>,
    fields: Vec<FieldPattern>,
    repository: Vec<String>,
    source: Vec<String>,
    chart: Vec<String>,
    version: Vec<String>,
    path: Vec<String>,
    /// Of these keys one must be there; all of them if it is empty.
    needs: Vec<String>,
}

impl ElsewhereRule {
    pub(super) fn parse(node: &Node) -> Result<Self, RuleError> {
        let mut rule = Self {
            kinds: Vec::new(),
            fields: Vec::new(),
            repository: Vec::new(),
            source: Vec::new(),
            chart: Vec::new(),
            version: Vec::new(),
            path: Vec::new(),
            needs: Vec::new(),
        };
        let mut named = false;
        let words = |value: &Node, what| -> Result<Vec<String>, RuleError> {
            Ok(texts(value, what)?.into_iter().map(|(text, _)| text).collect())
        };
        let unknown = |key: &Node| RuleError {
            line: key.line,
            fault: RuleFault::Key(key.as_text().unwrap_or_default().to_owned()),
        };
        for (key, value) in node.as_map().ok_or_else(|| shape(node, "a rule", "a map"))? {
            match key.as_text().unwrap_or_default() {
                "name" => named = !text(value, "name")?.is_empty(),
                "kinds" => rule.kinds = words(value, "kinds")?.iter().map(|text| Kind::new(text)).collect(),
                "fields" => {
                    for (text, line) in texts(value, "fields")? {
                        let pattern = FieldPattern::new(&text)
                            .filter(|pattern| !pattern.segments.contains(&Segment::Steps));
                        let fault = || RuleError { line, fault: RuleFault::Pattern(text.clone()) };
                        rule.fields.push(pattern.ok_or_else(fault)?);
                    }
                }
                "keys" => {
                    for (key, value) in value.as_map().ok_or_else(|| shape(value, "keys", "a map"))? {
                        match key.as_text().unwrap_or_default() {
                            "repository" => rule.repository = words(value, "repository")?,
                            "source" => rule.source = words(value, "source")?,
                            "chart" => rule.chart = words(value, "chart")?,
                            "version" => rule.version = words(value, "version")?,
                            "path" => rule.path = words(value, "path")?,
                            _ => return Err(unknown(key)),
                        }
                    }
                }
                "needs" => rule.needs = words(value, "needs")?,
                _ => return Err(unknown(key)),
            }
        }
        if !named || rule.kinds.is_empty() || rule.fields.is_empty() {
            return Err(missing(node, "name, kinds, fields and keys"));
        }
        Ok(rule)
    }

    pub(super) fn is_about_kind(&self, group: &str, kind: &str) -> bool {
        self.kinds.iter().any(|pattern| pattern.matches(group, kind))
    }

    /// Each thing asked for in an object, with the way to where that stands.
    pub(super) fn asked<'a>(&self, object: &'a Node) -> Vec<(Vec<Step<'a>>, &'a Node, Elsewhere)> {
        let mut places = Vec::new();
        for field in &self.fields {
            descend(&field.segments, object, &mut Vec::new(), &mut places);
        }
        let asked = |(path, node)| self.read(node).map(|what| (path, node, what));
        places.into_iter().filter_map(asked).collect()
    }

    fn read(&self, map: &Node) -> Option<Elsewhere> {
        let first = |keys: &[String]| keys.iter().find_map(|key| at(map, key));
        let any = [&self.repository, &self.source, &self.chart, &self.path];
        let is_there = match self.needs.as_slice() {
            [] => any.into_iter().any(|keys| first(keys).is_some()),
            needs => first(needs).is_some(),
        };
        // An archive inside of the object has no name.
        let short = |keys: &[String]| first(keys).filter(|text| text.len() <= MAX_NAME);
        is_there.then(|| Elsewhere {
            repository: short(&self.repository).map(|url| without_password(&url)),
            source: short(&self.source),
            chart: short(&self.chart).map(|chart| without_password(&chart)),
            version: short(&self.version),
            path: short(&self.path),
        })
    }
}

impl Elsewhere {
    /// The command that looks into it, as far as it is known.
    pub fn hint(&self) -> String {
        let version = |flag: &str| {
            self.version.as_ref().map_or_else(String::new, |version| format!(" {flag}{}", word(version)))
        };
        let repository = self.repository.as_deref();
        match (&self.chart, &self.path) {
            (Some(chart), _) if chart.contains("://") => {
                format!("`larder discover {}{}`", word(chart), version("--version "))
            }
            (Some(chart), _) => match repository {
                Some(url) if url.starts_with("oci://") || !url.contains("://") => {
                    let url =
                        format!("oci://{}/{chart}", url.trim_start_matches("oci://").trim_end_matches('/'));
                    format!("`larder discover {}{}`", word(&url), version("--version "))
                }
                url => {
                    let url = url.map_or_else(|| "URL".to_owned(), word);
                    format!("`larder discover {} --repo {url}{}`", word(chart), version("--version "))
                }
            },
            (None, Some(path)) => {
                let path = path.trim_start_matches("./").trim_matches('/');
                let path = if path.is_empty() { "." } else { path };
                let at = version("at ");
                match repository {
                    Some(url) => {
                        format!("`git clone {}`{at}, and `larder discover {}` there", word(url), word(path))
                    }
                    None => format!("`larder discover {}` where its source is checked out", word(path)),
                }
            }
            (None, None) if repository.is_some_and(|url| url.starts_with("oci://")) => {
                let url = word(repository.unwrap_or_default());
                format!("if it is a chart, `larder discover {url}{}`", version("--version "))
            }
            (None, None) => "fetch what it names, and `larder discover` that, too".to_owned(),
        }
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.chart, &self.path, &self.repository, &self.source) {
            (Some(chart), ..) => write!(f, "the chart {chart:?}")?,
            (None, Some(path), ..) => write!(f, "the directory {path:?}")?,
            (None, None, Some(url), _) => write!(f, "the repository {url:?}")?,
            (None, None, None, Some(source)) => write!(f, "the source {source:?}")?,
            (None, None, None, None) => f.write_str("a chart inside of the object")?,
        }
        if let Some(version) = &self.version {
            write!(f, ", version {version:?},")?;
        }
        let is_named = self.chart.is_some() || self.path.is_some();
        match (&self.repository, &self.source) {
            (Some(url), _) if is_named => write!(f, " of {url:?}"),
            (None, Some(source)) if is_named => write!(f, " of the source {source:?}"),
            _ => Ok(()),
        }
    }
}

/// What an object makes the cluster ask for besides.
pub(super) fn look<'a>(walk: &mut Walk<'_, 'a>, object: &'a Node) {
    let Some(name) = walk.object.clone() else { return };
    if control_plane::is_configuration(name.group(), &name.kind) {
        control_plane::look(walk, object);
    }
    let rules = walk.scanner.rules.elsewhere.iter();
    for rule in rules.filter(|rule| rule.is_about_kind(name.group(), &name.kind)) {
        for (path, at, what) in rule.asked(object) {
            let length = walk.path.len();
            walk.path.extend(path);
            walk.problem(at, Reason::Elsewhere { what });
            walk.path.truncate(length);
        }
    }
}

fn descend<'a>(
    segments: &[Segment],
    node: &'a Node,
    path: &mut Vec<Step<'a>>,
    places: &mut Vec<(Vec<Step<'a>>, &'a Node)>,
) {
    let Some((first, rest)) = segments.split_first() else {
        places.push((path.clone(), node));
        return;
    };
    let keys = node.as_map().into_iter().flatten().filter_map(|(key, value)| match first {
        Segment::Key(glob) => {
            key.as_scalar().filter(|key| glob.matches(&key.text)).map(|key| (Step::Key(&key.text), value))
        }
        _ => None,
    });
    let items = node.as_list().into_iter().flatten().enumerate();
    let items = items.filter(|_| *first == Segment::Item).map(|(index, item)| (Step::Index(index), item));
    for (step, inner) in keys.chain(items) {
        path.push(step);
        descend(rest, inner, path, places);
        path.pop();
    }
}

/// The text behind a key with dots, if there is one.
fn at(map: &Node, key: &str) -> Option<String> {
    let node = key.split('.').try_fold(map, |node, step| node.get(step))?;
    let scalar = node.as_scalar().filter(|_| !node.is_null())?;
    Some(scalar.text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A URL without what only its owner is to know.
fn without_password(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let host = host.rsplit('@').next().unwrap_or_default();
    path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
}

/// The text as one word of a shell.
fn word(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:@+=,".contains(&byte);
    if text.bytes().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Bytes of names and addresses.
const MAX_NAME: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("https://u:p@h.example/x@y?token=1"), "https://h.example/x@y");
        assert_eq!(without_password("git@h.example:a/b"), "git@h.example:a/b");
    }

    #[test]
    fn a_hint_is_a_command_whatever_the_names_are() {
        let what = Elsewhere {
            chart: Some("a; b".into()),
            repository: Some("https://h.example".into()),
            version: Some(">=1".into()),
            ..Elsewhere::default()
        };
        assert_eq!(what.hint(), "`larder discover 'a; b' --repo https://h.example --version '>=1'`");
    }
}
