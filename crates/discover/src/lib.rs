//! Finds every image that manifests, charts, kustomizations and cluster descriptions ask for, with proof of where.

pub mod chart;
pub mod cluster;
mod content;
pub mod dockerfile;
mod error;
mod json;
pub mod kustomize;
pub mod manifest;
mod mirror;
pub mod running;
mod survey;

pub use error::{Error, Result};
pub use mirror::{Mirror, MirrorValues};
pub use survey::{Input, Survey, SurveyOptions, Trouble, survey, wanted_by};
