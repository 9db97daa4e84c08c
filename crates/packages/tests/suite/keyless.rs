//! Keyless cosign signatures, by an authority made here as Fulcio is one.

use crate::world::{World, program, shell};
use larder_core::{Classify as _, Kind};
use larder_packages::Error;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, SanType,
};
use std::path::Path;

/// A root, and an authority below it that certifies for a day.
struct Fulcio {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The two files.
struct Signed {
    signature: Vec<u8>,
    certificate: Vec<u8>,
}

impl Fulcio {
    fn new() -> Self {
        let authority = |name: &str| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            // As Fulcio's intermediate: it certifies for nothing else.
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
            params
        };
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = authority("root").self_signed(&root_key).unwrap().pem();
        let root_issuer = Issuer::new(authority("root"), root_key);
        let intermediate = authority("intermediate").signed_by(&key, &root_issuer).unwrap().pem();
        Self { pem: format!("{root}{intermediate}"), issuer: Issuer::new(authority("intermediate"), key) }
    }

    /// Signs as somebody for whom somebody vouches, on a day long ago.
    fn sign(
        &self,
        directory: &Path,
        identity: &str,
        vouches: &str,
        usage: ExtendedKeyUsagePurpose,
        content: &[u8],
    ) -> Signed {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::Rfc822Name(identity.try_into().unwrap())];
        params.extended_key_usages = vec![usage];
        params.not_before = rcgen::date_time_ymd(2024, 1, 1);
        params.not_after = rcgen::date_time_ymd(2024, 1, 2);
        let oid = [1, 3, 6, 1, 4, 1, 57264, 1, 1];
        params.custom_extensions = vec![CustomExtension::from_oid_content(&oid, vouches.as_bytes().to_vec())];
        let write = |name: &str, bytes: &[u8]| std::fs::write(directory.join(name), bytes).unwrap();
        write("key.pem", key.serialize_pem().as_bytes());
        write("content", content);
        // Kubernetes puts its certificates into base64 once more.
        write("plain", params.signed_by(&key, &self.issuer).unwrap().pem().as_bytes());
        shell(
            directory,
            "openssl dgst -sha256 -sign key.pem content | base64 -w 0 > sig; base64 -w 0 plain > cert",
        );
        let read = |name: &str| std::fs::read(directory.join(name)).unwrap();
        Signed { signature: read("sig"), certificate: read("cert") }
    }
}

const URL: &str = "https://dl.k8s.io/release/v1.33.4/bin/linux/amd64/kubeadm";
const IDENTITY: &str = "krel-staging@k8s-releng-prod.iam.gserviceaccount.com";
const ISSUER: &str = "https://accounts.google.com";

#[test]
fn a_signature_is_verified_down_to_who_signed_and_who_vouches() {
    let mut world = World::new();
    let (fulcio, other) = (Fulcio::new(), Fulcio::new());
    std::fs::write(world.path("keys/fulcio.pem"), &fulcio.pem).unwrap();
    let content = program(1, 1000);
    world.publish_at(URL, &content);
    let directory = world.directory.path().to_owned();
    let code = || ExtendedKeyUsagePurpose::CodeSigning;
    let put = |world: &World, signed: &Signed| {
        world.publish(&format!("{URL}.sig"), signed.signature.clone());
        world.publish(&format!("{URL}.cert"), signed.certificate.clone());
    };
    let refused = |world: &World, what: &str| {
        let error = world.add("kubeadm@1.33.4").unwrap_err();
        let is_signature = matches!(error, Error::Signature { kind: "cosign", .. });
        assert!(is_signature, "{what}: {}", larder_core::report(&error));
    };
    let sign = |identity, vouches, usage, content| fulcio.sign(&directory, identity, vouches, usage, content);
    put(&world, &other.sign(&directory, IDENTITY, ISSUER, code(), &content));
    refused(&world, "another authority");
    put(&world, &sign("somebody@example.com", ISSUER, code(), &content));
    refused(&world, "another identity");
    put(&world, &sign(IDENTITY, "https://github.com/login/oauth", code(), &content));
    refused(&world, "another issuer");
    put(&world, &sign(IDENTITY, ISSUER, ExtendedKeyUsagePurpose::ServerAuth, &content));
    refused(&world, "another usage");
    put(&world, &sign(IDENTITY, ISSUER, code(), b"other content"));
    refused(&world, "another file");
    let good = sign(IDENTITY, ISSUER, code(), &content);
    put(&world, &Signed { signature: b"AAAA".to_vec(), certificate: good.certificate.clone() });
    refused(&world, "nonsense");
    put(&world, &good);
    // The authorities of the public instance did not make it.
    let given = std::mem::take(&mut world.settings.keys);
    refused(&world, "the public authorities");
    world.settings.keys = given;
    let said = world.add("kubeadm@1.33.4").unwrap().entry.verified.join("; ");
    assert!(said.contains(IDENTITY) && said.contains("not checked"), "{said}");
    world.server.remove_file(&format!("{}.sig", URL.strip_prefix("https://").unwrap()));
    world.packages().remove(&"kubeadm".parse().unwrap(), None, false).unwrap();
    let missing = world.add("kubeadm@1.33.4").unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound, "a signature that is not there is not one that is good");
}
