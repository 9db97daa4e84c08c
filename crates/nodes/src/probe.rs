//! What a node is and has, learned in one round trip.

use crate::{Connection, Error, Result, Runtime, RuntimeChoice};
use larder_core::{Digest, Platform};
use std::collections::{HashMap, HashSet};

const SCRIPT: &str = include_str!("probe.sh");

/// How much is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// What is needed to see that nothing has to be done.
    Brief,
    /// Also versions, programs, and room on the runtime's disks.
    Full,
}

/// What a node is and has.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Facts {
    /// In the words of Go: `amd64`, `arm64`; otherwise in those of `uname -m`.
    pub architecture: String,
    /// Of its processor, where there are several: `v7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Of its kernel.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kernel: String,
    /// Whether programs run as root there.
    pub root: bool,
    /// Whether they do so by `sudo`.
    pub sudo: bool,
    /// What runs containers there.
    pub runtime: Option<Runtime>,
    /// Its version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Where it listens.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub socket: String,
    /// Why there is no runtime.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<String>,
    /// What a runtime that is there said in place of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// Programs that were looked for and are there.
    #[serde(skip_serializing_if = "HashSet::is_empty")]
    pub programs: HashSet<String>,
    /// Free room: of the spool, of the runtime's content, of its snapshots.
    pub rooms: HashMap<String, Room>,
    /// Directories of deliveries that were killed.
    #[serde(skip)]
    pub left: Vec<String>,
    /// Senders that are connected, where there are names of images on their way.
    #[serde(skip)]
    pub senders: HashSet<String>,
    /// The names that the runtime knows, and what each stands for.
    #[serde(skip)]
    pub images: HashMap<String, Digest>,
    /// Blobs that containerd has.
    #[serde(skip)]
    pub blobs: HashSet<Digest>,
    /// Images that Docker has.
    #[serde(skip)]
    pub docker: Vec<DockerImage>,
}

/// Free room in a file system.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Room {
    /// The directory that was asked for.
    pub directory: String,
    /// Bytes.
    pub bytes: u64,
    /// Files; 0 where the file system does not count them.
    pub inodes: u64,
    /// The number of its device: rooms with the same one are one.
    #[serde(skip)]
    pub device: u64,
}

/// An image as Docker has it.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct DockerImage {
    /// The digest of its config.
    pub id: Digest,
    /// Its names.
    #[serde(default, deserialize_with = "nullable")]
    pub tags: Vec<String>,
    /// Digests of its uncompressed layers.
    #[serde(default, deserialize_with = "nullable")]
    pub layers: Vec<Digest>,
}

fn nullable<'de, T: serde::Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Vec<T>, D::Error> {
    Ok(<Option<Vec<T>> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
}

/// Runs the script with the rights of root where the user may take them, else with those there are.
const AS_ROOT: &str = "me=$(id -u); if [ \"$me\" != 0 ] && sudo -n true 2>/dev/null; \
                       then exec sudo -n sh -s -- \"$me\" \"$@\"; else exec sh -s -- \"$me\" \"$@\"; fi";

impl Facts {
    /// Asks a node.
    ///
    /// # Errors
    /// When it cannot be asked or its answer is cut short. A node without a runtime is an answer, too.
    pub async fn of(connection: &Connection, depth: Depth) -> Result<Self> {
        let node = connection.node();
        let choice = match node.runtime {
            RuntimeChoice::Auto => "auto",
            RuntimeChoice::Containerd => "containerd",
            RuntimeChoice::Docker => "docker",
        };
        let depth = if depth == Depth::Full { "full" } else { "brief" };
        let socket = node.socket.as_deref().unwrap_or("-");
        let argv = ["sh", "-c", AS_ROOT, "larder", depth, &node.directory, choice, socket, &node.namespace];
        let answer = connection.run(&argv, SCRIPT.as_bytes()).await?;
        let answer = answer.success(node.name(), "the probe")?;
        let facts = Self::parse(&String::from_utf8_lossy(&answer), node.name())?;
        connection.set_become_root(facts.sudo);
        Ok(facts)
    }

    /// What its images have to be for.
    pub(crate) fn platform(&self) -> Platform {
        let platform = Platform::new("linux", &self.architecture);
        Platform { variant: self.variant.clone(), ..platform }.normalized()
    }

    /// The runtime.
    ///
    /// # Errors
    /// When there is none, or it does not answer.
    pub fn runtime(&self, node: &str) -> Result<Runtime> {
        let node = || node.to_owned();
        match (self.runtime, &self.broken) {
            (Some(runtime), None) => Ok(runtime),
            (_, Some(said)) if said.to_ascii_lowercase().contains("permission denied") => {
                Err(Error::Forbidden { node: node(), program: "the probe".into(), said: said.clone() })
            }
            (_, Some(said)) => Err(Error::NoAnswer { node: node(), said: said.clone() }),
            (None, None) => Err(Error::NoRuntime { node: node(), looked: self.absent.join("; ") }),
        }
    }

    fn parse(answer: &str, node: &str) -> Result<Self> {
        let strange = |said: &str| Error::Answer {
            node: node.to_owned(),
            program: "the probe",
            said: said.chars().take(200).collect(),
        };
        let mut facts = Self::default();
        // A noisy profile may have spoken before.
        let mut lines = answer.lines().skip_while(|line| *line != "larder-probe 1").skip(1);
        loop {
            let line = lines.next().ok_or_else(|| strange(answer.lines().last().unwrap_or_default()))?;
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            let mut words = value.split(' ');
            let mut word = || words.next().unwrap_or_default();
            match key {
                "end" => return Ok(facts),
                "login" => facts.sudo = value != "0",
                "uid" => {
                    facts.root = value == "0";
                    facts.sudo &= facts.root;
                }
                "architecture" => {
                    let platform = Platform::new("linux", value);
                    let (name, variant) = match value {
                        "armv8l" => ("arm", Some("v8".to_owned())),
                        "armv7l" => ("arm", Some("v7".to_owned())),
                        "armv6l" => ("arm", Some("v6".to_owned())),
                        _ => (platform.architecture.as_str(), None),
                    };
                    facts.architecture = name.to_owned();
                    facts.variant = variant;
                }
                "kernel" => value.clone_into(&mut facts.kernel),
                "version" if facts.version.is_empty() => value.clone_into(&mut facts.version),
                "has" => {
                    facts.programs.insert(value.to_owned());
                }
                "room" => {
                    let name = word().to_owned();
                    let mut number = || word().parse::<u64>().map_err(|_| strange(line));
                    let (blocks, size, inodes, device) = (number()?, number()?, number()?, number()?);
                    let directory = words.collect::<Vec<_>>().join(" ");
                    let bytes = blocks.saturating_mul(size);
                    facts.rooms.insert(name, Room { directory, bytes, inodes, device });
                }
                "runtime" => {
                    facts.runtime = match word() {
                        "containerd" => Some(Runtime::Containerd),
                        "docker" => Some(Runtime::Docker),
                        _ => return Err(strange(line)),
                    };
                    facts.socket = words.collect::<Vec<_>>().join(" ");
                }
                "broken" => facts.broken = Some(value.chars().take(600).collect()),
                "absent" => facts.absent.push(value.to_owned()),
                "sender" => {
                    facts.senders.insert(value.to_owned());
                }
                "left" => facts.left.push(value.to_owned()),
                "image" => {
                    let (name, _kind) = (word().to_owned(), word());
                    // An image that is named in a way that is unknown here is none of ours.
                    if let Ok(digest) = word().parse() {
                        facts.images.insert(name, digest);
                    }
                }
                "blob" => facts.blobs.extend(value.parse::<Digest>()),
                "docker-image" => {
                    facts.docker.push(serde_json::from_str(value).map_err(|_| strange(line))?);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "Welcome!\nlarder-probe 1\nlogin 1000\nuid 0\narchitecture x86_64\n\
        room spool 100 4096 7 2049 /var/lib/larder node\nhas tar\nruntime containerd /run/c d.sock\n\
        image docker.io/library/a:1 application/vnd.oci.image.index.v1+json \
        sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
        blob sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\nblob x\n";

    #[test]
    fn answers_are_understood_whole_or_not_at_all() {
        let facts = Facts::parse(&format!("{ANSWER}end\n"), "n").unwrap();
        assert!(facts.root && facts.sudo && facts.architecture == "amd64" && facts.socket == "/run/c d.sock");
        assert_eq!(facts.rooms["spool"].bytes, 409_600);
        assert_eq!(facts.rooms["spool"].directory, "/var/lib/larder node");
        assert_eq!((facts.images.len(), facts.blobs.len()), (1, 1));
        assert!(Facts::parse(ANSWER, "n").is_err());
        assert!(Facts::parse("", "n").is_err());
        assert!(Facts::parse("larder-probe 1\nroom spool x 1 1 1 /\nend\n", "n").is_err());
    }

    #[test]
    fn docker_may_have_images_without_names() {
        let line = "larder-probe 1\ndocker-image {\"id\":\
            \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\",\"tags\":null,\"layers\":null}\nend\n";
        assert_eq!(Facts::parse(line, "n").unwrap().docker.len(), 1);
    }

    #[test]
    fn a_runtime_that_does_not_answer_is_not_taken_for_none() {
        let runtime = |said: &str| {
            Facts::parse(&format!("larder-probe 1\n{said}\nend\n"), "n").unwrap().runtime("n").unwrap_err()
        };
        assert!(matches!(runtime("absent there is no /run/c"), Error::NoRuntime { .. }));
        assert!(matches!(runtime("broken containerd connection refused"), Error::NoAnswer { .. }));
        assert!(runtime("broken containerd connection refused").is_passing());
        assert!(matches!(runtime("broken containerd dial: Permission denied"), Error::Forbidden { .. }));
    }
}
