//! Which values make every image of a chart come from a mirror, proved by rendering with them.

use crate::chart::{Chart, RenderOptions, deep_copy, merged};
use crate::manifest::{Confidence, Find, Scanner};
use crate::survey::Trouble;
use crate::{Error, Result};
use larder_core::Reference;
use larder_gotemplate::{Map, Value};
use std::collections::BTreeSet;

/// A mirror, and how it names what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// `HOST[:PORT][/PATH]`
    pub place: String,
    /// Whether the name of the registry an image is from comes first: `HOST/docker.io/library/nginx`.
    pub keeps_registry: bool,
}

/// Values for a mirror, and what they do.
#[derive(Clone)]
pub struct MirrorValues {
    /// What the user has to give to the chart.
    pub values: Map,
    /// Images that come from the mirror with them, as they were before.
    pub moved: Vec<Reference>,
    /// Images that no value moves: they are written in the templates, or put together in ways that are not seen through.
    pub fixed: Vec<Find>,
    /// What could not be rendered.
    pub troubles: Vec<Trouble>,
}

impl Mirror {
    /// What the mirror calls an image.
    pub fn name_of(&self, reference: &Reference) -> String {
        let selector = reference.to_string()[reference.name().len()..].to_owned();
        format!("{}{selector}", self.repository(reference))
    }

    fn repository(&self, reference: &Reference) -> String {
        match self.keeps_registry {
            true => format!("{}/{}", self.place, reference.name()),
            false => format!("{}/{}", self.place, reference.repository()),
        }
    }

    /// What stands in front of the repository.
    fn registry(&self, reference: &Reference) -> String {
        match self.keeps_registry {
            true => format!("{}/{}", self.place, reference.registry()),
            false => self.place.clone(),
        }
    }
}

impl Chart {
    /// Values under which all images of this chart come from `mirror`. With `all`, also those of features that are switched off;
    /// these are not proved. `options` are what the chart is rendered with otherwise.
    ///
    /// # Errors
    /// Those of [`Chart::render`] and [`Chart::outline`].
    pub fn mirror_values(
        &self,
        mirror: &Mirror,
        all: bool,
        options: &RenderOptions<'_>,
        scanner: &Scanner,
    ) -> Result<MirrorValues> {
        let (before, mut troubles) = asked(self, options, scanner)?;
        let wanted: BTreeSet<String> = before.iter().map(|find| find.reference.name()).collect();
        let parts = self.outline(&options.values)?;
        let root = parts.first().map(|part| part.values.clone()).unwrap_or_default();
        let values = Map::new();
        Search { mirror, wanted: (!all).then_some(&wanted) }.map(&root, &mut Vec::new(), &values);

        let render = || {
            let values = merged(&deep_copy(&options.values), &values);
            asked(self, &RenderOptions { values, ..options.clone() }, scanner)
        };
        let (mut after, mut further) = render()?;
        if further.iter().any(|trouble| trouble.message.contains(INSECURE.join(".").as_str())) {
            // Bitnami's charts refuse images of other places unless they are told otherwise.
            put(&values, &INSECURE.map(str::to_owned), Value::Bool(true));
            (after, further) = render()?;
        }
        troubles
            .extend(further.into_iter().filter(|trouble| !troubles.contains(trouble)).collect::<Vec<_>>());
        let there: BTreeSet<String> = after.iter().map(|find| find.reference.to_string()).collect();
        let (mut moved, mut fixed) = (Vec::new(), Vec::new());
        for find in before {
            let name = mirror.name_of(&find.reference);
            let is_moved = name.parse::<Reference>().is_ok_and(|name| there.contains(&name.to_string()))
                && after.iter().all(|other| other.reference != find.reference);
            match is_moved {
                true if !moved.contains(&find.reference) => moved.push(find.reference),
                true => {}
                // Each place is another line of a template to look at.
                false => fixed.push(find),
            }
        }
        Ok(MirrorValues { values, moved, fixed, troubles })
    }
}

/// The images that a rendering asks for, and what stood in the way.
fn asked(
    chart: &Chart,
    options: &RenderOptions<'_>,
    scanner: &Scanner,
) -> std::result::Result<(Vec<Find>, Vec<Trouble>), Error> {
    let rendered = chart.render(&RenderOptions { tolerant: true, ..options.clone() })?;
    let mut finds = Vec::new();
    let mut troubles: Vec<Trouble> =
        rendered.diagnostics.iter().map(Trouble::from).filter(Trouble::is_error).collect();
    for document in &rendered.documents {
        let mut scan = scanner.scan(&document.source, document.text.as_bytes());
        for place in scan.finds.iter_mut().map(|find| &mut find.place) {
            place.line += document.line.saturating_sub(1);
        }
        finds.extend(scan.finds.into_iter().filter(|find| find.confidence >= Confidence::Likely));
        troubles.extend(scan.problems.iter().map(Trouble::from).filter(Trouble::is_error));
    }
    Ok((finds, troubles))
}

/// Looks for images in values.
struct Search<'a> {
    mirror: &'a Mirror,
    /// Repositories that count; all if there is nothing here.
    wanted: Option<&'a BTreeSet<String>>,
}

impl Search<'_> {
    fn map(&self, map: &Map, path: &mut Vec<String>, values: &Map) {
        if path.len() > DEPTH {
            return;
        }
        if self.pieces(map, path, values) {
            return;
        }
        for (key, value) in map.entries() {
            let key = key.to_str().into_owned();
            match &value {
                Value::Map(below) => {
                    path.push(key);
                    self.map(below, path, values);
                    path.pop();
                }
                // Lists are replaced as a whole by values, so nothing can be changed in one alone.
                Value::Text(text) if is_image_key(&key) => {
                    let Some(reference) = reference(&text.to_str()) else { continue };
                    if self.counts(&reference) {
                        path.push(key);
                        put(values, path, Value::from(self.mirror.name_of(&reference)));
                        path.pop();
                    }
                }
                _ => {}
            }
        }
    }

    /// `{registry, repository, tag}` and its relatives.
    fn pieces(&self, map: &Map, path: &mut Vec<String>, values: &Map) -> bool {
        let text = |key: &str| Some(map.get(key)?.as_text()?.to_str().into_owned());
        let Some((key, repository)) =
            REPOSITORY_KEYS.iter().find_map(|key| Some((*key, text(key).filter(|text| !text.is_empty())?)))
        else {
            return false;
        };
        let registry = text("registry");
        let whole = match registry.as_deref() {
            Some(registry) if !registry.is_empty() => format!("{registry}/{repository}"),
            _ => repository.clone(),
        };
        let Some(reference) = reference(&whole) else { return false };
        let has_tag = TAG_KEYS.iter().any(|key| map.contains(key));
        if !has_tag && registry.is_none() && key != "repository" {
            return false;
        }
        if self.counts(&reference) {
            let (key, value) = match registry {
                Some(_) => ("registry", self.mirror.registry(&reference)),
                None => (key, self.mirror.repository(&reference)),
            };
            path.push(key.to_owned());
            put(values, path, Value::from(value));
            path.pop();
            // Where the registry is a piece, the short form of the hub's own images is not understood by mirrors.
            if registry_is_piece(map) && reference.repository().as_str() != repository {
                path.push(
                    REPOSITORY_KEYS
                        .iter()
                        .find(|key| map.contains(key))
                        .map_or("repository", |key| key)
                        .to_owned(),
                );
                put(values, path, Value::from(reference.repository().as_str()));
                path.pop();
            }
        }
        true
    }

    fn counts(&self, reference: &Reference) -> bool {
        // A port cannot stand in a repository: such a name the mirror cannot have.
        let name = self.mirror.name_of(reference).parse::<Reference>();
        name.is_ok() && self.wanted.is_none_or(|wanted| wanted.contains(&reference.name()))
    }
}

fn registry_is_piece(map: &Map) -> bool {
    map.get("registry").is_some_and(|value| value.as_text().is_some())
}

fn is_image_key(key: &str) -> bool {
    key == "image" || key.ends_with("Image") || key.ends_with("_image")
}

fn reference(text: &str) -> Option<Reference> {
    if text.is_empty() || text.contains(char::is_whitespace) { None } else { text.parse().ok() }
}

/// Sets a value below a path of maps.
fn put(values: &Map, path: &[String], value: Value) {
    let Some((last, above)) = path.split_last() else { return };
    let mut at = values.clone();
    for key in above {
        let below = match at.get(key.as_str()) {
            Some(Value::Map(below)) => below,
            _ => {
                let below = Map::new();
                at.set(key.as_str(), Value::Map(below.clone()));
                below
            }
        };
        at = below;
    }
    at.set(last.as_str(), value);
}

/// What Bitnami's charts want to be true before they take images from elsewhere.
const INSECURE: [&str; 3] = ["global", "security", "allowInsecureImages"];
const REPOSITORY_KEYS: [&str; 3] = ["repository", "name", "image"];
const TAG_KEYS: [&str; 3] = ["tag", "version", "digest"];
/// Maps within maps.
const DEPTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::{File, Limits};
    use crate::manifest::Rules;
    use larder_gotemplate::yaml;

    fn chart(values: &str, template: &str) -> Chart {
        let file = |name: &str, text: &str| File::new(name, text.as_bytes());
        let files = vec![
            file("Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\nappVersion: '7'\n"),
            file("values.yaml", values),
            file("templates/pod.yaml", template),
        ];
        Chart::from_files("app", files, &Limits::default()).unwrap()
    }

    fn values(chart: &Chart, all: bool, keeps_registry: bool) -> (String, Vec<String>, Vec<String>) {
        let mirror = Mirror { place: "mirror.test:5000".into(), keeps_registry };
        let scanner = Scanner::new(Rules::built_in());
        let found = chart.mirror_values(&mirror, all, &RenderOptions::default(), &scanner).unwrap();
        assert!(found.troubles.is_empty(), "{:?}", found.troubles);

        (
            yaml::emit(&Value::Map(found.values)).unwrap(),
            found.moved.iter().map(Reference::familiar).collect(),
            found.fixed.iter().map(|find| find.text.clone()).collect(),
        )
    }

    const VALUES: &str = "
image: {registry: docker.io, repository: bitnami/app, tag: '1'}
sidecar: {image: {repository: quay.io/x/side, tag: v2}}
plain: {helperImage: 'busybox:1.36'}
extra: {enabled: false, image: {repository: ghcr.io/o/off, tag: '1'}}
";
    const TEMPLATE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: a}
spec:
  containers:
  - {name: a, image: '{{ .Values.image.registry }}/{{ .Values.image.repository }}:{{ .Values.image.tag }}'}
  - {name: b, image: '{{ .Values.sidecar.image.repository }}:{{ .Values.sidecar.image.tag }}'}
  - {name: c, image: '{{ .Values.plain.helperImage }}'}
  - {name: d, image: 'registry.k8s.io/pause:3.9'}
  {{- if .Values.extra.enabled }}
  - {name: e, image: '{{ .Values.extra.image.repository }}:1'}
  {{- end }}
";

    #[test]
    fn every_shape_is_moved_and_what_templates_fix_is_named() {
        let chart = chart(VALUES, TEMPLATE);
        let (text, moved, fixed) = values(&chart, false, true);
        assert_eq!(
            text,
            "image:\n  registry: mirror.test:5000/docker.io\nplain:\n  helperImage: mirror.test:5000/docker.io/library/busybox:1.36\nsidecar:\n  image:\n    repository: mirror.test:5000/quay.io/x/side\n"
        );
        assert_eq!(moved, ["bitnami/app:1", "quay.io/x/side:v2", "busybox:1.36"]);
        assert_eq!(fixed, ["registry.k8s.io/pause:3.9"]);
        let (text, ..) = values(&chart, true, false);
        assert!(text.contains("repository: mirror.test:5000/o/off\n"), "{text}");
        assert!(text.contains("registry: mirror.test:5000\n"), "{text}");
    }

    #[test]
    fn the_short_name_of_the_hub_is_written_out() {
        let chart = chart(
            "image: {registry: docker.io, repository: redis, tag: '8'}",
            "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {containers: [{name: a, image: '{{ .Values.image.registry }}/{{ .Values.image.repository }}:{{ .Values.image.tag }}'}]}",
        );
        let (text, moved, fixed) = values(&chart, false, true);
        assert!(text.contains("repository: library/redis"), "{text}");
        assert_eq!((moved, fixed), (vec!["redis:8".to_owned()], vec![]));
    }
}
