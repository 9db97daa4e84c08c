//! Words that come from outside, and what they may be made of.

use crate::{Error, Result};

/// The longest word of any kind.
const LIMIT: usize = 255;

/// A host name, an address, or a name of `~/.ssh/config`. It can neither be taken for an option nor mean anything to a shell.
pub(crate) fn host(value: &str) -> Result<String> {
    check("host", value, |c| c.is_ascii_alphanumeric() || ".-_:%".contains(c))
}

/// A user name.
pub(crate) fn user(value: &str) -> Result<String> {
    check("user name", value, |c| c.is_ascii_alphanumeric() || ".-_@+".contains(c))
}

/// A name of a node, a key or a value of a label.
pub(crate) fn name(what: &'static str, value: &str) -> Result<String> {
    check(what, value, |c| c.is_ascii_alphanumeric() || ".-_/".contains(c))
}

/// A name for a node that is only known by how it is reached.
pub(crate) fn name_of(destination: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' };
    destination.chars().map(kept).collect::<String>().trim_start_matches('-').to_owned()
}

/// A namespace of containerd, a snapshotter.
pub(crate) fn identifier(what: &'static str, value: &str) -> Result<String> {
    check(what, value, |c| c.is_ascii_alphanumeric() || ".-_".contains(c))
}

/// An absolute path on a node.
pub(crate) fn remote_path(what: &'static str, value: &str) -> Result<String> {
    let reason = if !value.starts_with('/') {
        "it is not absolute"
    } else if value.len() > 4095 {
        "it is too long"
    } else if value.chars().any(char::is_control) {
        "it has control characters"
    } else if value.split('/').any(|part| part == "..") {
        "it has `..` in it"
    } else {
        return Ok(value.to_owned());
    };
    Err(Error::Word { what, value: value.to_owned(), reason })
}

/// The way a word is written for the shell that sshd starts, whatever is in it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@=,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn check(what: &'static str, value: &str, allowed: impl Fn(char) -> bool) -> Result<String> {
    let reason = if value.is_empty() {
        "it is empty"
    } else if value.len() > LIMIT {
        "it is too long"
    } else if value.starts_with('-') {
        "it starts with a dash"
    } else if !value.chars().all(allowed) {
        "it has characters that are not allowed there"
    } else {
        return Ok(value.to_owned());
    };
    Err(Error::Word { what, value: value.to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_or_ssh_would_take_for_something_else_is_no_host() {
        for good in ["node-1", "10.0.0.1", "fe80::1%eth0", "a.b_c"] {
            assert_eq!(host(good).unwrap(), good);
        }
        for bad in ["", "-oProxyCommand=x", "a b", "a;b", "$(x)", "a`b`", "a'b", "a\nb", "a/b", "ä"] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
        assert!(user("a@b.c").is_ok() && user("a|b").is_err());
        assert!(remote_path("directory", "/a/../b").is_err() && remote_path("directory", "a").is_err());
    }

    #[test]
    fn the_shell_gives_quoted_words_back_as_they_were() {
        let words = ["", "a", "a b", "$(touch x)", "it's", "a\nb", "*", "\\", "~", "!!", "#"];
        for word in words {
            let script = format!("printf %s {}", quoted(word));
            let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
