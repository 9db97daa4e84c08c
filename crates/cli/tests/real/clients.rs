//! Other tools make the images we pull, and read the store we keep.

use super::world;
use larder_testkit::tools::{Skopeo, SkopeoCopy, Umoci, buildah_image, umoci_image};
use larder_testkit::{DockerRegistry, Home, Ignore, Listing};

#[test]
fn skopeo_and_umoci_read_the_store() {
    let (_registry, home, image, reference) = world(20);
    home.run(["pull", &reference]).success();
    let layout = format!("oci:{}:{reference}", home.store().display());
    let seen = Skopeo::new().unwrap().inspect(&layout).unwrap();
    assert_eq!(seen["Digest"], image.digest().to_string());
    assert_eq!(seen["Layers"].as_array().unwrap().len(), 3);
}

#[test]
fn umoci_unpacks_the_store_to_the_tree_we_unpack() {
    let registry = DockerRegistry::start().unwrap();
    let layout = tempfile::tempdir().unwrap();
    let umoci = umoci_image(
        &layout.path().join("l"),
        "1",
        &mut [
            &mut |root| {
                std::fs::create_dir_all(root.join("etc/deep/er"))?;
                std::fs::write(root.join("etc/a"), "one")?;
                std::fs::hard_link(root.join("etc/a"), root.join("etc/b"))?;
                std::fs::write(root.join("etc/deep/gone"), "soon")?;
                std::os::unix::fs::symlink("../a", root.join("etc/deep/link"))?;
                Ok(())
            },
            &mut |root| {
                std::fs::remove_file(root.join("etc/deep/gone"))?;
                std::fs::write(root.join("etc/c"), "two")?;
                Ok(())
            },
        ],
    );
    drop(umoci.unwrap());
    let target = registry.reference("umoci:1").to_string();
    let from = format!("oci:{}:1", layout.path().join("l").display());
    Skopeo::new().unwrap().copy(&from, &format!("docker://{target}"), &SkopeoCopy::default()).unwrap();
    let home = Home::new().unwrap();
    home.run(["pull", &target]).success();
    home.run(["unpack", &target, "ours"]).success();
    let theirs = Umoci::open(home.store()).unwrap().unpack(&target, &home.path().join("theirs")).unwrap();
    let ours = Listing::of(&home.path().join("ours")).unwrap();
    // umoci stamps the directories it changed while applying whiteouts.
    ours.assert_same(
        &Listing::of(&theirs).unwrap(),
        Ignore { root: true, directory_mtime: true, ..Ignore::default() },
    );
    assert!(!home.path().join("ours/etc/deep/gone").exists());
}

#[test]
fn images_of_buildah_run_from_the_mount() {
    let context = tempfile::tempdir().unwrap();
    std::fs::write(context.path().join("file"), "from buildah").unwrap();
    let layout = tempfile::tempdir().unwrap();
    let path = layout.path().join("l");
    buildah_image(&path, "1", "FROM scratch\nCOPY file /srv/file\nLABEL a=b\nENV X=y\n", context.path())
        .unwrap();
    let home = Home::new().unwrap();
    let from = format!("oci:{}:1", path.display());
    home.run(["copy", &from, "localhost/built:1"]).success();
    home.run(["mount", "localhost/built:1", "m"]).success();
    let read = std::fs::read_to_string(home.path().join("m/srv/file")).unwrap();
    home.run(["unmount", "m"]).success();
    assert_eq!(read, "from buildah");
}
