//! Docker's `daemon.json`.

use super::url::MirrorUrl;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeSet;

const MIRRORS: &str = "registry-mirrors";
const INSECURE: &str = "insecure-registries";

/// The text of the file with a mirror in front of others, and without a former one. What else is in it stays byte for byte.
///
/// # Errors
/// What is wrong with the text there is.
pub(crate) fn with_mirror(
    text: Option<&str>,
    url: &MirrorUrl,
    former: Option<&MirrorUrl>,
) -> Result<String, String> {
    let text = text.filter(|text| !text.trim().is_empty()).unwrap_or("{}\n");
    let former = former.filter(|former| *former != url);
    let is_former =
        |entry: &str| former.is_some_and(|former| entry.trim_end_matches('/') == former.to_string());
    let text = with_list(text, MIRRORS, |mut list| {
        list.retain(|entry| !is_former(entry));
        if list.iter().all(|entry| entry.trim_end_matches('/') != url.to_string()) {
            list.insert(0, url.to_string());
        }
        list
    })?;
    let is_known_insecure =
        |entry: &str| former.is_some_and(|former| !former.is_tls() && entry == former.authority());
    if url.is_tls() && former.is_none_or(MirrorUrl::is_tls) {
        return Ok(text);
    }
    with_list(&text, INSECURE, |mut list| {
        list.retain(|entry| !is_known_insecure(entry));
        if !url.is_tls() && list.iter().all(|entry| entry != url.authority()) {
            list.push(url.authority().to_owned());
        }
        list
    })
}

/// The mirrors that a file names.
pub(crate) fn mirrors(text: &[u8]) -> BTreeSet<String> {
    let file: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let list = file.get(MIRRORS).and_then(serde_json::Value::as_array).into_iter().flatten();
    list.filter_map(|entry| Some(entry.as_str()?.trim_end_matches('/').to_owned())).collect()
}

/// The text with another list under a key, which is added where it is not there.
fn with_list(text: &str, key: &str, edit: impl FnOnce(Vec<String>) -> Vec<String>) -> Result<String, String> {
    let Members(members) =
        serde_json::from_str(text).map_err(|error| format!("it is not what Docker reads: {error}"))?;
    // Of two with the same name, the last one counts.
    let found = members.iter().rev().find(|(name, _)| name == key);
    let list = found.map(|(_, raw)| serde_json::from_str::<Option<Vec<String>>>(raw.get()));
    let list = list
        .transpose()
        .map_err(|_| format!("{key} in it is no list of texts"))?
        .flatten()
        .unwrap_or_default();
    let edited = edit(list.clone());
    if edited == list {
        return Ok(text.to_owned());
    }
    let value = serde_json::to_string(&edited).expect("texts are JSON").replace("\",\"", "\", \"");
    if let Some((_, raw)) = found {
        let start = raw.get().as_ptr().addr() - text.as_ptr().addr();
        let end = start + raw.get().len();
        return Ok(format!("{}{value}{}", &text[..start], &text[end..]));
    }
    let open = text.find('{').expect("an object starts with a brace") + 1;
    let (before, after) = text.split_at(open);
    if members.is_empty() {
        return Ok(format!("{before}\n  \"{key}\": {value}\n{}", after.trim_start()));
    }
    let blank = &after[..after.find('"').expect("a member starts with its name")];
    Ok(format!("{before}{blank}\"{key}\": {value},{after}"))
}

/// The members of an object, each value as it is written.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> MirrorUrl {
        text.parse().unwrap()
    }

    #[test]
    fn what_else_is_in_the_file_stays_byte_for_byte() {
        let larder = url("http://10.0.0.1:5000");
        for (before, after) in [
            (
                None,
                "{\n  \"insecure-registries\": [\"10.0.0.1:5000\"],\n  \"registry-mirrors\": [\"http://10.0.0.1:5000\"]\n}\n",
            ),
            (
                Some("{\n    \"max-concurrent-downloads\": 1e1,\n    \"debug\" : true\n}"),
                "{\n    \"insecure-registries\": [\"10.0.0.1:5000\"],\n    \"registry-mirrors\": [\"http://10.0.0.1:5000\"],\n    \"max-concurrent-downloads\": 1e1,\n    \"debug\" : true\n}",
            ),
            (
                Some(
                    "{\"registry-mirrors\":[\"https://m\"],\"insecure-registries\": null, \"x\":{\"a\":1.0}}",
                ),
                "{\"registry-mirrors\":[\"http://10.0.0.1:5000\", \"https://m\"],\"insecure-registries\": [\"10.0.0.1:5000\"], \"x\":{\"a\":1.0}}",
            ),
        ] {
            let made = with_mirror(before, &larder, None).unwrap();
            assert_eq!(made, after);
            assert_eq!(with_mirror(Some(&made), &larder, None).unwrap(), made);
        }
    }

    #[test]
    fn a_former_mirror_makes_room_for_the_new_one() {
        let before =
            "{\"registry-mirrors\":[\"http://a:1/\",\"https://m\"],\"insecure-registries\":[\"a:1\"]}";
        let made = with_mirror(Some(before), &url("https://b"), Some(&url("http://a:1"))).unwrap();
        assert_eq!(made, "{\"registry-mirrors\":[\"https://b\", \"https://m\"],\"insecure-registries\":[]}");
    }

    #[test]
    fn a_file_that_is_not_understood_is_not_changed() {
        for text in ["[]", "{", "{\"registry-mirrors\": \"x\"}", "{\"insecure-registries\": [1]}", "{} {}"] {
            assert!(with_mirror(Some(text), &url("http://a"), None).is_err(), "{text}");
        }
    }
}
