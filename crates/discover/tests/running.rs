//! A cluster as an API server shows it: recorded answers, over TLS.

use anyhow::Result;
use larder_discover::manifest::{Rules, Scanner};
use larder_discover::running::{Kubeconfig, Running, RunningOptions, scan};
use larder_remote::{ApiServer, Config};
use larder_testkit::{Answers, RecordedApi};
use std::path::Path;
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
    let (_, access) = Kubeconfig::read(kubeconfig.as_bytes(), Path::new("/"))?
        .access(None, &|_| Err("none is run".into()))?;
    let config = Config { attempts: 1, connect_timeout: Duration::from_secs(5), ..Config::default() };
    Ok(ApiServer::new(&access, config)?)
}

async fn running(api: &RecordedApi, options: &RunningOptions) -> Result<Running> {
    let scanner = Scanner::new(Rules::built_in());
    Ok(scan(&client(&api.kubeconfig())?, "kubeconfig:recorded", &scanner, options).await?)
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
    let problems: Vec<String> =
        running.problems.iter().map(|problem| format!("{}: {}", problem.place, problem.reason)).collect();
    assert_eq!(
        problems,
        [
            "/api/v1/configmaps: 403: configmaps is forbidden: User \"reader\" cannot list",
            "/apis/example.com/v1/olds: 404: the server could not find the requested resource",
        ]
    );
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
    let texts: Vec<&str> = running.finds.iter().map(|find| find.text.as_str()).collect();
    assert_eq!(texts, ["registry.example/only:1"]);
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
    let failed = client(&mixed)?.get("/version", 1024).await.expect_err("its authority is not known");
    assert!(matches!(failed, larder_remote::Error::Tls { .. }), "{failed}");
    assert_eq!(other.requests(), [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_wrong_token_is_said_as_the_server_says_it() -> Result<()> {
    let api = RecordedApi::start("s3cret", answers())?;
    let kubeconfig = api.kubeconfig().replace("s3cret", "wrong");
    let answer = client(&kubeconfig)?.get("/version", 1024).await?;
    assert_eq!(answer.status, 401);
    Ok(())
}
