//! Manifests, with what is embedded in them, and Dockerfiles: lines are inside of the text, what is found is a reference, no more is
//! found than may be, and twice the same comes.
#![no_main]

use larder_core::Reference;
use larder_discover::dockerfile;
use larder_discover::manifest::{Limits, Rules, Scan, Scanner};
use larder_gotemplate::yaml;
use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;
use std::sync::LazyLock;

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| {
    let yaml = yaml::Limits { bytes: 1 << 16, depth: 64, nodes: 10_000 };
    Scanner::with_limits(Rules::built_in(), Limits { yaml, finds: 1_000, embedded: 3 })
});

fuzz_target!(|bytes: &[u8]| {
    // YAML has more signs for the end of a line than Dockerfiles have; of those, and of UTF-16, this is the last byte.
    let ends = |byte: &&u8| matches!(byte, b'\n' | b'\r' | 0x85 | 0xa8 | 0xa9 | 0x28 | 0x29);
    let lines = bytes.iter().filter(ends).count() + 1;
    let check = |scan: &Scan| {
        assert!(scan.finds.len() + scan.problems.len() <= 2_000, "there is an end");
        for find in &scan.finds {
            assert!(find.place.line as usize <= lines, "{find:?}");
            assert_eq!(
                find.reference.to_string().parse::<Reference>().ok().as_ref(),
                Some(&find.reference),
                "{find:?}"
            );
        }
        assert!(
            scan.problems.iter().all(|problem| problem.place.line as usize <= lines),
            "{:?}",
            scan.problems
        );
    };
    let manifests = SCANNER.scan("manifest", bytes);
    check(&manifests);
    assert_eq!(manifests, SCANNER.scan("manifest", bytes));
    let text = String::from_utf8_lossy(bytes);
    let build = dockerfile::scan("Dockerfile", &text, &HashMap::new());
    check(&build);
    assert_eq!(build, dockerfile::scan("Dockerfile", &text, &HashMap::new()));
});
