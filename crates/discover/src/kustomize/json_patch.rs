//! JSON patches (RFC 6902) on nodes, as the library behind kustomize takes them: indexes may be negative.

use super::budget::Budget;
use super::edit;
use larder_gotemplate::yaml::{self, Node, NodeKind};

/// Does the operations of a list one after the other.
///
/// # Errors
/// What is wrong, with the number of the operation.
pub(super) fn apply(target: &mut Node, operations: &[Node], budget: &Budget) -> Result<(), String> {
    for (number, operation) in operations.iter().enumerate() {
        apply_one(target, operation, budget)
            .map_err(|reason| format!("operation {}: {reason}", number + 1))?;
    }
    Ok(())
}

fn apply_one(target: &mut Node, operation: &Node, budget: &Budget) -> Result<(), String> {
    let spend = |node: &Node| budget.spend_on(node, 1).map_err(|fault| fault.to_string());
    spend(operation)?;
    let word = |key: &str| edit::text_of(operation, key);
    let path = pointer(word("path").ok_or("there is no path")?)?;
    let from = || pointer(word("from").ok_or("there is no from")?);
    let value = || operation.get("value").cloned().unwrap_or_else(|| edit::plain("null", operation.line));
    match word("op").unwrap_or_default() {
        "add" => add(target, &path, value()),
        "remove" => remove(target, &path).map(drop),
        "replace" => {
            let place = find_mut(target, &path).ok_or_else(|| missing(&path))?;
            *place = value();
            Ok(())
        }
        "move" => {
            let value = remove(target, &from()?)?;
            add(target, &path, value)
        }
        "copy" => {
            let from = from()?;
            let there = find_mut(target, &from).ok_or_else(|| missing(&from))?;
            spend(there)?;
            let mut value = there.clone();
            edit::claim(&mut value, operation.line);
            add(target, &path, value)
        }
        "test" => {
            let place = find_mut(target, &path).ok_or_else(|| missing(&path))?;
            let (there, wanted) = (yaml::to_value(place), yaml::to_value(&value()));
            let same = matches!((there, wanted), (Ok(there), Ok(wanted)) if yaml::emit(&there) == yaml::emit(&wanted));
            if same { Ok(()) } else { Err(format!("{} is something else", shown(&path))) }
        }
        other => Err(format!("there is no operation {other:?}")),
    }
}

fn add(target: &mut Node, path: &[String], value: Node) -> Result<(), String> {
    let Some((last, parents)) = path.split_last() else {
        *target = value;
        return Ok(());
    };
    let parent = find_mut(target, parents).ok_or_else(|| missing(parents))?;
    match &mut parent.kind {
        NodeKind::Map(_) => edit::set(parent, last, value),
        NodeKind::List(items) => {
            let at = match last.as_str() {
                "-" => items.len(),
                last => index(last, items.len() + 1).ok_or_else(|| missing(path))?,
            };
            items.insert(at, value);
        }
        NodeKind::Scalar(_) => return Err(missing(path)),
    }
    Ok(())
}

fn remove(target: &mut Node, path: &[String]) -> Result<Node, String> {
    let (last, parents) = path.split_last().ok_or("the whole object cannot be removed")?;
    let parent = find_mut(target, parents).ok_or_else(|| missing(parents))?;
    let removed = match &mut parent.kind {
        NodeKind::Map(_) => edit::remove(parent, last),
        NodeKind::List(items) => index(last, items.len()).map(|at| items.remove(at)),
        NodeKind::Scalar(_) => None,
    };
    removed.ok_or_else(|| missing(path))
}

fn find_mut<'a>(node: &'a mut Node, path: &[String]) -> Option<&'a mut Node> {
    path.iter().try_fold(node, |node, step| {
        if node.as_map().is_some() {
            return edit::get_mut(node, step);
        }
        match &mut node.kind {
            NodeKind::List(items) => index(step, items.len()).and_then(|at| items.get_mut(at)),
            _ => None,
        }
    })
}

/// An index below `length`; negative ones count from the end.
fn index(text: &str, length: usize) -> Option<usize> {
    let number: i64 = text.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let number = if number < 0 { number + length } else { number };
    usize::try_from(number).ok().filter(|_| number < length)
}

/// The steps of a JSON pointer (RFC 6901).
fn pointer(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let steps = text.strip_prefix('/').ok_or_else(|| format!("{text:?} is no JSON pointer"))?;
    Ok(steps.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect())
}

fn missing(path: &[String]) -> String {
    format!("there is no {}", shown(path))
}

fn shown(path: &[String]) -> String {
    path.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Node {
        yaml::documents(text.as_bytes(), &yaml::Limits::default()).next().expect("a document").expect("YAML")
    }

    fn patched(target: &str, patch: &str) -> Result<String, String> {
        let mut target = read(target);
        apply(&mut target, read(patch).as_list().expect("a list"), &Budget::new())?;
        let value = yaml::to_value(&target).expect("a value");
        Ok(yaml::emit(&value).expect("it can be written"))
    }

    #[test]
    fn every_operation_does_what_the_rfc_says() {
        let cases = [
            ("{a: [1, 2]}", "[{op: add, path: /a/1, value: 9}]", "a:\n- 1\n- 9\n- 2\n"),
            ("{a: [1]}", "[{op: add, path: /a/-, value: 2}]", "a:\n- 1\n- 2\n"),
            ("{a: [1, 2]}", "[{op: remove, path: /a/-1}]", "a:\n- 1\n"),
            ("{a: {b/c: 1}}", "[{op: replace, path: /a/b~1c, value: 2}]", "a:\n  b/c: 2\n"),
            ("{a: 1}", "[{op: move, from: /a, path: /b}]", "b: 1\n"),
            ("{a: {x: 1}}", "[{op: copy, from: /a, path: /b}]", "a:\n  x: 1\nb:\n  x: 1\n"),
            ("{a: 1}", "[{op: test, path: /a, value: 1}, {op: remove, path: /a}]", "{}\n"),
        ];
        for (target, patch, expected) in cases {
            assert_eq!(patched(target, patch).as_deref(), Ok(expected), "{patch}");
        }
    }

    #[test]
    fn what_is_not_there_is_an_error_that_names_it() {
        let error = |target, patch| patched(target, patch).expect_err("it does not fit");
        assert_eq!(error("{a: 1}", "[{op: remove, path: /b}]"), "operation 1: there is no /b");
        assert_eq!(error("{a: 1}", "[{op: add, path: /b/c, value: 1}]"), "operation 1: there is no /b");
        assert_eq!(
            error("{a: [1]}", "[{op: replace, path: /a/1, value: 1}]"),
            "operation 1: there is no /a/1"
        );
        assert_eq!(error("{a: 1}", "[{op: test, path: /a, value: 2}]"), "operation 1: /a is something else");
        assert_eq!(error("{a: 1}", "[{op: grow, path: /a}]"), "operation 1: there is no operation \"grow\"");
        assert_eq!(
            error("{a: 1}", "[{op: add, path: b, value: 1}]"),
            "operation 1: \"b\" is no JSON pointer"
        );
    }
}
