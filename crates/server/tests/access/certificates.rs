//! Accounts out of client certificates.

use crate::ground::{Ground, HERE, PASSWORD, basic, login};
use larder_core::{Classify as _, Kind};
use larder_server::{Access, Caller, Login, Refused};
use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};
use serde_json::{Value, json};

/// A certificate as TLS would hand it over. Who signed it is TLS's business.
pub(crate) fn certificate(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    change(&mut parameters);
    parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

pub(crate) fn named(name: &str) -> Vec<u8> {
    certificate(|parameters| parameters.distinguished_name.push(DnType::CommonName, name))
}

fn server(ground: &Ground, client: Value) -> Access {
    let settings = json!({
        "htpasswd": ground.accounts(&["alice", "node"]),
        "client_ca": client,
        "users": { "cert:node": { "groups": ["nodes"] } },
        "rules": crate::ground::everything_for_everybody_with_an_account(),
    });
    ground.open(settings).unwrap()
}

async fn present(access: &Access, der: &[u8]) -> Result<Caller, Refused> {
    access.identify(None, Some(der), HERE).await
}

#[tokio::test]
async fn a_certificate_is_an_account_that_no_password_can_be() {
    let ground = Ground::new();
    let access = server(&ground, json!({ "file": "/ca.pem" }));
    let caller = present(&access, &named("node")).await.unwrap();
    assert_eq!((caller.name.as_deref(), caller.login), (Some("cert:node"), Login::Certificate));
    assert_eq!(caller.groups, ["nodes"]);
    assert_eq!(login(&access, "node").await.groups, [""; 0]);
}

#[tokio::test]
async fn the_configured_name_is_the_one_that_counts() {
    let ground = Ground::new();
    let der = certificate(|parameters| {
        parameters.distinguished_name.push(DnType::CommonName, "common");
        let text = |text: &str| text.try_into().unwrap();
        parameters.subject_alt_names = vec![
            SanType::DnsName(text("node.example")),
            SanType::Rfc822Name(text("node@example.org")),
            SanType::URI(text("spiffe://example.org/node")),
        ];
    });
    for (name, expected) in [
        ("common_name", "cert:common"),
        ("dns", "cert:node.example"),
        ("email", "cert:node@example.org"),
        ("uri", "cert:spiffe://example.org/node"),
    ] {
        let access = server(&ground, json!({ "file": "/ca.pem", "name": name }));
        assert_eq!(present(&access, &der).await.unwrap().name.as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn a_certificate_that_names_nobody_or_two_is_refused() {
    let ground = Ground::new();
    let common = server(&ground, json!({ "file": "/ca.pem" }));
    let dns = server(&ground, json!({ "file": "/ca.pem", "name": "dns" }));
    let two = |parameters: &mut CertificateParams| {
        let text = |text: &str| text.try_into().unwrap();
        parameters.subject_alt_names =
            vec![SanType::DnsName(text("a.example")), SanType::DnsName(text("b.example"))];
    };
    let expired = certificate(|parameters| {
        parameters.distinguished_name.push(DnType::CommonName, "node");
        parameters.not_before = date_time_ymd(2000, 1, 1);
        parameters.not_after = date_time_ymd(2001, 1, 1);
    });
    let future = certificate(|parameters| {
        parameters.distinguished_name.push(DnType::CommonName, "node");
        parameters.not_before = date_time_ymd(3000, 1, 1);
    });
    for (what, access, der) in [
        ("no name", &common, certificate(|_| ())),
        ("no alternative name", &dns, named("node")),
        ("two alternative names", &dns, certificate(two)),
        ("control characters", &common, named("no\nde")),
        ("a name too long", &common, named(&"n".repeat(300))),
        ("an old certificate", &common, expired),
        ("a future certificate", &common, future),
        ("no certificate", &common, b"certificate".to_vec()),
        ("nothing", &common, Vec::new()),
    ] {
        let refused = present(access, &der).await.unwrap_err();
        assert_eq!((refused.kind(), refused.login()), (Kind::Denied, Login::Certificate), "{what}");
    }
}

#[tokio::test]
async fn a_credential_goes_before_a_certificate_and_is_not_saved_by_it() {
    let ground = Ground::new();
    let access = server(&ground, json!({ "file": "/ca.pem" }));
    let der = named("node");
    let caller = access.identify(Some(&basic("alice", PASSWORD)), Some(&der), HERE).await.unwrap();
    assert_eq!((caller.name.as_deref(), caller.login), (Some("alice"), Login::Password));
    let refused = access.identify(Some(&basic("alice", "wrong")), Some(&der), HERE).await.unwrap_err();
    assert_eq!(refused, Refused::Password { account: Some("alice".into()) });
    let caller = access.identify(Some(&basic("", "")), Some(&der), HERE).await.unwrap();
    assert_eq!(caller.login, Login::Certificate);
}

#[tokio::test]
async fn where_certificates_are_not_configured_they_prove_nothing() {
    let ground = Ground::new();
    let settings = json!({
        "htpasswd": ground.accounts(&["alice"]),
        "rules": crate::ground::everything_for_everybody_with_an_account(),
    });
    let access = ground.open(settings).unwrap();
    assert_eq!(present(&access, &named("alice")).await.unwrap().login, Login::Anonymous);
}
