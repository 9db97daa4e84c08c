//! What go-yaml reads and the parser does not, rewritten so that it does: continued lines of quoted texts and of flow collections
//! that are indented by tabs or not at all, comments directly behind a bracket or a quote, `\'` in double quotes.
//!
//! Used only on text that the parser refused. Lines stay lines; columns behind a change move.

/// The text with what go-yaml lets pass made proper. `None` if there is nothing of the kind in it.
pub(super) fn repair(text: &str) -> Option<String> {
    let mut repair = Repair { out: String::with_capacity(text.len() + 64), ..Repair::default() };
    for line in text.split_inclusive('\n') {
        repair.line(line);
    }
    (repair.out != text).then_some(repair.out)
}

#[derive(Default)]
struct Repair {
    out: String,
    quote: Option<char>,
    /// Columns of the open brackets.
    brackets: Vec<usize>,
    /// Column of the open quote.
    quote_column: usize,
    /// Indentation of the line that began a block scalar.
    block: Option<usize>,
}

impl Repair {
    fn line(&mut self, line: &str) {
        let content = line.trim_start_matches([' ', '\t']);
        let indent = line.len() - content.len();
        let blank = content.trim_end().is_empty();
        if let Some(parent) = self.block {
            if blank || line.len() - line.trim_start_matches(' ').len() > parent {
                self.out.push_str(line);
                return;
            }
            self.block = None;
        }
        let inside =
            if self.quote.is_some() { Some(self.quote_column) } else { self.brackets.last().copied() };
        match inside {
            // Blank lines of quoted texts count; what stands in them does not.
            Some(_) if blank => self.out.push_str(content),
            Some(column) if line[..indent].contains('\t') || indent <= column => {
                self.out.extend(std::iter::repeat_n(' ', column + 1));
                self.characters(content, column + 1, indent);
            }
            _ => {
                self.out.push_str(&line[..indent]);
                self.characters(content, indent, indent);
            }
        }
    }

    /// `column` is where `content` begins.
    fn characters(&mut self, content: &str, mut column: usize, indent: usize) {
        let mut value = true;
        let mut before = ' ';
        let mut characters = content.chars().peekable();
        while let Some(character) = characters.next() {
            let next = characters.peek().copied();
            let blank_next = next.is_none_or(char::is_whitespace);
            column += 1;
            match (self.quote, character) {
                (Some('"'), '\\') => {
                    if next != Some('\'') {
                        self.out.push('\\');
                    }
                    self.out.extend(characters.next());
                    column += 1;
                }
                (Some('\''), '\'') if next == Some('\'') => {
                    self.out.push_str("''");
                    characters.next();
                    column += 1;
                }
                (Some(quote), _) => {
                    self.out.push(character);
                    if character == quote {
                        self.quote = None;
                        value = false;
                        // What follows directly is seen as behind the quote.
                        before = '"';
                        continue;
                    }
                }
                (None, '#')
                    if before.is_whitespace()
                        || matches!(before, '"' | ',' | '[' | '{' | ']' | '}' | '|' | '>') =>
                {
                    if !before.is_whitespace() {
                        self.out.push(' ');
                    }
                    self.out.push('#');
                    self.out.extend(characters.by_ref());
                }
                (None, '"' | '\'') if value => {
                    self.quote = Some(character);
                    self.quote_column = column - 1;
                    self.out.push(character);
                }
                (None, '[' | '{') if value || !self.brackets.is_empty() => {
                    self.brackets.push(column - 1);
                    self.out.push(character);
                    value = true;
                }
                (None, ']' | '}') => {
                    self.brackets.pop();
                    self.out.push(character);
                    value = false;
                }
                (None, '|' | '>') if value && self.brackets.is_empty() => {
                    self.block = Some(indent);
                    self.out.push(character);
                    before = character;
                    continue;
                }
                (None, _) => {
                    self.out.push(character);
                    value = match character {
                        ':' | '-' | '?' if blank_next => true,
                        ',' | ':' if !self.brackets.is_empty() => true,
                        // Tags and anchors stand before a value.
                        '!' | '&' if value => {
                            while let Some(more) = characters.next_if(|more| !more.is_whitespace()) {
                                self.out.push(more);
                                column += 1;
                            }
                            true
                        }
                        _ => value && character.is_whitespace(),
                    };
                }
            }
            // A plain `x"` or `x|` before `#` is no comment.
            before = if matches!(character, '"' | '|' | '>') { 'x' } else { character };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::repair;

    #[test]
    fn only_what_stands_in_quotes_and_brackets_is_indented_anew() {
        assert_eq!(repair("a: \"x\ny\"\nb: 1\n").as_deref(), Some("a: \"x\n    y\"\nb: 1\n"));
        assert_eq!(repair("a: {\n\tb: [\n\t\t1]}\n").as_deref(), Some("a: {\n    b: [\n        1]}\n"));
        assert_eq!(repair("a: |\n  \"x\n  [\n\tb\nc: it's\n"), None);
        assert_eq!(repair("a: [#c\n1]\n").as_deref(), Some("a: [ #c\n    1]\n"));
        assert_eq!(repair("a: \"\\'\"\n").as_deref(), Some("a: \"'\"\n"));
        assert_eq!(repair("a: b\"#c\n"), None);
    }
}
