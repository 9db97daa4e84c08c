//! Compares what the scanner finds in the corpus with its labels; also used by `cargo xtask bench discover`.

use larder_discover::manifest::{Confidence, Rules, Scanner};
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

/// How the built-in rules do on the corpus.
#[derive(Debug, Default)]
pub(crate) struct Measure {
    /// Images that must be found.
    pub(crate) labelled: usize,
    /// Finds that are likely or certain.
    pub(crate) likely: usize,
    /// Finds that are only possible.
    pub(crate) possible: usize,
    /// Images that were not found as likely or certain; `file:line reference`.
    pub(crate) missed: Vec<String>,
    /// Likely finds that are none; `file:line reference (rule)`.
    pub(crate) wrong: Vec<String>,
    /// Possible finds that are none.
    pub(crate) wrong_possible: Vec<String>,
}

impl Measure {
    /// Scans every file that `labels.tsv` of `directory` names.
    pub(crate) fn of(directory: &Path) -> Self {
        let labels = std::fs::read_to_string(directory.join("labels.tsv")).expect("the corpus has labels");
        let mut wanted: HashMap<(String, u32, String), bool> = HashMap::new();
        for line in labels.lines().filter(|line| !line.starts_with('#')) {
            let [file, line, label, reference] = line.split('\t').collect::<Vec<_>>()[..] else {
                panic!("a label has four columns: {line}");
            };
            wanted.insert(
                (file.to_owned(), line.parse().expect("a line is a number"), reference.to_owned()),
                label == "image",
            );
        }
        let files: HashSet<&String> = wanted.keys().map(|(file, ..)| file).collect();
        let mut files: Vec<String> = files.into_iter().cloned().collect();
        files.sort();
        let scanner = Scanner::new(Rules::built_in());
        let mut measure = Self { labelled: wanted.values().filter(|must| **must).count(), ..Self::default() };
        let mut found = HashSet::new();
        for file in &files {
            let bytes = std::fs::read(directory.join(file)).expect("labelled files are there");
            for find in scanner.scan(file, &bytes).finds {
                let key = (file.clone(), find.place.line, find.text.clone());
                let known = wanted.contains_key(&key);
                let shown = format!("{file}:{} {} ({})", find.place.line, find.text, find.rule);
                if find.confidence >= Confidence::Likely {
                    measure.likely += 1;
                    if known {
                        found.insert(key);
                    } else {
                        measure.wrong.push(shown);
                    }
                } else {
                    measure.possible += 1;
                    if !known {
                        measure.wrong_possible.push(shown);
                    }
                }
            }
        }
        let missed = wanted.iter().filter(|(key, must)| **must && !found.contains(*key));
        measure.missed =
            missed.map(|((file, line, reference), _)| format!("{file}:{line} {reference}")).collect();
        measure.missed.sort();
        measure
    }

    /// Images among the finds that are likely or certain.
    pub(crate) fn precision(&self) -> f64 {
        1.0 - self.wrong.len() as f64 / self.likely.max(1) as f64
    }

    /// Images that were found as likely or certain.
    pub(crate) fn recall(&self) -> f64 {
        1.0 - self.missed.len() as f64 / self.labelled.max(1) as f64
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} images labelled; recall {:.2} %, precision {:.2} % of {} finds that are likely or certain; {} possible",
            self.labelled,
            100.0 * self.recall(),
            100.0 * self.precision(),
            self.likely,
            self.possible,
        )?;
        for (name, list) in
            [("missed", &self.missed), ("wrong", &self.wrong), ("wrong, possible", &self.wrong_possible)]
        {
            for entry in list {
                writeln!(f, "{name}: {entry}")?;
            }
        }
        Ok(())
    }
}
