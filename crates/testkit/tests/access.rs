//! Challenges, tokens and rights.

use base64::Engine as _;
use larder_testkit::{Access, Fault, FaultRegistry, RawRequest, RawResponse, Rule};
use std::time::Duration;

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}")))
}

fn tags(registry: &FaultRegistry, repository: &str, authorization: Option<&str>) -> RawResponse {
    let request = RawRequest::get(&registry.url(&format!("/v2/{repository}/tags/list")));
    match authorization {
        Some(value) => request.header("Authorization", value),
        None => request,
    }
    .send()
}

fn token(registry: &FaultRegistry, scope: &str, authorization: Option<&str>) -> (u16, serde_json::Value) {
    let request = RawRequest::get(&registry.url(&format!("/token?service=s&scope={scope}")));
    let response = match authorization {
        Some(value) => request.header("Authorization", value),
        None => request,
    }
    .send();
    (response.status, serde_json::from_slice(&response.body).expect("a JSON answer"))
}

fn scene(access: Access) -> FaultRegistry {
    let registry = FaultRegistry::start();
    for repository in ["team/a", "public/b"] {
        registry.put_blob(repository, "x");
    }
    registry.set_access(access);
    registry
}

#[test]
fn basic_credentials_and_rights() {
    let registry = scene(
        Access::basic()
            .user("root", "r")
            .user_with("dev", "d", &[("team/*", "pull")])
            .anonymous(&[("public/*", "pull")]),
    );
    let refused = tags(&registry, "team/a", None);
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").unwrap().starts_with("Basic realm="));
    assert_eq!(tags(&registry, "public/b", None).status, 200);
    assert_eq!(tags(&registry, "team/a", Some(&basic("dev", "d"))).status, 200);
    assert_eq!(tags(&registry, "public/b", Some(&basic("dev", "d"))).status, 401);
    assert_eq!(tags(&registry, "team/a", Some(&basic("dev", "wrong"))).status, 401);
    let push = |authorization: &str| {
        RawRequest::new("POST", &registry.url("/v2/team/a/blobs/uploads/"))
            .header("Authorization", authorization)
            .send()
    };
    assert_eq!(push(&basic("dev", "d")).status, 401);
    assert_eq!(push(&basic("root", "r")).status, 202);
}

#[test]
fn bearer_tokens_cover_what_was_granted_and_no_more() {
    let registry = scene(
        Access::bearer().user_with("dev", "d", &[("team/*", "pull")]).anonymous(&[("public/*", "pull")]),
    );
    let refused = tags(&registry, "team/a", None);
    let challenge = refused.header("www-authenticate").unwrap();
    let expected = format!(
        "Bearer realm=\"http://{}/token\",service=\"larder-tests\",scope=\"repository:team/a:pull\"",
        registry.host()
    );
    assert_eq!((refused.status, challenge), (401, expected.as_str()));
    let bearer = |scope: &str, authorization: Option<&str>| {
        format!("Bearer {}", token(&registry, scope, authorization).1["token"].as_str().unwrap())
    };
    let dev = bearer("repository:team/a:pull,push", Some(&basic("dev", "d")));
    assert_eq!(tags(&registry, "team/a", Some(&dev)).status, 200);
    let other = tags(&registry, "public/b", Some(&dev));
    assert!(other.header("www-authenticate").unwrap().ends_with("error=\"insufficient_scope\""));
    let push = RawRequest::new("POST", &registry.url("/v2/team/a/blobs/uploads/"))
        .header("Authorization", &dev)
        .send();
    assert_eq!(push.status, 401, "push was asked for, but not granted");
    assert!(push.header("www-authenticate").unwrap().contains("repository:team/a:pull,push"));
    let nobody = bearer("repository:team/a:pull", None);
    assert_eq!(tags(&registry, "team/a", Some(&nobody)).status, 401);
    assert_eq!(tags(&registry, "public/b", Some(&bearer("repository:public/b:pull", None))).status, 200);
    assert_eq!(token(&registry, "x", Some(&basic("dev", "wrong"))).0, 401);
}

#[test]
fn tokens_end() {
    let registry = scene(Access::bearer().anonymous(&[("*", "pull")]).uses(2));
    let (_, answer) = token(&registry, "repository:team/a:pull", None);
    let bearer = format!("Bearer {}", answer["token"].as_str().unwrap());
    let statuses: Vec<u16> = (0..3).map(|_| tags(&registry, "team/a", Some(&bearer)).status).collect();
    assert_eq!(statuses, [200, 200, 401]);

    registry.set_access(Access::bearer().anonymous(&[("*", "pull")]).lifetime(Duration::from_millis(300)));
    let (_, answer) = token(&registry, "repository:team/a:pull", None);
    assert_eq!(answer["expires_in"], 1);
    let bearer = format!("Bearer {}", answer["token"].as_str().unwrap());
    assert_eq!(tags(&registry, "team/a", Some(&bearer)).status, 200);
    std::thread::sleep(Duration::from_millis(320));
    let expired = tags(&registry, "team/a", Some(&bearer));
    assert!(expired.header("www-authenticate").unwrap().contains("error=\"invalid_token\""));

    registry.set_access(Access::bearer().anonymous(&[("*", "pull")]));
    let (_, answer) = token(&registry, "repository:team/a:pull", None);
    let bearer = format!("Bearer {}", answer["token"].as_str().unwrap());
    assert_eq!(tags(&registry, "team/a", Some(&bearer)).status, 200);
    registry.expire_tokens();
    assert_eq!(tags(&registry, "team/a", Some(&bearer)).status, 401);
}

#[test]
fn identity_tokens_buy_access_tokens() {
    let registry = scene(Access::bearer().user("dev", "d").identity_tokens());
    let post = |form: &str| {
        let response = RawRequest::new("POST", &registry.url("/token")).body(form).send();
        (response.status, serde_json::from_slice::<serde_json::Value>(&response.body).unwrap())
    };
    let (status, answer) =
        post("grant_type=password&username=dev&password=d&access_type=offline&scope=repository:team/a:pull");
    assert_eq!(status, 200);
    let identity = answer["refresh_token"].as_str().unwrap().to_owned();
    let refresh = format!("grant_type=refresh_token&refresh_token={identity}&scope=repository:team/a:pull");
    let (_, answer) = post(&refresh);
    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    assert_eq!(tags(&registry, "team/a", Some(&bearer)).status, 200);
    registry.revoke_tokens();
    assert_eq!(post(&refresh).0, 401);
}

#[test]
fn realms_elsewhere_and_faults_at_the_door() {
    let registry = scene(Access::bearer().realm("http://elsewhere.invalid/token"));
    let refused = tags(&registry, "team/a", None);
    assert!(refused.header("www-authenticate").unwrap().contains("realm=\"http://elsewhere.invalid/token\""));
    let patient = registry.fault(Rule::tags().fault(Fault::Status(500)));
    assert_eq!((tags(&registry, "team/a", None).status, patient.seen()), (401, 0));
    registry.fault(Rule::tags().before_auth().fault(Fault::Status(503)));
    assert_eq!(tags(&registry, "team/a", None).status, 503);
    registry.fault(Rule::token().fault(Fault::Status(500)));
    assert_eq!(token(&registry, "x", None).0, 500);
}
