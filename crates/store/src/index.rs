//! `index.json` for other tools and `index.yaml` for people: the names, written from the database.

use crate::database::Durability;
use crate::layout::{self, Layout};
use crate::name::{self, Name, from_row};
use crate::{Result, Store, lock};
use larder_core::{Descriptor, Digest, MediaType, Reference};
use rusqlite::{Connection, Transaction};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::SystemTime;

/// What the database says the index files should contain.
pub(crate) struct Index {
    /// Counts changes of names.
    generation: i64,
    /// The generation that was last written.
    written: i64,
    names: Vec<Name>,
}

impl Store {
    /// Writes `index.json` and `index.yaml` if names have changed since they were written. Costs in proportion to the number
    /// of names, so call it once after a batch of changes.
    pub fn flush(&self) -> Result<()> {
        let (generation, written) = self.database.read("read the generation", generations)?;
        if generation == written {
            return Ok(());
        }
        // One writer at a time, and each writes what it reads under the lock: the last one writes the latest.
        let _alone = lock::layout(&self.layout)?;
        let index = self.expected_index()?;
        if index.is_written() {
            return Ok(());
        }
        layout::replace_lightly(&self.layout.index_yaml(), index.yaml().as_bytes())?;
        layout::replace(&self.layout.index_json(), &index.json())?;
        self.database.write("record the index", Durability::Process, |db| {
            db.execute("UPDATE facts SET value = ?1 WHERE key = 'index'", [index.generation])
        })?;
        Ok(())
    }

    pub(crate) fn expected_index(&self) -> Result<Index> {
        self.database.snapshot("list names", |db| {
            let (generation, written) = generations(db)?;
            let names =
                db.prepare_cached(name::ALL)?.query_map([], from_row)?.collect::<rusqlite::Result<_>>()?;
            Ok(Index { generation, written, names })
        })
    }
}

/// Writes the files of a store that has no names yet, where there are none.
pub(crate) fn write_empty(layout: &Layout) -> Result<()> {
    let index = Index { generation: 0, written: 0, names: Vec::new() };
    for (path, content) in
        [(layout.index_yaml(), index.yaml().into_bytes()), (layout.index_json(), index.json())]
    {
        if layout::is_empty_or_gone(&path)? {
            layout::replace_lightly(&path, &content)?;
        }
    }
    Ok(())
}

/// Notes, as part of a change of names, that the files are behind.
pub(crate) fn changed(db: &Transaction<'_>) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE facts SET value = value + 1 WHERE key = 'names'")?.execute([])?;
    Ok(())
}

/// Notes that the files are gone or wrong.
pub(crate) fn invalidate(store: &Store) -> Result<()> {
    store.database.write("record the index", Durability::Process, changed)
}

fn generations(db: &Connection) -> rusqlite::Result<(i64, i64)> {
    db.prepare_cached(
        "SELECT (SELECT value FROM facts WHERE key = 'names'), (SELECT value FROM facts WHERE key = 'index')",
    )?
    .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
}

impl Index {
    /// Whether the files say this already.
    pub(crate) fn is_written(&self) -> bool {
        self.generation == self.written
    }

    /// An OCI image index; each name is an entry, found by skopeo, umoci and crane through its annotation.
    pub(crate) fn json(&self) -> Vec<u8> {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct File {
            schema_version: u32,
            media_type: MediaType,
            manifests: Vec<Descriptor>,
        }
        let manifests = self.names.iter().map(|name| {
            let mut descriptor = name.descriptor.clone();
            let reference = name.reference.to_string();
            for key in ANNOTATIONS {
                descriptor.annotations.insert(key.to_owned(), reference.clone());
            }
            descriptor
        });
        let file =
            File { schema_version: 2, media_type: MediaType::OCI_INDEX, manifests: manifests.collect() };
        serde_json::to_vec(&file).expect("an index is plain strings and numbers")
    }

    /// FORMAT: a YAML subset that needs no library: every string is a JSON string. Only facts that change together with the
    /// generation are in it, so that the file can be checked.
    pub(crate) fn yaml(&self) -> String {
        let mut text = format!("{HEADER}\nnames:");
        if self.names.is_empty() {
            text.push_str(" []");
        }
        text.push('\n');
        for name in &self.names {
            let Descriptor { media_type, digest, size, .. } = &name.descriptor;
            let updated = Rfc3339(name.updated);
            write!(
                text,
                "- name: {:?}\n  digest: {digest}\n  media_type: {:?}\n  size: {size}\n  updated: {updated}\n  pinned: {}\n  pushed: {}\n",
                name.reference.to_string(),
                media_type.as_str(),
                name.pinned,
                name.pushed,
            )
            .expect("a string takes everything");
        }
        text
    }
}

/// A name as the index files tell it.
pub(crate) struct Entry {
    pub(crate) reference: Reference,
    pub(crate) descriptor: Descriptor,
    pub(crate) pinned: bool,
    pub(crate) pushed: bool,
}

/// What the files say, for when the database cannot say it any more: names from `index.json`, and what else is known about them
/// from `index.yaml`. What is missing or unreadable says nothing.
pub(crate) fn entries(json: &[u8], yaml: &str) -> Vec<Entry> {
    #[derive(serde::Deserialize)]
    struct File {
        manifests: Vec<Descriptor>,
    }
    let told = told(yaml);
    let manifests = serde_json::from_slice(json).map(|file: File| file.manifests);
    let named = |mut descriptor: Descriptor| {
        let [reference, _] = ANNOTATIONS.map(|key| descriptor.annotations.remove(key));
        let reference: Reference = reference?.parse().ok()?;
        Some((reference, descriptor))
    };
    let names: Vec<(Reference, Descriptor)> = match manifests {
        Ok(manifests) => manifests.into_iter().filter_map(named).collect(),
        Err(_) => told.iter().filter_map(|(name, entry)| Some((name.clone(), entry.descriptor()?))).collect(),
    };
    let entry = |(reference, descriptor)| {
        let told = told.get(&reference);
        let (pinned, pushed) = told.map_or((false, false), |told| (told.pinned, told.pushed));
        Entry { reference, descriptor, pinned, pushed }
    };
    names.into_iter().map(entry).collect()
}

/// One entry of `index.yaml`.
#[derive(Default)]
struct Told {
    digest: Option<Digest>,
    media_type: Option<MediaType>,
    size: Option<u64>,
    pinned: bool,
    pushed: bool,
}

impl Told {
    fn descriptor(&self) -> Option<Descriptor> {
        Some(Descriptor::new(self.media_type.clone()?, self.digest?, self.size?))
    }
}

fn told(yaml: &str) -> HashMap<Reference, Told> {
    let text = |value: &str| serde_json::from_str::<String>(value).ok();
    let mut all: HashMap<Reference, Told> = HashMap::new();
    let mut at: Option<Reference> = None;
    for line in yaml.lines() {
        if let Some(name) = line.strip_prefix("- name: ") {
            at = text(name).and_then(|name| name.parse().ok());
            continue;
        }
        let (Some(name), Some((key, value))) = (&at, line.trim_start().split_once(": ")) else { continue };
        let told = all.entry(name.clone()).or_default();
        match key {
            "digest" => told.digest = value.parse().ok(),
            "media_type" => told.media_type = text(value).map(|value| MediaType::new(&value)),
            "size" => told.size = value.parse().ok(),
            "pinned" => told.pinned = value == "true",
            "pushed" => told.pushed = value == "true",
            _ => {}
        }
    }
    all
}

/// FORMAT: how other tools find a name.
const ANNOTATIONS: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

/// FORMAT: the first line of `index.yaml`.
pub(crate) const HEADER: &str =
    "# Written by larder for people, from its database; changes made here are lost.";

/// A time as people and YAML read it, to the second, UTC.
struct Rfc3339(SystemTime);

impl std::fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        // Days since 0000-03-01, so that the leap day is the last of its year (Howard Hinnant, "chrono-compatible
        // low-level date algorithms").
        let days = days + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates_are_right_around_leap_days() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (1_795_219_200, "2026-11-21T00:00:00Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(Rfc3339(time).to_string(), expected);
        }
    }

    #[test]
    fn what_the_files_tell_is_read_back() {
        let name = |text: &str, pinned, pushed| Name {
            reference: text.parse().unwrap(),
            descriptor: Descriptor::of(MediaType::OCI_MANIFEST, text.as_bytes()),
            updated: SystemTime::UNIX_EPOCH,
            checked: SystemTime::UNIX_EPOCH,
            last_used: SystemTime::UNIX_EPOCH,
            pinned,
            pushed,
        };
        let names =
            vec![name("a:1", true, false), name("localhost/b:1", false, true), name("c:1", false, false)];
        let index = Index { generation: 0, written: 0, names: names.clone() };
        let (json, yaml) = (index.json(), index.yaml());
        let same = |found: Vec<Entry>| {
            assert_eq!(found.len(), names.len());
            for entry in found {
                let name = names.iter().find(|name| name.reference == entry.reference).unwrap();
                assert_eq!(entry.descriptor, name.descriptor);
                assert_eq!((entry.pinned, entry.pushed), (name.pinned, name.pushed));
            }
        };
        same(entries(&json, &yaml));
        same(entries(&json[1..], &yaml));
        assert_eq!(entries(&json, "").len(), 3);
        assert!(entries(b"", "- name: x\n  digest: y").is_empty());
    }

    #[test]
    fn an_empty_index_is_valid() {
        let index = Index { generation: 0, written: 0, names: Vec::new() };
        assert!(index.yaml().ends_with("names: []\n"));
        let json: serde_json::Value = serde_json::from_slice(&index.json()).unwrap();
        assert_eq!(json["manifests"].as_array().unwrap().len(), 0);
    }
}
