//! Runs Helm: the 3.10.1 program, and the engine of 4.2.3 as a library of Python. Both are in no distribution; `cargo xtask test`
//! installs them below `target/` with npm and pip.

use super::{find, tool};
use crate::Process;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The program of Helm 3.10.1.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
}

/// The engine of Helm 4.2.3: everything that decides what a template gives, without the command line.
#[derive(Debug, Clone)]
pub struct HelmLibrary {
    packages: PathBuf,
}

/// One rendering that [`HelmLibrary`] is asked for.
#[derive(Debug, Clone, Default)]
pub struct HelmRequest {
    /// Directory or archive.
    pub chart: PathBuf,
    /// Files of values, later ones over earlier ones.
    pub values: Vec<PathBuf>,
    /// `.Release.Name`
    pub name: String,
    /// `.Release.Namespace`
    pub namespace: String,
    /// Also ask for the documents in order, which takes a second rendering.
    pub manifest: bool,
}

/// What [`HelmLibrary`] says to a request.
#[derive(Debug, Clone)]
pub struct HelmAnswer {
    /// What each template gave; an error in Helm's words.
    pub texts: Result<BTreeMap<String, String>, String>,
    /// The documents that are no hooks, in order, if they were asked for.
    pub manifest: Option<String>,
    /// How long loading and rendering took.
    pub took: Duration,
}

impl Helm {
    /// Errors where it is not installed; the message says how to.
    pub fn installed() -> Result<Self> {
        let program = directory()?.join("helm-3.10.1");
        if !program.is_file() {
            bail!("Helm 3.10.1 is not at {}; {HOW}", program.display());
        }
        Ok(Self { program })
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// `helm ARGUMENTS`, as somebody who never used it before.
    pub fn helm(&self, arguments: &[&str]) -> Process {
        Process::new(&self.program).env("HOME", "/nonexistent").args(arguments)
    }
}

impl HelmLibrary {
    /// Errors where it is not installed; the message says how to.
    pub fn installed() -> Result<Self> {
        let packages = directory()?.join("python");
        if !packages.join("helm_python").is_dir() {
            bail!("the Python package helm-python-sdk is not at {}; {HOW}", packages.display());
        }
        find("python3")?;
        Ok(Self { packages })
    }

    /// Renders, one request after the other, in one process.
    pub fn render(&self, requests: &[HelmRequest]) -> Result<Vec<HelmAnswer>> {
        let lines = requests.iter().map(|request| {
            let HelmRequest { chart, values, name, namespace, manifest } = request;
            json!({ "chart": chart, "values": values, "name": name, "namespace": namespace, "manifest": manifest })
        });
        let answers = self.ask(lines)?;
        answers.into_iter().map(|answer| HelmAnswer::read(&answer)).collect()
    }

    /// What a text of `--set` (`kind` is `set`, `set-string`, `set-json` or `set-literal`) means; an error in Helm's words.
    pub fn set(&self, requests: &[(&str, &str)]) -> Result<Vec<Result<Value, String>>> {
        let answers = self.ask(requests.iter().map(|(kind, text)| json!({ "kind": kind, "set": text })))?;
        let read = |answer: Value| match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["value"].clone()),
        };
        Ok(answers.into_iter().map(read).collect())
    }

    fn ask(&self, requests: impl Iterator<Item = Value>) -> Result<Vec<Value>> {
        let mut input = String::new();
        let mut count = 0;
        for request in requests {
            input.push_str(&request.to_string());
            input.push('\n');
            count += 1;
        }
        let outcome = tool("python3")?
            .env("PYTHONPATH", &self.packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .args(["-c", SERVER])
            .input(input)
            .limit(Duration::from_secs(1800))
            .run()?;
        let answers: Vec<Value> =
            outcome.text().lines().map(serde_json::from_str).collect::<Result<_, _>>().context("no JSON")?;
        if answers.len() != count {
            bail!("{count} requests and {} answers", answers.len());
        }
        Ok(answers)
    }
}

impl HelmAnswer {
    /// Reads an answer as the library gives it: `{"texts": …, "seconds": …}` or `{"error": …}`.
    pub fn read(answer: &Value) -> Result<Self> {
        let texts = match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(serde_json::from_value(answer["texts"].clone()).context("no texts")?),
        };
        let took = Duration::from_secs_f64(answer["seconds"].as_f64().unwrap_or_default());
        Ok(Self { texts, manifest: answer["manifest"].as_str().map(str::to_owned), took })
    }
}

/// `target/helm` of the build that this program is part of.
fn directory() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find this executable")?;
    // cargo marks the directory it builds in.
    let target = program.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
    let target = target.with_context(|| format!("{} was not built by cargo", program.display()))?;
    Ok(Path::new(target).join("helm"))
}

const SERVER: &str = include_str!("helm.py");
const HOW: &str = "`cargo xtask test` installs it with npm and pip";
