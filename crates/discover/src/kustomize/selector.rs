//! Which objects something is meant for.

use super::edit;
use super::fault::Fault;
use super::item::{Id, Item, Kind};
use super::schema::Schema;
use larder_gotemplate::yaml::Node;
use regex::Regex;

/// `target` of patches, `select` and `reject` of replacements: regular expressions that match as a whole, and selectors of labels.
#[derive(Debug, Clone)]
pub(super) struct Selector {
    group: Option<Regex>,
    version: Option<Regex>,
    kind: Option<Regex>,
    name: Option<Regex>,
    namespace: Option<Regex>,
    labels: Vec<Requirement>,
    annotations: Vec<Requirement>,
}

/// One condition of a selector of labels.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

impl Selector {
    pub(super) fn read(node: &Node) -> Result<Self, Fault> {
        let pattern = |key| match edit::text_of(node, key) {
            None | Some("") => Ok(None),
            Some(pattern) => Regex::new(&format!("^(?:{pattern})$"))
                .map(Some)
                .map_err(|_| Fault::Pattern(pattern.to_owned())),
        };
        let selector = |key| requirements(edit::text_of(node, key).unwrap_or_default());
        Ok(Self {
            group: pattern("group")?,
            version: pattern("version")?,
            kind: pattern("kind")?,
            name: pattern("name")?,
            namespace: pattern("namespace")?,
            labels: selector("labelSelector")?,
            annotations: selector("annotationSelector")?,
        })
    }

    /// Whether a patch is meant for the object, under the name it has or had first.
    pub(super) fn selects(&self, item: &Item, schema: &Schema) -> bool {
        let (id, original) = (item.id(schema), item.original_id(schema));
        let namespaces = [original.effective_namespace(), id.effective_namespace()];
        namespaces.iter().any(|namespace| fits(self.namespace.as_ref(), namespace))
            && [&original.name, &id.name].iter().any(|name| fits(self.name.as_ref(), name))
            && self.selects_kind(&id.kind)
            && self.selects_labels(item)
    }

    /// Whether it means the name of an object.
    pub(super) fn selects_id(&self, id: &Id) -> bool {
        self.selects_kind(&id.kind)
            && fits(self.name.as_ref(), &id.name)
            && fits(self.namespace.as_ref(), &id.namespace)
    }

    /// Whether it says nothing of names and kinds.
    pub(super) fn is_only_labels(&self) -> bool {
        [&self.group, &self.version, &self.kind, &self.name, &self.namespace]
            .iter()
            .all(|pattern| pattern.is_none())
    }

    /// Whether it says nothing of labels and annotations.
    pub(super) fn is_without_labels(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }

    /// Whether labels and annotations are as it says.
    pub(super) fn selects_labels(&self, item: &Item) -> bool {
        let metadata = item.node.get("metadata");
        let all = |requirements: &[Requirement], key| {
            let map = metadata.and_then(|metadata| metadata.get(key));
            requirements.iter().all(|requirement| {
                requirement.holds(map.and_then(|map| edit::text_of(map, &requirement.key)))
            })
        };
        all(&self.labels, "labels") && all(&self.annotations, "annotations")
    }

    fn selects_kind(&self, kind: &Kind) -> bool {
        fits(self.group.as_ref(), &kind.group)
            && fits(self.version.as_ref(), &kind.version)
            && fits(self.kind.as_ref(), &kind.kind)
    }
}

fn fits(pattern: Option<&Regex>, text: &str) -> bool {
    pattern.is_none_or(|pattern| pattern.is_match(text))
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = |value: &str| value.parse::<i64>().ok();
        match (&self.test, value) {
            (Test::Exists, value) => value.is_some(),
            (Test::Absent, value) => value.is_none(),
            (Test::In(values), Some(value)) => values.iter().any(|other| other == value),
            (Test::NotIn(values), Some(value)) => values.iter().all(|other| other != value),
            (Test::NotIn(_), None) => true,
            (Test::Above(bound), Some(value)) => number(value).is_some_and(|value| value > *bound),
            (Test::Below(bound), Some(value)) => number(value).is_some_and(|value| value < *bound),
            (_, None) => false,
        }
    }
}

/// `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1` (apimachinery, pkg/labels/selector.go).
fn requirements(text: &str) -> Result<Vec<Requirement>, Fault> {
    let wrong = || Fault::Selector(text.to_owned());
    let mut requirements = Vec::new();
    for part in parts(text) {
        let part = part.trim();
        if part.is_empty() {
            if text.trim().is_empty() {
                continue;
            }
            return Err(wrong());
        }
        let values = |list: &str| -> Option<Vec<String>> {
            let list = list.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(list.split(',').map(|value| value.trim().to_owned()).collect())
        };
        let one = |value: &str| vec![value.trim().to_owned()];
        let words: Vec<&str> = part.splitn(3, char::is_whitespace).collect();
        let (key, test) = if let Some(key) = part.strip_prefix('!') {
            (key, Test::Absent)
        } else if let [key, "in", list] = words.as_slice() {
            (*key, Test::In(values(list).ok_or_else(wrong)?))
        } else if let [key, "notin", list] = words.as_slice() {
            (*key, Test::NotIn(values(list).ok_or_else(wrong)?))
        } else if let Some((key, value)) = part.split_once("!=") {
            (key, Test::NotIn(one(value)))
        } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            (key, Test::In(one(value)))
        } else if let Some((key, value)) = part.split_once('>') {
            (key, Test::Above(value.trim().parse().map_err(|_| wrong())?))
        } else if let Some((key, value)) = part.split_once('<') {
            (key, Test::Below(value.trim().parse().map_err(|_| wrong())?))
        } else {
            (part, Test::Exists)
        };
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(wrong());
        }
        requirements.push(Requirement { key: key.to_owned(), test });
    }
    Ok(requirements)
}

/// The text between the commas that are in no parentheses.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0_u32);
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_gotemplate::yaml;

    fn read(text: &str) -> Node {
        yaml::documents(text.as_bytes(), &yaml::Limits::default()).next().expect("a document").expect("YAML")
    }

    fn selects(selector: &str) -> bool {
        let object = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web-1, namespace: shop, \
                      labels: {app: web, tier: front, size: '7'}, annotations: {owner: me}}}";
        let item = Item::new(read(object)).expect("an object");
        Selector::read(&read(selector)).expect("a selector").selects(&item, &Schema::new())
    }

    #[test]
    fn names_are_patterns_that_match_as_a_whole() {
        assert!(selects("{kind: Deployment, name: 'web.*'}"));
        assert!(selects("{kind: 'Deployment|StatefulSet', group: apps}"));
        assert!(!selects("{name: web}"), "a part of the name is not the name");
        assert!(!selects("{name: 'x|web'}"), "the pattern is anchored as a whole");
        assert!(selects("{namespace: shop}") && !selects("{namespace: default}"));
        assert!(!selects("{version: v1beta1}"));
    }

    #[test]
    fn labels_and_annotations_are_looked_at() {
        for fits in
            ["app=web", "app==web,tier", "app in (api, web)", "!gone", "tier notin (back)", "x!=y", "size>6"]
        {
            assert!(selects(&format!("{{labelSelector: '{fits}'}}")), "{fits}");
        }
        for fits_not in ["app=api", "gone", "!app", "app notin (web)", "size<7", "app=web,tier=back"] {
            assert!(!selects(&format!("{{labelSelector: '{fits_not}'}}")), "{fits_not}");
        }
        assert!(selects("{annotationSelector: owner=me}") && !selects("{annotationSelector: owner=you}"));
    }

    #[test]
    fn a_selector_that_is_none_is_refused() {
        assert_eq!(requirements("a in b"), Err(Fault::Selector("a in b".into())));
        assert_eq!(requirements("a,,b"), Err(Fault::Selector("a,,b".into())));
        assert!(matches!(Selector::read(&read("{name: '('}")), Err(Fault::Pattern(_))));
    }
}
