//! Whatever real programs make becomes the same archive.

use crate::world::{World, contents, from_file, listing, program, shell};
use larder_packages::Error;
use std::path::PathBuf;

/// A tree with a program, a script, a text, a link and an empty directory.
fn tree(world: &World) -> PathBuf {
    let root = world.path("tree");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::write(root.join("bin/tool"), program(7, 700_000)).unwrap();
    std::fs::write(root.join("bin/run.sh"), "#!/bin/sh\nexec tool\n").unwrap();
    std::fs::write(root.join("README"), "words\n".repeat(1000)).unwrap();
    shell(
        &root,
        "ln -s bin/tool latest; mkdir empty; chmod 700 bin/tool; chmod 775 bin/run.sh; chmod 600 README",
    );
    root
}

#[test]
fn every_format_gives_the_same_bytes() {
    let world = World::new();
    let root = tree(&world);
    shell(
        &root,
        "tar -cf ../t.tar .; tar --sort=name --owner=nobody --mtime=@1 -cf ../o.tar README bin latest empty; cd ..
         gzip -k t.tar; cp t.tar.gz t.tgz; bzip2 -k t.tar; xz -k t.tar; zstd -q -k t.tar
         (bzip2 -c < /dev/null; head -c 100000 t.tar | bzip2; tail -c +100001 t.tar | bzip2) > many.bz2
         (head -c 100000 t.tar | xz; tail -c +100001 t.tar | xz --check=sha256 -9) > many.xz
         (head -c 100000 t.tar | gzip; tail -c +100001 t.tar | gzip) > many.gz
         cd tree; zip -q -r -y ../t.zip .",
    );
    let mut first = None;
    let formats = [
        "t.tar",
        "o.tar",
        "t.tar.gz",
        "t.tgz",
        "t.tar.bz2",
        "t.tar.xz",
        "t.tar.zst",
        "t.zip",
        "many.bz2",
        "many.xz",
        "many.gz",
    ];
    for (at, format) in formats.iter().enumerate() {
        let added = world.add_with(&format!("mytool@1.{at}"), from_file(&world.path(format))).unwrap();
        let bytes = std::fs::read(&added.archive).unwrap();
        let first = first.get_or_insert_with(|| (bytes.clone(), listing(&added.archive)));
        assert!(*first == (bytes, listing(&added.archive)), "{format}: {:#?}", listing(&added.archive));
    }
    let (_, lines) = first.unwrap();
    let expected = [
        "-rw-r--r-- 0/0 6000 1980-01-01 00:00:00 README",
        "drwxr-xr-x 0/0 0 1980-01-01 00:00:00 bin/",
        "-rwxr-xr-x 0/0 20 1980-01-01 00:00:00 bin/run.sh",
        "-rwxr-xr-x 0/0 700004 1980-01-01 00:00:00 bin/tool",
        "drwxr-xr-x 0/0 0 1980-01-01 00:00:00 empty/",
        "lrwxrwxrwx 0/0 0 1980-01-01 00:00:00 latest -> bin/tool",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_program_is_executable_and_has_its_canonical_name() {
    let world = World::new();
    let plain = world.path("runc.amd64");
    std::fs::write(&plain, program(1, 5000)).unwrap();
    let added = world.add_with("runc@1.3.0", from_file(&plain)).unwrap();
    assert_eq!(listing(&added.archive), ["-rwxr-xr-x 0/0 5004 1980-01-01 00:00:00 runc"]);
    // What nothing defines has the name that it was asked for by.
    let added = world.add_with("mytool@1.0", from_file(&plain)).unwrap();
    assert_eq!(contents(&added.archive)["mytool"], program(1, 5000));
    shell(world.directory.path(), "xz -k runc.amd64");
    let added = world.add_with("runc@1.3.1", from_file(&world.path("runc.amd64.xz"))).unwrap();
    assert_eq!(contents(&added.archive)["runc"], program(1, 5000));
}

#[test]
fn a_zip_made_without_modes_has_its_programs_found_out() {
    let world = World::new();
    let root = tree(&world);
    shell(
        &root,
        "rm latest; zip -q -r -X ../dos.zip . && cd .. && python3 - <<'E'
import zipfile
old = zipfile.ZipFile('dos.zip')
new = zipfile.ZipFile('bare.zip', 'w', zipfile.ZIP_DEFLATED)
for member in old.infolist():
    data = old.read(member)
    member.create_system, member.external_attr = 0, 0
    new.writestr(member, data)
new.close()
E",
    );
    let added = world.add_with("mytool@1.0", from_file(&world.path("bare.zip"))).unwrap();
    let lines = listing(&added.archive);
    assert!(
        lines.iter().any(|line| line.starts_with("-rwxr-xr-x") && line.ends_with("bin/tool")),
        "{lines:#?}"
    );
    assert!(
        lines.iter().any(|line| line.starts_with("-rw-r--r--") && line.ends_with("README")),
        "{lines:#?}"
    );
}

#[test]
fn truncated_and_damaged_archives_are_refused() {
    let world = World::new();
    let root = tree(&world);
    shell(
        &root,
        "tar -cf ../t.tar .; cd ..; for p in gzip bzip2 xz zstd; do $p -q -c t.tar > t.$p; done; cd tree; zip -q -r -y ../t.zip .",
    );
    for (at, format) in ["t.gzip", "t.bzip2", "t.xz", "t.zstd", "t.zip", "t.tar"].iter().enumerate() {
        let bytes = std::fs::read(world.path(format)).unwrap();
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 0x10;
        for (kind, bad) in [("cut", bytes[..bytes.len() / 2].to_vec()), ("flipped", flipped)] {
            if *format == "t.tar" && kind == "flipped" {
                // A tar says nothing about its content.
                continue;
            }
            let file = world.path(&format!("{format}.{kind}"));
            std::fs::write(&file, bad).unwrap();
            let error = world.add_with(&format!("mytool@{at}.0"), from_file(&file)).unwrap_err();
            assert!(matches!(error, Error::Archive { .. }), "{format} {kind}: {error}");
        }
    }
    assert!(world.packages().list().unwrap().is_empty() && world.parts().is_empty());
}
