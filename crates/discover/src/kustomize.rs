//! Kustomizations: what `kustomize build` makes of a directory, without kustomize.
//!
//! Follows kustomize 5.8. Nothing is fetched and no program is run: what a kustomization wants of that kind is a [`Problem`],
//! and so is everything else that kustomize would stop at; the rest is built all the same. Objects keep their places: the line of
//! every node in them leads through [`Sources`] to the file it is from, or to the line of the kustomization that set it.

mod budget;
mod build;
mod charts;
mod edit;
mod fault;
mod field;
mod field_path;
mod fields;
mod file;
mod generators;
mod images;
mod item;
mod json_patch;
mod merge;
mod metadata;
mod names;
mod patches;
mod plugins;
mod references;
mod replacements;
mod root;
mod scan;
mod schema;
mod selector;
mod sources;
mod target;
mod variables;

pub use build::{Build, Options, build};
pub use fault::{Fault, Problem};
pub use scan::{BuildFind, BuildScan};
pub use sources::{Origin, Role, Sources};

use std::path::Path;

/// Whether a file is one by its name.
pub fn is_kustomization_file(path: &Path) -> bool {
    path.file_name().is_some_and(root::is_kustomization_name)
}

/// Whether a directory holds a kustomization.
pub fn is_kustomization(directory: &Path) -> bool {
    root::is_kustomization(directory)
}
