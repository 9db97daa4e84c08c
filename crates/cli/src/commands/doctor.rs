//! `larder doctor`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::table::Table;
use anyhow::Result;

/// Say what this host can do, and why not
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {}

const EXAMPLES: &str = "\
Examples:
  larder doctor";

const DOCUMENT: &str = "\
JSON:
  {\"driver\", \"checks\": [{\"name\", \"ok\": BOOL, \"detail\"}]}";

pub(crate) fn run(invocation: &Invocation) -> Result<Exit> {
    let doctor = invocation.engine()?.doctor()?;
    invocation.answer(&doctor, || {
        let mut table = Table::facts();
        for check in &doctor.checks {
            table.row([if check.ok { "ok" } else { "no" }, &check.name, &check.detail]);
        }
        format!("{table}\nimages are mounted by the {} driver\n", doctor.driver)
    })?;
    Ok(Exit::Done)
}
