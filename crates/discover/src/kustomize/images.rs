//! `images`: names, tags and digests of images by their names (kustomize, api/filters/imagetag).

use super::edit;
use super::fault::Fault;
use super::field::{Create, Field};
use super::item::Item;
use larder_gotemplate::yaml::{Node, NodeKind};
use regex::Regex;

/// One entry of `images`.
#[derive(Debug, Clone)]
pub(super) struct ImageRule {
    name: Regex,
    new_name: String,
    new_tag: String,
    digest: String,
    tag_suffix: String,
    line: u32,
}

impl ImageRule {
    pub(super) fn read(node: &Node) -> Result<Self, Fault> {
        let word = |key| edit::text_of(node, key).unwrap_or_default().to_owned();
        let name = word("name");
        // The name is a part of a regular expression, as kustomize takes it.
        let pattern = format!("^{name}(:[a-zA-Z0-9_.{{}}-]*)?(@sha256:[a-zA-Z0-9_.{{}}-]*)?$");
        Ok(Self {
            name: Regex::new(&pattern).map_err(|_| Fault::Pattern(name))?,
            new_name: word("newName"),
            new_tag: word("newTag"),
            digest: word("digest"),
            tag_suffix: word("tagSuffix"),
            line: node.line,
        })
    }

    /// Changes the images of containers wherever they are, and those in `fields`.
    pub(super) fn apply(&self, item: &mut Item, fields: &[Field]) -> Result<(), String> {
        if item.kind_name() == "CustomResourceDefinition" {
            return Ok(());
        }
        self.walk(&mut item.node);
        for field in fields {
            field.visit(&mut item.node, Create::Nothing, self.line, &mut |node| {
                self.change(node);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Lists called `containers` or `initContainers`, whatever they are part of.
    fn walk(&self, node: &mut Node) {
        match &mut node.kind {
            NodeKind::Scalar(_) => {}
            NodeKind::List(items) => items.iter_mut().for_each(|item| self.walk(item)),
            NodeKind::Map(entries) => {
                for (key, value) in entries {
                    self.walk(value);
                    if !matches!(edit::scalar_text(key), Some("containers" | "initContainers")) {
                        continue;
                    }
                    if let NodeKind::List(containers) = &mut value.kind {
                        for container in containers {
                            if let Some(image) = edit::get_mut(container, "image") {
                                self.change(image);
                            }
                        }
                    }
                }
            }
        }
    }

    fn change(&self, node: &mut Node) {
        let Some(old) = edit::scalar_text(node).filter(|text| self.name.is_match(text)) else { return };
        let new = self.renamed(old);
        // What has no tag or digest of its own in the entry says nothing new of an image that fits it.
        if new != old {
            *node = edit::text(new, self.line);
        }
    }

    fn renamed(&self, image: &str) -> String {
        let (name, mut tag, mut digest) = split(image);
        if !self.new_tag.is_empty() || !self.digest.is_empty() {
            (tag, digest) = (self.new_tag.clone(), self.digest.clone());
        } else if !self.tag_suffix.is_empty() {
            tag.push_str(&self.tag_suffix);
            digest.clear();
        }
        let mut new = if self.new_name.is_empty() { name.to_owned() } else { self.new_name.clone() };
        for (separator, part) in [(':', tag), ('@', digest)] {
            if !part.is_empty() {
                new.push(separator);
                new.push_str(&part);
            }
        }
        new
    }
}

/// Name, tag and digest; the colon of a registry's port belongs to the name (kustomize, api/internal/image).
fn split(image: &str) -> (&str, String, String) {
    let begin = image.find('/').unwrap_or(0);
    let (rest, digest) = match image[begin..].find('@') {
        Some(at) => (&image[..begin + at], image[begin + at + 1..].to_owned()),
        None => (image, String::new()),
    };
    match rest[begin..].find(':') {
        Some(at) => (&rest[..begin + at], rest[begin + at + 1..].to_owned(), digest),
        None => (rest, String::new(), digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_gotemplate::yaml;

    fn read(text: &str) -> Node {
        yaml::documents(text.as_bytes(), &yaml::Limits::default()).next().expect("a document").expect("YAML")
    }

    fn changed(rule: &str, image: &str) -> String {
        let mut node = edit::text(image, 1);
        ImageRule::read(&read(rule)).expect("a rule").change(&mut node);
        edit::scalar_text(&node).expect("a scalar").to_owned()
    }

    #[test]
    fn the_port_of_a_registry_is_no_tag() {
        assert_eq!(changed("{name: host:5000/a, newTag: '2'}", "host:5000/a:1"), "host:5000/a:2");
        assert_eq!(changed("{name: host:5000/a, newName: b}", "host:5000/a"), "b");
        assert_eq!(changed("{name: a, newTag: '2'}", "host:5000/a:1"), "host:5000/a:1", "another image");
    }

    #[test]
    fn a_tag_replaces_a_digest_and_a_digest_replaces_a_tag() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(changed("{name: a, newTag: '2'}", &format!("a:1@{digest}")), "a:2");
        assert_eq!(changed(&format!("{{name: a, digest: '{digest}'}}"), "a:1"), format!("a@{digest}"));
        let both = format!("{{name: a, newTag: '2', digest: '{digest}'}}");
        assert_eq!(changed(&both, "a"), format!("a:2@{digest}"));
        assert_eq!(changed("{name: a, newName: b}", &format!("a:1@{digest}")), format!("b:1@{digest}"));
    }

    #[test]
    fn a_name_is_a_regular_expression() {
        assert_eq!(changed("{name: '.*/a', newName: mirror/a}", "x/y/a:1"), "mirror/a:1");
        assert!(ImageRule::read(&read("{name: '('}")).is_err());
    }

    #[test]
    fn what_was_changed_is_from_the_line_of_the_entry() {
        let rule = ImageRule::read(&read("\n\n\n{name: a, newTag: '2'}")).expect("a rule");
        let mut node = edit::text("a:1", 77);
        rule.change(&mut node);
        assert_eq!(node.line, 4);
    }
}
