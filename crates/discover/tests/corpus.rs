//! Precision and recall of the built-in rules over manifests that are labelled by hand.

#[path = "corpus/measure.rs"]
mod measure;

use measure::Measure;
use std::path::Path;

#[test]
fn every_image_is_found_and_what_is_likely_is_one() {
    let measure = Measure::of(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus")));
    assert!(measure.labelled >= 150, "{measure}");
    assert!(measure.missed.is_empty(), "{measure}");
    assert!(measure.precision() >= 0.99, "{measure}");
}
