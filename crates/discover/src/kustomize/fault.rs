//! What can be wrong with a kustomization.

use super::Origin;
use larder_gotemplate::yaml;
use std::path::PathBuf;

/// Something that a build could not do. It goes on with the rest, so that what can be found is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place that asks for it, where there is one.
    pub origin: Option<Origin>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a kustomization, or what is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "fields say what by their names")]
pub enum Fault {
    /// Something that is not on this machine. Nothing is fetched by a build.
    #[error(
        "{url} is not on this machine; fetch it (`{}`), put it beside the kustomization and name its path instead",
        how(url)
    )]
    Remote { url: String },
    /// A chart that is not on this machine.
    #[error("the chart {name} is not in {}; `{command}` fetches it", home.display())]
    NoChart { name: String, home: PathBuf, command: String },
    /// Neither a file nor a directory.
    #[error("there is no {}", path.display())]
    Missing { path: PathBuf },
    /// A directory without a kustomization file.
    #[error("there is no kustomization.yaml, kustomization.yml or Kustomization in {}", path.display())]
    NoFile { path: PathBuf },
    /// A directory with several kustomization files.
    #[error("there is more than one kustomization file in {}", path.display())]
    SeveralFiles { path: PathBuf },
    /// A file outside of the directory of the kustomization file, which kustomize does not read either.
    #[error("{} is not in {} or below it", path.display(), root.display())]
    Outside { path: PathBuf, root: PathBuf },
    /// A kustomization that contains itself.
    #[error("{} contains the kustomization that names it", path.display())]
    Cycle { path: PathBuf },
    /// A file that cannot be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read { path: PathBuf, reason: String },
    /// More than a limit allows.
    #[error("more than {limit} {what}")]
    Limit { limit: u64, what: &'static str },
    /// A document that is not YAML.
    #[error("{0}")]
    Yaml(yaml::Error),
    /// A document that is no object.
    #[error("an object must have {0}")]
    NoObject(&'static str),
    /// A field that kustomization files do not have.
    #[error("kustomization files have no field {0:?}")]
    UnknownField(String),
    /// A field that does not hold what it must.
    #[error("{field} must be {wanted}")]
    Shape { field: String, wanted: &'static str },
    /// A component where a kustomization belongs, or the other way round.
    #[error("{} is a {found}, and {wanted} is wanted", path.display())]
    Kind { path: PathBuf, found: String, wanted: &'static str },
    /// Two objects with one name.
    #[error("{0} is there twice")]
    Twice(String),
    /// Nothing, or more than one object, for something that is meant for one.
    #[error("{what}: {count} objects match {wanted}")]
    Matches { what: &'static str, wanted: String, count: usize },
    /// A regular expression that is none.
    #[error("{0:?} is no regular expression")]
    Pattern(String),
    /// A selector of labels or annotations that is none.
    #[error("{0:?} is no selector")]
    Selector(String),
    /// A patch that does not fit what it is for.
    #[error("the patch does not fit {object}: {reason}")]
    Patch { object: String, reason: String },
    /// A field of a replacement that is not there.
    #[error("there is no field {path:?} in {object}")]
    NoField { path: String, object: String },
    /// A generated object that cannot be generated, or not be put over another.
    #[error("cannot generate {name}: {reason}")]
    Generator { name: String, reason: String },
    /// A chart that cannot be rendered.
    #[error("the chart {name}: {reason}")]
    Chart { name: String, reason: String },
    /// A generator or transformer that is a program, which is not run.
    #[error(
        "{kind} is a program, and programs are not run; put what it makes into a file and name that file"
    )]
    Program { kind: String },
    /// A variable without a value.
    #[error("the variable {0} refers to nothing")]
    Variable(String),
}

/// A command that fetches what a URL names.
fn how(url: &str) -> String {
    let is_file = url.starts_with("http") && [".yaml", ".yml", ".json"].iter().any(|end| url.ends_with(end));
    if is_file {
        return format!("curl -LO {url}");
    }
    let (repository, branch) = url.split_once("?").map_or((url, None), |(repository, query)| {
        let branch =
            query.split('&').find_map(|part| part.strip_prefix("ref=").or(part.strip_prefix("version=")));
        (repository, branch)
    });
    let scheme = repository.find("://").map_or(0, |at| at + 3);
    let end = repository[scheme..].find("//").map_or(repository.len(), |at| scheme + at);
    let mut repository = repository[..end].to_owned();
    if scheme == 0 && !repository.contains('@') {
        let parts: Vec<&str> = repository.splitn(4, '/').collect();
        repository = format!("https://{}", parts[..parts.len().min(3)].join("/"));
    }
    match branch {
        Some(branch) => format!("git clone --depth 1 --branch {branch} {repository}"),
        None => format!("git clone --depth 1 {repository}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_here_is_named_with_the_command_that_fetches_it() {
        let shown = |url: &str| Fault::Remote { url: url.into() }.to_string();
        assert!(shown("https://example.com/a.yaml").contains("`curl -LO https://example.com/a.yaml`"));
        assert!(
            shown("github.com/org/repo/deploy/base?ref=v1.2")
                .contains("`git clone --depth 1 --branch v1.2 https://github.com/org/repo`")
        );
        assert!(
            shown("https://example.com/org/repo.git//deploy?ref=main")
                .contains("`git clone --depth 1 --branch main https://example.com/org/repo.git`")
        );
        assert!(shown("git@example.com:org/repo").contains("`git clone --depth 1 git@example.com:org/repo`"));
    }
}
