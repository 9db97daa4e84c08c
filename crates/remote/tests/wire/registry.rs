//! The real thing: docker-registry, where it is installed.

use crate::push::Memory;
use crate::server::{config, drain, image, noise, repository};
use larder_core::{Classify, Descriptor, Document, Kind, MediaType, Registry, Tag, silent};
use larder_remote::{Auth, Client, Config, Error};
use std::path::Path;
use std::time::Duration;

struct DockerRegistry {
    child: tokio::process::Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl DockerRegistry {
    /// `None`, said aloud, where the program is missing.
    #[expect(clippy::print_stderr, reason = "a test that cannot run must say so")]
    async fn start(tls: Option<(&str, &str)>) -> Option<Self> {
        let program = ["/usr/bin/docker-registry", "/usr/local/bin/docker-registry", "/usr/bin/registry"];
        let Some(program) = program.iter().find(|program| Path::new(program).is_file()) else {
            eprintln!("docker-registry is not installed: not tested against it");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut http = format!("{{addr: \"127.0.0.1:{port}\"");
        if let Some((certificate, key)) = tls {
            std::fs::write(dir.path().join("server.pem"), certificate).unwrap();
            std::fs::write(dir.path().join("server.key"), key).unwrap();
            let at = dir.path().display();
            http.push_str(&format!(", tls: {{certificate: \"{at}/server.pem\", key: \"{at}/server.key\"}}"));
        }
        let yaml = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: \"{}\"}}, delete: {{enabled: true}}}}\nhttp: {http}}}\n",
            dir.path().join("data").display()
        );
        std::fs::write(dir.path().join("config.yml"), yaml).unwrap();
        let child = tokio::process::Command::new(program)
            .arg("serve")
            .arg(dir.path().join("config.yml"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let registry = Self { child, port, dir };
        for _ in 0..500 {
            if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(registry);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("docker-registry does not come up: {:?}", registry.child);
    }
}

fn patient() -> Config {
    Config { idle_timeout: Duration::from_secs(10), push_chunk: 2 << 20, ..config() }
}

async fn round_trip(client: &Client, registry: &Registry) {
    let repo = client.repository(registry, &repository("team/app"), Auth::Anonymous);
    repo.ping().await.unwrap();
    let error = repo.manifest("1.0").await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound, "{error:?}");

    let text = image("round trip");
    let document = Document::parse(text.clone().into_bytes(), None).unwrap();
    let content = noise(5 << 20);
    let descriptor = Descriptor::of(MediaType::OCI_LAYER_GZIP, &content);
    for bytes in [b"round trip".to_vec(), content.clone()] {
        let descriptor = Descriptor::of(MediaType::OCI_LAYER_GZIP, &bytes);
        assert_eq!(repo.has_blob(&descriptor.digest).await.unwrap(), None);
        repo.push_blob(&descriptor, &Memory(bytes), &silent()).await.unwrap();
        assert_eq!(repo.has_blob(&descriptor.digest).await.unwrap(), Some(descriptor.size));
    }
    let tag = Tag::new("1.0").unwrap();
    repo.push_manifest(&document, Some(&tag)).await.unwrap();
    assert_eq!(repo.resolve("1.0").await.unwrap(), document.descriptor());
    assert_eq!(repo.manifest(&document.digest().to_string()).await.unwrap().raw()[..], *text.as_bytes());
    assert_eq!(repo.tags().await.unwrap(), [tag]);
    assert!(drain(repo.blob(&descriptor, 0).await.unwrap()).await.unwrap() == content);
    assert!(drain(repo.blob(&descriptor, 4_000_000).await.unwrap()).await.unwrap() == content[4_000_000..]);
    assert!(
        repo.blob_range(&descriptor, 1_000_000, 1_000).await.unwrap().concat()
            == content[1_000_000..1_001_000]
    );

    let other = client.repository(registry, &repository("other"), Auth::Anonymous);
    assert!(other.mount_blob(&descriptor.digest, &repository("team/app")).await.unwrap());
    assert_eq!(other.has_blob(&descriptor.digest).await.unwrap(), Some(descriptor.size));
    let unknown = larder_core::Digest::of(b"unknown");
    assert!(!other.mount_blob(&unknown, &repository("team/app")).await.unwrap());

    // It has no referrers API: the fallback tag stands in.
    let subject = serde_json::to_string(&document.descriptor()).unwrap();
    let attached = text.replacen('{', &format!("{{\"artifactType\":\"sig\",\"subject\":{subject},"), 1);
    let attached = Document::parse(attached.into_bytes(), None).unwrap();
    assert!(repo.referrers(&document.digest(), None).await.unwrap().is_empty());
    repo.push_manifest(&attached, None).await.unwrap();
    let found = repo.referrers(&document.digest(), Some("sig")).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [attached.digest()]);
}

#[tokio::test]
async fn docker_registry_over_plain_http() {
    let Some(server) = DockerRegistry::start(None).await else { return };
    let registry = Registry::new(&format!("127.0.0.1:{}", server.port)).unwrap();
    round_trip(&Client::new(patient()).unwrap(), &registry).await;
    // The upload that the registry opened instead of mounting was closed again (it leaves an empty shell of its own).
    let uploads = server.dir.path().join("data/docker/registry/v2/repositories/other/_uploads");
    for upload in std::fs::read_dir(uploads).unwrap() {
        assert!(!upload.unwrap().path().join("data").exists());
    }
}

#[tokio::test]
async fn docker_registry_over_tls_with_a_private_authority() {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "registry.corp.test".to_owned()];
    let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let Some(server) = DockerRegistry::start(Some((&certificate.pem(), &key.serialize_pem()))).await else {
        return;
    };

    let registry = Registry::new(&format!("registry.corp.test:{}", server.port)).unwrap();
    let lookup = |_: &str| Some(vec!["127.0.0.1".parse().unwrap()]);
    let dir = tempfile::tempdir().unwrap();
    let with = |certs: &Path| Config {
        certs_dirs: vec![certs.into()],
        lookup: Some(std::sync::Arc::new(lookup)),
        ..patient()
    };
    let untrusting = Client::new(with(dir.path())).unwrap();
    let error = untrusting.ping(&registry, Auth::Anonymous).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Denied);
    assert!(error.hints()[0].contains(&dir.path().display().to_string()), "{:?}", error.hints());

    let place = dir.path().join(registry.as_str());
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("ca.crt"), authority.pem()).unwrap();
    round_trip(&Client::new(with(dir.path())).unwrap(), &registry).await;

    // Another name than the certificate's is not this registry.
    let wrong = Registry::new(&format!("other.corp.test:{}", server.port)).unwrap();
    std::fs::create_dir(dir.path().join(wrong.as_str())).unwrap();
    std::fs::write(dir.path().join(wrong.as_str()).join("ca.crt"), authority.pem()).unwrap();
    let error = Client::new(with(dir.path())).unwrap().ping(&wrong, Auth::Anonymous).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");
    // Unless nobody checks.
    let insecure = Config { insecure: vec![wrong.clone()], certs_dirs: Vec::new(), ..with(dir.path()) };
    Client::new(insecure).unwrap().ping(&wrong, Auth::Anonymous).await.unwrap();
}
