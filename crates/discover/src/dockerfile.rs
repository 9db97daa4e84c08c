//! Dockerfiles: the images a build starts from and takes files from.

use crate::manifest::{Confidence, Find, Place, Problem, Reason, Scan};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// Whether a file is one by its name: `Dockerfile`, `Containerfile`, `Dockerfile.web`, `web.dockerfile`.
pub fn is_dockerfile(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_ascii_lowercase();
    let base = ["dockerfile", "containerfile"];
    base.iter().any(|base| {
        name == *base
            || name.strip_prefix(base).is_some_and(|rest| {
                rest.starts_with(['.', '-', '_']) && !OTHERS.split(' ').any(|end| rest.ends_with(end))
            })
            || name.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'))
    })
}

/// Whether a file begins as a Dockerfile does and nothing else that is read here: with `FROM` or `ARG` behind comments.
pub fn begins(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(b"#")).unwrap_or_default();
    let (name, rest) = first.split_at(first.iter().position(u8::is_ascii_whitespace).unwrap_or(first.len()));
    let is_known = [b"FROM".as_slice(), b"ARG"].iter().any(|known| name.eq_ignore_ascii_case(known));
    // `from : x` is YAML.
    is_known && !rest.is_empty() && !rest.trim_ascii_start().starts_with(b":")
}

/// Reads a Dockerfile: `FROM`, `COPY --from`, `RUN --mount=from` and the line `# syntax=`. Arguments have the values given in
/// `arguments`, else their defaults; an image with one that has none is a problem, and so is what BuildKit would not take for an
/// instruction. Stages and `scratch` are no images.
pub fn scan(source: &str, text: &str, arguments: &HashMap<String, String>) -> Scan {
    let mut build = Build {
        source: source.into(),
        given: arguments,
        variables: HashMap::new(),
        stages: HashSet::new(),
        before_from: true,
        has_unknown: false,
        escape: '\\',
        scan: Scan::default(),
    };
    build.escape = build.directives(text);
    for instruction in Instructions::new(text, build.escape) {
        if build.scan.finds.len() + build.scan.problems.len() >= LIMIT {
            build.problem(instruction.line, "", Reason::TooMany { limit: LIMIT });
            break;
        }
        build.instruction(&instruction);
        if let Some(end) = instruction.open {
            // BuildKit refuses it.
            build.problem(instruction.line, &instruction.name, Reason::HereDocument { end });
        }
    }
    if build.before_from && !build.has_unknown {
        build.problem(1, "", Reason::NoBase);
    }
    build.scan
}

/// What a Dockerfile's name may also end with when the file is none.
const OTHERS: &str = ".dockerignore .go .html .java .js .json .md .py .rb .rs .sh .ts .yaml .yml";

/// Instructions that ask for no image.
const PLAIN: &str =
    "ARG CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL MAINTAINER SHELL STOPSIGNAL USER VOLUME WORKDIR";

/// Finds and problems of a file; what has more is none.
const LIMIT: usize = 1_000;

/// Longest word that is shown.
const WORD: usize = 40;

/// What is known at a line.
struct Build<'a> {
    source: Arc<str>,
    given: &'a HashMap<String, String>,
    /// Arguments before the first `FROM`, which are the ones that `FROM` knows.
    variables: HashMap<String, String>,
    stages: HashSet<String>,
    before_from: bool,
    /// Something that is no instruction was told; in a file that is something else, there is one in every line.
    has_unknown: bool,
    escape: char,
    scan: Scan,
}

/// An instruction with its continuation lines.
struct Instruction {
    line: u32,
    name: String,
    text: String,
    /// The end of a here-document that is not there.
    open: Option<String>,
}

struct Instructions<'a> {
    lines: Box<dyn Iterator<Item = (u32, &'a str)> + 'a>,
    escape: char,
}

impl Build<'_> {
    /// `# syntax=` and `# escape=` in the first lines; gives the escape character.
    fn directives(&mut self, text: &str) -> char {
        let mut escape = '\\';
        for (line, number) in text.trim_start_matches('\u{feff}').lines().zip(1..) {
            let Some((name, value)) =
                line.trim().strip_prefix('#').and_then(|comment| comment.split_once('='))
            else {
                break;
            };
            match name.trim().to_ascii_lowercase().as_str() {
                "syntax" => self.image(value.trim(), "syntax", number, "# syntax"),
                "escape" => escape = if value.trim() == "`" { '`' } else { '\\' },
                "check" => {}
                _ => break,
            }
        }
        escape
    }

    fn instruction(&mut self, instruction: &Instruction) {
        match instruction.name.as_str() {
            "ARG" if self.before_from => self.argument(&instruction.text),
            "FROM" => self.from(instruction),
            "COPY" | "ADD" => {
                if let Some(image) =
                    flags(&instruction.text).find_map(|(name, value)| (name == "from").then_some(value))
                {
                    self.other(image, "copy-from", instruction, "COPY --from");
                }
            }
            "RUN" => {
                for (_, mount) in flags(&instruction.text).filter(|(name, _)| *name == "mount") {
                    if let Some(image) = mount.split(',').find_map(|option| option.strip_prefix("from=")) {
                        self.other(image, "mount-from", instruction, "RUN --mount");
                    }
                }
            }
            // What an image made from this one would do; that cannot be one of these.
            "ONBUILD" => {
                let (name, text) = split(&instruction.text);
                let text = text.to_owned();
                match name.as_str() {
                    "ONBUILD" | "FROM" | "MAINTAINER" => {
                        self.unknown(instruction.line, &format!("ONBUILD {name}"));
                    }
                    _ => self.instruction(&Instruction { line: instruction.line, name, text, open: None }),
                }
            }
            name if PLAIN.split(' ').any(|known| known == name) => {}
            name => self.unknown(instruction.line, name),
        }
    }

    fn unknown(&mut self, line: u32, name: &str) {
        if std::mem::replace(&mut self.has_unknown, true) {
            return;
        }
        self.problem(line, "", Reason::Instruction { name: name.chars().take(WORD).collect() });
    }

    fn argument(&mut self, text: &str) {
        for word in text.split_whitespace() {
            let (name, default) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            let default = default.map(|value| value.trim_matches(['"', '\'']));
            let value = match (self.given.get(name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => expand(default, self.escape, &self.variables),
                (None, None) => None,
            };
            if let Some(value) = value {
                self.variables.insert(name.to_owned(), value);
            }
        }
    }

    fn from(&mut self, instruction: &Instruction) {
        self.before_from = false;
        let mut words = instruction.text.split_whitespace().skip_while(|word| word.starts_with("--"));
        let image = words.next().unwrap_or_default();
        let is_as = words.next().is_some_and(|word| word.eq_ignore_ascii_case("as"));
        let stage = words.next().filter(|_| is_as).map(str::to_lowercase);
        self.expanded(image, "from", instruction, "FROM");
        self.stages.extend(stage);
    }

    /// An image, a stage or the number of a stage.
    fn other(&mut self, image: &str, rule: &str, instruction: &Instruction, path: &str) {
        if !image.bytes().all(|byte| byte.is_ascii_digit()) {
            self.expanded(image, rule, instruction, path);
        }
    }

    fn expanded(&mut self, image: &str, rule: &str, instruction: &Instruction, path: &str) {
        match expand(image.trim_matches(['"', '\'']), self.escape, &self.variables) {
            Some(image) if image == "scratch" || self.stages.contains(&image.to_lowercase()) => {}
            Some(image) if !image.is_empty() && image.bytes().all(|byte| byte.is_ascii_digit()) => {
                let reason = "the number of a stage is no base; give the stage a name with AS".to_owned();
                self.problem(instruction.line, path, Reason::Reference { text: image, reason });
            }
            Some(image) => self.image(&image, rule, instruction.line, path),
            None => self.problem(instruction.line, path, Reason::Argument { text: image.to_owned() }),
        }
    }

    fn image(&mut self, image: &str, rule: &str, line: u32, path: &str) {
        let is_digest = image.len() == 64 && image.bytes().all(|byte| byte.is_ascii_hexdigit());
        match image.parse() {
            Ok(_) if is_digest => {
                let reason = "64 hexadecimal digits are an identifier and no name".to_owned();
                self.problem(line, path, Reason::Reference { text: image.to_owned(), reason });
            }
            Ok(reference) => {
                let place = self.place(line, path);
                let find = Find {
                    reference,
                    text: image.to_owned(),
                    confidence: Confidence::Certain,
                    rule: rule.into(),
                    place,
                };
                self.scan.finds.push(find);
            }
            Err(error) => self.problem(line, path, Reason::reference(image, error)),
        }
    }

    fn problem(&mut self, line: u32, path: &str, reason: Reason) {
        let place = self.place(line, path);
        self.scan.problems.push(Problem { place, reason });
    }

    fn place(&self, line: u32, path: &str) -> Place {
        Place { source: self.source.clone(), line, column: 1, object: None, path: path.to_owned() }
    }
}

impl<'a> Instructions<'a> {
    fn new(text: &'a str, escape: char) -> Self {
        let lines =
            text.trim_start_matches('\u{feff}').lines().zip(1..).map(|(line, number)| (number, line.trim()));
        Self { lines: Box::new(lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))), escape }
    }
}

impl Iterator for Instructions<'_> {
    type Item = Instruction;

    fn next(&mut self) -> Option<Instruction> {
        let (number, first) = self.lines.next()?;
        let mut whole = String::new();
        let mut line = first;
        while let Some(continued) = line.strip_suffix(self.escape) {
            whole.push_str(continued);
            whole.push(' ');
            match self.lines.next() {
                Some((_, next)) => line = next,
                None => line = "",
            }
        }
        whole.push_str(line);
        let mut open = None;
        for end in here_documents(&whole, self.escape) {
            if !self.lines.any(|(_, line)| line == end) {
                open = open.or(Some(end));
            }
        }
        let (name, text) = split(&whole);
        Some(Instruction { line: number, name, text: text.to_owned(), open })
    }
}

fn split(text: &str) -> (String, &str) {
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (name.to_ascii_uppercase(), rest.trim())
}

/// `--name=value` in front of the rest.
fn flags(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split_whitespace().map_while(|word| word.strip_prefix("--")).filter_map(|flag| flag.split_once('='))
}

/// Names that end the here-documents of `RUN <<EOF`.
fn here_documents(text: &str, escape: char) -> Vec<String> {
    let name = text.split_whitespace().next().unwrap_or_default();
    if !["RUN", "COPY", "ADD"].iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return Vec::new();
    }
    // Only a number of a file may stand before it: `1<<n` in quotes or behind something else is a shift.
    let mut quote = None;
    let (mut starts, mut escaped) = (true, false);
    let unquoted = text.char_indices().filter_map(|(at, character)| {
        let is_start = starts && quote.is_none();
        let is_escaped = std::mem::take(&mut escaped);
        // Nothing is escaped within single quotes.
        escaped = !is_escaped && character == escape && quote != Some('\'');
        quote = match quote {
            unchanged if is_escaped => unchanged,
            None if matches!(character, '"' | '\'') => Some(character),
            Some(open) if open == character => None,
            unchanged => unchanged,
        };
        starts = character.is_whitespace();
        is_start.then(|| text[at..].split_whitespace().next()).flatten()
    });
    let words = unquoted.filter_map(|word| {
        let (number, name) = word.split_once("<<")?;
        number.bytes().all(|byte| byte.is_ascii_digit()).then_some(name)
    });
    let names = words.map(|name| name.trim_start_matches('-').trim_matches(['"', '\'']));
    let is_name = |name: &&str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    names.filter(is_name).map(str::to_owned).collect()
}

/// Fills in `$x`, `${x}`, `${x:-default}` and `${x:+other}`; `\$x` is no variable. `None` if one has no value.
fn expand(text: &str, escape: char, variables: &HashMap<String, String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        if let Some(before) = before.strip_suffix(escape) {
            out.push_str(before);
            out.push('$');
            rest = after;
            continue;
        }
        out.push_str(before);
        if let Some(inner) = after.strip_prefix('{') {
            let (inner, behind) = inner.split_once('}')?;
            out.push_str(&braced(inner, escape, variables)?);
            rest = behind;
        } else {
            let end = after
                .find(|character: char| !character.is_ascii_alphanumeric() && character != '_')
                .unwrap_or(after.len());
            out.push_str(variables.get(&after[..end])?);
            rest = &after[end..];
        }
        if out.len() > MAX_TEXT {
            return None;
        }
    }
    out.push_str(rest);
    Some(out)
}

fn braced(inner: &str, escape: char, variables: &HashMap<String, String>) -> Option<String> {
    let set = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    if let Some((name, default)) = inner.split_once(":-").or_else(|| inner.split_once('-')) {
        return set(name).cloned().or_else(|| expand(default, escape, variables));
    }
    if let Some((name, other)) = inner.split_once(":+").or_else(|| inner.split_once('+')) {
        return Some(set(name).map_or_else(String::new, |_| other.to_owned()));
    }
    variables.get(inner).cloned()
}

/// Longer than any reference: a variable that holds variables does not grow without end.
const MAX_TEXT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn images(text: &str, arguments: &[(&str, &str)]) -> (Vec<(u32, String)>, usize) {
        let arguments =
            arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let scan = scan("Dockerfile", text, &arguments);
        (scan.finds.iter().map(|find| (find.place.line, find.text.clone())).collect(), scan.problems.len())
    }

    #[test]
    fn stages_and_scratch_are_no_images() {
        let text = "# syntax=docker/dockerfile:1.7\nFROM --platform=$BUILDPLATFORM golang:1.23 AS build\nRUN --mount=type=bind,from=tools:2,target=/t \\\n  # why\n  make\nFROM build AS test\nFROM scratch\nCOPY --from=build /a /a\nCOPY --from=0 /b /b\nCOPY --chown=1 --from=nginx:1.27 /c /c\n";
        let found = images(text, &[]);
        let expected = [(1, "docker/dockerfile:1.7"), (2, "golang:1.23"), (3, "tools:2"), (10, "nginx:1.27")];
        assert_eq!(found, (expected.map(|(line, text)| (line, text.to_owned())).to_vec(), 0));
    }

    #[test]
    fn arguments_are_filled_in_and_without_a_value_a_problem() {
        let text = "ARG TAG=3.20 REG\nARG BASE=alpine:${TAG}\nFROM $BASE\nFROM ${REG:-docker.io}/x:${TAG}\nFROM $REG/y\nFROM z:${NONE:+1}\n";
        assert_eq!(images(text, &[]).0, [(3, "alpine:3.20".to_owned()), (4, "docker.io/x:3.20".to_owned())]);
        assert_eq!(images(text, &[]).1, 2);
        assert_eq!(images(text, &[("REG", "r.example"), ("TAG", "1")]).0.len(), 3);
    }

    #[test]
    fn here_documents_are_no_instructions() {
        let text = "FROM a:1\nRUN <<EOF\nFROM b:2\nEOF\nCOPY <<-\"X\" /y\nFROM c:3\nX\nONBUILD COPY --from=d:4 / /\n";
        assert_eq!(images(text, &[]).0, [(1, "a:1".to_owned()), (8, "d:4".to_owned())]);
    }

    #[test]
    fn shifts_begin_no_here_documents() {
        let text = "FROM a:1\nRUN python3 -c \"print(1 <<x )\" && echo a<<b '<<c'\nFROM d:1\nRUN 3<<E cat\nFROM e:1\nE\n";
        assert_eq!(images(text, &[]).0, [(1, "a:1".to_owned()), (3, "d:1".to_owned())]);
    }

    #[test]
    fn a_here_document_without_its_end_is_a_problem() {
        let arguments = HashMap::new();
        let scan = scan("Dockerfile", "FROM a:1\nRUN <<EOF\nFROM b:2\n", &arguments);
        let [problem] = scan.problems.as_slice() else { panic!("{:?}", scan.problems) };
        assert_eq!(problem.reason, Reason::HereDocument { end: "EOF".to_owned() });
        assert_eq!((problem.place.line, problem.place.path.as_str(), scan.finds.len()), (2, "RUN", 1));
    }

    #[test]
    fn an_escaped_quote_ends_no_text() {
        let text =
            "FROM a:1\nRUN echo \"x \\\" <<EOF \"\nFROM b:1\nRUN echo \\\" <<E\nFROM c:1\nE\nFROM d:1\n";
        assert_eq!(
            images(text, &[]),
            ([(1, "a:1"), (3, "b:1"), (7, "d:1")].map(|(line, text)| (line, text.to_owned())).to_vec(), 0)
        );
    }

    #[test]
    fn numbers_and_identifiers_are_no_bases() {
        let text = format!("FROM a:1 AS x\nFROM 0\nFROM {}\nCOPY --from=0 / /\n", "0a".repeat(32));
        assert_eq!(images(&text, &[]), (vec![(1, "a:1".to_owned())], 2));
    }

    #[test]
    fn what_cannot_be_built_is_a_problem() {
        let problems = |text: &str| -> Vec<Reason> {
            scan("Dockerfile", text, &HashMap::new())
                .problems
                .into_iter()
                .map(|problem| problem.reason)
                .collect()
        };
        let unknown = |name: &str| Reason::Instruction { name: name.to_owned() };
        assert_eq!(problems(""), [Reason::NoBase]);
        assert_eq!(problems("# only words\nARG A=1\nENV b=c\n"), [Reason::NoBase]);
        assert_eq!(problems("FRMO a:1\nFROM a:1\nuser 0\n"), [unknown("FRMO")]);
        assert_eq!(problems("FROM a:1\nONBUILD FROM b:1\nONBUILD"), [unknown("ONBUILD FROM")]);
        assert_eq!(problems("{{ if x }}\nFROM a:1\n{{ end }}\n"), [unknown("{{")]);
        assert_eq!(problems("package main\n\nimport x\n"), [unknown("PACKAGE")]);
        let chain = format!("FROM a:1\n{}RUN x\n", "ONBUILD ".repeat(100_000));
        assert_eq!(problems(&chain), [unknown("ONBUILD ONBUILD")]);
        let odd = problems(&"FROM X\n".repeat(100_000));
        assert_eq!((odd.len(), &odd[LIMIT]), (LIMIT + 1, &Reason::TooMany { limit: LIMIT }));
        assert_eq!(problems(&format!("FROM a:1\n{}", "X".repeat(1_000))), [unknown(&"X".repeat(WORD))]);
    }

    #[test]
    fn files_are_known_by_their_beginnings() {
        for text in ["FROM a:1", "# x\n\n  from a\n", "\u{feff}# syntax=x\nARG A\nFROM $A", "ARG\tX"] {
            assert!(begins(text.as_bytes()), "{text}");
        }
        for text in
            ["", "FROM", "from: a", "from : a", "FROMAGE a", "arguments: a", "kind: Pod\nFROM a", "# FROM a"]
        {
            assert!(!begins(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn an_escaped_variable_is_none() {
        let text = "ARG V=1\nFROM a:\\$V\nFROM b:$V\n";
        assert_eq!(images(text, &[("V", "2")]), (vec![(3, "b:2".to_owned())], 1));
        let text = "# escape=`\nARG V=1\nFROM a:`$V\nFROM b:$V\n";
        assert_eq!(images(text, &[]), (vec![(4, "b:1".to_owned())], 1));
    }

    #[test]
    fn files_are_known_by_their_names() {
        for name in ["Dockerfile", "a/Containerfile", "Dockerfile.web", "web.dockerfile", "dockerfile-dev"] {
            assert!(is_dockerfile(Path::new(name)), "{name}");
        }
        for name in [
            "Dockerfile.dockerignore",
            "Dockerfile.md",
            "dockerfile_test.go",
            "dockerfiles",
            "mydockerfile",
            "docker-compose.yaml",
        ] {
            assert!(!is_dockerfile(Path::new(name)), "{name}");
        }
    }
}
