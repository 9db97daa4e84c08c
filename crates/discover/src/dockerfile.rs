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
            || name
                .strip_prefix(base)
                .is_some_and(|rest| rest.starts_with(['.', '-', '_']) && !rest.ends_with(".dockerignore"))
            || name.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'))
    })
}

/// Reads a Dockerfile: `FROM`, `COPY --from`, `RUN --mount=from` and the line `# syntax=`. Arguments have the values given in
/// `arguments`, else their defaults; an image with one that has none is a problem. Stages and `scratch` are no images.
pub fn scan(source: &str, text: &str, arguments: &HashMap<String, String>) -> Scan {
    let mut build = Build {
        source: source.into(),
        given: arguments,
        variables: HashMap::new(),
        stages: HashSet::new(),
        before_from: true,
        scan: Scan::default(),
    };
    let escape = build.directives(text);
    for instruction in Instructions::new(text, escape) {
        build.instruction(&instruction);
    }
    build.scan
}

/// What is known at a line.
struct Build<'a> {
    source: Arc<str>,
    given: &'a HashMap<String, String>,
    /// Arguments before the first `FROM`, which are the ones that `FROM` knows.
    variables: HashMap<String, String>,
    stages: HashSet<String>,
    before_from: bool,
    scan: Scan,
}

/// An instruction with its continuation lines.
struct Instruction {
    line: u32,
    name: String,
    text: String,
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
            // What an image made from this one would do.
            "ONBUILD" => {
                let (name, text) = split(&instruction.text);
                self.instruction(&Instruction { line: instruction.line, name, text: text.to_owned() });
            }
            _ => {}
        }
    }

    fn argument(&mut self, text: &str) {
        for word in text.split_whitespace() {
            let (name, default) =
                word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
            let default = default.map(|value| value.trim_matches(['"', '\'']));
            let value = match (self.given.get(name), default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => expand(default, &self.variables),
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
        match expand(image.trim_matches(['"', '\'']), &self.variables) {
            Some(image) if image == "scratch" || self.stages.contains(&image.to_lowercase()) => {}
            Some(image) => self.image(&image, rule, instruction.line, path),
            None => self.problem(instruction.line, path, Reason::Argument { text: image.to_owned() }),
        }
    }

    fn image(&mut self, image: &str, rule: &str, line: u32, path: &str) {
        match image.parse() {
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
        let documents = here_documents(&whole);
        for end in documents {
            for (_, line) in self.lines.by_ref() {
                if line == end {
                    break;
                }
            }
        }
        let (name, text) = split(&whole);
        Some(Instruction { line: number, name, text: text.to_owned() })
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
fn here_documents(text: &str) -> Vec<String> {
    let name = text.split_whitespace().next().unwrap_or_default();
    if !["RUN", "COPY", "ADD"].iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return Vec::new();
    }
    // Only a number of a file may stand before it: `1<<n` in quotes or behind something else is a shift.
    let mut quote = None;
    let mut starts = true;
    let unquoted = text.char_indices().filter_map(|(at, character)| {
        let is_start = starts && quote.is_none();
        quote = match quote {
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

/// Fills in `$x`, `${x}`, `${x:-default}` and `${x:+other}`. `None` if one has no value.
fn expand(text: &str, variables: &HashMap<String, String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(inner) = after.strip_prefix('{') {
            let (inner, behind) = inner.split_once('}')?;
            out.push_str(&braced(inner, variables)?);
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

fn braced(inner: &str, variables: &HashMap<String, String>) -> Option<String> {
    let set = |name: &str| variables.get(name).filter(|value| !value.is_empty());
    if let Some((name, default)) = inner.split_once(":-").or_else(|| inner.split_once('-')) {
        return set(name).cloned().or_else(|| expand(default, variables));
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
    fn files_are_known_by_their_names() {
        for name in ["Dockerfile", "a/Containerfile", "Dockerfile.web", "web.dockerfile", "dockerfile-dev"] {
            assert!(is_dockerfile(Path::new(name)), "{name}");
        }
        for name in ["Dockerfile.dockerignore", "dockerfiles", "mydockerfile", "docker-compose.yaml"] {
            assert!(!is_dockerfile(Path::new(name)), "{name}");
        }
    }
}
