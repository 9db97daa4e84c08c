//! What Helm adds to Sprig (helm.sh/helm/v4, `pkg/engine`).

pub(crate) mod flow;
mod json;
pub(crate) mod methods;
mod toml;
mod toml_text;
mod yaml;

use crate::function::Function;

/// The functions, by file. They come after Sprig's and hide those of the same name.
pub(crate) const TABLES: &[&[Function]] =
    &[flow::FUNCTIONS, json::FUNCTIONS, toml::FUNCTIONS, yaml::FUNCTIONS];
