//! `lock`: every image of a discovery pinned to a digest, with who asked for it, in a file for people and programs.

use crate::discover::{Discovery, Sureness};
use crate::{Engine, Error, Failure, Result};
use larder_core::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, Selection};
use larder_gotemplate::{Map, Value, yaml};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// FORMAT: the content of a lock file, YAML.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The version of this format.
    pub version: u32,
    /// For which platforms images were pinned.
    #[serde(with = "words")]
    pub platforms: Vec<Platform>,
    /// What was read, and how, so that it can be read again: words of the command line.
    pub sources: Vec<String>,
    /// Sorted by name.
    pub images: Vec<Locked>,
}

/// One image of a lock file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// As it is asked for, in full.
    pub image: Reference,
    /// What that stood for: an index, or the manifest of an image.
    pub digest: Digest,
    /// The manifest for each platform.
    pub manifests: BTreeMap<String, Digest>,
    /// How sure it is that the image is asked for.
    pub confidence: Sureness,
    /// Who asks for it: the places.
    pub from: Vec<String>,
}

/// The images that could not be pinned, beside the lock of the others.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LockReport {
    /// What could be pinned.
    pub lock: Lock,
    /// The others, and why.
    pub failures: Vec<(Reference, Failure)>,
}

/// How two lock files differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct LockDifference {
    /// Only in the newer one.
    pub new: Vec<Reference>,
    /// Only in the older one.
    pub gone: Vec<Reference>,
    /// In both, with another digest, or with another manifest for a platform of both.
    pub moved: Vec<Moved>,
}

/// An image whose name stands for something else now.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Moved {
    /// Which one.
    pub image: Reference,
    /// Before.
    pub from: Digest,
    /// Now.
    pub to: Digest,
}

/// The version of the format that is written.
const VERSION: u32 = 1;
/// Images that are resolved at the same time.
const AT_ONCE: usize = 16;
/// A lock file of more is a mistake.
const LIMIT: u64 = 64 << 20;

impl Lock {
    /// Reads a lock file.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |problem: String| Error::Lock { path: path.to_owned(), problem };
        let file = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NoLock { path: path.to_owned() },
            _ => Error::File { action: "cannot read", path: path.to_owned(), source },
        };
        let mut bytes = Vec::new();
        let opened = std::fs::File::open(path).map_err(file)?;
        let length = opened.take(LIMIT + 1).read_to_end(&mut bytes).map_err(file)?;
        if length as u64 > LIMIT {
            return Err(wrong(format!("it is larger than {} MiB", LIMIT >> 20)));
        }
        let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text".into()))?;
        // What another version has besides is not to be understood.
        let Versioned { version } = serde_saphyr::from_str(&text).map_err(|error| wrong(told(&error)))?;
        if version != VERSION {
            return Err(wrong(format!("it has version {version}; this larder knows {VERSION}")));
        }
        serde_saphyr::from_str(&text).map_err(|error| wrong(told(&error)))
    }

    /// The content of the file. The same lock gives the same bytes.
    pub fn to_yaml(&self) -> String {
        let text = |text: String| Value::from(text);
        let list = |items: Vec<Value>| Value::list(items);
        let images = self.images.iter().map(|locked| {
            let manifests: Map = locked
                .manifests
                .iter()
                .map(|(platform, digest)| (platform.as_str().into(), text(digest.to_string())))
                .collect();
            let entry: Map = [
                ("image", text(locked.image.to_string())),
                ("digest", text(locked.digest.to_string())),
                ("manifests", Value::Map(manifests)),
                ("confidence", text(locked.confidence.as_str().to_owned())),
                ("from", list(locked.from.iter().cloned().map(text).collect())),
            ]
            .into_iter()
            .map(|(key, value)| (key.into(), value))
            .collect();
            Value::Map(entry)
        });
        let file: Map = [
            ("version", Value::int(i64::from(self.version))),
            ("platforms", list(self.platforms.iter().map(|platform| text(platform.to_string())).collect())),
            ("sources", list(self.sources.iter().cloned().map(text).collect())),
            ("images", list(images.collect())),
        ]
        .into_iter()
        .map(|(key, value)| (key.into(), value))
        .collect();
        let body = yaml::emit(&Value::Map(file)).expect("texts and numbers are YAML");
        format!("{HEADER}\n{body}")
    }

    /// What is different from an older one.
    pub fn difference(&self, older: &Self) -> LockDifference {
        let index = |lock: &Self| -> BTreeMap<String, Locked> {
            lock.images.iter().map(|locked| (locked.image.to_string(), locked.clone())).collect()
        };
        let (before, now) = (index(older), index(self));
        let mut difference = LockDifference::default();
        for (name, locked) in &now {
            match before.get(name) {
                None => difference.new.push(locked.image.clone()),
                Some(old) => difference.moved.extend(locked.moved_from(old)),
            }
        }
        difference.gone = before
            .iter()
            .filter(|(name, _)| !now.contains_key(*name))
            .map(|(_, locked)| locked.image.clone())
            .collect();
        difference
    }
}

impl Locked {
    /// What is pulled for it, whatever its name stands for by then.
    pub(crate) fn by_digest(&self) -> Reference {
        self.image.with_digest(self.digest)
    }

    /// How it differs from what it was.
    fn moved_from(&self, old: &Self) -> Option<Moved> {
        let moved = |from: &Digest, to: &Digest| {
            (from != to).then(|| Moved { image: self.image.clone(), from: *from, to: *to })
        };
        // An index that is the same has the same manifests, unless somebody has changed the file.
        moved(&old.digest, &self.digest).or_else(|| {
            let both =
                self.manifests.iter().filter_map(|(platform, now)| Some((old.manifests.get(platform)?, now)));
            both.into_iter().find_map(|(before, now)| moved(before, now))
        })
    }
}

/// What every version of the format has.
#[derive(serde::Deserialize)]
struct Versioned {
    version: u32,
}

/// What is wrong and where, in one line.
fn told(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    text.trim_start_matches("error: ").lines().next().unwrap_or_default().to_owned()
}

impl LockDifference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.gone.is_empty() && self.moved.is_empty()
    }
}

impl Engine {
    /// Pins the images of a discovery that are at least this sure. One that fails does not stop the others.
    pub async fn lock(
        &self,
        discovery: &Discovery,
        confidence: Sureness,
        platforms: &[Platform],
        sources: Vec<String>,
    ) -> LockReport {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for asked in discovery.at_least(confidence) {
            let (engine, slots, platforms) = (self.clone(), slots.clone(), platforms.to_vec());
            let asked = asked.clone();
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                let pinned = engine.pin_down(&asked.image, &platforms).await;
                let from: BTreeSet<String> = asked.finds.iter().map(crate::discover::Proof::place).collect();
                let locked = pinned.map(|(digest, manifests)| Locked {
                    image: asked.image.clone(),
                    digest,
                    manifests,
                    confidence: asked.confidence,
                    from: from.into_iter().collect(),
                });
                (asked.image, locked)
            });
        }
        let (mut images, mut failures) = (Vec::new(), Vec::new());
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok((_, Ok(locked))) => images.push(locked),
                Ok((image, Err(error))) => failures.push((image, Failure::from(&error))),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        images.sort_by_key(|locked| locked.image.to_string());
        failures.sort_by_key(|(image, _)| image.to_string());
        let lock = Lock { version: VERSION, platforms: platforms.to_vec(), sources, images };
        LockReport { lock, failures }
    }

    /// What an image stands for, and the manifest of each platform. Only documents are fetched.
    async fn pin_down(
        &self,
        reference: &Reference,
        platforms: &[Platform],
    ) -> Result<(Digest, BTreeMap<String, Digest>)> {
        let lease = self.lease("lock")?;
        let scope = self.scope(reference, None, &lease)?;
        let fetcher = self.fetcher()?;
        let (root, _) = fetcher.resolve(&scope).await?;
        let (document, _) = fetcher.document(&scope, &root).await?;
        let unfit = |missing, offered| larder_fetch::Error::Platform {
            reference: reference.familiar(),
            missing,
            offered,
        };
        let mut manifests = BTreeMap::new();
        match document.manifest() {
            Manifest::Index(index) => {
                for platform in platforms {
                    let wanted = Selection::Only(vec![platform.clone()]);
                    let chosen: Vec<&Descriptor> =
                        index.select(&wanted).map_err(|missing| unfit(missing, index.platforms()))?;
                    manifests.insert(platform.to_string(), chosen[0].digest);
                }
            }
            Manifest::Image(image) => {
                let (raw, _) = fetcher.small(&scope, &image.config).await?;
                let config = ImageConfig::parse(&raw).map_err(|source| Error::Document {
                    what: format!("cannot read the config of {}", reference.familiar()),
                    source,
                })?;
                for platform in platforms {
                    if !larder_fetch::runs_on(&config, platform) {
                        return Err(unfit(vec![platform.clone()], vec![config.platform]).into());
                    }
                    manifests.insert(platform.to_string(), document.digest());
                }
            }
            // What a volume can be made of is for every platform.
            Manifest::Artifact(_) => {
                manifests.extend(platforms.iter().map(|platform| (platform.to_string(), document.digest())));
            }
        }
        Ok((root.digest, manifests))
    }
}

/// FORMAT: platforms are words: `linux/arm64/v8`.
mod words {
    use larder_core::Platform;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(platforms: &[Platform], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(platforms.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Platform>, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        words.iter().map(|word| word.parse().map_err(serde::de::Error::custom)).collect()
    }
}

/// The first line of a lock file.
pub const HEADER: &str =
    "# Written by `larder lock`: which images are asked for, by whom, and what their names stood for.";

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(images: &[(&str, &[u8])]) -> Lock {
        let locked = |(name, content): &(&str, &[u8])| Locked {
            image: name.parse().unwrap(),
            digest: Digest::of(content),
            manifests: [("linux/amd64".to_owned(), Digest::of(content))].into(),
            confidence: Sureness::Certain,
            from: vec!["web.yaml:3: Pod web, spec.containers[0].image".into()],
        };
        Lock {
            version: VERSION,
            platforms: vec!["linux/amd64".parse().unwrap(), "linux/arm64/v8".parse().unwrap()],
            sources: vec!["web.yaml".into(), "--set=a=b: c".into()],
            images: images.iter().map(locked).collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("larder.lock");
        for images in [&[][..], &[("nginx:1", &b"a"[..]), ("r.test:5000/yes:no", b"b")]] {
            let lock = lock(images);
            std::fs::write(&path, lock.to_yaml()).unwrap();
            assert_eq!(Lock::read(&path).unwrap(), lock);
        }
        for wrong in [
            "",
            "version: 2\nplatforms: []\nsources: []\nimages: []",
            "images: []",
            "version: 1\nplatforms: [x/y/z/w]\nsources: []\nimages: []",
        ] {
            std::fs::write(&path, wrong).unwrap();
            assert!(matches!(Lock::read(&path), Err(Error::Lock { .. })), "{wrong}");
        }
    }

    #[test]
    fn differences_name_what_came_went_and_moved() {
        let older = lock(&[("a:1", b"1"), ("b:1", b"1"), ("c:1", b"1")]);
        let newer = lock(&[("a:1", b"1"), ("b:1", b"2"), ("d:1", b"1")]);
        let difference = newer.difference(&older);
        let names = |references: &[Reference]| -> Vec<String> {
            references.iter().map(Reference::familiar).collect()
        };
        assert_eq!(names(&difference.new), ["d:1"]);
        assert_eq!(names(&difference.gone), ["c:1"]);
        let moved = &difference.moved[0];
        assert_eq!(
            (moved.image.familiar(), moved.from, moved.to),
            ("b:1".into(), Digest::of(b"1"), Digest::of(b"2"))
        );
        assert!(older.difference(&older).is_empty());
    }
}
