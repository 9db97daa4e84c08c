//! Every sentence of the distribution specification.

use larder_testkit::Home;
use larder_testkit::suite::distribution::{Target, conformance};

#[test]
fn every_sentence_of_the_specification_holds() {
    let home = Home::new().unwrap();
    let registry = home.serve(["--offline"]).unwrap();
    let report = conformance(&Target::new(&registry.host()));
    assert!(report.violations.is_empty(), "{report}");
}
