//! OpenPGP signatures by GnuPG.

use crate::world::{World, program, shell};
use larder_core::{Classify as _, Digest, Kind};
use larder_packages::Error;
use larder_testkit::{Process, tools};
use std::path::{Path, PathBuf};

/// A GnuPG home.
struct Gpg {
    home: tempfile::TempDir,
}

impl Gpg {
    /// With a key that signs.
    fn new(algorithm: &str) -> Self {
        let gpg = Self::empty();
        gpg.run(&["--quick-generate-key", "Test <test@example.com>", algorithm, "sign", "never"], "");
        gpg
    }

    fn empty() -> Self {
        // The path of the agent's socket has to be short.
        Self { home: tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap() }
    }

    fn run(&self, args: &[&str], input: &str) -> Vec<u8> {
        Process::new(tools::find("gpg").unwrap())
            .env("GNUPGHOME", self.home.path())
            .args(["--batch", "--quiet", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""])
            .args(args)
            .input(input)
            .run()
            .unwrap()
            .stdout
    }

    fn export(&self, path: &Path, armoured: bool) {
        let args: &[&str] = if armoured { &["--armor", "--export"] } else { &["--export"] };
        std::fs::write(path, self.run(args, "")).unwrap();
    }

    fn clear_sign(&self, text: &str) -> Vec<u8> {
        self.run(&["--clear-sign"], text)
    }

    fn fingerprint(&self) -> String {
        let listed = String::from_utf8(self.run(&["--with-colons", "--list-keys"], "")).unwrap();
        listed.lines().find(|line| line.starts_with("fpr")).unwrap().split(':').nth(9).unwrap().to_owned()
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let agent = Process::new("/usr/bin/gpgconf").env("GNUPGHOME", self.home.path());
        let _ = agent.args(["--kill", "all"]).outcome();
    }
}

const RUNC: &str = "https://github.com/opencontainers/runc/releases/download/v1.3.0";

/// Publishes runc with its list of checksums as `sign` makes it of the text.
fn publish_runc(world: &World, sign: impl FnOnce(&str) -> Vec<u8>) {
    let bytes = program(1, 1000);
    world.publish(&format!("{RUNC}/runc.amd64"), bytes.clone());
    let list = format!("{}  runc.s390x\n{}  runc.amd64\n", Digest::of(b"x").hex(), Digest::of(&bytes).hex());
    world.publish(&format!("{RUNC}/runc.sha256sum"), sign(&list));
}

fn keyring(world: &World, name: &str) -> PathBuf {
    world.path("keys").join(name)
}

#[test]
fn a_clear_signed_list_is_verified_where_there_is_a_key() {
    for (algorithm, armoured, name) in
        [("ed25519", true, "runc.asc"), ("rsa2048", false, "runc.gpg"), ("nistp256", true, "runc.asc")]
    {
        let world = World::new();
        let gpg = Gpg::new(algorithm);
        gpg.export(&keyring(&world, name), armoured);
        publish_runc(&world, |list| gpg.clear_sign(list));
        let verified = world.add("runc@1.3.0").unwrap().entry.verified.join("; ");
        let expected = format!("OpenPGP signature of the checksums by {}", gpg.fingerprint());
        assert!(verified.contains(&expected), "{verified}");
    }
}

#[test]
fn a_list_by_another_key_or_changed_or_unsigned_is_refused() {
    let world = World::new();
    let (gpg, other) = (Gpg::new("ed25519"), Gpg::new("ed25519"));
    gpg.export(&keyring(&world, "runc.asc"), true);
    let evil = Digest::of(&program(1, 1000)).hex();
    let good = "0".repeat(64);
    let refused = |what: &str, sign: &dyn Fn(&str) -> Vec<u8>| {
        publish_runc(&world, sign);
        let error = world.add("runc@1.3.0").unwrap_err();
        assert!(matches!(error, Error::Signature { .. }), "{what}: {error}");
        assert_eq!(error.kind(), Kind::Corrupt);
    };
    refused("another key", &|list| other.clear_sign(list));
    refused("unsigned", &|list| list.as_bytes().to_vec());
    refused("changed", &|list| {
        let signed = String::from_utf8(gpg.clear_sign(&list.replace(&evil, &good))).unwrap();
        signed.replace(&good, &evil).into_bytes()
    });
    let line = format!("{evil}  runc.amd64\n").into_bytes();
    refused("a line before", &|list| [line.clone(), gpg.clear_sign(&list.replace(&evil, &good))].concat());
    refused("a line behind", &|list| [gpg.clear_sign(&list.replace(&evil, &good)), line.clone()].concat());
    refused("a detached one", &|list| gpg.run(&["--armor", "--detach-sign"], list));
    publish_runc(&world, |list| gpg.clear_sign(list));
    world.add("runc@1.3.0").unwrap();
}

#[test]
fn a_revoked_key_signs_nothing() {
    let world = World::new();
    let gpg = Gpg::new("ed25519");
    publish_runc(&world, |list| gpg.clear_sign(list));
    let revocation = gpg.home.path().join(format!("openpgp-revocs.d/{}.rev", gpg.fingerprint()));
    // GnuPG puts a colon before it, against accidents.
    let text = std::fs::read_to_string(revocation).unwrap().replace(":-----BEGIN", "-----BEGIN");
    gpg.run(&["--import"], &text);
    gpg.export(&keyring(&world, "runc.asc"), true);
    let error = world.add("runc@1.3.0").unwrap_err().to_string();
    assert!(error.contains("revoked"), "{error}");
}

#[test]
fn a_key_that_expires_signs_until_then() {
    let world = World::new();
    let gpg = Gpg::empty();
    let at = |time: &'static str| ["--faked-system-time", time];
    let key = ["--quick-generate-key", "Old <old@example.com>", "ed25519", "sign", "1y"];
    gpg.run(&[&at("20200101T000000")[..], &key[..]].concat(), "");
    gpg.export(&keyring(&world, "runc.asc"), true);
    publish_runc(&world, |list| gpg.run(&[&at("20200601T000000")[..], &["--clear-sign"]].concat(), list));
    world.add("runc@1.3.0").unwrap();
    // The same key with a signature of the same moment, said to expire before that.
    world.packages().remove(&"runc".parse().unwrap(), None, true).unwrap();
    let fingerprint = gpg.fingerprint();
    let shorter = ["--quick-set-expire", &fingerprint, "2020-03-01"];
    gpg.run(&[&at("20200102T000000")[..], &shorter[..]].concat(), "");
    gpg.export(&keyring(&world, "runc.asc"), true);
    let error = world.add("runc@1.3.0").unwrap_err().to_string();
    assert!(error.contains("expired"), "{error}");
}

#[test]
fn a_subkey_signs_for_its_primary_key() {
    let world = World::new();
    let gpg = Gpg::empty();
    gpg.run(&["--quick-generate-key", "Test <test@example.com>", "ed25519", "cert", "never"], "");
    let fingerprint = gpg.fingerprint();
    gpg.run(&["--quick-add-key", &fingerprint, "ed25519", "sign", "never"], "");
    gpg.export(&keyring(&world, "runc.asc"), true);
    publish_runc(&world, |list| gpg.clear_sign(list));
    let verified = world.add("runc@1.3.0").unwrap().entry.verified.join("; ");
    assert!(verified.contains(&fingerprint), "{verified}");
}

#[test]
fn detached_signatures_of_releases_are_verified() {
    let world = World::new();
    let (gpg, other) = (Gpg::new("ed25519"), Gpg::new("ed25519"));
    gpg.export(&keyring(&world, "helm.asc"), true);
    let work = world.path("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("helm"), program(1, 1000)).unwrap();
    shell(&work, "mkdir linux-amd64; mv helm linux-amd64; tar -czf h.tgz linux-amd64");
    let bytes = std::fs::read(work.join("h.tgz")).unwrap();
    let name = "helm-v3.18.0-linux-amd64.tar.gz";
    world.publish(&format!("https://get.helm.sh/{name}"), bytes.clone());
    let sum = format!("{}  {name}\n", Digest::of(&bytes).hex());
    world.publish(&format!("https://get.helm.sh/{name}.sha256sum"), sum);
    let signature = format!("https://github.com/helm/helm/releases/download/v3.18.0/{name}.asc");
    let file = work.join("h.tgz").display().to_string();
    let sign = |gpg: &Gpg| gpg.run(&["--armor", "--detach-sign", "--output", "-", &file], "");
    world.publish(&signature, sign(&other));
    assert!(matches!(world.add("helm@3.18.0"), Err(Error::Signature { .. })));
    assert!(world.parts().is_empty());
    world.publish(&signature, sign(&gpg));
    let verified = world.add("helm@3.18.0").unwrap().entry.verified.join("; ");
    assert!(verified.contains("OpenPGP signature by "), "{verified}");
}

#[test]
fn without_a_key_a_signature_is_told_to_be_unverified_or_refused_on_demand() {
    let mut world = World::new();
    let gpg = Gpg::new("ed25519");
    publish_runc(&world, |list| gpg.clear_sign(list));
    world.settings.require_signatures = true;
    let error = world.add("runc@1.3.0").unwrap_err();
    assert!(matches!(error, Error::Unsigned { .. }), "{error}");
    world.settings.require_signatures = false;
    world.add("runc@1.3.0").unwrap();
    assert!(world.warned("signature was not verified"));
    // That it is here does not make it signed.
    world.settings.require_signatures = true;
    let error = world.add("runc@1.3.0").unwrap_err();
    assert!(matches!(error, Error::Unsigned { .. }), "{error}");
}

#[test]
fn a_tool_that_nobody_signs_is_refused_on_demand() {
    let mut world = World::new();
    let (work, name) = (world.path("work"), "cni-plugins-linux-amd64-v1.7.1.tgz");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("bridge"), program(1, 5_000)).unwrap();
    shell(&work, &format!("chmod 755 bridge; tar -czf {name} bridge"));
    let bytes = std::fs::read(work.join(name)).unwrap();
    let url = format!("https://github.com/containernetworking/plugins/releases/download/v1.7.1/{name}");
    world.publish(&format!("{url}.sha256"), format!("{}  {name}\n", Digest::of(&bytes).hex()));
    world.publish(&url, bytes);
    world.settings.require_signatures = true;
    let error = world.add("cni-plugins@1.7.1").unwrap_err();
    assert!(matches!(error, Error::Unsigned { .. }), "{error}");
    assert!(world.parts().is_empty());
    world.settings.require_signatures = false;
    world.add("cni-plugins@1.7.1").unwrap();
}
