//! Kustomizations: what is said of a build lies in its files, it reads nothing outside of its directory, and twice the same comes.
#![no_main]

use larder_discover::kustomize::{Options, build};
use larder_discover::manifest::{Rules, Scanner};
use larder_gotemplate::yaml;
use libfuzzer_sys::fuzz_target;

// Files are parted by lines of `%`: the first is the kustomization file, the others are `a`, `b`, `c` and that of the base `d`.
fuzz_target!(|text: &str| {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path().join("root");
    let names = ["kustomization.yaml", "a", "b", "c", "d/kustomization.yaml"];
    std::fs::create_dir_all(root.join("d")).expect("a directory");
    std::fs::write(directory.path().join("outside"), SECRET).expect("a file");
    for (name, text) in names.iter().zip(text.split("\n%\n")) {
        std::fs::write(root.join(name), text).expect("a file");
    }
    let options = Options { objects: 1000, ..Options::default() };
    let first = build(&root, &options);
    let scanner = Scanner::new(Rules::built_in());
    let scan = first.scan(&scanner);
    for place in scan.finds.iter().map(|find| &find.find.place) {
        assert!(!place.source.is_empty() && place.line >= 1, "{place:?}");
    }
    for object in &first.objects {
        let text = yaml::to_value(object).and_then(|value| yaml::emit(&value)).unwrap_or_default();
        assert!(!text.contains(SECRET), "it is outside");
    }
    let second = build(&root, &options);
    assert_eq!(first.objects, second.objects);
    assert_eq!(first.problems, second.problems);
});

const SECRET: &str = "not-to-be-read-9fd1";
