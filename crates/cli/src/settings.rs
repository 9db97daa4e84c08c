//! The configuration of one run: files, environment and flags put together. The only file that reads the environment.

use crate::args::Global;
use crate::problem::Usage;
use anyhow::{Context, Result};
use larder_core::Secret;
use larder_engine::{Config, Host, KEYS, Key, LayerOfValues, Origin, Proxy};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What the process was started with.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    /// All variables that are set to something. An empty variable counts as not set.
    variables: BTreeMap<OsString, OsString>,
    /// The user the process acts as; 0 is root.
    user: u32,
    /// Read first, and only there if it exists.
    system_file: PathBuf,
}

/// The configuration in force and where it comes from.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) config: Config,
    /// Per key. What is not in here has its default.
    pub(crate) origins: BTreeMap<String, Origin>,
    /// The files that were looked for, and whether each exists.
    pub(crate) files: Vec<(PathBuf, bool)>,
    /// What the user should know, one sentence each.
    pub(crate) warnings: Vec<String>,
}

/// Every configuration variable begins like this.
const PREFIX: &str = "LARDER_";
/// A larger file is not a configuration.
const FILE_LIMIT: u64 = 1 << 20;

impl Environment {
    /// Looks at the process.
    pub(crate) fn read() -> Self {
        Self {
            variables: std::env::vars_os().filter(|(_, value)| !value.is_empty()).collect(),
            user: rustix::process::geteuid().as_raw(),
            system_file: "/etc/larder/config.yaml".into(),
        }
    }

    /// The user the process acts as, and who logged in, where that is somebody else (`sudo`): the kernel remembers that, and
    /// no variable can change it.
    fn actor(&self) -> String {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = |user: u32| {
            users.lines().find_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                (fields.nth(1)?.parse() == Ok(user)).then(|| name.to_owned())
            })
        };
        let me = name(self.user).unwrap_or_default();
        let login =
            std::fs::read_to_string("/proc/self/loginuid").ok().and_then(|text| text.trim().parse().ok());
        match login.filter(|login| ![self.user, u32::MAX].contains(login)) {
            Some(login) => {
                let by = name(login).unwrap_or_else(|| login.to_string());
                format!("{me} (uid {}, logged in as {by})", self.user)
            }
            None => format!("{me} (uid {})", self.user),
        }
    }

    /// Where kubectl looks for how to reach clusters: the files of `KUBECONFIG`, else that of the user.
    pub(crate) fn kubeconfigs(&self) -> Vec<PathBuf> {
        let listed = self.get("KUBECONFIG").map(std::env::split_paths).into_iter().flatten();
        let listed: Vec<PathBuf> = listed.filter(|path| !path.as_os_str().is_empty()).collect();
        if !listed.is_empty() {
            return listed;
        }
        self.get("HOME").map(|home| Path::new(home).join(".kube/config")).into_iter().collect()
    }

    /// The files with host keys that are believed: those of the user, and larder's own.
    pub(crate) fn known_hosts(&self, home: &Path) -> Vec<PathBuf> {
        let users = self.home_directory().map(|home| home.join(".ssh/known_hosts"));
        users.into_iter().chain([home.join("known_hosts")]).collect()
    }

    /// The home directory of the user.
    pub(crate) fn home_directory(&self) -> Option<PathBuf> {
        self.path("HOME")
    }

    /// Where sockets of this run may be: their paths have to be short.
    pub(crate) fn runtime_directory(&self) -> PathBuf {
        let own = self.path("XDG_RUNTIME_DIR").filter(|path| path.is_dir() && path.as_os_str().len() < 40);
        own.unwrap_or_else(|| "/tmp".into())
    }

    /// Whether the process acts as root.
    pub(crate) fn is_root(&self) -> bool {
        self.user == 0
    }

    /// Whether the terminal understands more than lines.
    pub(crate) fn has_cursor(&self) -> bool {
        self.get("TERM").is_none_or(|term| term != "dumb")
    }

    fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// An XDG base directory; the specification wants relative ones ignored.
    fn base(&self, name: &str, below_home: &str) -> Option<PathBuf> {
        let given = self.path(name).filter(|path| path.is_absolute());
        given.or_else(|| Some(self.path("HOME")?.join(below_home)))
    }

    /// Credential files of docker and podman. The first is the one that `login` writes.
    fn credential_files(&self) -> Vec<PathBuf> {
        let docker = self.path("DOCKER_CONFIG").or_else(|| Some(self.path("HOME")?.join(".docker")));
        let runtime =
            self.path("XDG_RUNTIME_DIR").unwrap_or_else(|| format!("/run/user/{}", self.user).into());
        let candidates = [
            self.path("REGISTRY_AUTH_FILE"),
            docker.map(|dir| dir.join("config.json")),
            Some(runtime.join("containers/auth.json")),
            // Where podman writes as root.
            self.is_root().then(|| "/run/containers/0/auth.json".into()),
            self.base("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("containers/auth.json")),
        ];
        let mut files: Vec<PathBuf> = Vec::new();
        for file in candidates.into_iter().flatten() {
            if !files.contains(&file) {
                files.push(file);
            }
        }
        files
    }

    /// Where the store is when no flag says so, and who says that.
    fn home(&self, system: Option<(&Path, &Value)>) -> Result<(PathBuf, Origin)> {
        if let Some(home) = self.path("LARDER_HOME") {
            return Ok((home, Origin::Environment("LARDER_HOME".into())));
        }
        if let Some(base) = self.path("OMYKUBE_HOME") {
            return Ok((base.join("larder"), Origin::Environment("OMYKUBE_HOME".into())));
        }
        if let Some((file, value)) = system {
            let Value::String(home) = value else {
                return Err(Usage::new(format!("{}: home: expected a path", file.display())).into());
            };
            return Ok((home.into(), Origin::File(file.to_owned())));
        }
        if self.is_root() {
            return Ok(("/var/lib/larder".into(), Origin::Default));
        }
        let data = self.base("XDG_DATA_HOME", ".local/share").ok_or_else(|| {
            Usage::new("there is no place for the store: neither LARDER_HOME nor HOME is set")
                .hint("set LARDER_HOME, or give --home DIR")
        })?;
        Ok((data.join("larder"), Origin::Default))
    }
}

impl Settings {
    /// Puts everything together; later ones win: built in, `/etc/larder/config.yaml`, `HOME/config.yaml`, `LARDER_*`
    /// variables, flags. `--config FILE` takes the place of both files.
    pub(crate) fn read(environment: &Environment, flags: &Global) -> Result<Self> {
        let mut files = Vec::new();
        let mut layers = Vec::new();
        let first = flags.config.as_ref().unwrap_or(&environment.system_file);
        let system = read_file(first, flags.config.is_some())?;
        files.push((first.clone(), system.is_some()));
        let stated = system.as_ref().and_then(|values| Some((first.as_path(), values.get("home")?)));
        let (home, home_origin) = match &flags.home {
            Some(home) => (home.clone(), Origin::Flag("--home".into())),
            None => environment.home(stated)?,
        };
        let home = std::path::absolute(&home).with_context(|| format!("cannot find {}", home.display()))?;
        let mut add = |path: &Path, values: Option<Map<String, Value>>| {
            if let Some(mut values) = values {
                values.remove("home");
                layers.push(LayerOfValues { origin: Origin::File(path.to_owned()), values });
            }
        };
        add(first, system);
        if flags.config.is_none() {
            let file = home.join("config.yaml");
            let values = read_file(&file, false)?;
            if let Some(other) = values.as_ref().and_then(|values| values.get("home"))
                && other.as_str().map(Path::new) != Some(&home)
            {
                let place = file.display();
                return Err(Usage::new(format!(
                    "{place}: home: this file lies in the store; it cannot name another"
                ))
                .hint(format!("remove the key, or set it in {}", environment.system_file.display()))
                .into());
            }
            files.push((file.clone(), values.is_some()));
            add(&file, values);
        }
        let mut warnings = Vec::new();
        layers.extend(from_variables(environment, &mut warnings)?);
        layers.extend(from_flags(flags)?);
        let (mut config, mut origins) = Config::layered(&layers).map_err(|problem| {
            // The section of the server has keys of its own, which are in no environment.
            let hint = match problem.contains("serve: ") {
                true => "the guide, docs/guide/serve.md, explains the keys of serve",
                false => "larder config keys explains every key",
            };
            Usage::new(format!("invalid configuration: {problem}")).hint(hint)
        })?;
        origins.insert("home".into(), home_origin);
        config.home = home;
        Ok(Self { config, origins, files, warnings })
    }
}

/// What the engine has to know about this machine.
pub(crate) fn host(environment: &Environment) -> Host {
    let random = || std::hash::RandomState::new().build_hasher().finish();
    // Without a boot id nothing from an earlier run can be known to have survived: every run counts as a boot.
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_else(|_| format!("{:016x}", random()));
    let path = environment.get("PATH").unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    Host {
        boot_id,
        clock: Arc::new(SystemTime::now),
        credential_files: environment.credential_files(),
        helper_path: std::env::split_paths(path).filter(|dir| dir.is_absolute()).collect(),
        seed: random(),
        user_agent: format!(
            "larder/{} ({}; {})",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
        proxy: proxy(environment),
        actor: Some(environment.actor()),
    }
}

/// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in capitals or small letters, as curl and Go read them.
fn proxy(environment: &Environment) -> Option<Proxy> {
    let get = |name: &str| {
        let value = environment.get(name).or_else(|| environment.get(&name.to_ascii_lowercase()))?;
        value.to_str().filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let every = get("ALL_PROXY");
    let http = get("HTTP_PROXY").or_else(|| every.clone()).map(Secret::new);
    let https = get("HTTPS_PROXY").or(every).map(Secret::new);
    (http.is_some() || https.is_some()).then(|| Proxy {
        http,
        https,
        exceptions: get("NO_PROXY").unwrap_or_default(),
    })
}

/// The variable that sets a key.
pub(crate) fn variable(key: &Key) -> String {
    format!("{PREFIX}{}", key.name.to_ascii_uppercase())
}

fn read_file(path: &Path, required: bool) -> Result<Option<Map<String, Value>>> {
    let shown = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => return Ok(None),
        // Below something that is not a directory there is no file either; the store will say so better.
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory && !required => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read the configuration {shown}")),
    };
    if metadata.len() > FILE_LIMIT {
        return Err(Usage::new(format!(
            "{shown} is larger than {FILE_LIMIT} bytes; it is not a configuration"
        ))
        .into());
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the configuration {shown}"))?;
    let values = Config::parse_file(&text).map_err(|problem| Usage::new(format!("{shown}: {problem}")))?;
    for name in values.keys() {
        // These two are maps; everything else is a key.
        if !["registries", "serve"].contains(&name.as_str()) && !KEYS.iter().any(|key| key.name == name) {
            let usage = Usage::new(format!("{shown}: there is no key {name:?}"));
            return Err(match nearest(name, KEYS.iter().map(|key| key.name)) {
                Some(near) => usage.hint(format!("did you mean {near}?")),
                None => usage.hint("larder config keys lists all keys"),
            }
            .into());
        }
    }
    Ok(Some(values))
}

/// One layer per variable, so that each value knows its origin.
fn from_variables(environment: &Environment, warnings: &mut Vec<String>) -> Result<Vec<LayerOfValues>> {
    let mut layers = Vec::new();
    for (name, value) in &environment.variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX) && *name != "LARDER_HOME")
        else {
            continue;
        };
        let Some(key) = KEYS.iter().find(|key| variable(key) == name) else {
            let names = KEYS.iter().map(variable).collect::<Vec<_>>();
            warnings.push(match nearest(name, names.iter().map(String::as_str)) {
                _ if name == "LARDER_REGISTRIES" => {
                    format!("{name} has no effect; registries can be set in config.yaml only")
                }
                Some(near) => format!("{name} is not a setting and has no effect; did you mean {near}?"),
                None => format!("{name} is not a setting and has no effect; larder config keys lists all"),
            });
            continue;
        };
        let text = value.to_str().ok_or_else(|| Usage::new(format!("the variable {name} is not UTF-8")))?;
        let values = Map::from_iter([(key.name.to_owned(), Config::value(key, text))]);
        layers.push(LayerOfValues { origin: Origin::Environment(name.to_owned()), values });
    }
    Ok(layers)
}

fn from_flags(flags: &Global) -> Result<Vec<LayerOfValues>> {
    let mut layers = Vec::new();
    let mut add = |flag: &str, name: &str, value: Value| {
        let values = Map::from_iter([(name.to_owned(), value)]);
        layers.push(LayerOfValues { origin: Origin::Flag(flag.to_owned()), values });
    };
    if let Some(jobs) = flags.jobs {
        add("--jobs", "jobs", jobs.into());
    }
    if let Some(driver) = flags.driver {
        add("--driver", "driver", driver.as_str().into());
    }
    if !flags.certs_dir.is_empty() {
        add("--certs-dir", "certs_dir", paths("--certs-dir", &flags.certs_dir)?);
    }
    if !flags.ca_file.is_empty() {
        add("--ca-file", "ca_file", paths("--ca-file", &flags.ca_file)?);
    }
    if !flags.insecure.is_empty() {
        add("--insecure", "insecure", flags.insecure.iter().map(|host| Value::from(host.as_str())).collect());
    }
    if let Some(file) = &flags.auth_file {
        add("--auth-file", "auth_file", path("--auth-file", file)?);
    }
    Ok(layers)
}

fn paths(flag: &str, paths: &[PathBuf]) -> Result<Value> {
    paths.iter().map(|given| path(flag, given)).collect()
}

fn path(flag: &str, path: &Path) -> Result<Value> {
    let text = path.to_str();
    Ok(text.ok_or_else(|| Usage::new(format!("{flag}: the path {} is not UTF-8", path.display())))?.into())
}

/// The name that differs least from what was written, if any is near.
fn nearest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = names.map(|name| (distance(written, name), name)).min()?;
    (near.0 <= 2.max(written.trim_start_matches(PREFIX).len() / 4)).then_some(near.1)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into another.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().take(100).collect(), to.chars().collect());
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = match (i, j) {
                (0, _) => j,
                (_, 0) => i,
                _ => {
                    let replace = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                    let best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                    let swapped = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
                    if swapped { best.min(rows[i - 2][j - 2] + 1) } else { best }
                }
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(user: u32, variables: &[(&str, &str)]) -> Environment {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Environment { variables, user, system_file: "/nonexistent/larder/config.yaml".into() }
    }

    fn home(user: u32, variables: &[(&str, &str)]) -> (String, Origin) {
        let settings = Settings::read(&environment(user, variables), &Global::default()).unwrap();
        (settings.config.home.to_str().unwrap().to_owned(), settings.origins["home"].clone())
    }

    #[test]
    fn the_store_is_where_the_first_of_these_says() {
        let variable = |name: &str| Origin::Environment(name.into());
        let all = [("LARDER_HOME", "/l"), ("OMYKUBE_HOME", "/o"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(home(7, &all), ("/l".into(), variable("LARDER_HOME")));
        assert_eq!(home(7, &all[1..]), ("/o/larder".into(), variable("OMYKUBE_HOME")));
        assert_eq!(home(7, &all[2..]), ("/x/larder".into(), Origin::Default));
        assert_eq!(home(7, &all[3..]), ("/h/.local/share/larder".into(), Origin::Default));
        assert_eq!(home(7, &[("XDG_DATA_HOME", "relative"), ("HOME", "/h")]).0, "/h/.local/share/larder");
        assert_eq!(home(0, &all[2..]), ("/var/lib/larder".into(), Origin::Default));
        assert!(Settings::read(&environment(7, &[]), &Global::default()).is_err());
    }

    #[test]
    fn credential_files_in_the_order_of_docker_and_podman() {
        let shown = |user, variables: &[(&str, &str)]| -> Vec<String> {
            let files = environment(user, variables).credential_files();
            files.iter().map(|file| file.to_str().unwrap().to_owned()).collect()
        };
        let all = [
            ("REGISTRY_AUTH_FILE", "/r.json"),
            ("DOCKER_CONFIG", "/d"),
            ("XDG_RUNTIME_DIR", "/run/me"),
            ("XDG_CONFIG_HOME", "/c"),
            ("HOME", "/h"),
        ];
        assert_eq!(
            shown(7, &all),
            ["/r.json", "/d/config.json", "/run/me/containers/auth.json", "/c/containers/auth.json"]
        );
        assert_eq!(
            shown(0, &all[4..]),
            [
                "/h/.docker/config.json",
                "/run/user/0/containers/auth.json",
                "/run/containers/0/auth.json",
                "/h/.config/containers/auth.json"
            ]
        );
    }

    #[test]
    fn variables_are_values_with_an_origin() {
        let variables = [
            ("LARDER_HOME", "/l"),
            ("LARDER_JOBS", "7"),
            ("LARDER_CERTS_DIR", "/a,/b"),
            ("LARDER_ATTACHED", "no"),
        ];
        let settings = Settings::read(&environment(7, &variables), &Global::default()).unwrap();
        assert_eq!((settings.config.jobs, settings.config.attached), (7, false));
        assert_eq!(settings.config.certs_dir, [PathBuf::from("/a"), "/b".into()]);
        assert_eq!(settings.origins["jobs"], Origin::Environment("LARDER_JOBS".into()));
        assert_eq!(settings.warnings, [""; 0]);
    }

    #[test]
    fn flags_win_over_variables() {
        let flags = Global { jobs: Some(9), home: Some("/flag".into()), ..Global::default() };
        let variables = [("LARDER_HOME", "/l"), ("LARDER_JOBS", "7")];
        let settings = Settings::read(&environment(7, &variables), &flags).unwrap();
        assert_eq!(settings.config.jobs, 9);
        assert_eq!(settings.origins["jobs"], Origin::Flag("--jobs".into()));
        assert_eq!(settings.origins["home"], Origin::Flag("--home".into()));
    }

    #[test]
    fn a_misspelled_variable_is_named_with_its_neighbour() {
        let variables = [("LARDER_HOME", "/l"), ("LARDER_JBOS", "1"), ("LARDER_ZZZZZZZZ", "1")];
        let settings = Settings::read(&environment(7, &variables), &Global::default()).unwrap();
        assert!(
            settings.warnings[0].contains("LARDER_JBOS") && settings.warnings[0].contains("LARDER_JOBS?")
        );
        assert!(settings.warnings[1].contains("larder config keys"), "{:?}", settings.warnings);
    }

    #[test]
    fn distances() {
        for (from, to, expected) in [("", "", 0), ("jobs", "jbos", 1), ("job", "jobs", 1), ("abc", "xyz", 3)]
        {
            assert_eq!(distance(from, to), expected, "{from} {to}");
        }
    }
}
