//! `larder config`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::settings::{Settings, variable};
use crate::table::Table;
use anyhow::{Context, Result};
use larder_engine::{Config, KEYS, Key, Origin};
use serde_json::{Value, json};

/// Show the configuration
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  larder config show\n  larder config keys")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// What is in force, and where each value comes from
    #[command(after_help = SHOW_EXAMPLES, after_long_help = format!("{SHOW_EXAMPLES}\n\n{SHOW_DOCUMENT}"))]
    Show(ShowArgs),
    /// Every key: its environment variable, its default, and what it means
    #[command(after_help = KEYS_EXAMPLES, after_long_help = format!("{KEYS_EXAMPLES}\n\n{KEYS_DOCUMENT}"))]
    Keys,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Only this key, as a bare value
    #[arg(value_name = "KEY", value_parser = clap::builder::PossibleValuesParser::new(names()), hide_possible_values = true)]
    key: Option<String>,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  larder config show
  LARDER_JOBS=8 larder config show jobs";

const SHOW_DOCUMENT: &str = "\
JSON:
  {\"files\": [{\"path\", \"exists\"}], \"values\": {KEY: VALUE}, \"origins\": {KEY: \"default\" |
   {\"file\": PATH} | {\"environment\": NAME} | {\"flag\": NAME}}}; with KEY, its value alone.
  Passwords are shown as ***.";

const KEYS_EXAMPLES: &str = "\
Examples:
  larder config keys
  larder config keys --output json";

const KEYS_DOCUMENT: &str = "\
JSON:
  {\"keys\": [{\"key\", \"environment\", \"list\": BOOL, \"default\", \"description\"}]}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    match &args.what {
        What::Keys => keys(invocation)?,
        What::Show(ShowArgs { key }) => {
            let settings = invocation.settings()?;
            let values = values(&settings.config)?;
            match key {
                Some(key) => invocation.answer(&values[key], || bare(&values[key]))?,
                None => invocation.answer(&document(&settings, &values), || table(&settings, &values))?,
            }
        }
    }
    Ok(Exit::Done)
}

fn names() -> Vec<&'static str> {
    KEYS.iter().map(|key| key.name).chain(["registries"]).collect()
}

fn values(config: &Config) -> Result<Value> {
    serde_json::to_value(config).context("cannot show the configuration")
}

fn document(settings: &Settings, values: &Value) -> Value {
    let files: Vec<Value> = settings
        .files
        .iter()
        .map(|(path, exists)| json!({ "path": path.display().to_string(), "exists": exists }))
        .collect();
    json!({ "files": files, "values": values, "origins": settings.origins })
}

fn table(settings: &Settings, values: &Value) -> String {
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
    for name in names() {
        if name == "registries" && settings.config.registries.is_empty() {
            continue;
        }
        let origin = settings.origins.get(name).unwrap_or(&Origin::Default);
        table.row([name.to_owned(), cell(&values[name]), origin.to_string()]);
    }
    let mut text = table.to_string();
    text.push('\n');
    for (path, exists) in &settings.files {
        let state = if *exists { "read" } else { "not there" };
        text.push_str(&format!("{}  {state}\n", path.display()));
    }
    text
}

fn keys(invocation: &Invocation) -> Result<()> {
    let defaults = values(&Config::default())?;
    let documents: Vec<Value> = KEYS
        .iter()
        .map(|key| {
            json!({
                "key": key.name,
                "environment": variable(key),
                "list": key.list,
                "default": default(key, &defaults),
                "description": key.help,
            })
        })
        .collect();
    invocation.answer(&json!({ "keys": documents }), || {
        let mut table = Table::new(&["KEY", "ENVIRONMENT", "DEFAULT", "MEANING"]);
        for key in KEYS {
            let default = cell(&default(key, &defaults));
            table.row([key.name.to_owned(), variable(key), default, key.help.to_owned()]);
        }
        table.to_string()
    })
}

/// What applies when nothing is said; the store's place depends on who asks.
fn default(key: &Key, defaults: &Value) -> Value {
    match key.name {
        "home" => "/var/lib/larder for root, else ~/.local/share/larder".into(),
        name => match &defaults[name] {
            Value::Array(values) if values.is_empty() => Value::Null,
            value => value.clone(),
        },
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "–".into(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// For scripts: lists one per line, nothing for what is not set.
fn bare(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Array(values) => values.iter().map(bare).collect(),
        other => cell(other) + "\n",
    }
}
