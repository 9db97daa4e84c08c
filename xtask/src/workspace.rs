//! The cargo workspace: where it is, which crates it has, and what each declares about itself.

use crate::program;
use anyhow::{Context, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace as `cargo metadata` describes it, without external crates.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) packages: Vec<Package>,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
}

/// One crate of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) description: String,
    /// The crate's folder, relative to the root.
    pub(crate) folder: PathBuf,
    /// `None` when the crate does not say, or says something unknown.
    pub(crate) layer: Option<Layer>,
    pub(crate) dependencies: Vec<Dependency>,
}

/// Where a crate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// Part of the product; smaller is deeper.
    Number(u64),
    /// For tests only.
    Test,
    /// The project's own commands.
    Tool,
}

/// An edge to another crate.
#[derive(Debug, Clone)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: DependencyKind,
}

/// What an edge is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DependencyKind {
    Normal,
    Build,
    Development,
}

impl Workspace {
    /// Asks cargo.
    pub(crate) fn read() -> Result<Self> {
        let text = program::output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let value: Value = serde_json::from_str(&text).context("cargo metadata did not print JSON")?;
        Self::parse(&value)
    }

    fn parse(metadata: &Value) -> Result<Self> {
        let root = Path::new(metadata["workspace_root"].as_str().context("metadata without workspace_root")?);
        let target = metadata["target_directory"].as_str().context("metadata without target_directory")?;
        let packages = metadata["packages"]
            .as_array()
            .context("metadata without packages")?
            .iter()
            .map(|package| Package::parse(package, root))
            .collect::<Result<_>>()?;
        Ok(Self { packages, target: target.into() })
    }
}

impl Package {
    fn parse(value: &Value, root: &Path) -> Result<Self> {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let manifest = PathBuf::from(text("manifest_path"));
        let folder = manifest.parent().context("a manifest outside of a folder")?;
        Ok(Self {
            name: text("name"),
            description: text("description"),
            folder: folder.strip_prefix(root).unwrap_or(folder).to_owned(),
            layer: Layer::parse(&value["metadata"]["larder"]["layer"]),
            dependencies: value["dependencies"]
                .as_array()
                .into_iter()
                .flatten()
                .map(Dependency::parse)
                .collect(),
        })
    }
}

impl Layer {
    fn parse(value: &Value) -> Option<Self> {
        match (value.as_u64(), value.as_str()) {
            (Some(number), _) => Some(Self::Number(number)),
            (_, Some("test")) => Some(Self::Test),
            (_, Some("tool")) => Some(Self::Tool),
            _ => None,
        }
    }
}

impl Dependency {
    fn parse(value: &Value) -> Self {
        Self {
            name: value["name"].as_str().unwrap_or_default().to_owned(),
            kind: match value["kind"].as_str() {
                Some("dev") => DependencyKind::Development,
                Some("build") => DependencyKind::Build,
                _ => DependencyKind::Normal,
            },
        }
    }
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// The cargo that built this program, in the root of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(root());
    command
}
