//! What a node had before, and taking back what came.
//!
//! What an old name stood for is kept from garbage collection by a name of its own, under a host that belongs to nobody
//! (RFC 6761), until it is known whether the old name is to have it back.

use crate::containerd::{INCOMING, short};
use crate::probe::{Depth, Facts};
use crate::{Connection, Error, Fleet, Node, Result, Runtime, Shipment, docker};
use larder_core::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `rollback.larder.invalid/PREHEAT/HEX:tSECONDS`.
const GUARD: &str = "rollback.larder.invalid/";
/// Guards of preheats that are not known here go after so long.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);

/// FORMAT: what the names that a delivery makes or moves stood for on a node before it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Before {
    /// What runs containers there.
    pub runtime: Runtime,
    /// The names.
    pub names: Vec<NameBefore>,
}

/// One name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NameBefore {
    /// As the runtime has it.
    pub name: String,
    /// What it stood for; nothing if there was no such name.
    pub was: Option<Digest>,
    /// What it is to stand for: the digest of the manifest, for Docker that of the config.
    pub becomes: Digest,
    /// The node had that, under other names or none.
    pub was_there: bool,
}

/// What a rollback did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct RolledBack {
    /// Names that have what they had before.
    pub restored: Vec<String>,
    /// Names that came, and are gone.
    pub removed: Vec<String>,
    /// Names that stay as they are, because somebody else moved or uses them.
    pub left: Vec<String>,
}

/// Whose guards a look may remove: those of this preheat it may not, of others it says.
pub type Staleness = Arc<dyn Fn(&str) -> Option<bool> + Send + Sync>;

impl Before {
    fn of(facts: &Facts, shipments: &[Arc<Shipment>], runtime: Runtime) -> Self {
        let mut names: BTreeMap<String, NameBefore> = BTreeMap::new();
        let mut add = |name: String, becomes: Digest, was_there: bool| {
            let was = standing(facts, runtime, &name);
            names.insert(name.clone(), NameBefore { name, was, becomes, was_there });
        };
        for shipment in shipments {
            match runtime {
                Runtime::Containerd => {
                    let digest = *shipment.digest();
                    let was_there = facts.images.values().any(|there| *there == digest);
                    shipment.names().into_iter().for_each(|name| add(name, digest, was_there));
                }
                Runtime::Docker => {
                    let Some(image) = docker::image(shipment, facts) else { continue };
                    let was_there = facts.docker.iter().any(|there| there.id == image.config);
                    let names = docker::names(shipment.name());
                    // Without a tag Docker has it by its id only.
                    let names = if names.is_empty() { vec![image.config.to_string()] } else { names };
                    names.into_iter().for_each(|name| add(name, image.config, was_there));
                }
            }
        }
        Self { runtime, names: names.into_values().collect() }
    }

    /// What loses a name.
    fn losing(&self) -> impl Iterator<Item = (&NameBefore, Digest)> {
        self.names.iter().filter_map(|it| Some((it, it.was.filter(|was| *was != it.becomes)?)))
    }

    /// Whether a name moves: what it stood for then needs a guard.
    pub fn is_moving(&self) -> bool {
        self.losing().next().is_some()
    }
}

impl Fleet {
    /// Notes what the names of these shipments stand for on a node, and removes what former preheats left there.
    pub async fn look_before(
        &self,
        node: &Node,
        shipments: &[Arc<Shipment>],
        stale: &Staleness,
        now: SystemTime,
    ) -> Result<Before> {
        let scene = Scene::of(self, node).await?;
        let before = Before::of(&scene.facts, shipments, scene.runtime);
        let left: Vec<String> =
            scene.guards().filter(|name| is_stale(name, stale, now)).map(str::to_owned).collect();
        if !left.is_empty() {
            // What a container uses stays, for another run to remove.
            let _ = scene.remove(&left, false).await;
        }
        scene.connection.close().await;
        Ok(before)
    }

    /// Keeps what is about to lose its name from garbage collection, on behalf of a preheat. Doing it twice changes nothing.
    pub async fn guard(&self, node: &Node, before: &Before, preheat: &str, now: SystemTime) -> Result<()> {
        let scene = Scene::of(self, node).await?;
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        for (name, was) in before.losing() {
            let is_there = scene.guards().any(|guard| is_guard_of(guard, preheat, &was));
            // A name that has moved already is an interrupted preheat's, which has its guard.
            if is_there || standing(&scene.facts, scene.runtime, &name.name) != Some(was) {
                continue;
            }
            let guard = format!("{GUARD}{preheat}/{}:t{seconds}", short(&was));
            scene.tag(&name.name, &guard).await?;
        }
        scene.connection.close().await;
        Ok(())
    }

    /// Removes the guards of a preheat from a node.
    pub async fn release(&self, node: &Node, preheat: &str) -> Result<()> {
        let scene = Scene::of(self, node).await?;
        let ours = format!("{GUARD}{preheat}/");
        let ours: Vec<String> =
            scene.guards().filter(|name| name.starts_with(&ours)).map(str::to_owned).collect();
        scene.remove(&ours, true).await?;
        scene.connection.close().await;
        Ok(())
    }

    /// Gives names back what they stood for, and removes those that came. What somebody else has moved since stays.
    ///
    /// # Errors
    /// When the node is not as it was afterwards. Doing it again goes on.
    pub async fn take_back(&self, node: &Node, before: &Before, preheat: &str) -> Result<RolledBack> {
        let scene = Scene::of(self, node).await?;
        let ours = format!("{GUARD}{preheat}/");
        let mut told = RolledBack::default();
        let mut go: Vec<String> = Vec::new();
        for entry in &before.names {
            let now = standing(&scene.facts, scene.runtime, &entry.name);
            match (entry.was, now) {
                (was, now) if was == now => {}
                (Some(was), now) if now.is_none() || now == Some(entry.becomes) => {
                    let Some(source) = scene.source(preheat, &was) else {
                        let problem = format!("what it stood for, {was}, is not there any more");
                        return Err(scene.not_as_before(&entry.name, problem));
                    };
                    scene.tag(&source, &entry.name).await?;
                    told.restored.push(entry.name.clone());
                }
                (None, Some(now)) if now == entry.becomes && scene.would_remove_too_much(entry) => {
                    told.left.push(entry.name.clone());
                }
                (None, Some(now)) if now == entry.becomes => go.push(entry.name.clone()),
                _ => told.left.push(entry.name.clone()),
            }
        }
        let left = scene.remove(&go, false).await?;
        scene.remove_nameless(before).await?;
        told.removed = go.into_iter().filter(|name| !left.contains(name)).collect();
        told.left.extend(left);
        let mut rest: Vec<String> = scene.incoming(before).map(str::to_owned).collect();
        rest.extend(scene.guards().filter(|name| name.starts_with(&ours)).map(str::to_owned));
        scene.remove(&rest, true).await?;
        // Seen by asking again, not by what was done.
        let after = Facts::of(&scene.connection, Depth::Brief).await?;
        for entry in &before.names {
            let now = standing(&after, scene.runtime, &entry.name);
            if now != entry.was && !told.left.contains(&entry.name) {
                return Err(scene.not_as_before(&entry.name, "it is not what it was".into()));
            }
        }
        scene.connection.close().await;
        Ok(told)
    }
}

/// A node with its runtime.
struct Scene {
    connection: Connection,
    facts: Facts,
    runtime: Runtime,
    /// Under whose name this process delivers.
    owner: String,
}

impl Scene {
    async fn of(fleet: &Fleet, node: &Node) -> Result<Self> {
        let connection = fleet.connect(node).await?;
        let facts = Facts::of(&connection, Depth::Brief).await?;
        let runtime = facts.runtime(node.name())?;
        Ok(Self { connection, facts, runtime, owner: fleet.ssh().owner().to_owned() })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let docker = self.facts.docker.iter().flat_map(|image| &image.tags);
        self.facts.images.keys().chain(docker).map(String::as_str)
    }

    fn guards(&self) -> impl Iterator<Item = &str> {
        self.names().filter(|name| name.starts_with(GUARD))
    }

    /// Names of deliveries that did not come to their end.
    fn incoming<'a>(&'a self, before: &Before) -> impl Iterator<Item = &'a str> {
        let ours: BTreeSet<String> = before.names.iter().map(|entry| short(&entry.becomes)).collect();
        self.names().filter(move |name| {
            let known = name.strip_prefix(INCOMING).and_then(|rest| rest.split_once(':'));
            known.is_some_and(|(hex, rest)| {
                let owner = rest.split_once('-').map_or("", |(_, owner)| owner);
                ours.contains(hex) && (owner == self.owner || !self.facts.senders.contains(owner))
            })
        })
    }

    /// A name under which the node has something.
    fn source(&self, preheat: &str, digest: &Digest) -> Option<String> {
        let guard = self.guards().find(|name| is_guard_of(name, preheat, digest)).map(str::to_owned);
        let other = || match self.runtime {
            Runtime::Containerd => {
                self.facts.images.iter().find(|(_, there)| *there == digest).map(|(name, _)| name.clone())
            }
            Runtime::Docker => {
                self.facts.docker.iter().any(|image| image.id == *digest).then(|| digest.to_string())
            }
        };
        guard.or_else(other)
    }

    /// Docker removes an image with its last name; one that was there without a name is to stay.
    fn would_remove_too_much(&self, entry: &NameBefore) -> bool {
        let image = self.facts.docker.iter().find(|image| image.id == entry.becomes);
        entry.was_there && image.is_some_and(|image| image.tags.len() <= 1)
    }

    /// Removes what came to Docker and has no name any more, since that is another image's again.
    async fn remove_nameless(&self, before: &Before) -> Result<()> {
        let mut came: Vec<Digest> = Vec::new();
        for (entry, _) in before.losing() {
            if !entry.was_there {
                came.push(entry.becomes);
            }
        }
        if self.runtime != Runtime::Docker || came.is_empty() {
            return Ok(());
        }
        let now = Facts::of(&self.connection, Depth::Brief).await?;
        let is_nameless =
            |id: &Digest| now.docker.iter().any(|image| image.id == *id && image.tags.is_empty());
        came.retain(is_nameless);
        let ids: BTreeSet<String> = came.iter().map(ToString::to_string).collect();
        // What a container uses stays.
        self.remove(&ids.into_iter().collect::<Vec<_>>(), false).await.map(drop)
    }

    async fn tag(&self, from: &str, to: &str) -> Result<()> {
        match self.runtime {
            Runtime::Containerd => self.ctr(&["images", "tag", "--force", from, to]).await,
            Runtime::Docker => self.docker(&["tag", from, to]).await,
        }
    }

    /// Removes names; returns those that are in use and stay. `last`: nothing else is removed after this.
    async fn remove(&self, names: &[String], last: bool) -> Result<Vec<String>> {
        let mut left = Vec::new();
        match self.runtime {
            Runtime::Containerd if names.is_empty() => {}
            Runtime::Containerd => {
                let mut words = vec!["images", "rm"];
                // Content that nothing names any more goes before this returns.
                words.extend(last.then_some("--sync"));
                words.extend(names.iter().map(String::as_str));
                self.ctr(&words).await?;
            }
            Runtime::Docker => {
                for name in names {
                    match self.docker(&["image", "rm", name]).await {
                        Ok(()) => {}
                        Err(Error::Remote { said, .. }) if said.contains("conflict") => {
                            left.push(name.clone());
                        }
                        Err(Error::Remote { said, .. }) if said.contains("No such image") => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(left)
    }

    async fn ctr(&self, words: &[&str]) -> Result<()> {
        let node = self.connection.node();
        let argv = ["ctr", "--address", &self.facts.socket, "--namespace", &node.namespace];
        let output = self.connection.run(&[&argv, words].concat(), b"").await?;
        output.success(node.name(), &format!("ctr {} {}", words[0], words[1])).map(drop)
    }

    async fn docker(&self, words: &[&str]) -> Result<()> {
        let socket = format!("unix://{}", self.facts.socket);
        let output = self.connection.run(&[&["docker", "--host", &socket], words].concat(), b"").await?;
        output.success(self.connection.node().name(), &format!("docker {}", words[0])).map(drop)
    }

    fn not_as_before(&self, image: &str, problem: String) -> Error {
        Error::NotThere { node: self.connection.node().name().into(), image: image.to_owned(), problem }
    }
}

/// What a name stands for on a node.
fn standing(facts: &Facts, runtime: Runtime, name: &str) -> Option<Digest> {
    match runtime {
        Runtime::Containerd => facts.images.get(name).copied(),
        Runtime::Docker => {
            let has = |image: &&crate::DockerImage| {
                image.tags.iter().any(|tag| tag == name) || image.id.to_string() == name
            };
            facts.docker.iter().find(has).map(|image| image.id)
        }
    }
}

fn is_guard_of(name: &str, preheat: &str, digest: &Digest) -> bool {
    let rest = name.strip_prefix(GUARD).and_then(|rest| rest.strip_prefix(preheat)?.strip_prefix('/'));
    rest.and_then(|rest| rest.split(':').next()) == Some(short(digest).as_str())
}

fn is_stale(name: &str, stale: &Staleness, now: SystemTime) -> bool {
    let Some((preheat, rest)) = name.strip_prefix(GUARD).and_then(|rest| rest.split_once('/')) else {
        return true;
    };
    stale(preheat).unwrap_or_else(|| {
        let since = rest.rsplit_once(":t").and_then(|(_, since)| since.parse().ok()).map(Duration::from_secs);
        now.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(since.unwrap_or_default())
            > ABANDONED
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_are_known_by_their_preheat_and_their_digest() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let guard = format!("{GUARD}p1/{}:t100", short(&one));
        assert!(is_guard_of(&guard, "p1", &one));
        assert!(!is_guard_of(&guard, "p1", &two) && !is_guard_of(&guard, "p", &one));
    }

    #[test]
    fn guards_of_others_go_when_they_are_old_or_known_to_be_over() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let known: Staleness = Arc::new(|id| match id {
            "over" => Some(true),
            "running" => Some(false),
            _ => None,
        });
        let name = |id: &str, since: u64| format!("{GUARD}{id}/abc:t{since}");
        assert!(is_stale(&name("over", 100), &known, at(101)));
        assert!(!is_stale(&name("running", 0), &known, at(99_999_999)));
        assert!(!is_stale(&name("else", 100), &known, at(200)));
        assert!(is_stale(&name("else", 100), &known, at(200 + ABANDONED.as_secs())));
    }
}
