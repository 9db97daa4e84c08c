//! Files that say how clusters are reached (client-go, tools/clientcmd).

use super::file;
use super::plugin::Plugin;
use kube::config::{AuthInfo, Cluster, ExecAuthCluster, KubeconfigError};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::ExposeSecret as _;
use std::path::{Path, PathBuf};

/// One kubeconfig out of several files: the first one to name something decides what it is.
#[derive(Debug, Clone)]
pub struct Kubeconfig(kube::config::Kubeconfig);

/// How an API server is reached: what a context of a kubeconfig comes to.
#[derive(Clone)]
pub struct ApiAccess {
    context: String,
    config: kube::Config,
}

/// Runs a program, and gives what it prints or why it does not.
pub type RunPlugin<'a> = &'a dyn Fn(&Plugin) -> Result<Vec<u8>, String>;

/// Why a context cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "fields say what by their names")]
pub enum Fault {
    /// A file that cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// A file that is no kubeconfig. Where, and nothing of what is there: it may be a secret.
    #[error("{} is no kubeconfig{place}", path.display())]
    Malformed { path: PathBuf, place: String },
    /// More than a kubeconfig, a certificate, a key or a token can have.
    #[error("{} has more than {} MiB", path.display(), limit >> 20)]
    TooLarge { path: PathBuf, limit: u64 },
    /// What belongs to it is not there, or does not go together.
    #[error("{0}")]
    Kubeconfig(KubeconfigError),
    /// It names no context, and none was named.
    #[error("there is no current-context; the contexts are {known}")]
    NoContext { known: String },
    /// A context, cluster or user that is not there.
    #[error("there is no {what} {name:?}; there are {known}")]
    Unknown { what: &'static str, name: String, known: String },
    /// A server that is no URL.
    #[error("the cluster {cluster:?} has the server {server:?}, which is no address")]
    Server { cluster: String, server: String },
    /// Certificates or a proxy of a cluster that cannot be used.
    #[error("the cluster {cluster:?} has a {field} that cannot be used")]
    Cluster { cluster: String, field: &'static str },
    /// A way to get credentials that client-go has no more.
    #[error(
        "the user {user:?} gets its credentials by auth-provider {name:?}, which Kubernetes 1.26 has given up"
    )]
    Provider { user: String, name: String },
    /// A program that should give credentials, and does not.
    #[error("the user {user:?} gets its credentials from the program {command:?}: {reason}")]
    Plugin { user: String, command: String, reason: String },
    /// Half of what belongs together.
    #[error("the user {user:?} has {there} and no {missing}")]
    Half { user: String, there: &'static str, missing: &'static str },
}

impl Kubeconfig {
    /// Reads files; paths in each are seen from its directory. What is not there is passed over as long as one of them is.
    ///
    /// # Errors
    /// A file that cannot be read, is no kubeconfig or has more than 8 MiB; the first one where none is there.
    pub fn read(files: &[PathBuf]) -> Result<Self, Fault> {
        let (mut merged, mut absent): (Option<kube::config::Kubeconfig>, Option<Fault>) = (None, None);
        for path in files {
            let read = match file::kubeconfig(path) {
                Ok(read) => read,
                Err(fault) if file::is_absent(&fault) => {
                    absent = absent.or(Some(fault));
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            merged = Some(match merged {
                Some(merged) => merged.merge(read).map_err(Fault::Kubeconfig)?,
                None => read,
            });
        }
        match (merged, absent) {
            (Some(merged), _) => Ok(Self(merged)),
            (None, Some(absent)) => Err(absent),
            (None, None) => Err(Fault::NoContext { known: "none".into() }),
        }
    }

    /// How the cluster of a context, or of the current one, is reached. Reads the files it names. Where a program gives the
    /// credentials, `run` is asked for what it prints, or why it does not.
    ///
    /// # Errors
    /// A context that is not there or not whole, and whatever makes it unusable.
    pub fn access(&self, context: Option<&str>, run: RunPlugin<'_>) -> Result<ApiAccess, Fault> {
        let contexts = named(&self.0.contexts, |entry| (&entry.name, entry.context.as_ref()));
        let current = self.0.current_context.as_deref().filter(|name| !name.is_empty());
        let name = context.or(current).ok_or_else(|| Fault::NoContext { known: names(&contexts) })?;
        let context = find("context", name, &contexts)?;
        let clusters = named(&self.0.clusters, |entry| (&entry.name, entry.cluster.as_ref()));
        let mut cluster = find("cluster", &context.cluster, &clusters)?.clone();
        if let Some(authority) = file::base64(&mut cluster.certificate_authority)? {
            // What stands in the kubeconfig itself wins.
            cluster.certificate_authority_data.get_or_insert(authority);
        }
        let server = cluster.server.clone().unwrap_or_default();
        let uri =
            server.parse().ok().filter(|uri: &http::Uri| uri.host().is_some() && uri.scheme().is_some());
        let mut config =
            kube::Config::new(uri.ok_or_else(|| Fault::Server { cluster: context.cluster.clone(), server })?);
        let unusable = |field| Fault::Cluster { cluster: context.cluster.clone(), field };
        config.root_cert = authorities(&cluster, unusable)?;
        config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or_default();
        config.tls_server_name = cluster.tls_server_name.clone().filter(|name| !name.is_empty());
        if let Some(proxy) = cluster.proxy_url.as_deref().filter(|proxy| !proxy.is_empty()) {
            config.proxy_url = Some(proxy.parse().map_err(|_| unusable("proxy-url"))?);
        }
        if let Some(user) = context.user.as_deref().filter(|user| !user.is_empty()) {
            let users = named(&self.0.auth_infos, |entry| (&entry.name, entry.auth_info.as_ref()));
            config.auth_info = credentials(user, find("user", user, &users)?.clone(), &cluster, run)?;
        }
        Ok(ApiAccess { context: name.to_owned(), config })
    }
}

impl ApiAccess {
    /// The name of the context.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// The host and the port of the server.
    pub(super) fn host(&self) -> String {
        self.config.cluster_url.authority().map(|host| host.as_str()).unwrap_or_default().to_owned()
    }

    pub(super) fn config(&self) -> &kube::Config {
        &self.config
    }
}

impl std::fmt::Debug for ApiAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The configuration has secrets in it.
        f.debug_struct("ApiAccess").field("context", &self.context).finish_non_exhaustive()
    }
}

fn authorities(
    cluster: &Cluster,
    unusable: impl Fn(&'static str) -> Fault,
) -> Result<Option<Vec<Vec<u8>>>, Fault> {
    let read = ExecAuthCluster::try_from(cluster).map_err(Fault::Kubeconfig)?;
    let Some(pem) = read.certificate_authority_data.filter(|pem| !pem.is_empty()) else { return Ok(None) };
    let certificates: Result<Vec<CertificateDer<'_>>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let certificates = certificates.ok().filter(|certificates| !certificates.is_empty());
    let certificates = certificates.ok_or_else(|| unusable("certificate-authority"))?;
    Ok(Some(certificates.into_iter().map(|certificate| certificate.to_vec()).collect()))
}

/// The credentials of a user, with nothing left in them that runs a program by itself.
fn credentials(
    name: &str,
    mut user: AuthInfo,
    cluster: &Cluster,
    run: RunPlugin<'_>,
) -> Result<AuthInfo, Fault> {
    user.token = user.token.filter(|token| !token.expose_secret().is_empty());
    user.username = user.username.filter(|username| !username.is_empty());
    if let Some(path) = user.token_file.take().filter(|path| !path.is_empty()) {
        // As client-go has it, the file wins; and files end with a line.
        user.token = Some(file::text(Path::new(&path))?.trim().into());
    }
    let has =
        |data: bool, path: &Option<String>| data || path.as_deref().is_some_and(|path| !path.is_empty());
    let certificate = has(user.client_certificate_data.is_some(), &user.client_certificate);
    let key = has(user.client_key_data.is_some(), &user.client_key);
    let half = |there, missing| Fault::Half { user: name.to_owned(), there, missing };
    match (certificate, key) {
        (true, false) => return Err(half("client-certificate", "client-key")),
        (false, true) => return Err(half("client-key", "client-certificate")),
        _ => {}
    }
    if let Some(certificate) = file::base64(&mut user.client_certificate)? {
        user.client_certificate_data.get_or_insert(certificate);
    }
    if let Some(key) = file::base64(&mut user.client_key)? {
        user.client_key_data.get_or_insert(key.into());
    }
    if user.username.is_some() && user.password.is_none() {
        user.password = Some(String::new().into());
    }
    let (exec, provider) = (user.exec.take(), user.auth_provider.take());
    if user.token.is_some() {
        // It comes before a name and a password.
        user.username = None;
    }
    if certificate || user.token.is_some() || user.username.is_some() {
        return Ok(user);
    }
    if let Some(exec) = exec {
        let plugin = Plugin::read(name, &exec, cluster)?;
        let answer = run(&plugin).map_err(|reason| plugin.fault(reason))?;
        plugin.credential(&answer, &mut user)?;
    } else if let Some(provider) = provider {
        // What it knows by itself is a token; what it would have to run or ask for is not had.
        match provider.config.get("id-token").filter(|_| provider.name == "oidc") {
            Some(token) => user.token = Some(token.clone().into()),
            None => return Err(Fault::Provider { user: name.to_owned(), name: provider.name }),
        }
    }
    Ok(user)
}

type Named<'a, T> = Vec<(&'a String, Option<&'a T>)>;

fn named<'a, E, T>(entries: &'a [E], parts: impl Fn(&'a E) -> (&'a String, Option<&'a T>)) -> Named<'a, T> {
    entries.iter().map(parts).collect()
}

fn names<T>(entries: &Named<'_, T>) -> String {
    match entries.is_empty() {
        true => "none".to_owned(),
        false => entries.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", "),
    }
}

fn find<'a, T>(what: &'static str, name: &str, entries: &Named<'a, T>) -> Result<&'a T, Fault> {
    let entry = entries.iter().find(|(entry, _)| *entry == name).and_then(|(_, entry)| *entry);
    entry.ok_or_else(|| Fault::Unknown { what, name: name.to_owned(), known: names(entries) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
apiVersion: v1
kind: Config
current-context: prod
contexts:
- {name: prod, context: {cluster: prod, user: token}}
- {name: cert, context: {cluster: prod, user: cert}}
- {name: cloud, context: {cluster: prod, user: cloud}}
- {name: gone, context: {cluster: prod, user: gone}}
- {name: old, context: {cluster: prod, user: old}}
- {name: broken, context: {cluster: nowhere, user: token}}
- {name: half, context: {cluster: prod, user: half}}
- {name: file, context: {cluster: prod, user: file}}
- {name: open, context: {cluster: open}}
- {name: odd, context: {cluster: odd}}
clusters:
- name: prod
  cluster: {server: 'https://10.0.0.1:6443/base', tls-server-name: kube.test, proxy-url: 'http://proxy.test:3128'}
- name: open
  cluster: {server: 'https://10.0.0.2', insecure-skip-tls-verify: true, certificate-authority: ca.pem}
- name: odd
  cluster: {server: 'https://10.0.0.3', certificate-authority-data: Q0E=}
users:
- {name: token, user: {token: abc}}
- {name: cert, user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}}
- {name: cloud, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: aws, args: [eks]}}}
- {name: gone, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: azure}}}
- {name: old, user: {auth-provider: {name: gcp}}}
- {name: half, user: {client-certificate-data: Q0VSVA==}}
- {name: file, user: {token: no, tokenFile: tokens/t}}
";

    struct Files(tempfile::TempDir);

    impl Files {
        fn new(files: &[(&str, &str)]) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            for (name, text) in files {
                let path = directory.path().join(name);
                std::fs::create_dir_all(path.parent().expect("it is in the directory")).expect("a directory");
                std::fs::write(path, text).expect("a file");
            }
            Self(directory)
        }

        fn read(&self, names: &[&str]) -> Result<Kubeconfig, Fault> {
            let paths: Vec<PathBuf> = names.iter().map(|name| self.0.path().join(name)).collect();
            Kubeconfig::read(&paths)
        }
    }

    fn run(plugin: &Plugin) -> Result<Vec<u8>, String> {
        match plugin.command.to_str() {
            Some("aws") => Ok(br#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"k8s-aws"}}"#.to_vec()),
            _ => Err("it is not there".to_owned()),
        }
    }

    fn access(context: Option<&str>) -> Result<ApiAccess, Fault> {
        let files = Files::new(&[("config", FILE), ("tokens/t", "from the file\n")]);
        files.read(&["config"])?.access(context, &run)
    }

    fn token(access: &ApiAccess) -> Option<&str> {
        access.config.auth_info.token.as_ref().map(|token| token.expose_secret())
    }

    #[test]
    fn the_current_context_is_taken_unless_one_is_named() {
        let prod = access(None).expect("it is there");
        assert_eq!((prod.context(), prod.host().as_str()), ("prod", "10.0.0.1:6443"));
        assert_eq!(prod.config.cluster_url.path(), "/base");
        assert_eq!(prod.config.tls_server_name.as_deref(), Some("kube.test"));
        assert_eq!(
            prod.config.proxy_url.as_ref().map(ToString::to_string).as_deref(),
            Some("http://proxy.test:3128/")
        );
        assert_eq!(token(&prod), Some("abc"));
        assert!(!prod.config.accept_invalid_certs);
        let cert = access(Some("cert")).expect("it is there");
        assert_eq!(cert.config.auth_info.client_certificate_data.as_deref(), Some("Q0VSVA=="));
        assert_eq!(token(&access(Some("file")).expect("it is there")), Some("from the file"));
        assert!(!format!("{prod:?}").contains("abc"));
    }

    #[test]
    fn a_program_is_asked_where_there_is_no_other_credential() {
        let cloud = access(Some("cloud")).expect("it is there");
        assert_eq!(token(&cloud), Some("k8s-aws"));
        assert!(cloud.config.auth_info.exec.is_none(), "nobody runs it once more");
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let said = |context| access(Some(context)).expect_err("it cannot be used").to_string();
        assert!(said("gone").ends_with("\"azure\": it is not there"), "{}", said("gone"));
        assert!(said("old").contains("auth-provider \"gcp\""), "{}", said("old"));
        assert!(said("broken").contains("there is no cluster \"nowhere\"; there are prod, open"));
        assert!(said("elsewhere").contains("there is no context \"elsewhere\"; there are prod, cert"));
        assert!(said("half").contains("client-certificate and no client-key"));
        assert!(
            said("odd").contains("\"odd\" has a certificate-authority that cannot be used"),
            "{}",
            said("odd")
        );
        let open = said("open");
        assert!(
            open.contains("ca.pem") && open.contains("/tmp"),
            "files are seen from the kubeconfig: {open}"
        );
    }

    #[test]
    fn of_several_files_the_first_one_decides_and_each_is_seen_from_its_directory() {
        let first = "{current-context: a, contexts: [{name: a, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: {server: 'https://one.test'}}]}";
        let second = "{current-context: b, contexts: [{name: b, context: {cluster: c, user: u}}, {name: a, context: {cluster: d}}],
            clusters: [{name: c, cluster: {server: 'https://two.test'}}], users: [{name: u, user: {tokenFile: token}}]}";
        let files = Files::new(&[("one/config", first), ("two/config", second), ("two/token", "t\n")]);
        let merged = files.read(&["absent", "one/config", "two/config"]).expect("two are there");
        let a = merged.access(None, &run).expect("it is whole");
        assert_eq!((a.context(), a.host().as_str(), token(&a)), ("a", "one.test", Some("t")));
        let b = merged.access(Some("b"), &run).expect("it is whole");
        assert_eq!((b.host().as_str(), token(&b)), ("one.test", Some("t")));
        let turned = files.read(&["two/config", "one/config"]).expect("both are there");
        assert_eq!(turned.access(None, &run).expect("it is whole").host(), "two.test");
        let absent = files.read(&["absent", "absent too"]).expect_err("none is there");
        assert!(matches!(&absent, Fault::Read { path, .. } if path.ends_with("absent")), "{absent}");
    }

    #[test]
    fn files_are_read_up_to_a_limit() {
        for (name, config) in [
            ("/dev/zero", ""),
            (
                "ca",
                "clusters: [{name: c, cluster: {server: 'https://x.test', certificate-authority: /dev/zero}}]",
            ),
            ("cert", "users: [{name: u, user: {client-certificate: /dev/zero, client-key: k}}]"),
            ("key", "users: [{name: u, user: {client-certificate: k, client-key: /dev/zero}}]"),
            ("token", "users: [{name: u, user: {tokenFile: /dev/zero}}]"),
        ] {
            let rest = "{current-context: a, contexts: [{name: a, context: {cluster: c, user: u}}], \
                        clusters: [{name: c, cluster: {server: 'https://x.test'}}], users: [{name: u, user: {}}]}";
            let files = Files::new(&[(name.trim_start_matches('/'), config), ("rest", rest), ("k", "")]);
            let read = files.read(&[name, "rest"]).and_then(|file| file.access(None, &run));
            let said = read.expect_err("it does not end").to_string();
            assert_eq!(said, "/dev/zero has more than 8 MiB");
        }
    }

    #[test]
    fn files_of_other_editors_are_read_and_half_a_character_is_no_text() {
        let wide: Vec<u8> = FILE.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let files = Files::new(&[("marked", &format!("\u{feff}{FILE}"))]);
        files.read(&["marked"]).and_then(|file| file.access(None, &run)).expect("it has a mark");
        let path = files.0.path().join("wide");
        std::fs::write(&path, [&[0xff, 0xfe], wide.as_slice()].concat()).expect("a file");
        files.read(&["wide"]).and_then(|file| file.access(None, &run)).expect("it is UTF-16");
        std::fs::write(&path, [&[0xff, 0xfe], &wide[1..]].concat()).expect("a file");
        let said = files.read(&["wide"]).expect_err("it ends in the middle").to_string();
        assert!(said.ends_with("is no kubeconfig: it is no text"), "{said}");
    }

    #[test]
    fn what_is_malformed_is_named_and_not_shown() {
        for (text, place) in [
            ("users:\n- name: u\n  user: {token: s3cret\n", "line "),
            ("users:\n- name: u\n  user:\n    token: [s3cret]\n", "line 4"),
            ("users: s3cret\n", "line 1"),
            ("s3cret", "line 1"),
            ("clusters: []\n---\nusers: [s3cret]\n", "line 3"),
        ] {
            let fault = Files::new(&[("bad", text)]).read(&["bad"]).expect_err("it is none");
            let said = fault.to_string();
            assert!(said.contains("bad is no kubeconfig: ") && said.contains(place), "{said}");
            assert!(!format!("{said}{fault:?}").contains("s3cret"), "{fault:?}");
        }
    }
}
