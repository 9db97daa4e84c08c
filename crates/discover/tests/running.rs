//! A cluster as an API server shows it: recorded answers, over TLS.

use anyhow::Result;
use larder_core::{Classify as _, Kind};
use larder_discover::manifest::{Rules, Scanner};
use larder_discover::running::{Running, RunningOptions, scan};
use larder_remote::{ApiServer, Config, Kubeconfig};
use larder_testkit::{Answers, RecordedApi};
use std::time::Duration;

fn answers() -> Answers {
    let mut answers = Answers::new();
    let mut say = |path: &str, body: &str| drop(answers.insert(path.into(), (200, body.into())));
    say("/version", r#"{"major":"1","minor":"34","gitVersion":"v1.34.2"}"#);
    say("/api", r#"{"kind":"APIVersions","versions":["v1"]}"#);
    say(
        "/apis",
        r#"{"kind":"APIGroupList","groups":[
            {"name":"apps","versions":[{"groupVersion":"apps/v1"}],"preferredVersion":{"groupVersion":"apps/v1"}},
            {"name":"rbac.authorization.k8s.io","versions":[{"groupVersion":"rbac.authorization.k8s.io/v1"}]},
            {"name":"example.com","versions":[{"groupVersion":"example.com/v2"},{"groupVersion":"example.com/v1"}],
             "preferredVersion":{"groupVersion":"example.com/v2"}}]}"#,
    );
    say(
        "/api/v1",
        r#"{"resources":[
            {"name":"pods","namespaced":true,"kind":"Pod","verbs":["get","list"]},
            {"name":"pods/log","namespaced":true,"kind":"Pod","verbs":["get"]},
            {"name":"secrets","namespaced":true,"kind":"Secret","verbs":["get","list"]},
            {"name":"bindings","namespaced":true,"kind":"Binding","verbs":["create"]},
            {"name":"configmaps","namespaced":true,"kind":"ConfigMap","verbs":["list"]}]}"#,
    );
    say(
        "/apis/apps/v1",
        r#"{"resources":[{"name":"replicasets","namespaced":true,"kind":"ReplicaSet","verbs":["list"]}]}"#,
    );
    say(
        "/apis/rbac.authorization.k8s.io/v1",
        r#"{"resources":[{"name":"roles","namespaced":true,"kind":"Role","verbs":["list"]}]}"#,
    );
    say(
        "/apis/example.com/v2",
        r#"{"resources":[{"name":"engines","namespaced":false,"kind":"Engine","verbs":["list"]}]}"#,
    );
    say(
        "/apis/example.com/v1",
        r#"{"resources":[{"name":"engines","namespaced":false,"kind":"Engine","verbs":["list"]},
                         {"name":"olds","namespaced":true,"kind":"Old","verbs":["list"]}]}"#,
    );
    say(
        "/api/v1/pods?limit=500",
        r#"{"kind":"PodList","metadata":{"continue":"a/b="},"items":[
            {"metadata":{"name":"one","namespace":"shop","managedFields":[{"fieldsV1":{"image":"registry.example/no:1"}}]},
             "spec":{"containers":[{"name":"a","image":"registry.example/a:1"}]},
             "status":{"containerStatuses":[{"image":"registry.example/status:1"}]}}]}"#,
    );
    say(
        "/api/v1/pods?limit=500&continue=a%2Fb%3D",
        r#"{"kind":"PodList","metadata":{},"items":[{"metadata":{"name":"two","namespace":"shop"},
            "spec":{"initContainers":[{"name":"b","image":"registry.example/b:1"}]}}]}"#,
    );
    say(
        "/apis/apps/v1/replicasets?limit=500",
        r#"{"items":[{"metadata":{"name":"old","namespace":"shop","ownerReferences":[{"kind":"Deployment"}]},
              "spec":{"replicas":0,"template":{"spec":{"containers":[{"name":"x","image":"registry.example/old:1"}]}}}},
            {"metadata":{"name":"new","namespace":"shop","ownerReferences":[{"kind":"Deployment"}]},
              "spec":{"replicas":1,"template":{"spec":{"containers":[{"name":"x","image":"registry.example/new:1"}]}}}}]}"#,
    );
    say(
        "/apis/example.com/v2/engines?limit=500",
        r#"{"items":[{"apiVersion":"example.com/v2","kind":"Engine","metadata":{"name":"e"},
            "spec":{"image":"registry.example/engine:1"}}]}"#,
    );
    let forbidden =
        r#"{"kind":"Status","message":"configmaps is forbidden: User \"reader\" cannot list","code":403}"#;
    answers.insert("/api/v1/configmaps?limit=500".into(), (403, forbidden.into()));
    answers
}

fn client(kubeconfig: &str) -> Result<ApiServer> {
    limited(kubeconfig, 1, 1 << 20)
}

fn limited(kubeconfig: &str, attempts: u32, limit: u64) -> Result<ApiServer> {
    configured(kubeconfig, Config { attempts, ..Config::default() }, limit)
}

fn configured(kubeconfig: &str, config: Config, limit: u64) -> Result<ApiServer> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("config");
    std::fs::write(&path, kubeconfig)?;
    let access = Kubeconfig::read(&[path])?.access(None, &|_| Err("none is run".into()))?;
    let config =
        Config { connect_timeout: Duration::from_secs(5), backoff_base: Duration::from_millis(1), ..config };
    Ok(ApiServer::new(&access, config, limit)?)
}

async fn running(api: &RecordedApi, options: &RunningOptions) -> Result<Running> {
    read(&client(&api.kubeconfig())?, options).await
}

async fn read(server: &ApiServer, options: &RunningOptions) -> Result<Running> {
    let scanner = Scanner::new(Rules::built_in());
    Ok(scan(server, "kubeconfig:recorded", &scanner, options).await?)
}

fn texts(running: &Running) -> Vec<&str> {
    running.finds.iter().map(|find| find.text.as_str()).collect()
}

fn problems(running: &Running) -> Vec<String> {
    running.problems.iter().map(|problem| format!("{}: {}", problem.place, problem.reason)).collect()
}

#[tokio::test]
async fn everything_that_can_ask_for_images_is_read_and_nothing_else() -> Result<()> {
    let api = RecordedApi::start("s3cret", answers())?;
    let running = running(&api, &RunningOptions::default()).await?;
    assert_eq!(running.version, "v1.34.2");
    let mut found: Vec<String> =
        running.finds.iter().map(|find| format!("{} {}", find.place.source, find.text)).collect();
    found.sort();
    assert_eq!(
        found,
        [
            "kubeconfig:recorded/api/v1/namespaces/shop/pods/one registry.example/a:1",
            "kubeconfig:recorded/api/v1/namespaces/shop/pods/two registry.example/b:1",
            "kubeconfig:recorded/apis/apps/v1/namespaces/shop/replicasets/new registry.example/new:1",
            "kubeconfig:recorded/apis/example.com/v2/engines/e registry.example/engine:1",
        ]
    );
    let first = &running.finds[0].place;
    assert_eq!((first.line, first.path.as_str()), (0, "spec.containers[0].image"));
    assert_eq!(first.object.as_ref().map(ToString::to_string).as_deref(), Some("Pod shop/one"));
    assert!(running.api_versions.contains(&"apps/v1/ReplicaSet".into()), "{:?}", running.api_versions);
    let requests = api.requests();
    assert!(requests.iter().all(|line| line.starts_with("GET ")), "{requests:?}");
    for word in ["secrets", "roles", "bindings", "log"] {
        assert!(!requests.iter().any(|line| line.contains(word)), "{word} was read: {requests:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_forbidden_or_gone_is_a_problem_and_not_an_absence() -> Result<()> {
    let api = RecordedApi::start("s3cret", answers())?;
    let running = running(&api, &RunningOptions::default()).await?;
    assert_eq!(
        problems(&running),
        [
            "/api/v1/configmaps: 403: configmaps is forbidden: User \"reader\" cannot list",
            "/apis/example.com/v1/olds: 404: the server could not find the requested resource",
        ]
    );
    let kinds: Vec<Kind> = running.problems.iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [Kind::Denied, Kind::NotFound]);
    assert_eq!(running.problems[0].hints, ["the account needs the right to list it"]);
    Ok(())
}

#[tokio::test]
async fn a_namespace_is_enough_if_that_is_what_is_wanted() -> Result<()> {
    let mut answers = answers();
    let pods = r#"{"metadata":{},"items":[{"metadata":{"name":"p","namespace":"only"},
        "spec":{"containers":[{"name":"c","image":"registry.example/only:1"}]}}]}"#;
    answers.insert("/api/v1/namespaces/only/pods?limit=500".into(), (200, pods.into()));
    let api = RecordedApi::start("s3cret", answers)?;
    let options = RunningOptions { namespace: Some("only".into()), ..RunningOptions::default() };
    let running = running(&api, &options).await?;
    assert_eq!(texts(&running), ["registry.example/only:1"]);
    Ok(())
}

#[tokio::test]
async fn more_objects_than_the_limit_are_a_problem() -> Result<()> {
    let api = RecordedApi::start("s3cret", answers())?;
    let running = running(&api, &RunningOptions { objects: 1, ..RunningOptions::default() }).await?;
    assert_eq!(running.objects, 1);
    assert!(running.problems.iter().any(|problem| problem.reason.contains("more than 1 objects")));
    Ok(())
}

#[tokio::test]
async fn a_server_with_another_authority_is_not_spoken_to() -> Result<()> {
    let (api, other) = (RecordedApi::start("s3cret", answers())?, RecordedApi::start("s3cret", answers())?);
    let server = |text: &str| text.lines().find(|line| line.contains("server:")).map(str::to_owned);
    let (own, foreign) = (server(&api.kubeconfig()), server(&other.kubeconfig()));
    let address = |line: Option<String>| line.and_then(|line| Some(line.split('\'').nth(1)?.to_owned()));
    let mixed = api
        .kubeconfig()
        .replace(&address(own).expect("there is a server"), &address(foreign).expect("there is a server"));
    let failed = client(&mixed)?.version().await.expect_err("its authority is not known");
    assert!(matches!(failed, larder_remote::Error::ApiTls { .. }), "{failed:?}");
    assert!(
        failed.hints().concat().contains("certificate-authority of the kubeconfig"),
        "{:?}",
        failed.hints()
    );
    assert_eq!(other.requests(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_wrong_token_is_said_as_the_server_says_it() -> Result<()> {
    let api = RecordedApi::start("s3cret", answers())?;
    let kubeconfig = api.kubeconfig().replace("s3cret", "wrong");
    let failed = client(&kubeconfig)?.version().await.expect_err("nobody knows it");
    assert!(matches!(failed, larder_remote::Error::ApiStatus { status: 401, .. }), "{failed:?}");
    assert_eq!(failed.to_string(), "/version: 401: Unauthorized");
    Ok(())
}

#[tokio::test]
async fn a_list_that_expires_on_the_way_is_read_from_the_start() -> Result<()> {
    let api = RecordedApi::start("s3cret", answers())?;
    let gone = r#"{"kind":"Status","reason":"Expired","message":"The provided continue parameter is too old","code":410}"#;
    let second = "/api/v1/pods?limit=500&continue=a%2Fb%3D";
    api.say_once(second, 410, gone);
    let running = running(&api, &RunningOptions::default()).await?;
    let texts = texts(&running);
    assert!(texts.contains(&"registry.example/a:1") && texts.contains(&"registry.example/b:1"), "{texts:?}");
    assert!(!problems(&running).iter().any(|problem| problem.contains("410")), "{:?}", problems(&running));
    let pages = api.requests().iter().filter(|line| line.contains("/api/v1/pods")).count();
    assert_eq!(pages, 4, "first, second, first again, second again");
    // A cluster that moves on faster than it can be read is a problem, and no loop.
    api.say_once(second, 410, gone);
    api.say_once(second, 410, gone);
    let running = self::running(&api, &RunningOptions::default()).await?;
    assert!(
        problems(&running).contains(&"/api/v1/pods: 410: The provided continue parameter is too old".into()),
        "{:?}",
        problems(&running)
    );
    Ok(())
}

#[tokio::test]
async fn one_document_for_all_kinds_is_enough_where_the_server_has_it() -> Result<()> {
    let mut answers = answers();
    let group =
        |name: &str, versions: &str| format!(r#"{{"metadata":{{"name":"{name}"}},"versions":[{versions}]}}"#);
    let resource = |plural: &str, kind: &str, scope: &str, verbs: &str| {
        format!(
            r#"{{"resource":"{plural}","responseKind":{{"group":"","version":"","kind":"{kind}"}},"scope":"{scope}","singularResource":"x",
                "verbs":[{verbs}],"subresources":[{{"subresource":"status","verbs":["get"]}}]}}"#
        )
    };
    let version = |name: &str, freshness: &str, resources: &[String]| {
        let resources = resources.join(",");
        format!(r#"{{"version":"{name}","freshness":"{freshness}","resources":[{resources}]}}"#)
    };
    let list = |groups: &[String]| {
        let groups = groups.join(",");
        format!(
            r#"{{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[{groups}]}}"#
        )
    };
    let core = [
        resource("pods", "Pod", "Namespaced", r#""get","list""#),
        resource("secrets", "Secret", "Namespaced", r#""get","list""#),
        resource("bindings", "Binding", "Namespaced", r#""create""#),
    ];
    answers.insert("/api".into(), (200, list(&[group("", &version("v1", "Current", &core))])));
    let new = version("v2", "Current", &[resource("engines", "Engine", "Cluster", r#""list""#)]);
    let old = [
        resource("engines", "Engine", "Cluster", r#""list""#),
        resource("olds", "Old", "Namespaced", r#""list""#),
    ];
    let old = version("v1", "Current", &old);
    let groups = [
        group("example.com", &format!("{new},{old}")),
        group("away.example", &version("v1", "Stale", &[])),
        group("metrics.k8s.io", &version("v1beta1", "Stale", &[])),
    ];
    answers.insert("/apis".into(), (200, list(&groups)));
    let olds = r#"{"items":[{"metadata":{"name":"o","namespace":"shop"},"spec":{"image":"registry.example/old-kind:1"}}]}"#;
    answers.insert("/apis/example.com/v1/olds?limit=500".into(), (200, olds.into()));
    let api = RecordedApi::start("s3cret", answers)?;
    let running = running(&api, &RunningOptions::default()).await?;
    assert_eq!(
        texts(&running),
        [
            "registry.example/a:1",
            "registry.example/b:1",
            "registry.example/engine:1",
            "registry.example/old-kind:1"
        ]
    );
    // A group whose server is away may have anything; that of the metrics has no images in any case.
    assert_eq!(
        problems(&running),
        ["/apis/away.example/v1: 503: the server that has this group does not answer"]
    );
    let requests = api.requests();
    let about = requests.iter().filter(|line| !line.contains("limit=")).count();
    assert_eq!(about, 3, "/version, /api, /apis: {requests:?}");
    assert!(
        !requests.iter().any(|line| line.contains("secrets") || line.contains("bindings")),
        "{requests:?}"
    );
    assert!(running.api_versions.contains(&"example.com/v1/Old".into()), "{:?}", running.api_versions);
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again() -> Result<()> {
    let api = RecordedApi::start("s3cret", answers())?;
    for _ in 0..2 {
        api.say_once("/api/v1/pods?limit=500", 429, r#"{"message":"too many requests"}"#);
    }
    let patient = read(&limited(&api.kubeconfig(), 3, 1 << 20)?, &RunningOptions::default()).await?;
    assert!(texts(&patient).contains(&"registry.example/a:1"), "{:?}", problems(&patient));
    api.say_once("/api/v1/pods?limit=500", 429, r#"{"message":"too many requests"}"#);
    let running = running(&api, &RunningOptions::default()).await?;
    assert!(
        problems(&running).contains(&"/api/v1/pods: 429: too many requests".into()),
        "{:?}",
        problems(&running)
    );
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_too_long_or_no_answer_is_a_problem_and_the_rest_is_read() -> Result<()> {
    let mut answers = answers();
    let long = format!(r#"{{"items":[{{"metadata":{{"name":"{}"}}}}]}}"#, "x".repeat(100_000));
    answers.insert("/api/v1/pods?limit=500".into(), (200, long));
    answers.insert("/apis/apps/v1/replicasets?limit=500".into(), (200, "<html>".into()));
    let api = RecordedApi::start("s3cret", answers)?;
    let running = read(&limited(&api.kubeconfig(), 1, 50_000)?, &RunningOptions::default()).await?;
    assert_eq!(texts(&running), ["registry.example/engine:1"]);
    let problems = problems(&running);
    for expected in [
        "/api/v1/pods: more than the limit of 50000 bytes",
        "/apis/apps/v1/replicasets: the answer is no list of objects",
    ] {
        assert!(problems.iter().any(|problem| problem == expected), "{problems:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_never_comes_to_an_end_is_left() -> Result<()> {
    let mut answers = answers();
    let endless = r#"{"metadata":{"continue":"again"},"items":[]}"#;
    answers.insert("/api/v1/pods?limit=500".into(), (200, endless.into()));
    answers.insert("/api/v1/pods?limit=500&continue=again".into(), (200, endless.into()));
    let api = RecordedApi::start("s3cret", answers)?;
    let running = running(&api, &RunningOptions { pages: 7, ..RunningOptions::default() }).await?;
    assert!(
        problems(&running).contains(&"/api/v1/pods: more than 7 answers; the rest is not read".into()),
        "{:?}",
        problems(&running)
    );
    assert_eq!(api.requests().iter().filter(|line| line.contains("/api/v1/pods")).count(), 7);
    Ok(())
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for() -> Result<()> {
    // It takes connections, and nobody reads from them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
    let kubeconfig = format!(
        "{{current-context: c, contexts: [{{name: c, context: {{cluster: c}}}}], clusters: [{{name: c, cluster: {{server: 'http://{}'}}}}]}}",
        silent.local_addr()?
    );
    let config = Config { attempts: 1, idle_timeout: Duration::from_millis(100), ..Config::default() };
    let failed = configured(&kubeconfig, config, 1 << 20)?.version().await.expect_err("it says nothing");
    assert!(matches!(failed, larder_remote::Error::Stalled { .. }), "{failed:?}");
    drop(silent);
    let failed = client(&kubeconfig)?.version().await.expect_err("it is gone");
    assert!(matches!(failed, larder_remote::Error::ApiConnect { .. }), "{failed:?}");
    Ok(())
}
