use super::*;
use proptest::prelude::*;

fn registry(text: &str) -> Registry {
    Registry::new(text).unwrap()
}

fn with(dir: &Path) -> Config {
    Config { certs_dirs: vec![dir.to_owned()], ..Config::default() }
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
    std::fs::write(dir.join(name), text).unwrap();
}

fn bases(config: &Config, name: &str) -> Vec<String> {
    endpoints(config, &registry(name)).unwrap().iter().map(|endpoint| endpoint.base.to_string()).collect()
}

#[test]
fn schemes_without_configuration() {
    let config = Config { insecure: vec![registry("lab.example:5000")], ..Config::default() };
    assert_eq!(bases(&config, "docker.io"), ["https://registry-1.docker.io/v2"]);
    assert_eq!(bases(&config, "localhost:5000"), ["http://localhost:5000/v2"]);
    assert_eq!(bases(&config, "127.0.0.1"), ["http://127.0.0.1/v2"]);
    assert_eq!(bases(&config, "[::1]:5000"), ["http://[::1]:5000/v2"]);
    assert_eq!(bases(&config, "localhost:443"), ["https://localhost/v2"]);
    assert_eq!(bases(&config, "10.0.0.1:5000"), ["https://10.0.0.1:5000/v2"]);
    assert_eq!(
        bases(&config, "lab.example:5000"),
        ["https://lab.example:5000/v2", "http://lab.example:5000/v2"]
    );
    assert!(endpoints(&config, &registry("lab.example:5000")).unwrap()[0].tls.skip_verify);
}

#[test]
fn mirrors_keep_the_order_of_the_file_and_the_registry_is_last() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"
        server = "https://registry-1.docker.io"
        [host."https://zebra.example"]
          capabilities = ["pull"]
          ca = "zebra.pem"
          dial_timeout = "1m1.5s"
          [host."https://zebra.example".header]
            X-Token = ["a", "b"]
        [host."http://apple.example:8080/proxy"]
          skip_verify = true
          client = [["apple.cert", "/keys/apple.key"]]
        [host."https://mango.example/v2/docker"]
          override_path = true
          ca = ["/one.pem", "two.pem"]
    "#;
    write(dir.path(), "docker.io/hosts.toml", text);
    let endpoints = endpoints(&with(dir.path()), &registry("docker.io")).unwrap();
    let bases: Vec<_> = endpoints.iter().map(|endpoint| endpoint.base.as_str()).collect();
    let expected = [
        "https://zebra.example/v2",
        "http://apple.example:8080/proxy/v2",
        "https://mango.example/v2/docker",
        "https://registry-1.docker.io/v2",
    ];
    assert_eq!(bases, expected);
    let here = dir.path().join("docker.io");
    let zebra = &endpoints[0];
    assert_eq!(zebra.capabilities, Capabilities { pull: true, resolve: false, push: false });
    assert_eq!(zebra.tls.ca, [here.join("zebra.pem")]);
    assert_eq!(zebra.dial_timeout, Some(Duration::from_millis(61_500)));
    assert_eq!(zebra.headers.get_all("x-token").iter().count(), 2);
    assert_eq!(
        zebra.url("library/a/manifests/1").as_str(),
        "https://zebra.example/v2/library/a/manifests/1?ns=docker.io"
    );
    assert_eq!(zebra.registry, registry("zebra.example"));
    assert!(endpoints[1].tls.skip_verify);
    assert_eq!(endpoints[1].tls.client, [(here.join("apple.cert"), Some("/keys/apple.key".into()))]);
    assert_eq!(endpoints[2].tls.ca, [PathBuf::from("/one.pem"), here.join("two.pem")]);
    let upstream = &endpoints[3];
    assert!(upstream.upstream && upstream.namespace.is_none() && upstream.registry == registry("docker.io"));
}

#[test]
fn a_replaced_server_is_not_the_registry_to_credentials() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "docker.io/hosts.toml", "server = \"https://cache.example:5000\"");
    let endpoint = endpoints(&with(dir.path()), &registry("docker.io")).unwrap().remove(0);
    assert_eq!(endpoint.registry, registry("cache.example:5000"));
    assert_eq!(endpoint.namespace.as_deref(), Some("docker.io"));
}

#[test]
fn the_most_specific_directory_wins() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "_default/hosts.toml", "[host.\"https://default.example\"]");
    assert_eq!(bases(&with(dir.path()), "r.example:5000")[0], "https://default.example/v2");
    write(dir.path(), "r.example:5000/hosts.toml", "[host.\"https://colon.example\"]");
    assert_eq!(bases(&with(dir.path()), "r.example:5000")[0], "https://colon.example/v2");
    write(dir.path(), "r.example_5000_/hosts.toml", "[host.\"https://underscore.example\"]");
    assert_eq!(
        bases(&with(dir.path()), "r.example:5000"),
        ["https://underscore.example/v2", "https://r.example:5000/v2"]
    );
}

#[test]
fn docker_style_certificates() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["ca.crt", "other.crt", "client.cert", "client.key", "README"] {
        write(dir.path(), &format!("localhost:5000/{name}"), "");
    }
    let endpoint = endpoints(&with(dir.path()), &registry("localhost:5000")).unwrap().remove(0);
    let here = dir.path().join("localhost:5000");
    assert_eq!(endpoint.base.scheme(), "https");
    assert_eq!(endpoint.tls.ca, [here.join("ca.crt"), here.join("other.crt")]);
    assert_eq!(endpoint.tls.client, [(here.join("client.cert"), Some(here.join("client.key")))]);
}

#[test]
fn a_broken_file_is_an_error_and_never_skipped() {
    let cases = [
        "server = 1",
        "server = \"ftp://x\"",
        "server = \"https://user:hunter2@x\"",
        "server = \"https://x?q=1\"",
        "host = 1",
        "[host.\"https://x\"]\ncapabilities = [\"pul\"]",
        "[host.\"https://x\"]\ncapabilities = \"pull\"",
        "[host.\"https://x\"]\nskip_verify = \"yes\"",
        "[host.\"https://x\"]\ndial_timeout = \"soon\"",
        "[host.\"https://x\"]\nca = [1]",
        "[host.\"https://x\"]\nclient = [[]]",
        "[host.\"https://x\".header]\n\"a b\" = \"1\"",
        "[host.\"https://x\".header]\na = \"1\\n2\"",
        "[host.\"\"]",
        "not toml",
    ];
    for case in cases {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "r.example/hosts.toml", case);
        let error = endpoints(&with(dir.path()), &registry("r.example")).unwrap_err();
        assert!(matches!(error, Error::Hosts { .. }), "{case}: {error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

#[test]
fn durations_as_go_writes_them() {
    let table = [("3s", 3_000), ("250ms", 250), ("1h1m1s", 3_661_000), ("0.5s", 500), ("0s", 0)];
    for (text, millis) in table {
        assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
    }
    for bad in ["", "3", "s", "3 s", "3x", "1..2s", "-3s", "9999999999999999999999999h"] {
        assert_eq!(duration(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC{0,200}") {
        let _ = parse(&text, Path::new("/"));
    }

    #[test]
    fn never_panics_on_things_that_look_right(
        key in "(https?://)?[a-z:./@?\\[\\]0-9]{0,20}",
        name in "server|capabilities|ca|client|skip_verify|header|dial_timeout|x",
        value in "\"[a-z0-9.]{0,8}\"|true|\\[\\]|\\[\\[\"a\"\\]\\]|\\[\"pull\"\\]|\\{a = \"b\"\\}|1",
    ) {
        let _ = parse(&format!("server = \"{key}\"\n[host.\"{key}\"]\n{name} = {value}\n"), Path::new("/"));
        let _ = parse(&format!("{name} = {value}\n"), Path::new("/"));
        let _ = duration(&key);
    }
}

#[test]
fn a_configured_server_stands_for_its_registry() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "docker.io/hosts.toml", "server = \"https://other.example\"");
    write(dir.path(), "cache.example:5000/ca.crt", "");
    let server = |name: &str, url: &str| (registry(name), Url::parse(url).unwrap());
    let config = Config {
        servers: vec![
            server("docker.io", "http://127.0.0.1:5000"),
            server("a.example", "https://cache.example:5000/v2/a.example"),
            server("b.example", "https://cache.example/prefix/"),
        ],
        ..with(dir.path())
    };
    assert_eq!(bases(&config, "docker.io"), ["http://127.0.0.1:5000/v2"]);
    assert_eq!(bases(&config, "a.example"), ["https://cache.example:5000/v2/a.example"]);
    assert_eq!(bases(&config, "b.example"), ["https://cache.example/prefix/v2"]);
    let endpoint = &endpoints(&config, &registry("a.example")).unwrap()[0];
    assert_eq!((endpoint.registry.as_str(), endpoint.upstream), ("cache.example:5000", true));
    assert_eq!(endpoint.tls.ca, [dir.path().join("cache.example:5000/ca.crt")]);
    assert_eq!(endpoint.namespace, None);
}
