//! YAML: limits hold, places are inside of the text, and what is written is read as the same value.
#![no_main]

use larder_gotemplate::yaml::{self, Limits, Node, NodeKind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { bytes: 1 << 16, depth: 64, nodes: 10_000 };
    let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    for node in yaml::documents(bytes, &limits).flatten() {
        let mut left = limits.nodes;
        check(&node, lines, limits.depth + 1, &mut left);
    }
    let Ok(value) = yaml::parse_with(bytes, &limits) else {
        return;
    };
    let Ok(text) = yaml::emit(&value) else {
        return;
    };
    // Line breaks of YAML 1.1 only are written as such.
    if text.contains(['\u{85}', '\u{2028}', '\u{2029}']) {
        return;
    }
    let again = yaml::parse(text.as_bytes()).expect("what is written can be read");
    assert_eq!(yaml::emit(&again).as_ref(), Ok(&text));
});

fn check(node: &Node, lines: usize, depth: usize, left: &mut usize) {
    assert!(node.line >= 1 && node.line as usize <= lines && node.column >= 1 && depth > 0 && *left > 0);
    *left -= 1;
    match &node.kind {
        NodeKind::Scalar(_) => {}
        NodeKind::List(items) => items.iter().for_each(|item| check(item, lines, depth - 1, left)),
        NodeKind::Map(entries) => {
            for (key, value) in entries {
                check(key, lines, depth - 1, left);
                check(value, lines, depth - 1, left);
            }
        }
    }
}
