//! Every action, for every kind of caller, everywhere: generated, and compared with a table.

use crate::certificates::named;
use crate::ground::{Ground, HERE, decide, login, token};
use crate::key::{Key, key_set};
use jsonwebtoken::Algorithm;
use larder_server::Decision::{Allowed, Denied, Unauthenticated};
use larder_server::{Access, Action, Caller, Decision, Login, Presented};
use serde_json::{Value, json};

const URL: &str = "https://issuer.test/keys";

fn settings(ground: &Ground) -> Value {
    json!({
        "htpasswd": ground.accounts(&["stranger", "puller", "pusher", "deleter", "both", "all", "root", "member"]),
        "tokens": ground.tokens(),
        "client_ca": { "file": "/ca.pem" },
        "users": { "member": { "groups": ["team"] } },
        "issuers": [
            { "kind": "oidc", "issuer": "https://issuer.test", "audience": "registry.test", "jwks_url": URL, "groups_claim": "groups" },
            { "kind": "registry", "issuer": "https://auth.test", "audience": "registry.test", "jwks_url": URL },
        ],
        "rules": [
            { "repositories": ["team/**"], "users": ["puller"], "allow": ["pull"] },
            { "repositories": ["team/**"], "users": ["pusher"], "allow": ["push"] },
            { "repositories": ["team/**"], "users": ["deleter"], "allow": ["delete"] },
            { "repositories": ["team/**"], "users": ["both"], "allow": ["pull", "push"] },
            { "repositories": ["team/**"], "users": ["all", "token:all"], "allow": ["pull", "push", "delete"] },
            { "repositories": ["team/**"], "groups": ["team", "oidc:team"], "allow": ["pull", "push"] },
            { "repositories": ["team/**"], "users": ["cert:node"], "allow": ["pull"] },
            { "repositories": ["**"], "users": ["root"], "allow": ["admin"] },
            { "repositories": ["public/**"], "anonymous": true, "allow": ["pull"] },
            { "repositories": ["docker.io/library/**"], "authenticated": true, "allow": ["pull"] },
        ],
    })
}

/// Everybody, by the way they really log in.
async fn callers(ground: &Ground, access: &Access) -> Vec<(&'static str, Caller)> {
    let key = Key::new("key", Algorithm::ES256);
    ground.source.put(URL, key_set(&[&key]));
    let mut claims = ground.claims("https://issuer.test", "registry.test", "bob");
    claims["groups"] = json!(["team"]);
    let identity = key.sign(&key.header(), &claims);
    let mut claims = ground.claims("https://auth.test", "registry.test", "all");
    claims["access"] = json!([{ "type": "repository", "name": "team/app", "actions": ["push"] }]);
    let foreign = key.sign(&key.header(), &claims);
    let all = login(access, "all").await;
    let anonymous = Caller::anonymous(HERE);
    let root = login(access, "root").await;
    let mut callers = vec![
        ("anonymous", anonymous.clone()),
        ("push token", token(access, &all, "repository:team/app:push").await.1),
        ("pull token", token(access, &all, "repository:team/app:pull").await.1),
        ("delete token", token(access, &all, "repository:team/app:delete").await.1),
        ("full token", token(access, &all, "repository:team/app:*").await.1),
        ("other token", token(access, &all, "repository:team/other:*").await.1),
        ("empty token", token(access, &all, "").await.1),
        ("greedy token", token(access, &login(access, "puller").await, "repository:team/app:*").await.1),
        ("catalog token", token(access, &root, "registry:catalog:*").await.1),
        ("anonymous token", token(access, &anonymous, "repository:public/app:pull,push").await.1),
        ("certificate", access.identify(None, Some(&named("node")), HERE).await.unwrap()),
        ("identity", crate::ground::identify(access, &format!("Bearer {identity}")).await.unwrap()),
        ("foreign push token", crate::ground::identify(access, &format!("Bearer {foreign}")).await.unwrap()),
    ];
    for name in ["stranger", "puller", "pusher", "deleter", "both", "all", "root", "member"] {
        callers.push((name, login(access, name).await));
    }
    callers
}

/// What each may do in `team/app`, and whether the rest is worth another credential.
fn table(who: &str) -> (&'static [Action], Decision) {
    use Action::{Delete, Pull, Push};
    match who {
        "puller" | "certificate" => (&[Pull], Denied),
        "pusher" => (&[Push], Denied),
        "deleter" => (&[Delete], Denied),
        "both" | "member" | "identity" => (&[Pull, Push], Denied),
        "all" => (&[Pull, Push, Delete], Denied),
        "stranger" | "root" | "catalog token" => (&[], Denied),
        "anonymous" | "anonymous token" => (&[], Unauthenticated),
        // The account may do it all; a token that says less can be exchanged for one that says more.
        "push token" | "foreign push token" => (&[Push], Unauthenticated),
        "pull token" => (&[Pull], Unauthenticated),
        "delete token" => (&[Delete], Unauthenticated),
        "full token" => (&[Pull, Push, Delete], Denied),
        "other token" | "empty token" => (&[], Unauthenticated),
        // The token never had more than its account.
        "greedy token" => (&[Pull], Denied),
        other => panic!("{other} is not in the table"),
    }
}

#[tokio::test]
async fn everybody_may_do_what_the_table_says_and_nothing_else() {
    let ground = Ground::new();
    let access = ground.open(settings(&ground)).unwrap();
    let callers = callers(&ground, &access).await;
    for (who, caller) in &callers {
        let (allowed, otherwise) = table(who);
        for action in Action::ALL {
            let otherwise = if action == Action::Admin && *who != "anonymous" && *who != "anonymous token" {
                Denied
            } else {
                otherwise
            };
            let expected = if allowed.contains(&action) { Allowed } else { otherwise };
            // Nobody administers a repository; who administers the server administers all of them.
            let expected = match (action, *who) {
                (Action::Admin, "root") => Allowed,
                (Action::Admin, "catalog token") => Unauthenticated,
                _ => expected,
            };
            assert_eq!(decide(&access, caller, Some("team/app"), action), expected, "{who} {action}");
        }
    }
}

#[tokio::test]
async fn nobody_may_do_anything_where_no_rule_is() {
    let ground = Ground::new();
    let access = ground.open(settings(&ground)).unwrap();
    for (who, caller) in callers(&ground, &access).await {
        for path in [
            "other/app",
            "team",
            "teams/app",
            "docker.io/other/app",
            "localhost/other",
            "example.com/team/app",
        ] {
            for action in [Action::Pull, Action::Push, Action::Delete] {
                let decision = decide(&access, &caller, Some(path), action);
                assert_eq!(
                    decision,
                    if caller.name.is_none() { Unauthenticated } else { Denied },
                    "{who} {path} {action}"
                );
            }
        }
    }
}

#[tokio::test]
async fn what_is_public_is_public_for_those_who_log_in_too() {
    let ground = Ground::new();
    let access = ground.open(settings(&ground)).unwrap();
    for (who, caller) in callers(&ground, &access).await {
        let narrowed = caller.grants.is_some() && who != "anonymous token";
        let pull = decide(&access, &caller, Some("public/app"), Action::Pull);
        assert_eq!(pull, if narrowed { Unauthenticated } else { Allowed }, "{who}");
        assert_ne!(decide(&access, &caller, Some("public/app"), Action::Push), Allowed, "{who}");
        let library = decide(&access, &caller, Some("docker.io/library/nginx"), Action::Pull);
        let known = caller.name.is_some() && caller.grants.is_none();
        assert_eq!(library == Allowed, known, "{who}");
    }
}

#[tokio::test]
async fn the_server_itself_is_for_administrators_and_its_door_for_everybody_known() {
    let ground = Ground::new();
    let access = ground.open(settings(&ground)).unwrap();
    for (who, caller) in callers(&ground, &access).await {
        let admin = decide(&access, &caller, None, Action::Admin);
        assert_eq!(admin == Allowed, ["root", "catalog token"].contains(&who), "{who} {admin:?}");
        let door = decide(&access, &caller, None, Action::Pull);
        assert_eq!(door, if who == "anonymous" { Unauthenticated } else { Allowed }, "{who}");
        for action in [Action::Push, Action::Delete] {
            assert_ne!(decide(&access, &caller, None, action), Allowed, "{who} {action}");
        }
    }
}

#[tokio::test]
async fn a_mount_needs_the_right_to_read_where_it_comes_from() {
    let ground = Ground::new();
    let access = ground.open(settings(&ground)).unwrap();
    let all = login(&access, "all").await;
    let (_, bearer) =
        token(&access, &all, "repository:team/new:pull,push&scope=repository:team/source:push").await;
    assert_eq!(decide(&access, &bearer, Some("team/new"), Action::Push), Allowed);
    assert_eq!(decide(&access, &bearer, Some("team/source"), Action::Pull), Unauthenticated);
    let (_, bearer) =
        token(&access, &all, "repository:team/new:pull,push&scope=repository:team/source:pull").await;
    assert_eq!(decide(&access, &bearer, Some("team/source"), Action::Pull), Allowed);
}

#[tokio::test]
async fn groups_and_rules_change_at_once_for_tokens_that_are_out() {
    let ground = Ground::new();
    let mut settings = settings(&ground);
    let access = ground.open(settings.clone()).unwrap();
    let member = login(&access, "member").await;
    let (text, bearer) = token(&access, &member, "repository:team/app:pull,push").await;
    assert_eq!(decide(&access, &bearer, Some("team/app"), Action::Push), Allowed);

    settings["users"]["member"]["groups"] = json!(["others"]);
    access.reload(crate::ground::parse(settings.clone())).unwrap();
    let bearer = crate::ground::identify(&access, &format!("Bearer {text}")).await.unwrap();
    assert_eq!(bearer.groups, ["others"]);
    assert_eq!(decide(&access, &bearer, Some("team/app"), Action::Push), Denied);
    assert_eq!(decide(&access, &login(&access, "member").await, Some("team/app"), Action::Pull), Denied);

    settings["users"]["member"]["groups"] = json!(["team"]);
    settings["rules"][5]["allow"] = json!(["pull"]);
    access.reload(crate::ground::parse(settings)).unwrap();
    let bearer = crate::ground::identify(&access, &format!("Bearer {text}")).await.unwrap();
    assert_eq!(decide(&access, &bearer, Some("team/app"), Action::Push), Denied);
    assert_eq!(decide(&access, &bearer, Some("team/app"), Action::Pull), Allowed);
}

#[tokio::test]
async fn a_reload_that_fails_changes_nothing() {
    let ground = Ground::new();
    let mut settings = settings(&ground);
    let access = ground.open(settings.clone()).unwrap();
    let before = access.settings();
    settings["rules"] = json!([{ "repositories": ["**"], "anonymous": true, "allow": ["everything"] }]);
    access.reload(crate::ground::parse(settings)).unwrap_err();
    assert_eq!(access.settings(), before);
    let anonymous = Caller::anonymous(HERE);
    assert_eq!(decide(&access, &anonymous, Some("team/app"), Action::Pull), Unauthenticated);
    assert_eq!(decide(&access, &login(&access, "puller").await, Some("team/app"), Action::Pull), Allowed);
}

#[tokio::test]
async fn without_accounts_credentials_are_for_somebody_else() {
    let reading = Access::open(&[Action::Pull]);
    let writing = Access::open(&[Action::Pull, Action::Push]);
    assert!(!reading.is_open_for_writing() && writing.is_open_for_writing());
    assert!(!reading.wants_login() && reading.jwks().is_none());
    let basic = crate::ground::basic("alice", "secret");
    let caller = crate::ground::identify(&reading, &basic).await.unwrap();
    let Some(Presented::Basic { username, password }) = &caller.presented else { panic!("{caller:?}") };
    assert_eq!((username.as_str(), password.reveal()), ("alice", "secret"));
    assert_eq!((caller.name.as_deref(), caller.login), (None, Login::Anonymous));
    let bearer = crate::ground::identify(&reading, "Bearer abc").await.unwrap();
    assert!(matches!(bearer.presented, Some(Presented::Bearer(_))));
    let empty = crate::ground::identify(&reading, &crate::ground::basic("", "")).await.unwrap();
    assert_eq!(empty.presented, None);
    for caller in [&caller, &bearer, &empty, &Caller::anonymous(HERE)] {
        assert_eq!(decide(&reading, caller, Some("docker.io/a/b"), Action::Pull), Allowed);
        assert_eq!(decide(&reading, caller, None, Action::Pull), Allowed);
        for action in [Action::Push, Action::Delete, Action::Admin] {
            assert_eq!(decide(&reading, caller, Some("team/app"), action), Denied);
        }
        assert_eq!(decide(&writing, caller, Some("team/app"), Action::Push), Allowed);
        assert_eq!(decide(&writing, caller, Some("team/app"), Action::Delete), Denied);
    }
    let asked = larder_server::Asked { repository: None, path: None, action: Action::Pull };
    assert_eq!(reading.challenges(&asked, "https://here.test"), ["Basic realm=\"larder\""]);
}
