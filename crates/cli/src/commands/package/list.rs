//! `larder package list`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::table::Table;
use crate::words::{ago, size};
use anyhow::Result;
use larder_engine::PackageRow;
use std::time::{Duration, SystemTime};

/// Show the packages in the store
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Only packages whose name contains this
    #[arg(value_name = "TEXT")]
    text: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  larder package list
  larder package list kube --output json";

const DOCUMENT: &str = "\
JSON:
  {\"packages\": [{\"name\", \"version\", \"architecture\", \"source\", \"upstream\": DIGEST,
    \"upstream_size\", \"digest\", \"size\", \"unpacked_size\", \"archive\", \"verified\": [],
    \"pinned\", \"cached\", \"used\"}]}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let mut rows = invocation.engine()?.list_packages()?;
    if let Some(text) = &args.text {
        rows.retain(|row| row.name.contains(text.as_str()));
    }
    invocation.answer(&serde_json::json!({ "packages": rows }), || table(&rows))?;
    Ok(Exit::Done)
}

fn table(rows: &[PackageRow]) -> String {
    let mut table = Table::new(&["NAME", "VERSION", "ARCH", ">SIZE", ">UNPACKED", "USED", "PINNED"]);
    for row in rows {
        let used = SystemTime::UNIX_EPOCH + Duration::from_secs(row.used);
        table.row([
            row.name.clone(),
            row.version.clone(),
            row.architecture.clone(),
            size(row.size),
            size(row.unpacked_size),
            ago(used, SystemTime::now()),
            if row.pinned { "yes".to_owned() } else { String::new() },
        ]);
    }
    table.to_string()
}
