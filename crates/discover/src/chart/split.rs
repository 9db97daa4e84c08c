//! One rendered file in its documents (Helm, pkg/release/v1/util/manifest.go, `SplitManifests`).

/// The documents of a text, each with the byte at which it begins. Blank ones are left out.
///
/// `---` separates at the beginning of a line whatever comes behind it, so that `---apiVersion: v1`, which trimming in templates
/// easily makes, is two things. Two separators directly behind each other are one and a text, as in Helm.
pub(crate) fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let begin = text.len() - text.trim_start().len();
    let mut at = begin;
    if text[at..].starts_with("---") {
        at = behind(text, at + 3);
    }
    loop {
        let (end, next) = match separator(text, at) {
            Some((end, next)) => (end, Some(next)),
            None => (text.len(), None),
        };
        let document = &text[at..end];
        let trimmed = document.trim_start();
        if !trimmed.is_empty() {
            documents.push((end - trimmed.len(), trimmed));
        }
        match next {
            Some(next) => at = next,
            None => return documents,
        }
    }
}

/// The next separator at or behind `from`: where the document in front of it ends, and where the next one begins.
fn separator(text: &str, from: usize) -> Option<(usize, usize)> {
    let line = from + text[from..].find("\n---")?;
    let before = &text[from..line];
    let blank = before.len() - before.trim_end_matches(is_blank).len();
    Some((line - blank, behind(text, line + 4)))
}

fn behind(text: &str, at: usize) -> usize {
    text.len() - text[at..].trim_start_matches(is_blank).len()
}

/// `\s` of Go's regular expressions.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\x0c' | '\r' | ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        documents(text).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn documents_are_split_as_in_helm() {
        assert_eq!(texts("a\n---\nb\n--- # c\nd"), ["a", "b", "# c\nd"]);
        assert_eq!(texts("\n\n---\n---\nb"), ["---\nb"]);
        assert_eq!(texts("---\na: 1\n \n---apiVersion: v1\n"), ["a: 1", "apiVersion: v1\n"]);
        assert_eq!(texts("a: |\n  ---\nb"), ["a: |\n  ---\nb"]);
        assert_eq!(texts(" \n "), [""; 0]);
        assert_eq!(texts("a\n---\n\n---\n\n"), ["a", "---\n\n"]);
        let text = "---\n\n  a\n---\n b";
        for (at, document) in documents(text) {
            assert!(text[at..].starts_with(document));
        }
    }
}
