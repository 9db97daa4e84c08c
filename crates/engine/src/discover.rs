//! `discover`: every image that some sources ask for, with proof of where.

use larder_core::{Kind, Reference};
use larder_discover::Survey;
use larder_discover::manifest::{Confidence, Find};
use std::collections::BTreeMap;

/// What sources ask for, image by image.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Discovery {
    /// Sorted by reference.
    pub images: Vec<Asked>,
    /// What could not be read, and what is doubtful.
    pub troubles: Vec<Doubt>,
    /// Files, charts and kustomizations that were read.
    pub sources: usize,
    /// Whether everything could be read.
    pub complete: bool,
}

/// An image, and who asks for it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Asked {
    /// Which one, in full.
    pub image: Reference,
    /// As sure as the surest find.
    pub confidence: Sureness,
    /// The finds, the surest first, otherwise in the order of the sources.
    pub finds: Vec<Proof>,
}

/// `possible`, `likely` or `certain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sureness {
    /// Looks like an image.
    Possible,
    /// Looks like an image in a place that is meant for one.
    Likely,
    /// Is pulled if the object is used.
    Certain,
}

/// Where an image is asked for.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Proof {
    /// As written.
    pub text: String,
    /// How sure that is.
    pub confidence: Sureness,
    /// The rule that found it.
    pub rule: String,
    /// The file, or the template of a chart.
    pub source: String,
    /// Line and column, from 1; of a template, in what it gives. 0 where there are none.
    pub line: u32,
    /// See `line`.
    pub column: u32,
    /// `Deployment namespace/name`
    pub object: Option<String>,
    /// `spec.template.spec.containers[0].image`
    pub path: String,
}

/// Something that stands in the way of a complete answer.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Doubt {
    /// Whether images may be missing because of it.
    pub error: bool,
    /// Where.
    pub place: String,
    /// What.
    pub message: String,
    /// What to do about it.
    pub hints: Vec<String>,
    /// What kind of trouble it is.
    #[serde(serialize_with = "as_word")]
    pub kind: Kind,
}

fn as_word<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

impl Sureness {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}

impl From<Confidence> for Sureness {
    fn from(confidence: Confidence) -> Self {
        match confidence {
            Confidence::Possible => Self::Possible,
            Confidence::Likely => Self::Likely,
            Confidence::Certain => Self::Certain,
        }
    }
}

impl Proof {
    /// `FILE:LINE: OBJECT, PATH`
    pub fn place(&self) -> String {
        let mut place = self.source.clone();
        if self.line > 0 {
            place = format!("{place}:{}", self.line);
        }
        if let Some(object) = &self.object {
            place = format!("{place}: {object}");
        }
        if !self.path.is_empty() {
            place = format!("{place}, {}", self.path);
        }
        place
    }
}

impl From<&Find> for Proof {
    fn from(find: &Find) -> Self {
        Self {
            text: find.text.clone(),
            confidence: find.confidence.into(),
            rule: find.rule.to_string(),
            source: find.place.source.to_string(),
            line: find.place.line,
            column: find.place.column,
            object: find.place.object.as_ref().map(ToString::to_string),
            path: find.place.path.clone(),
        }
    }
}

impl Discovery {
    /// Sorts a survey by image. With `strict`, doubts are errors, and so is an image without tag and digest, because what it
    /// stands for changes under it.
    pub fn of(survey: &Survey, strict: bool) -> Self {
        let mut images: BTreeMap<String, Asked> = BTreeMap::new();
        let mut troubles: Vec<Doubt> = Vec::new();
        for find in &survey.finds {
            let confidence = find.confidence.into();
            let asked = images.entry(find.reference.to_string()).or_insert_with(|| Asked {
                image: find.reference.clone(),
                confidence,
                finds: Vec::new(),
            });
            asked.confidence = asked.confidence.max(confidence);
            asked.finds.push(find.into());
            if find.is_untagged() && confidence > Sureness::Possible {
                troubles.push(Doubt {
                    error: strict,
                    place: Proof::from(find).place(),
                    message: format!("{:?} has neither tag nor digest: latest is taken", find.text),
                    hints: Vec::new(),
                    kind: Kind::Invalid,
                });
            }
        }
        for asked in images.values_mut() {
            asked.finds.sort_by_key(|find| std::cmp::Reverse(find.confidence));
        }
        troubles.extend(survey.troubles.iter().map(|trouble| Doubt {
            error: strict || trouble.is_error(),
            place: trouble.place.clone(),
            message: trouble.message.clone(),
            hints: trouble.hints.clone(),
            kind: trouble.kind,
        }));
        let complete = !troubles.iter().any(|trouble| trouble.error);
        Self { images: images.into_values().collect(), troubles, sources: survey.sources, complete }
    }

    /// Those that are at least this sure.
    pub fn at_least(&self, confidence: Sureness) -> impl Iterator<Item = &Asked> {
        self.images.iter().filter(move |asked| asked.confidence >= confidence)
    }
}
