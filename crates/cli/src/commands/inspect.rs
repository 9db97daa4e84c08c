//! `larder inspect`.

use crate::exit::Exit;
use crate::invocation::{self, Invocation};
use crate::table::Table;
use crate::words::{count, plain, size};
use anyhow::Result;
use larder_core::{Platform, Reference};
use larder_engine::Inspection;

/// Show what an image is: platforms, configuration, layers
///
/// From the store; nothing is asked of a registry.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "REF")]
    reference: Reference,

    /// The manifest (or index) itself, byte for byte
    #[arg(long)]
    raw: bool,

    /// Of an index, the image for this platform [default: this machine's, or the only one that is here]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
}

const EXAMPLES: &str = "\
Examples:
  larder inspect debian:12
  larder inspect debian:12 --platform linux/arm64
  larder inspect --raw debian:12 | sha256sum";

const DOCUMENT: &str = "\
JSON:
  {\"reference\", \"digest\", \"media_type\", \"platforms\": [{\"platform\", \"digest\", \"present\"}],
   \"manifest\", \"platform\", \"created\", \"config\": {\"User\", \"Env\", \"Entrypoint\", \"Cmd\", …}, \"layers\":
   [{\"digest\", \"diff_id\", \"size\", \"compression\", \"present\"}], \"history\": [], \"annotations\": {},
   \"attached\": []}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let engine = invocation.engine()?;
    if args.raw {
        let document = engine.raw(&args.reference, args.platform.as_ref())?;
        return invocation::print(document.raw()).map(|()| Exit::Done);
    }
    let inspection = engine.inspect(&args.reference, args.platform.as_ref())?;
    invocation.answer(&inspection, || show(&inspection))?;
    Ok(Exit::Done)
}

fn show(inspection: &Inspection) -> String {
    let mut text = facts(inspection).to_string();
    let section = |text: &mut String, title: &str, table: Table| {
        text.push_str(&format!("\n{title}:\n"));
        text.extend(table.to_string().lines().map(|line| format!("  {line}\n")));
    };
    if !inspection.platforms.is_empty() {
        let mut table = Table::new(&["PLATFORM", "DIGEST", "HERE"]);
        for view in &inspection.platforms {
            let platform = view.platform.as_ref().map_or_else(|| "–".into(), ToString::to_string);
            table.row([platform, view.digest.to_string(), here(view.present).into()]);
        }
        section(&mut text, "Platforms", table);
    }
    if !inspection.layers.is_empty() {
        let mut table = Table::new(&["LAYER", ">SIZE", "COMPRESSION", "HERE"]);
        for layer in &inspection.layers {
            let compression = layer.compression.unwrap_or("–").to_owned();
            table.row([layer.digest.to_string(), size(layer.size), compression, here(layer.present).into()]);
        }
        let bytes = inspection.layers.iter().map(|layer| layer.size).sum();
        section(&mut text, &format!("{}, {}", count(inspection.layers.len(), "layer"), size(bytes)), table);
    }
    let labels = inspection.config.as_ref().and_then(|config| config.labels.as_ref());
    for (title, pairs) in [("Labels", labels), ("Annotations", Some(&inspection.annotations))] {
        if let Some(pairs) = pairs.filter(|pairs| !pairs.is_empty()) {
            let mut table = Table::facts();
            pairs.iter().for_each(|(name, value)| table.row([name, value]));
            section(&mut text, title, table);
        }
    }
    if !inspection.attached.is_empty() {
        let mut table = Table::new(&["ATTACHED", "TYPE", ">SIZE"]);
        for artifact in &inspection.attached {
            let kind = artifact.artifact_type.as_deref().unwrap_or(artifact.media_type.as_str());
            table.row([artifact.digest.to_string(), kind.to_owned(), size(artifact.size)]);
        }
        section(&mut text, "Attached", table);
    }
    text
}

fn facts(inspection: &Inspection) -> Table {
    let mut table = Table::facts();
    table.row(["Name", &inspection.reference.to_string()]);
    table.row(["Digest", &inspection.digest.to_string()]);
    table.row(["Media type", inspection.media_type.as_str()]);
    if let Some(manifest) = inspection.manifest.filter(|manifest| *manifest != inspection.digest) {
        table.row(["Manifest", &manifest.to_string()]);
    }
    if let Some(platform) = &inspection.platform {
        table.row(["Platform", &platform.to_string()]);
    }
    if let Some(created) = &inspection.created {
        table.row(["Created", created]);
    }
    let Some(config) = &inspection.config else { return table };
    let words = |words: &Option<Vec<String>>| {
        words.as_ref().filter(|words| !words.is_empty()).map(|words| quoted(words))
    };
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    for (name, value) in [
        ("Entrypoint", words(&config.entrypoint)),
        ("Command", words(&config.cmd)),
        ("User", text(&config.user)),
        ("Directory", text(&config.working_dir)),
        ("Stop signal", text(&config.stop_signal)),
        (
            "Ports",
            config.exposed_ports.as_ref().map(|ports| ports.keys().cloned().collect::<Vec<_>>().join(", ")),
        ),
        (
            "Volumes",
            config.volumes.as_ref().map(|volumes| volumes.keys().cloned().collect::<Vec<_>>().join(", ")),
        ),
    ] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            table.row([name, &value]);
        }
    }
    for variable in config.env.iter().flatten() {
        table.row(["Environment", variable]);
    }
    table
}

/// Words as a shell would take them.
fn quoted(words: &[String]) -> String {
    let quote = |word: &String| {
        let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
        match !word.is_empty() && word.chars().all(safe) {
            true => word.clone(),
            false => format!("'{}'", plain(word).replace('\'', "'\\''")),
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

fn here(present: bool) -> &'static str {
    if present { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_core::{Digest, MediaType, RunConfig};

    #[test]
    fn what_an_image_says_cannot_drive_the_terminal() {
        let label = ("evil".to_owned(), "\u{1b}]0;owned\u{7}\nName  fake".to_owned());
        let config = RunConfig {
            env: Some(vec!["A=\u{1b}[2J".into()]),
            cmd: Some(vec!["sh".into(), "-c".into(), "echo it's".into()]),
            labels: Some([label].into()),
            ..RunConfig::default()
        };
        let inspection = Inspection {
            reference: "a:1".parse().unwrap(),
            digest: Digest::of(b""),
            media_type: MediaType::OCI_MANIFEST,
            platforms: Vec::new(),
            manifest: None,
            platform: None,
            created: Some("\u{9b}1m".into()),
            config: Some(config),
            layers: Vec::new(),
            history: Vec::new(),
            annotations: Default::default(),
            attached: Vec::new(),
        };
        let text = show(&inspection);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        assert!(text.contains("sh -c 'echo it'\\''s'"), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("Name  fake")), "{text}");
    }
}
