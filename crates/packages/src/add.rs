//! From a wish to an archive in the store: find, fetch, verify, pack, remember.

use crate::fetch::Fetched;
use crate::index::{Entry, title};
use crate::pack::Packing;
use crate::signature::is_signed;
use crate::{Definition, Error, Packages, Result, Selector, Version, Wish, checksum};
use larder_core::{Algorithm, Digest, Event, Hasher, Tier};
use larder_remote::Client;
use larder_store::{PackagePart, Timestamp};
use serde::Serialize;
use std::io::Read as _;
use std::path::PathBuf;

/// What is to be in the store.
#[derive(Debug, Clone)]
pub struct Order {
    /// Which package.
    pub wish: Wish,
    /// For which architecture.
    pub architecture: String,
    /// Where it is taken from, if not from where its definition says.
    pub from: Option<Origin>,
    /// What the upstream file hashes to, where the user knows it.
    pub checksum: Option<Digest>,
}

/// Where a package is taken from in place of its project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file on this machine.
    File(PathBuf),
    /// A URL, such as that of a mirror.
    Url(String),
}

/// A package that is in the store now.
#[derive(Debug, Clone, Serialize)]
pub struct Added {
    /// What the index says of it.
    #[serde(flatten)]
    pub entry: Entry,
    /// The archive.
    pub archive: PathBuf,
    /// It was there before.
    pub up_to_date: bool,
    /// Bytes that came over the network or from the file.
    pub downloaded: u64,
}

/// What a file has to hash to, and who says so.
#[derive(Debug, Clone)]
pub(crate) struct Expected {
    pub(crate) digest: Digest,
    pub(crate) by: String,
}

/// A package whose version is known.
pub(crate) struct Subject<'o> {
    pub(crate) definition: Definition,
    pub(crate) version: Version,
    pub(crate) architecture: &'o str,
    pub(crate) title: String,
}

impl Packages {
    /// Sees to it that a package is in the store, and says which. What is there already is not fetched again, and asks nobody
    /// unless the latest version is wanted.
    ///
    /// # Errors
    /// Every way in which it cannot be found, fetched, verified or packed. Nothing of what could not be verified is kept.
    pub async fn add(&self, client: &Client, order: &Order) -> Result<Added> {
        let Order { wish, architecture, .. } = order;
        let local = match wish.selector {
            Selector::Latest => None,
            _ if order.from.is_some() => None,
            _ => self.found(wish, architecture)?,
        };
        if let Some(entry) = local {
            return self.at_hand(entry, order);
        }
        let definition = match self.settings.catalog.get(&wish.name) {
            Ok(definition) => definition.clone(),
            Err(_) if order.from.is_some() => Definition::unknown(&wish.name),
            Err(error) => return Err(error),
        };
        if order.from.is_none() && !definition.architectures.contains(architecture) {
            return Err(Error::NotForArchitecture {
                name: wish.name.clone(),
                architecture: architecture.clone(),
                known: definition.architectures.clone(),
            });
        }
        let version = self.version(client, &definition, &wish.selector, order.from.is_some()).await?;
        let title = title(&wish.name, &version, architecture);
        let subject = Subject { definition, version, architecture, title };
        let owned = self.own_subject(&subject).await?;
        // Whoever had it until now may have made it.
        let exact = Wish { name: wish.name.clone(), selector: Selector::Version(subject.version.clone()) };
        let added = match self.found(&exact, architecture)? {
            Some(entry) => {
                brings_the_same(&entry, order).await?;
                self.at_hand(entry, order)
            }
            None => self.make(client, order, &subject).await,
        };
        // A lock file that stays is harmless.
        let _ = owned.remove();
        added
    }

    /// What was there before. A checksum that the user gives has to be right all the same.
    fn at_hand(&self, entry: Entry, order: &Order) -> Result<Added> {
        if let Some(digest) = order.checksum
            && digest.algorithm() == entry.upstream.algorithm()
            && digest != entry.upstream
        {
            return Err(Error::Contradiction {
                what: entry.title(),
                one_says: "the store".into(),
                one: Box::new(entry.upstream),
                other_says: "the command line".into(),
                other: Box::new(digest),
            });
        }
        if self.settings.require_signatures && !is_signed(&entry.verified) {
            return Err(Error::Unsigned {
                what: entry.title(),
                problem: "what is in the store came without one that was verified".into(),
            });
        }
        self.touch(&entry)?;
        let archive = self.archive(&entry)?;
        Ok(Added { entry, archive, up_to_date: true, downloaded: 0 })
    }

    /// The version that is meant.
    async fn version(
        &self,
        client: &Client,
        definition: &Definition,
        selector: &Selector,
        from: bool,
    ) -> Result<Version> {
        let no_version = || Error::NoVersion { name: definition.name.clone() };
        let question = match selector {
            Selector::Version(version) if !version.is_series() => return Ok(version.clone()),
            Selector::Version(version) => match definition.latest(Some(&version.minor())) {
                Some(question) if !from => question,
                _ => return Ok(version.clone()),
            },
            Selector::Any if from => return Err(no_version()),
            Selector::Any | Selector::Latest => definition.latest(None).ok_or_else(no_version)?,
        };
        let url = self.settings.catalog.place_of(&question.url);
        let text = self.text(client, &url, "cannot ask for the latest version").await?;
        let unusable = |problem: String| Error::Latest { url: url.clone(), problem };
        let word = match &question.field {
            None => text.split_whitespace().next().unwrap_or_default().to_owned(),
            Some(field) => {
                let answer: serde_json::Value = serde_json::from_str(&text)
                    .map_err(|error| unusable(format!("it is not JSON: {error}")))?;
                answer[field].as_str().ok_or_else(|| unusable(format!("it has no {field}")))?.to_owned()
            }
        };
        word.parse().map_err(|error: Error| unusable(error.to_string()))
    }

    async fn own_subject(&self, subject: &Subject<'_>) -> Result<PackagePart> {
        let shelf = self.shelf.clone();
        let (name, version) = (subject.definition.name.clone(), subject.version.as_str().to_owned());
        let architecture = subject.architecture.to_owned();
        blocking(move || {
            shelf.own(&name, &version, &architecture).map_err(Error::store("cannot lock a package"))
        })
        .await
    }

    async fn make(&self, client: &Client, order: &Order, subject: &Subject<'_>) -> Result<Added> {
        let (location, origin) = self.location(order, subject);
        let mut verified = Vec::new();
        let expected = self.expected(client, order, subject, &location, &mut verified).await?;
        let part = self.part(&location, expected.as_ref()).await?;
        let fetched = match &origin {
            Origin::Url(url) => self.fetch(client, &subject.title, url, expected.as_ref(), part).await?,
            Origin::File(path) => self.take(&subject.title, path, expected.as_ref(), part).await?,
        };
        let first = self.first_use(subject)?;
        if let Some(first) = first
            && first != fetched.sha256
        {
            let error = Error::Contradiction {
                what: subject.title.clone(),
                one_says: "what was seen first".into(),
                one: Box::new(first),
                other_says: location,
                other: Box::new(fetched.sha256),
            };
            fetched.discard();
            return Err(error);
        }
        match expected {
            Some(expected) => {
                verified.insert(0, format!("{} by {}", expected.digest.algorithm().as_str(), expected.by));
            }
            None => {
                let message = format!(
                    "{}: nothing says what {location} should hash to; it is believed now, and has to stay the same",
                    subject.title
                );
                self.warn(message);
            }
        }
        if let Err(error) = self.signed(client, subject, order, &fetched, &mut verified).await {
            // It was whole, and is not what it should be: nobody may continue with it.
            fetched.discard();
            return Err(error);
        }
        let downloaded = fetched.downloaded;
        let entry = self.keep(subject, location, fetched, verified).await?;
        let archive = self.archive(&entry)?;
        Ok(Added { entry, archive, up_to_date: false, downloaded })
    }

    /// Where it is said to come from, and where it is taken from.
    fn location(&self, order: &Order, subject: &Subject<'_>) -> (String, Origin) {
        match &order.from {
            Some(Origin::File(path)) => (path.display().to_string(), Origin::File(path.clone())),
            Some(Origin::Url(url)) => (url.clone(), Origin::Url(url.clone())),
            None => {
                let url = subject.definition.url(&subject.version, subject.architecture);
                let place = self.settings.catalog.place_of(&url);
                (place.clone(), Origin::Url(place))
            }
        }
    }

    /// What the file has to hash to, by everybody who says so; they must agree.
    async fn expected(
        &self,
        client: &Client,
        order: &Order,
        subject: &Subject<'_>,
        location: &str,
        verified: &mut Vec<String>,
    ) -> Result<Option<Expected>> {
        let mut said: Vec<Expected> = Vec::new();
        if let Some(digest) = order.checksum {
            said.push(Expected { digest, by: "the command line".into() });
        }
        let (name, version) = (&subject.definition.name, &subject.version);
        if let Some((digest, path)) = self.settings.pins.get(name, version, subject.architecture) {
            said.push(Expected { digest, by: path.display().to_string() });
        }
        if let Some(digest) = self.first_use(subject)? {
            said.push(Expected { digest, by: "what was seen first".into() });
        }
        let known = !said.is_empty();
        match self.published(client, order, subject, location, verified).await {
            Ok(Some(published)) => said.push(published),
            Ok(None) => {}
            // Who has a pin needs nobody's checksums; a mirror may lack them.
            Err(error @ (Error::Remote { .. } | Error::File { .. })) if known => {
                self.warn(format!("{}: {}", subject.title, larder_core::report(&error)));
            }
            Err(error) => return Err(error),
        }
        for (at, one) in said.iter().enumerate() {
            let other = said[..at].iter().find(|other| {
                other.digest.algorithm() == one.digest.algorithm() && other.digest != one.digest
            });
            if let Some(other) = other {
                return Err(Error::Contradiction {
                    what: subject.title.clone(),
                    one_says: other.by.clone(),
                    one: Box::new(other.digest),
                    other_says: one.by.clone(),
                    other: Box::new(one.digest),
                });
            }
        }
        // The longest hash counts, and of those the nearest word. The other kind is in the index after the first time.
        said.sort_by_key(|expected| std::cmp::Reverse(expected.digest.as_bytes().len()));
        Ok(said.into_iter().next())
    }

    fn first_use(&self, subject: &Subject<'_>) -> Result<Option<Digest>> {
        Ok(self.read()?.first_use(&subject.definition.name, &subject.version, subject.architecture))
    }

    /// What the project publishes, signed where it is signed.
    async fn published(
        &self,
        client: &Client,
        order: &Order,
        subject: &Subject<'_>,
        location: &str,
        verified: &mut Vec<String>,
    ) -> Result<Option<Expected>> {
        let (definition, version) = (&subject.definition, &subject.version);
        let Some((published, per_file)) = definition.checksum(version, subject.architecture) else {
            return Ok(None);
        };
        let url = definition.url(version, subject.architecture);
        let place = self.beside(order, &url, &published);
        let action = || format!("cannot get the checksum of {}", subject.title);
        let text = match &place {
            Origin::Url(place) => self.text(client, place, &action()).await?,
            // Whoever brings a file may bring what was published beside it.
            Origin::File(path) if !path.exists() => return Ok(None),
            Origin::File(path) => std::fs::read_to_string(path).map_err(Error::file("read", path))?,
        };
        let text = self.checksums_signed(client, subject, order, text, verified).await?;
        let by = match &place {
            Origin::Url(place) => place.clone(),
            Origin::File(path) => path.display().to_string(),
        };
        let file = url.rsplit('/').next().unwrap_or_default();
        let mut found = checksum::find(&text, file, per_file);
        if found.is_err() && order.from.is_some() {
            // The mirror, or the file, may have a name of its own.
            let own = location.rsplit('/').next().unwrap_or_default();
            found = checksum::find(&text, own, per_file);
        }
        match found {
            Ok(digest) => Ok(Some(Expected { digest, by })),
            Err(problem) => {
                Err(Error::NoChecksum { what: subject.title.clone(), url: by, problem: problem.into() })
            }
        }
    }

    /// Where something published beside the release is: from the user's mirror or directory, if that is where the release is.
    pub(crate) fn beside(&self, order: &Order, url: &str, published: &str) -> Origin {
        let Some(from) = &order.from else { return Origin::Url(self.settings.catalog.place_of(published)) };
        let suffix = published.strip_prefix(url).filter(|suffix| !suffix.contains('/'));
        let file = published.rsplit('/').next().unwrap_or_default();
        match (from, suffix) {
            (Origin::Url(from), Some(suffix)) => Origin::Url(format!("{from}{suffix}")),
            (Origin::Url(from), None) => {
                let directory = from.rsplit_once('/').map_or(from.as_str(), |(directory, _)| directory);
                Origin::Url(format!("{directory}/{file}"))
            }
            (Origin::File(path), Some(suffix)) => {
                let mut name = path.file_name().unwrap_or_default().to_os_string();
                name.push(suffix);
                Origin::File(path.with_file_name(name))
            }
            (Origin::File(path), None) => Origin::File(path.with_file_name(file)),
        }
    }

    /// The right to write the bytes, under the name of what they hash to.
    async fn part(&self, location: &str, expected: Option<&Expected>) -> Result<PackagePart> {
        let shelf = self.shelf.clone();
        let known = expected.is_some();
        let content = expected.map_or_else(|| Digest::of(location.as_bytes()), |expected| expected.digest);
        blocking(move || {
            let failed = || Error::store("cannot open a part");
            let part = shelf.part(&content).map_err(failed())?;
            if !known {
                // What is there may be of another version: nothing tells.
                part.file().set_len(0).map_err(Error::file("truncate", part.path()))?;
            }
            Ok(part)
        })
        .await
    }

    /// Packs what came, and remembers it.
    async fn keep(
        &self,
        subject: &Subject<'_>,
        source: String,
        fetched: Fetched,
        verified: Vec<String>,
    ) -> Result<Entry> {
        let (name, version) = (subject.definition.name.clone(), subject.version.clone());
        let architecture = subject.architecture.to_owned();
        let (binary, what) = (subject.definition.binary.clone(), subject.title.clone());
        let packages = self.clone();
        blocking(move || {
            let store = || Error::store("cannot keep the archive");
            let settings = &packages.settings;
            let part = fetched.part;
            let scratch = packages.shelf.beside(&part, "tar").map_err(store())?;
            let growing = packages.shelf.beside(&part, "zst").map_err(store())?;
            let binary = binary.or_else(|| is_program(part.path()).then(|| name.clone()));
            let packing = Packing {
                what,
                binary,
                scratch: &scratch,
                limits: &settings.limits,
                level: settings.level,
                threads: settings.threads,
            };
            let target = packages.shelf.archive(&name, version.as_str(), &architecture).map_err(store())?;
            let packed = packing.pack(part.path(), &growing).and_then(|packed| {
                packages.shelf.commit(&growing, &target).map_err(store())?;
                Ok(packed)
            });
            let packed = match packed {
                Ok(packed) => packed,
                Err(error) => {
                    let _ = std::fs::remove_file(&growing);
                    // The bytes are those that were promised, and no good; where the disk is full they are kept.
                    if matches!(error, Error::Archive { .. } | Error::Member { .. }) {
                        let _ = part.remove();
                    }
                    return Err(error);
                }
            };
            let now = Timestamp(packages.now());
            let mut entry = Entry {
                name,
                version,
                architecture,
                source,
                upstream: fetched.sha256,
                upstream_size: fetched.size,
                digest: packed.digest,
                size: packed.size,
                unpacked_size: packed.unpacked_size,
                path: String::new(),
                verified,
                pinned: false,
                cached: now,
                used: now,
            };
            entry.path = entry.expected_path();
            packages.change(|index| index.put(entry.clone()))?;
            part.remove().map_err(Error::store("cannot remove a part"))?;
            (settings.progress)(Event::BlobFinished { digest: fetched.event, tier: Tier::Registry });
            Ok(entry)
        })
        .await
    }
}

impl Subject<'_> {
    pub(crate) fn url(&self) -> String {
        self.definition.url(&self.version, self.architecture)
    }
}

/// Whether a file is a program of this platform's kind, and no archive.
fn is_program(path: &std::path::Path) -> bool {
    use std::io::Read as _;
    let mut magic = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut magic));
    read.is_ok_and(|count| magic[..count].starts_with(b"\x7fELF") || magic[..count].starts_with(b"#!"))
}

/// A file that the user brings for a package that is here must be the one that it was made of.
async fn brings_the_same(entry: &Entry, order: &Order) -> Result<()> {
    let Some(Origin::File(path)) = order.from.clone() else { return Ok(()) };
    let (what, upstream) = (entry.title(), entry.upstream);
    blocking(move || {
        let mut file = std::fs::File::open(&path).map_err(Error::file("open", &path))?;
        let (mut hasher, mut buffer) = (Hasher::new(upstream.algorithm()), vec![0; 256 << 10]);
        loop {
            match file.read(&mut buffer).map_err(Error::file("read", &path))? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        let found = hasher.finish();
        match found == upstream {
            true => Ok(()),
            false => Err(Error::Contradiction {
                what,
                one_says: "the store".into(),
                one: Box::new(upstream),
                other_says: path.display().to_string(),
                other: Box::new(found),
            }),
        }
    })
    .await
}

/// Runs something that blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Error::Task { what: "work on a package" }),
    }
}

/// What archives are named by.
pub(crate) const SHA256: Algorithm = Algorithm::Sha256;
