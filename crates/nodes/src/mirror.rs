//! Lets the runtime of a node pull through a larder registry, and takes it back.

mod config_path;
mod daemon_json;
mod hosts_toml;
mod ledger;
mod remote_files;
mod url;

use crate::probe::{Depth, Facts};
use crate::{Connection, Error, Fleet, Node, Result, Runtime};
use config_path::ConfigPath;
pub use hosts_toml::Mirrors;
use larder_core::Digest;
use ledger::{Entry, Ledger, above, copy_of, kept};
use remote_files::{RemoteFiles, Seen};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
pub use url::MirrorUrl;

/// What a node is to pull through.
#[derive(Debug, Clone)]
pub struct MirrorOptions {
    /// Where larder serves.
    pub url: MirrorUrl,
    /// For which registries; Docker knows only that of Docker.
    pub mirrors: Vec<Mirrors>,
    /// Certificates, in PEM, that vouch for larder.
    pub authority: Option<Vec<u8>>,
    /// Also the line in containerd's configuration that makes it read `hosts.toml` files.
    pub configure: bool,
    /// Let Docker read its settings.
    pub reload: bool,
    /// Only say what would be changed.
    pub dry_run: bool,
}

/// What became of one node.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Mirrored {
    /// The files, in the order in which they were looked at.
    pub files: Vec<FileChange>,
    /// What somebody still has to do, and what is worth knowing.
    pub notes: Vec<String>,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FileChange {
    /// Where it is.
    pub path: String,
    /// What was done.
    pub change: Change,
}

/// What is done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// There was none.
    Created,
    /// There was one, which is kept.
    Replaced,
    /// It is as it was before.
    Restored,
    /// There was none before.
    Removed,
    /// It was as it should be.
    Unchanged,
}

const CERTS: &str = "/etc/containerd/certs.d";
const CONFIG: &str = "/etc/containerd/config.toml";
const DAEMON: &str = "/etc/docker/daemon.json";
const RELOAD: &str = "Docker has to read its settings: `systemctl reload docker` there, or --reload";
const AUTHORITY: &str = "larder-ca.crt";
/// How long Docker may take to read its settings.
const PATIENCE: Duration = Duration::from_secs(10);

impl Fleet {
    /// Lets all nodes pull through a registry of larder's. What was there before is kept on each node.
    pub async fn mirror(&self, options: &MirrorOptions, jobs: usize) -> Vec<(Node, Result<Mirrored>)> {
        let options = options.clone();
        self.each_at_its_files(jobs, move |change| {
            let options = options.clone();
            async move { change.mirror(&options).await }
        })
        .await
    }

    /// Brings back on all nodes what was there before.
    pub async fn unmirror(&self, reload: bool, dry_run: bool, jobs: usize) -> Vec<(Node, Result<Mirrored>)> {
        self.each_at_its_files(jobs, move |change| async move { change.undo(reload, dry_run).await }).await
    }

    async fn each_at_its_files<F>(
        &self,
        jobs: usize,
        work: impl Fn(Alteration) -> F + Clone + Send + Sync + 'static,
    ) -> Vec<(Node, Result<Mirrored>)>
    where
        F: Future<Output = Result<Mirrored>> + Send + 'static,
    {
        self.each(jobs, |fleet, node| {
            let work = work.clone();
            async move {
                let altered = async {
                    let connection = fleet.connect(&node).await?;
                    work(Alteration::of(connection).await?).await
                };
                let altered = altered.await;
                (node, altered)
            }
        })
        .await
    }
}

/// One node whose files are changed.
struct Alteration {
    connection: Connection,
    facts: Facts,
    /// Where the record is.
    directory: String,
    ledger: Option<Ledger>,
}

/// The files that are to be changed, as they are.
struct Ground {
    now: BTreeMap<String, Seen>,
    copies: BTreeMap<String, Seen>,
}

impl Alteration {
    async fn of(connection: Connection) -> Result<Self> {
        let facts = Facts::of(&connection, Depth::Brief).await?;
        let directory = format!("{}/mirror", connection.node().directory);
        let path = format!("{directory}/manifest.json");
        let seen = RemoteFiles { connection: &connection }.look(&[&path]).await?;
        let wrong = |problem: &str| Error::Configuration {
            node: connection.node().name().into(),
            path: path.clone(),
            problem: problem.into(),
        };
        let ledger = match &seen[0] {
            Seen::Absent => None,
            Seen::File(content) => {
                let ledger: Ledger =
                    serde_json::from_slice(content).map_err(|_| wrong("it is not what larder wrote"))?;
                if ledger.version != ledger::VERSION {
                    return Err(wrong("another version of larder wrote it"));
                }
                for path in ledger.files.iter().map(|entry| &entry.path).chain(&ledger.directories) {
                    crate::word::remote_path("path", path)?;
                }
                Some(ledger)
            }
            _ => return Err(wrong("it is not what larder wrote")),
        };
        Ok(Self { connection, facts, directory, ledger })
    }

    async fn mirror(self, options: &MirrorOptions) -> Result<Mirrored> {
        let node = self.connection.node();
        let runtime = self.facts.runtime(node.name())?;
        let mut told = Mirrored::default();
        let ground;
        let wanted = match runtime {
            Runtime::Containerd => {
                let (directory, configuration) = self.certs(options, &mut told).await?;
                let mut paths: Vec<String> =
                    options.mirrors.iter().map(|it| hosts_file(&directory, it)).collect();
                paths.extend([format!("{directory}/{AUTHORITY}"), CONFIG.to_owned()]);
                ground = self.ground(&paths).await?;
                let mut wanted = self.for_containerd(&directory, options, &ground);
                wanted.extend(configuration.map(|text| (CONFIG.to_owned(), text.into_bytes())));
                wanted
            }
            Runtime::Docker => {
                let authority = format!("/etc/docker/certs.d/{}/{AUTHORITY}", options.url.authority());
                ground = self.ground(&[authority.clone(), DAEMON.to_owned()]).await?;
                self.for_docker(&authority, options, &ground, &mut told)?
            }
        };
        let changed = self.apply(&wanted, &ground, options, &mut told).await?;
        if runtime == Runtime::Docker && options.reload && !options.dry_run {
            let settings =
                wanted.iter().find(|(path, _)| path == DAEMON).map(|(_, content)| content.as_slice());
            self.reload(settings, &mut told).await?;
        } else if runtime == Runtime::Docker && changed {
            told.notes.push(RELOAD.into());
        }
        self.connection.close().await;
        Ok(told)
    }

    /// The directory of `hosts.toml` files that containerd reads, or would; and its configuration, where that is to be changed.
    async fn certs(&self, options: &MirrorOptions, told: &mut Mirrored) -> Result<(String, Option<String>)> {
        let files = RemoteFiles { connection: &self.connection };
        let says = files.containerd().await?;
        let content = files.look(&[CONFIG]).await?.remove(0);
        let text = String::from_utf8(content.content().unwrap_or_default().to_vec())
            .map_err(|_| self.unusable(CONFIG, "it is not UTF-8".into()))?;
        let major = says.major.unwrap_or(2);
        let found = ConfigPath::of(says.configuration.as_deref().unwrap_or(&text))
            .map_err(|problem| self.unusable(CONFIG, problem))?;
        let lines = config_path::lines(&text, major, CERTS);
        let mut configuration = None;
        match found {
            ConfigPath::Set(paths) if paths.iter().any(|path| path.trim_end_matches('/') == CERTS) => {}
            ConfigPath::Set(paths) => {
                let path = paths.first().map(|path| path.trim_end_matches('/')).unwrap_or_default();
                return Ok((crate::word::remote_path("config_path", path)?, None));
            }
            ConfigPath::Unset if options.configure => {
                let made = config_path::with_lines(&text, major, CERTS);
                configuration = Some(made.map_err(|problem| {
                    self.unusable(CONFIG, format!("{problem}; write this there by hand:\n{lines}"))
                })?);
                told.notes.push("containerd has to be restarted to read its configuration; containers go on meanwhile".into());
            }
            ConfigPath::Unset => told.notes.push(format!(
                "containerd does not read {CERTS} yet; add this to {CONFIG}, or let --configure do so, and restart containerd:\n{lines}"
            )),
            ConfigPath::OldWay if options.configure => {
                let problem = "registry.mirrors or registry.configs are set there, with which containerd takes no config_path";
                return Err(self.unusable(CONFIG, problem.into()));
            }
            ConfigPath::OldWay => told.notes.push(format!(
                "containerd does not read {CERTS}, because {CONFIG} has registry.mirrors or registry.configs; move those to hosts.toml files, put this in their place, and restart containerd:\n{lines}"
            )),
            ConfigPath::NoKubernetes => told.notes.push(format!(
                "the Kubernetes interface of containerd is off there: only clients that name {CERTS} read it, as with `ctr images pull --hosts-dir`"
            )),
        }
        Ok((CERTS.to_owned(), configuration))
    }

    fn for_containerd(
        &self,
        directory: &str,
        options: &MirrorOptions,
        ground: &Ground,
    ) -> Vec<(String, Vec<u8>)> {
        let path = format!("{directory}/{AUTHORITY}");
        let authority = options.authority.as_ref().map(|_| path.as_str());
        let hosts = options.mirrors.iter().map(|mirrors| {
            let path = hosts_file(directory, mirrors);
            let before =
                self.base(&path, ground).map(|content| String::from_utf8_lossy(content).into_owned());
            (path, hosts_toml::text(mirrors, &options.url, authority, before.as_deref()).into_bytes())
        });
        let hosts: Vec<_> = hosts.collect();
        options.authority.iter().map(|content| (path.clone(), content.clone())).chain(hosts).collect()
    }

    fn for_docker(
        &self,
        authority: &str,
        options: &MirrorOptions,
        ground: &Ground,
        told: &mut Mirrored,
    ) -> Result<Vec<(String, Vec<u8>)>> {
        if options
            .mirrors
            .iter()
            .any(|mirrors| !matches!(mirrors, Mirrors::All) && mirrors.directory() != "docker.io")
        {
            told.notes.push(
                "Docker mirrors Docker's registry only; for others, name larder in the reference".into(),
            );
        }
        told.notes.push("Docker asks its mirror without the name of a registry: larder has to serve with --default-namespace docker.io".into());
        let text = self.base(DAEMON, ground).map(|content| String::from_utf8(content.to_vec())).transpose();
        let text = text.map_err(|_| self.unusable(DAEMON, "it is not UTF-8".into()))?;
        let former = self.ledger.as_ref().and_then(|ledger| ledger.registry.parse().ok());
        let made = daemon_json::with_mirror(text.as_deref(), &options.url, former.as_ref())
            .map_err(|problem| self.unusable(DAEMON, problem))?;
        let authority = options.authority.iter().map(|content| (authority.to_owned(), content.clone()));
        Ok(authority.chain([(DAEMON.to_owned(), made.into_bytes())]).collect())
    }

    /// What is at these paths, at those of the record, and at their copies.
    async fn ground(&self, paths: &[String]) -> Result<Ground> {
        let recorded = self.ledger.iter().flat_map(|ledger| &ledger.files).map(|entry| entry.path.clone());
        let all: BTreeSet<String> = paths.iter().cloned().chain(recorded).collect();
        let all: Vec<String> = all.into_iter().collect();
        let copies: Vec<String> = all.iter().map(|path| copy_of(&self.directory, path)).collect();
        let asked: Vec<&str> = all.iter().chain(&copies).map(String::as_str).collect();
        let mut now = RemoteFiles { connection: &self.connection }.look(&asked).await?;
        let copied = now.split_off(all.len());
        for (path, seen) in all.iter().zip(&now) {
            if !matches!(seen, Seen::Absent | Seen::File(_)) {
                return Err(self.unusable(path, "it is no file, or one of more than a mebibyte".into()));
            }
        }
        let now = all.iter().cloned().zip(now).collect();
        Ok(Ground { now, copies: all.into_iter().zip(copied).collect() })
    }

    /// What a file was before larder, or what somebody made of it since.
    fn base<'a>(&self, path: &str, ground: &'a Ground) -> Option<&'a [u8]> {
        let now = ground.now.get(path)?.content();
        match self.ledger.as_ref().and_then(|ledger| ledger.entry(path)) {
            Some(entry) if entry.is_ours(now) => ground.copies.get(path)?.content(),
            _ => now,
        }
    }

    /// Makes the files what they are to be, and those of an earlier run that are not wanted any more what they were.
    async fn apply(
        &self,
        wanted: &[(String, Vec<u8>)],
        ground: &Ground,
        options: &MirrorOptions,
        told: &mut Mirrored,
    ) -> Result<bool> {
        let files = RemoteFiles { connection: &self.connection };
        let mut ledger =
            self.ledger.clone().unwrap_or_else(|| Ledger { version: ledger::VERSION, ..Ledger::default() });
        ledger.registry = options.url.to_string();
        let changed: Vec<&(String, Vec<u8>)> =
            wanted.iter().filter(|(path, content)| ground.now[path].content() != Some(content)).collect();
        // What --configure did once stays.
        let is_stale =
            |entry: &&Entry| entry.path != CONFIG && wanted.iter().all(|(path, _)| *path != entry.path);
        let stale: Vec<Entry> = ledger.files.iter().filter(is_stale).cloned().collect();
        let has_work = !changed.is_empty() || !stale.is_empty();
        if has_work && !options.dry_run {
            let parents: BTreeSet<&str> = changed.iter().flat_map(|(path, _)| above(path)).collect();
            let parents: Vec<&str> = parents.into_iter().collect();
            let seen = files.look(&parents).await?;
            let absent = parents.iter().zip(&seen).filter(|(_, seen)| **seen == Seen::Absent);
            ledger.directories.extend(absent.map(|(path, _)| (*path).to_owned()));
            for (path, content) in &changed {
                self.keep(path, ground, &ledger, told).await?;
                let after = Digest::of(content);
                match ledger.files.iter_mut().find(|entry| entry.path == *path) {
                    Some(entry) => entry.after = after,
                    None => {
                        let before = ground.now[path].content().map(Digest::of);
                        ledger.files.push(Entry { path: path.clone(), before, after });
                    }
                }
            }
            self.record(&ledger).await?;
        }
        for (path, content) in wanted {
            let now = ground.now[path].content();
            let change = match now {
                Some(now) if now == content => Change::Unchanged,
                Some(_) => Change::Replaced,
                None => Change::Created,
            };
            if change != Change::Unchanged && !options.dry_run {
                files.write(path, content).await?;
            }
            told.files.push(FileChange { path: path.clone(), change });
        }
        for entry in &stale {
            self.restore(entry, ground, options.dry_run, told).await?;
            ledger.files.retain(|other| other.path != entry.path);
        }
        if !stale.is_empty() && !options.dry_run {
            self.record(&ledger).await?;
        }
        Ok(told.files.iter().any(|file| file.change != Change::Unchanged))
    }

    /// Makes a copy of a file that is about to be replaced: of what was there before larder, and of what others made of it since.
    async fn keep(&self, path: &str, ground: &Ground, ledger: &Ledger, told: &mut Mirrored) -> Result<()> {
        let files = RemoteFiles { connection: &self.connection };
        let Some(now) = ground.now[path].content() else { return Ok(()) };
        match ledger.entry(path) {
            None => files.keep(path, &copy_of(&self.directory, path)).await,
            Some(entry) if entry.is_ours(Some(now)) || entry.is_undone(Some(now)) => Ok(()),
            Some(_) => {
                let copy = kept(&self.directory, path, now);
                files.keep(path, &copy).await?;
                told.notes.push(format!("somebody changed {path} since; that is kept as {copy}"));
                Ok(())
            }
        }
    }

    async fn record(&self, ledger: &Ledger) -> Result<()> {
        let text = serde_json::to_vec_pretty(ledger).expect("texts are JSON");
        let path = format!("{}/manifest.json", self.directory);
        RemoteFiles { connection: &self.connection }.write(&path, &text).await
    }

    /// Makes a file what it was before larder.
    async fn restore(
        &self,
        entry: &Entry,
        ground: &Ground,
        dry_run: bool,
        told: &mut Mirrored,
    ) -> Result<()> {
        let files = RemoteFiles { connection: &self.connection };
        let now = ground.now[&entry.path].content();
        let change = match (entry.is_undone(now), entry.before) {
            (true, _) => Change::Unchanged,
            (false, Some(_)) => Change::Restored,
            (false, None) => Change::Removed,
        };
        let copy = copy_of(&self.directory, &entry.path);
        if let (Change::Restored, Some(before)) = (change, entry.before)
            && ground.copies[&entry.path].content().map(Digest::of) != Some(before)
        {
            return Err(self
                .unusable(&entry.path, format!("the copy of what was there before, {copy}, is not whole")));
        }
        if change != Change::Unchanged && !dry_run {
            if let Some(edited) = now.filter(|_| !entry.is_ours(now)) {
                let copy = kept(&self.directory, &entry.path, edited);
                files.keep(&entry.path, &copy).await?;
                told.notes.push(format!("somebody changed {} since; that is kept as {copy}", entry.path));
            }
            match change {
                Change::Restored => files.restore(&copy, &entry.path).await?,
                _ => files.remove(&[&entry.path]).await?,
            }
        }
        told.files.push(FileChange { path: entry.path.clone(), change });
        Ok(())
    }

    async fn undo(self, reload: bool, dry_run: bool) -> Result<Mirrored> {
        let mut told = Mirrored::default();
        let Some(ledger) = &self.ledger else {
            told.notes.push("no mirror of larder's was set up there".into());
            return Ok(told);
        };
        let files = RemoteFiles { connection: &self.connection };
        let ground = self.ground(&[]).await?;
        for entry in ledger.files.iter().rev() {
            self.restore(entry, &ground, dry_run, &mut told).await?;
        }
        if !dry_run {
            let directories: Vec<&str> = ledger.directories.iter().rev().map(String::as_str).collect();
            files.remove(&directories).await?;
            files.forget(&self.directory).await?;
        }
        let is_changed =
            |path: &str| told.files.iter().any(|it| it.path == path && it.change != Change::Unchanged);
        if is_changed(CONFIG) {
            told.notes.push(
                "containerd has to be restarted to read its configuration; containers go on meanwhile".into(),
            );
        }
        if is_changed(DAEMON) && reload && !dry_run {
            self.reload(ground.copies[DAEMON].content(), &mut told).await?;
        } else if is_changed(DAEMON) {
            told.notes.push(RELOAD.into());
        }
        self.connection.close().await;
        Ok(told)
    }

    /// Lets Docker read its settings, and waits until it has; or says that somebody has to.
    async fn reload(&self, settings: Option<&[u8]>, told: &mut Mirrored) -> Result<()> {
        RemoteFiles { connection: &self.connection }.reload_docker().await?;
        let wanted = daemon_json::mirrors(settings.unwrap_or_default());
        let socket = format!("unix://{}", self.facts.socket);
        let argv = ["docker", "--host", &socket, "info", "--format", "{{json .RegistryConfig.Mirrors}}"];
        let start = std::time::Instant::now();
        loop {
            let answer = self.connection.run(&argv, b"").await?;
            let answer = answer.success(self.connection.node().name(), "docker info")?;
            let list: Option<Vec<String>> = serde_json::from_slice(&answer).unwrap_or_default();
            let list: BTreeSet<String> =
                list.unwrap_or_default().iter().map(|entry| entry.trim_end_matches('/').to_owned()).collect();
            if list == wanted {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                told.notes.push(format!("Docker was asked to read {DAEMON}, and has not taken it over yet"));
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn unusable(&self, path: &str, problem: String) -> Error {
        Error::Configuration { node: self.connection.node().name().into(), path: path.to_owned(), problem }
    }
}

fn hosts_file(directory: &str, mirrors: &Mirrors) -> String {
    format!("{directory}/{}/hosts.toml", mirrors.directory())
}
