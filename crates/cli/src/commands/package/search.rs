//! `larder package search`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::table::Table;
use anyhow::Result;

/// Show which packages are defined, and where their definitions are
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Only those whose name or description contains this
    #[arg(value_name = "TEXT")]
    text: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  larder package search
  larder package search kubernetes";

const DOCUMENT: &str = "\
JSON:
  {\"definitions\": [{\"name\", \"description\", \"architectures\": [], \"defined_in\": FILE | null}]}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let packages = invocation.engine()?.packages()?;
    let text = args.text.as_deref().unwrap_or_default().to_lowercase();
    let found: Vec<_> = packages
        .catalog()
        .definitions()
        .filter(|(definition, _)| {
            definition.name.contains(&text) || definition.description.to_lowercase().contains(&text)
        })
        .collect();
    let rows = found.iter().map(|(definition, file)| {
        serde_json::json!({
            "name": definition.name, "description": definition.description,
            "architectures": definition.architectures, "defined_in": file,
        })
    });
    let document = serde_json::json!({ "definitions": rows.collect::<Vec<_>>() });
    invocation.answer(&document, || {
        let mut table = Table::new(&["NAME", "ARCH", "DEFINED IN", "DESCRIPTION"]);
        for (definition, file) in &found {
            table.row([
                definition.name.clone(),
                definition.architectures.join(","),
                file.map_or_else(|| "larder".to_owned(), |file| file.display().to_string()),
                definition.description.clone(),
            ]);
        }
        table.to_string()
    })?;
    Ok(Exit::Done)
}
