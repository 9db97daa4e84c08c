//! Archives that mean harm.

use crate::world::{World, from_file, shell};
use larder_core::{Classify as _, Kind};
use larder_testkit::TarBuilder;

/// Whether it is refused, without a trace.
#[track_caller]
fn refused(world: &World, name: &str, bytes: &[u8]) -> String {
    let file = world.path("hostile");
    std::fs::write(&file, bytes).unwrap();
    let error = world.add_with("mytool@1.0", from_file(&file)).expect_err(name);
    assert_eq!(error.kind(), Kind::Invalid, "{name}: {error}");
    assert!(world.packages().list().unwrap().is_empty() && world.parts().is_empty(), "{name}");
    larder_core::report(&error)
}

#[test]
fn archives_that_leave_their_place_are_refused() {
    let world = World::new();
    let tar = TarBuilder::new;
    for (name, archive) in [
        ("up", tar().file("../evil", "x")),
        ("far up", tar().file("a/../../evil", "x")),
        ("link out", tar().symlink("a", "/etc").file("b", "x")),
        ("link up", tar().symlink("a/b", "../../c").file("b", "x")),
        ("through a link", tar().symlink("a", "b").file("a/c", "x")),
        ("through a later link", tar().file("a/c", "x").symlink("a", "b")),
        ("below a file", tar().file("a", "x").file("a/b", "x")),
        ("hard link out", tar().hard_link("a", "../../etc/passwd")),
        ("hard link to nothing", tar().hard_link("a", "b").file("b", "x")),
        ("device", tar().char_device("null", 1, 3).file("b", "x")),
        ("pipe", tar().fifo("p").file("b", "x")),
        ("whiteout", tar().whiteout("b").file("c", "x")),
        ("twice", tar().file("a", "x").file("./a", "y")),
        ("empty", tar().directory("a")),
    ] {
        refused(&world, name, &archive.build());
    }
    assert!(!world.path("evil").exists());
}

#[test]
fn bombs_are_refused_before_they_fill_the_disk() {
    let world = World::new();
    let work = world.directory.path();
    // 300 MB of zeros, in a few bytes of each kind; the limit is 256 MB, and 200 to 1.
    shell(
        work,
        "head -c 300000000 /dev/zero > z; tar -cf z.tar z; for p in gzip bzip2 xz zstd; do $p -c z.tar > z.$p; done; zip -q z.zip z; rm z z.tar",
    );
    shell(
        work,
        "head -c 100000000 /dev/zero > r; tar -cf r.tar r; for p in gzip bzip2 xz zstd; do $p -c r.tar > r.$p; done; zip -q r.zip r; rm r r.tar",
    );
    for format in ["gzip", "bzip2", "xz", "zstd", "zip"] {
        for kind in ["z", "r"] {
            let bytes = std::fs::read(world.path(&format!("{kind}.{format}"))).unwrap();
            let said = refused(&world, format, &bytes);
            assert!(said.contains("limit"), "{kind}.{format}: {said}");
        }
    }
    let mut many = TarBuilder::new();
    for at in 0..1001 {
        many = many.file(format!("f{at}"), "");
    }
    refused(&world, "members", &many.build());
    // One file, and a hundred other names for it.
    let mut links = TarBuilder::new().file("a", vec![7; 3_000_000]);
    for at in 0..100 {
        links = links.hard_link(format!("l{at}"), "a");
    }
    refused(&world, "hard links", &links.build());
}

#[test]
fn zips_that_readers_disagree_about_are_refused() {
    let world = World::new();
    shell(
        world.directory.path(),
        "python3 - <<'E'
import warnings, zipfile
warnings.simplefilter('ignore')
def make(name, *members):
    with zipfile.ZipFile(name, 'w') as z:
        for member in members: z.writestr(*member)
make('up.zip', ('../evil', 'x'))
make('twice.zip', ('a', 'x'), ('a', 'y'))
make('slashes.zip', ('..\\\\evil', 'x'))
link = zipfile.ZipInfo('l'); link.create_system = 3; link.external_attr = 0o120777 << 16
make('link.zip', (link, '/etc/passwd'), ('a', 'x'))
make('liar.zip', ('a', 'x' * 100))
data = bytearray(open('liar.zip', 'rb').read())
at = data.rindex(b'PK\\x01\\x02')
data[at + 24:at + 28] = (50).to_bytes(4, 'little')
open('liar.zip', 'wb').write(data)
make('crc.zip', ('a', 'x' * 100))
data = bytearray(open('crc.zip', 'rb').read())
at = data.index(b'x' * 100)
data[at] = 0x79
open('crc.zip', 'wb').write(data)
E",
    );
    for name in ["up", "twice", "slashes", "link", "liar", "crc"] {
        let bytes = std::fs::read(world.path(&format!("{name}.zip"))).unwrap();
        refused(&world, name, &bytes);
    }
}
