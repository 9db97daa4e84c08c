//! Texts with more in them than one reference: documents, lists, base64, scripts.

use super::parts::strip_scheme;
use super::pattern::{Step, display};
use super::rule::{Read, Rule};
use super::shape::Shape;
use super::walk::{Origin, Walk, is_variable};
use super::{Confidence, Reason};
use base64::Engine as _;
use larder_gotemplate::yaml::{self, Node, NodeKind, Scalar, Style};

/// Whether a text may be a document with an image in it.
pub(super) fn is_document(text: &str) -> bool {
    (text.contains('\n') || is_closed(text) || is_entry(text))
        && (text.contains('/') || text.contains("mage") || text.contains("MAGE"))
}

/// `{…}` or `[…]`
fn is_closed(text: &str) -> bool {
    text.starts_with('{') && text.ends_with('}') || text.starts_with('[') && text.ends_with(']')
}

/// One line of `key: value`. Sentences begin like this, too; what comes of it says whether it is one.
fn is_entry(text: &str) -> bool {
    let key = text.split_once(": ").map_or("", |(key, _)| key.trim_start_matches("- "));
    !key.is_empty() && !key.contains(char::is_whitespace)
}

/// A text that looks like a document, read as the first rule says that reads documents or lists. Says whether it is done with.
pub(super) fn text(walk: &mut Walk<'_, '_>, rules: &[&Rule], node: &Node, text: &str) -> bool {
    for rule in rules {
        match (&rule.read, rule.confidence) {
            (_, None) if rule.excludes() => return true,
            (Read::Declared | Read::Base64, _) => return false,
            (Read::Document, Some(confidence)) => return document(walk, rules, node, text, confidence),
            _ => {}
        }
    }
    false
}

/// A document inside of a document. Says whether it is one.
fn document(
    walk: &mut Walk<'_, '_>,
    rules: &[&Rule],
    node: &Node,
    text: &str,
    confidence: Confidence,
) -> bool {
    if walk.depth >= walk.scanner.limits.embedded {
        return false;
    }
    let at = walk.origin.place((node.line, node.column));
    // The text as the node has it keeps its lines; a decoded one has lines of its own.
    let (text, origin) = match node.as_scalar().filter(|scalar| scalar.text.trim() == text) {
        Some(scalar)
            if scalar.style == Style::Literal
                && !matches!(walk.origin, Origin::Elsewhere { .. } | Origin::Nowhere) =>
        {
            // The place of a block is that of its first line with something in it.
            let blank = scalar.text.bytes().take_while(|byte| *byte == b'\n').count();
            let line = at.0.saturating_sub(u32::try_from(blank).unwrap_or(u32::MAX)).max(1);
            (scalar.text.as_str(), Origin::Block { line })
        }
        _ if matches!(walk.origin, Origin::Nowhere) => (text, Origin::Nowhere),
        _ => (text, Origin::Elsewhere { line: at.0, column: at.1 }),
    };
    let documents: Result<Vec<Node>, yaml::Error> =
        yaml::documents(text.as_bytes(), &walk.scanner.limits.yaml).collect();
    let prefix = format!("{}{} > ", walk.prefix, display(&walk.path));
    let cap = confidence.min(walk.cap);
    match documents {
        Ok(documents) if documents.iter().any(|root| root.as_scalar().is_none()) => {
            let before = (walk.scan.finds.len(), walk.scan.problems.len());
            for root in &documents {
                let mut inner = Walk::new(walk.scanner, walk.source.clone(), origin, cap, walk.scan);
                inner.prefix.clone_from(&prefix);
                inner.depth = walk.depth + 1;
                inner.object.clone_from(&walk.object);
                inner.document(root);
            }
            if text.contains('\n') || is_closed(text) {
                return true;
            }
            // Only a document whose keys say what its texts are is more than its words.
            let sure = cap.min(Confidence::Likely);
            let is_document = walk.scan.finds[before.0..].iter().any(|find| find.confidence >= sure)
                || walk.scan.problems.len() > before.1;
            if !is_document {
                walk.scan.finds.truncate(before.0);
            }
            is_document
        }
        // One line, and no document: words.
        _ if !text.contains('\n') => false,
        _ => {
            let words = rules.iter().find(|rule| matches!(rule.read, Read::Words)).copied();
            let mut inner = Walk::new(walk.scanner, walk.source.clone(), origin, cap, walk.scan);
            inner.prefix = prefix;
            inner.depth = walk.depth + 1;
            inner.object.clone_from(&walk.object);
            inner.allowed = walk.scanner.rules.for_kind("", "").into();
            lines(&mut inner, words, text);
            true
        }
    }
}

/// Text that is no YAML, line by line: TOML, properties, scripts, templates that a program renders at run time.
fn lines(walk: &mut Walk<'_, '_>, words_rule: Option<&Rule>, text: &str) {
    for (line, number) in text.lines().zip(1..) {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let node = scalar(content, number);
        let before = walk.scan.finds.len() + walk.scan.problems.len();
        if let Some((key, value)) = assignment(content) {
            field(walk, &node, key, value);
        }
        if let Some(rule) = words_rule.filter(|_| walk.scan.finds.len() + walk.scan.problems.len() == before)
        {
            words(walk, rule, &node, content);
        }
    }
}

/// `key: value` of a line, for the rules about keys.
fn field(walk: &mut Walk<'_, '_>, node: &Node, key: &str, value: &str) {
    let mut inner = Walk::new(walk.scanner, walk.source.clone(), walk.origin, walk.cap, walk.scan);
    inner.prefix.clone_from(&walk.prefix);
    inner.object.clone_from(&walk.object);
    inner.allowed.clone_from(&walk.allowed);
    inner.path.push(Step::Key(key));
    let is_image = |rule: &&Rule| rule.confidence.is_some() && matches!(rule.read, Read::Reference);
    if !inner.rules(false).iter().any(is_image) {
        return;
    }
    let mut rules = inner.rules(true);
    rules.retain(|rule| matches!(rule.read, Read::Reference));
    if is_variable(value) {
        // In scripts variables are set all the time; in templates they are the image.
        if value.contains("{{") {
            inner.problem(node, Reason::RunTime { text: value.to_owned() });
        }
        return;
    }
    inner.apply(&rules, node, value, None);
}

/// Key and value of a line, without quotes, list markers and what follows the value.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start_matches("- ").trim_start_matches("export ").trim_start_matches("ENV ");
    let at = match (line.find('='), line.find(": ")) {
        (Some(equals), Some(colon)) => equals.min(colon),
        (Some(at), None) | (None, Some(at)) => at,
        (None, None) => line.find("\":")? + 1,
    };
    let key = line[..at].trim().trim_matches(['"', '\'']);
    let value = line[at + 1..].trim();
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => value[1..].split(quote).next().unwrap_or_default(),
        _ => value.split(" #").next().unwrap_or_default().trim_end_matches([',', ';']).trim(),
    };
    let plain = !key.is_empty() && !key.contains(char::is_whitespace);
    plain.then_some((key, value))
}

/// Each word of a text that a rule says is a reference. Says whether there was one.
pub(super) fn words(walk: &mut Walk<'_, '_>, rule: &Rule, node: &Node, text: &str) -> bool {
    let Some(confidence) = rule.confidence else {
        return false;
    };
    let block = node.as_scalar().is_some_and(|scalar| scalar.style == Style::Literal);
    let mut found = false;
    for (line, number) in text.lines().zip(0..) {
        for word in line.split(is_separator) {
            let word = strip_scheme(word.trim_end_matches(['.', ':']), &rule.schemes);
            let fits = Shape::of(word).is_some_and(|shape| shape.has(rule.needs));
            if !fits || walk.is_none(word) {
                continue;
            }
            if let Ok(reference) = word.parse() {
                let at = (node.line + if block { number } else { 0 }, node.column);
                walk.find(rule, confidence, at, reference, word.to_owned());
                found = true;
            }
        }
    }
    found
}

fn is_separator(character: char) -> bool {
    character.is_whitespace()
        || matches!(
            character,
            '"' | '\'' | '`' | ',' | ';' | '=' | '(' | ')' | '<' | '>' | '|' | '\\' | '[' | ']' | '{' | '}'
        )
}

/// A list of images: `- {name: …, image: …}`, or references alone.
pub(super) fn declared(walk: &mut Walk<'_, '_>, rule: &Rule, node: &Node, text: &str) -> bool {
    let Some(confidence) = rule.confidence else {
        return false;
    };
    let at = walk.origin.place((node.line, node.column)).0;
    let first = if node.as_scalar().is_some_and(|scalar| scalar.style == Style::Literal) {
        Some(node.line)
    } else {
        None
    };
    for root in yaml::documents(text.as_bytes(), &walk.scanner.limits.yaml) {
        let root = match root {
            Ok(root) => root,
            Err(error) => {
                walk.problem(node, Reason::Document(error));
                return true;
            }
        };
        let alone = std::slice::from_ref(&root);
        for item in root.as_list().unwrap_or(alone) {
            let conditional = item.get("condition").is_some();
            let item = item.get("image").unwrap_or(item);
            let Some(image) = item.as_text() else {
                continue;
            };
            let line = first.map_or(at, |first| first + item.line - 1);
            for word in image.split_whitespace() {
                match word.parse() {
                    // With a condition it depends on values.
                    Ok(reference) => {
                        let confidence =
                            if conditional { confidence.min(Confidence::Likely) } else { confidence };
                        walk.find(rule, confidence, (line, node.column), reference, word.to_owned());
                    }
                    Err(error) => {
                        let error: larder_core::Error = error;
                        walk.problem(
                            node,
                            Reason::Reference { text: word.to_owned(), reason: error.to_string() },
                        );
                    }
                }
            }
        }
    }
    true
}

/// Decodes, and asks the other rules about what comes out.
pub(super) fn base64<'w>(walk: &mut Walk<'w, '_>, others: &[&'w Rule], node: &Node, text: &str) -> bool {
    let bytes: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let Ok(decoded) = base64::engine::general_purpose::STANDARD.decode(bytes) else {
        return false;
    };
    let Ok(decoded) = String::from_utf8(decoded) else {
        return true;
    };
    let decoded = decoded.trim();
    let node = Node { line: node.line, column: node.column, kind: scalar("", 1).kind };
    if !(is_document(decoded) && self::text(walk, others, &node, decoded)) {
        walk.apply(others, &node, decoded, None);
    }
    true
}

fn scalar(text: &str, line: u32) -> Node {
    let scalar = Scalar { text: text.to_owned(), style: Style::DoubleQuoted, tag: None };
    Node { line, column: 1, kind: NodeKind::Scalar(scalar) }
}
