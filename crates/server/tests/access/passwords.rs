//! Accounts in a file, as `htpasswd` writes it.

use crate::ground::{
    Ground, HERE, PASSWORD, basic, everything_for_everybody_with_an_account, identify, login,
};
use larder_core::{Classify as _, Kind};
use larder_server::{Access, Login, Refused, TokenRequest};
use larder_testkit::tools::tool;
use serde_json::json;

fn server(ground: &Ground, names: &[&str]) -> Access {
    let rules = everything_for_everybody_with_an_account();
    ground.open(json!({ "htpasswd": ground.accounts(names), "rules": rules })).unwrap()
}

#[tokio::test]
async fn the_right_password_is_an_account_and_all_else_is_refused() {
    let ground = Ground::new();
    let access = server(&ground, &["alice", "bob"]);
    for _ in 0..3 {
        let caller = login(&access, "alice").await;
        assert_eq!((caller.name.as_deref(), caller.login), (Some("alice"), Login::Password));
        assert!(caller.grants.is_none() && caller.presented.is_none());
    }
    let alice = Refused::Password { account: Some("alice".into()) };
    let nobody = Refused::Password { account: None };
    for (name, password, expected) in [
        ("alice", "wrong", &alice),
        ("alice", "", &alice),
        ("Alice", PASSWORD, &nobody),
        ("alice ", PASSWORD, &nobody),
        ("mallory", PASSWORD, &nobody),
        ("", PASSWORD, &nobody),
        (PASSWORD, "alice", &nobody),
    ] {
        let refused = identify(&access, &basic(name, password)).await.unwrap_err();
        assert_eq!((&refused, refused.kind()), (expected, Kind::Denied), "{name}");
        assert!(!format!("{refused} {refused:?}").contains(PASSWORD));
    }
    let anonymous = access.identify(None, None, HERE).await.unwrap();
    assert_eq!(anonymous.login, Login::Anonymous);
    // As some clients say that they have no password.
    assert_eq!(identify(&access, &basic("", "")).await.unwrap().login, Login::Anonymous);
}

#[tokio::test]
async fn what_is_not_understood_never_makes_its_sender_anonymous() {
    let ground = Ground::new();
    let access = server(&ground, &["alice"]);
    for header in
        ["", "Basic", "Basic !", "Negotiate YII=", "Bearer", "Bearer x", "Digest username=\"alice\""]
    {
        let refused = identify(&access, header).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Denied, "{header}");
    }
}

#[tokio::test]
async fn what_htpasswd_writes_counts_with_the_next_request() {
    let ground = Ground::new();
    let access = server(&ground, &["alice"]);
    let path = ground.path("htpasswd");
    let htpasswd = |arguments: &[&str]| {
        tool("htpasswd").unwrap().args(arguments.iter().copied()).run().unwrap();
    };
    let file = path.to_str().unwrap();
    htpasswd(&["-B", "-b", "-C", "5", file, "bob", "p:ä ß"]);
    assert_eq!(identify(&access, &basic("bob", "p:ä ß")).await.unwrap().name.as_deref(), Some("bob"));
    htpasswd(&["-B", "-b", "-C", "5", file, "bob", "changed"]);
    identify(&access, &basic("bob", "p:ä ß")).await.unwrap_err();
    identify(&access, &basic("bob", "changed")).await.unwrap();
    htpasswd(&["-D", file, "alice"]);
    let gone = identify(&access, &basic("alice", PASSWORD)).await.unwrap_err();
    assert_eq!(gone, Refused::Password { account: None });
    htpasswd(&["-b", "-m", file, "carol", "md5"]);
    identify(&access, &basic("carol", "md5")).await.unwrap_err();
    let problems = access.problems();
    assert!(problems[0].contains("line 2") && problems[0].contains("not bcrypt"), "{problems:?}");
    identify(&access, &basic("bob", "changed")).await.unwrap();
    htpasswd(&["-D", file, "carol"]);
    identify(&access, &basic("bob", "changed")).await.unwrap();
    assert_eq!(access.problems(), [""; 0]);
}

#[tokio::test]
async fn a_form_may_have_the_name_and_the_password() {
    let ground = Ground::new();
    let access = server(&ground, &["alice"]);
    let anonymous = access.identify(None, None, HERE).await.unwrap();
    let ask = |text: String| {
        let (access, anonymous) = (&access, &anonymous);
        async move { access.identify_form(&TokenRequest::parse(&text).unwrap(), anonymous).await }
    };
    let form = format!("grant_type=password&username=alice&password={PASSWORD}&client_id=test");
    assert_eq!(ask(form).await.unwrap().name.as_deref(), Some("alice"));
    let wrong = ask("grant_type=password&username=alice&password=x".into()).await.unwrap_err();
    assert_eq!(wrong.kind(), Kind::Denied);
    let other = ask("grant_type=refresh_token&refresh_token=x".into()).await.unwrap_err();
    assert_eq!(other.kind(), Kind::Invalid);
    let half = ask("grant_type=password&username=alice".into()).await.unwrap_err();
    assert_eq!(half.kind(), Kind::Invalid);
    // Without a grant type, a name in the query is decoration.
    let query = ask(format!("username=alice&password={PASSWORD}")).await.unwrap();
    assert_eq!(query.name, None);
}
