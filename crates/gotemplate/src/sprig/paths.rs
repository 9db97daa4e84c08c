//! Paths with slashes (Go's `path`); those of the system are the same on Unix, where Helm's charts are rendered.

use crate::function::{Function, Parameter};
use crate::text::Text;

use Parameter::Text as Str;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("base", &[Str], |args| Ok(base(args.text(0).as_bytes()).into())),
    Function::new("osBase", &[Str], |args| Ok(base(args.text(0).as_bytes()).into())),
    Function::new("dir", &[Str], |args| Ok(dir(args.text(0).as_bytes()).into())),
    Function::new("osDir", &[Str], |args| Ok(dir(args.text(0).as_bytes()).into())),
    Function::new("clean", &[Str], |args| Ok(clean(args.text(0).as_bytes()).into())),
    Function::new("osClean", &[Str], |args| Ok(clean(args.text(0).as_bytes()).into())),
    Function::new("ext", &[Str], |args| Ok(ext(args.text(0).as_bytes()).into())),
    Function::new("osExt", &[Str], |args| Ok(ext(args.text(0).as_bytes()).into())),
    Function::new("isAbs", &[Str], |args| Ok(args.text(0).as_bytes().starts_with(b"/").into())),
    Function::new("osIsAbs", &[Str], |args| Ok(args.text(0).as_bytes().starts_with(b"/").into())),
];

/// `path.Clean`.
pub(crate) fn clean(path: &[u8]) -> Text {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => {
                parts.pop();
            }
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join(b"/".as_slice());
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat().into(),
        (false, true) => ".".into(),
        (false, false) => joined.into(),
    }
}

/// `path.Base`.
fn base(path: &[u8]) -> Text {
    if path.is_empty() {
        return ".".into();
    }
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    if start == end { "/".into() } else { path[start..end].into() }
}

/// `path.Dir`.
fn dir(path: &[u8]) -> Text {
    clean(&path[..path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1)])
}

/// `path.Ext`.
fn ext(path: &[u8]) -> Text {
    let name = &path[path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1)..];
    name[name.iter().rposition(|byte| *byte == b'.').unwrap_or(name.len())..].into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, expected) in [
            ("", "."),
            ("a//b/./c/..", "a/b"),
            ("/../a", "/a"),
            ("../../a", "../../a"),
            ("a/../..", ".."),
            ("/", "/"),
            ("a/..", "."),
        ] {
            assert_eq!(clean(path.as_bytes()), Text::from(expected), "{path}");
        }
    }

    #[test]
    fn parts_of_a_path() {
        assert_eq!((base(b"/a/b/"), base(b"///"), base(b"")), ("b".into(), "/".into(), ".".into()));
        assert_eq!((dir(b"/a/b"), dir(b"a"), dir(b"/")), ("/a".into(), ".".into(), "/".into()));
        assert_eq!((ext(b"a.b/c.tar.gz"), ext(b"a.b/c")), (".gz".into(), "".into()));
    }
}
