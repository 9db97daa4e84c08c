//! Descriptions of clusters: lines are inside of the text, what is found is a reference, and twice the same comes.
#![no_main]

use larder_core::Reference;
use larder_discover::cluster::{Catalog, Description, Kubeadm, is_description};
use larder_gotemplate::yaml::{self, Limits};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static KNOWN: LazyLock<(Kubeadm, Catalog)> = LazyLock::new(|| (Kubeadm::built_in(), Catalog::built_in()));

fuzz_target!(|bytes: &[u8]| {
    let (kubeadm, catalog) = &*KNOWN;
    let limits = Limits { bytes: 1 << 16, depth: 64, nodes: 10_000 };
    let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 1;
    let is_inside = |line: u32| line >= 1 && line as usize <= lines;
    for node in yaml::documents(bytes, &limits).flatten() {
        let read = || Description::read("cluster.yaml", &node, kubeadm, catalog);
        let description = read();
        for find in &description.finds {
            assert!(is_inside(find.place.line), "{find:?}");
            assert!(find.text.parse::<Reference>().is_ok(), "{find:?}");
        }
        assert!(description.wanted.iter().all(|wanted| is_inside(wanted.line)), "{description:?}");
        assert!(description.problems.iter().all(|problem| is_inside(problem.line)), "{description:?}");
        assert!(is_description(&node) || !description.problems.is_empty(), "it is none, and says so");
        assert_eq!(description, read());
    }
});
