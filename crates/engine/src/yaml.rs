//! What is printed as YAML.

use crate::{Error, Result};
use larder_gotemplate::{Map, Value, yaml};

/// A document of ours as YAML, its keys sorted.
///
/// # Errors
/// None that a document of this crate has.
pub fn yaml_of(document: &impl serde::Serialize) -> Result<String> {
    let json = serde_json::to_vec(document).map_err(|error| unprintable(&error))?;
    let value = yaml::parse(&json).map_err(|error| unprintable(&error))?;
    yaml::emit(&value).map_err(|error| unprintable(&error))
}

/// Values for a chart as YAML.
///
/// # Errors
/// Values that YAML does not have, such as NaN.
pub fn values_yaml(values: &Map) -> Result<String> {
    yaml::emit(&Value::Map(values.clone())).map_err(|error| unprintable(&error))
}

/// Values for a chart as JSON.
///
/// # Errors
/// Values that JSON does not have, such as NaN.
pub fn values_json(values: &Map) -> Result<serde_json::Value> {
    let text = values_yaml(values)?;
    serde_saphyr::from_str(&text).map_err(|error| unprintable(&error))
}

fn unprintable(error: &dyn std::fmt::Display) -> Error {
    Error::Unprintable { reason: error.to_string() }
}
