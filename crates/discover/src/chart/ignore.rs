//! `.helmignore`: which files of a directory do not belong to the chart (Helm, pkg/ignore).
//!
//! It looks like `.gitignore` and is not: a rule with a slash is matched against the whole path, `**` is an error, and a negated
//! rule leaves out everything that it does *not* match.

use super::file::BYTE_ORDER_MARK;
use super::pattern::Pattern;

/// The rules of one chart, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ignore(Vec<Rule>);

#[derive(Debug, Clone)]
struct Rule {
    pattern: Pattern,
    negated: bool,
    directories_only: bool,
    /// Matched against the whole path; otherwise against its last component.
    whole: bool,
}

impl Ignore {
    /// What holds without a `.helmignore`: hidden files directly below `templates/` are left out.
    pub(crate) fn new() -> Self {
        let mut ignore = Self::default();
        ignore.add_defaults();
        ignore
    }

    /// Reads a `.helmignore`; the error is the rule that cannot be used, and why.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, (String, &'static str)> {
        let text = String::from_utf8_lossy(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text));
        let mut ignore = Self::default();
        for line in text.lines() {
            ignore.add(line).map_err(|reason| (line.trim().to_owned(), reason))?;
        }
        ignore.add_defaults();
        Ok(ignore)
    }

    /// Whether the file or directory at `path`, relative to the chart, is left out. The first rule that says so decides.
    pub(crate) fn matches(&self, path: &str, is_directory: bool) -> bool {
        let base = path.rsplit('/').next().unwrap_or(path);
        self.0.iter().any(|rule| {
            let fits = rule.pattern.matches(if rule.whole { path } else { base });
            let kind = !rule.directories_only || is_directory;
            if rule.negated { !kind || !fits } else { kind && fits }
        })
    }

    fn add_defaults(&mut self) {
        self.add("templates/.?*").expect("this pattern is well-formed");
    }

    fn add(&mut self, line: &str) -> Result<(), &'static str> {
        let rule = line.trim();
        if rule.is_empty() || rule.starts_with('#') {
            return Ok(());
        }
        if rule.contains("**") {
            return Err("double-star (**) syntax is not supported");
        }
        Pattern::new(rule).ok_or(MALFORMED)?;
        let (negated, rule) = rule.strip_prefix('!').map_or((false, rule), |rest| (true, rest));
        let (directories_only, rule) = rule.strip_suffix('/').map_or((false, rule), |rest| (true, rest));
        let (rooted, rule) = rule.strip_prefix('/').map_or((false, rule), |rest| (true, rest));
        let pattern = Pattern::new(rule).ok_or(MALFORMED)?;
        self.0.push(Rule { pattern, negated, directories_only, whole: rooted || rule.contains('/') });
        Ok(())
    }
}

const MALFORMED: &str = "syntax error in pattern";

#[cfg(test)]
mod tests {
    use super::*;

    fn ignored(rules: &str, path: &str) -> bool {
        let (path, directory) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
        Ignore::parse(rules.as_bytes()).unwrap().matches(path, directory)
    }

    #[test]
    fn rules_match_as_in_helm() {
        // pkg/ignore/rules_test.go
        let cases = [
            ("helm.txt", "helm.txt", true),
            ("helm.*", "helm.txt", true),
            ("helm.*", "rudder.txt", false),
            ("*.txt", "tiller.txt", true),
            ("*.txt", "cargo/a.txt", true),
            ("cargo/*.txt", "cargo/a.txt", true),
            ("cargo/*.*", "cargo/a.txt", true),
            ("ru[c-e]?er.txt", "rudder.txt", true),
            ("cargo", "cargo/", true),
            ("cargo/", "cargo/", true),
            ("cargo/", "mast/", false),
            ("helm.txt/", "helm.txt", false),
            ("!cargo", "mast/", true),
            ("!cargo/", "mast/", true),
            ("!helm.txt", "helm.txt", false),
            ("/a.txt", "cargo/a.txt", false),
            ("/cargo/a.txt", "cargo/a.txt", true),
            ("cargo/*.txt", "mast/a.txt", false),
            ("  # rudder", "rudder", false),
            ("\u{feff}helm.txt", "helm.txt", true),
            ("", "templates/.dotfile", true),
            ("", "templates/a/.dotfile", false),
            ("", ".dotfile", false),
        ];
        for (rules, path, expected) in cases {
            assert_eq!(ignored(rules, path), expected, "{rules:?} {path}");
        }
        assert!(Ignore::new().matches("templates/.x", false));
    }

    #[test]
    fn what_helm_refuses_is_refused() {
        assert_eq!(Ignore::parse(b"ok\na/**\n").unwrap_err().0, "a/**");
        assert_eq!(Ignore::parse(b"[a\n").unwrap_err().1, MALFORMED);
    }
}
