//! References in pieces: `{registry: …, repository: …, tag: …}`.

use super::rule::{Part, Parts};
use larder_gotemplate::yaml::Node;

/// A reference put together.
pub(super) struct Whole<'a> {
    pub(super) text: String,
    /// Where it stands: at the repository.
    pub(super) node: &'a Node,
    /// Whether there is a tag or a digest.
    pub(super) pinned: bool,
    /// Keys that were used, so that they are not looked at again.
    pub(super) keys: Vec<&'a str>,
}

/// What stands around a map with pieces.
#[derive(Default)]
pub(super) struct Around<'a> {
    /// Stands for the registry of the map.
    pub(super) registry: Option<&'a str>,
    /// Stands for a tag that is not written.
    pub(super) tag: Option<&'a str>,
    /// A map around this one, for rules that inherit.
    pub(super) outer: Option<&'a Node>,
}

/// The pieces that a map has.
struct Pieces<'a> {
    map: &'a Node,
    keys: Vec<&'a str>,
}

/// Puts the pieces of `map` together. `None` if it has not those that are needed, or if they are whole references already.
pub(super) fn whole<'a>(
    parts: &'a Parts,
    map: &'a Node,
    schemes: &[String],
    around: &Around<'a>,
) -> Option<Whole<'a>> {
    let mut pieces = Pieces { map, keys: Vec::new() };
    let inherited = |keys| around.outer.and_then(|map| Pieces { map, keys: Vec::new() }.take(keys));
    let found_registry = pieces.take(&parts.registry).or_else(|| inherited(&parts.registry));
    let (mut name, node) = match pieces.take(&parts.repository) {
        Some((text, node)) => (strip_scheme(text, schemes).to_owned(), node),
        None if parts.registry.is_empty() || parts.needs.contains(&Part::Repository) => return None,
        None => found_registry.map(|(_, node)| (String::new(), node))?,
    };
    let found_name = pieces.take(&parts.name);
    let found_tag = pieces.take(&parts.tag).or_else(|| inherited(&parts.tag));
    // A name with a path is not one inside of somebody else's registry.
    if around.outer.is_some() && name.contains('/') {
        return None;
    }
    let found_digest = pieces.take(&parts.digest);
    for need in &parts.needs {
        let there = match need {
            Part::Registry => found_registry.is_some(),
            Part::Repository => !name.is_empty(),
            Part::Name => found_name.is_some(),
            Part::Tag => found_tag.is_some(),
            Part::Digest => found_digest.is_some(),
        };
        if !there {
            return None;
        }
    }
    if let Some((last, _)) = found_name {
        name = format!("{}/{last}", name.trim_end_matches('/'));
    }
    let hosted = name.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']));
    let registry = around.registry.filter(|_| found_registry.is_some() || !hosted);
    if let Some(registry) = registry.or(found_registry.map(|(text, _)| text)) {
        let registry = strip_scheme(registry, schemes).trim_end_matches('/');
        if !name.starts_with(&format!("{registry}/")) {
            name = format!("{registry}/{name}");
        }
    }
    if parts.path && !name.contains('/') && name.contains(['.', ':']) {
        return None;
    }
    let named = name.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    // A whole reference beside something that is called a tag: it is the field that counts, not the map.
    if named && (found_tag.is_some() || found_digest.is_some()) || name.contains(char::is_whitespace) {
        return None;
    }
    let tag = found_tag.map(|(text, _)| text).or(around.tag.filter(|_| found_digest.is_none() && !named));
    let mut text = name;
    if let Some(tag) = tag {
        text = format!("{text}:{tag}");
    }
    if let Some((digest, _)) = found_digest {
        let bare = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        text = format!("{text}@{}{digest}", if bare { "sha256:" } else { "" });
    }
    let pinned = named || tag.is_some() || found_digest.is_some();
    Some(Whole { text, node, pinned, keys: pieces.keys })
}

impl<'a> Pieces<'a> {
    /// The first of `keys` that is there and not empty.
    fn take(&mut self, keys: &'a [String]) -> Option<(&'a str, &'a Node)> {
        for key in keys {
            let mut node = self.map;
            let mut steps = key.split('.');
            let found = steps.all(|step| match node.get(step) {
                Some(inner) => {
                    node = inner;
                    true
                }
                None => false,
            });
            let text = node.as_scalar().filter(|_| found && !node.is_null()).map(|scalar| scalar.text.trim());
            if let Some(text) = text.filter(|text| !text.is_empty() && *text != "false" && *text != "true") {
                self.keys.push(key.as_str());
                return Some((text, node));
            }
        }
        None
    }
}

/// The text without `scheme://`.
pub(super) fn strip_scheme<'t>(text: &'t str, schemes: &[String]) -> &'t str {
    schemes.iter().find_map(|scheme| text.strip_prefix(scheme.as_str())).unwrap_or(text)
}
