//! `generate`: the parts of the documentation that the code already knows — the table of crates, the commands with
//! their options, the configuration keys — written from the code, and checked so that they cannot rot.

use crate::marker::{Mode, settle, settle_part};
use crate::program;
use crate::workspace::{Layer, Package, Workspace, cargo, root};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail when a file is not what would be written.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    program::run(cargo().args(["build", "--quiet", "--workspace", "--bin", "larder"]))?;
    let larder = Workspace::read()?.target.join("debug/larder");
    generate(&larder, if arguments.check { Mode::Check } else { Mode::Write })
}

/// Checks with a binary that is already built.
pub(crate) fn check_with(larder: &Path) -> Result<()> {
    generate(larder, Mode::Check)
}

/// Does every part, also after one failed.
fn generate(larder: &Path, mode: Mode) -> Result<()> {
    let parts: [(&str, Result<bool>); 3] = [
        ("ARCHITECTURE.md", architecture(mode)),
        ("docs/guide/commands.md", commands(larder, mode)),
        ("docs/guide/configuration.md", configuration(larder, mode)),
    ];
    let mut stale = Vec::new();
    for (name, result) in parts {
        match result {
            Ok(true) => {}
            Ok(false) => stale.push(name),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                stale.push(name);
            }
        }
    }
    if !stale.is_empty() {
        bail!("not up to date: {}; run `cargo xtask generate`", stale.join(", "));
    }
    Ok(())
}

fn architecture(mode: Mode) -> Result<bool> {
    let table = crate_table(&Workspace::read()?.packages);
    settle_part(&root().join("ARCHITECTURE.md"), "crates", &table, mode)
}

/// The crates by layer, each with the sentence of its `Cargo.toml`.
fn crate_table(packages: &[Package]) -> String {
    let mut packages: Vec<&Package> = packages.iter().collect();
    packages.sort_by(|a, b| {
        let rank = |package: &Package| package.layer.unwrap_or(Layer::Tool);
        (rank(a), &a.folder).cmp(&(rank(b), &b.folder))
    });
    let mut table = String::from("| layer | crate | what it is |\n|---|---|---|\n");
    for package in packages {
        let layer = match package.layer {
            Some(Layer::Number(number)) => number.to_string(),
            _ => "–".into(),
        };
        let folder = package.folder.display().to_string();
        let name = folder.rsplit('/').next().unwrap_or(&folder);
        // Writing to a String cannot fail.
        let _ = writeln!(table, "| {layer} | [`{name}`]({folder}) | {} |", package.description);
    }
    table
}

/// The reference of all commands, from what `--help` prints.
fn commands(larder: &Path, mode: Mode) -> Result<bool> {
    let mut text = String::from(
        "# Commands\n\nWhat `larder help COMMAND` prints, for reading and searching in one place. \
         Written by `cargo xtask generate`.\n",
    );
    describe(larder, &mut Vec::new(), &mut text)?;
    settle(&root().join("docs/guide/commands.md"), &text, mode)
}

/// Appends the help of one command, then of those below it.
fn describe(larder: &Path, path: &mut Vec<String>, text: &mut String) -> Result<()> {
    let help = program::output(plain(larder).args(&*path).arg("--help"))?;
    let title: Vec<&str> = std::iter::once("larder").chain(path.iter().map(String::as_str)).collect();
    let level = "#".repeat(2 + path.len().min(2));
    let _ = write!(text, "\n{level} {}\n\n```text\n{}\n```\n", title.join(" "), unindented(&help));
    for name in subcommands(&help) {
        path.push(name);
        describe(larder, path, text)?;
        path.pop();
    }
    Ok(())
}

/// A command whose output does not depend on who runs it.
fn plain(larder: &Path) -> Command {
    let mut command = Command::new(larder);
    // clap shows the current value of an environment variable in its help, and wraps at the terminal's width.
    command.env_clear().env("COLUMNS", "100").env("NO_COLOR", "1");
    command
}

fn unindented(help: &str) -> String {
    help.trim().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The names under `Commands:`, without `help`, which says nothing new.
fn subcommands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| line.trim_end() != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with(' '))
        // A name is indented by two; the continuation of a description by more.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

/// The table of configuration keys, from what the binary says about itself.
fn configuration(larder: &Path, mode: Mode) -> Result<bool> {
    let home = tempfile::tempdir()?;
    let text = program::output(
        plain(larder).env("LARDER_HOME", home.path()).args(["config", "keys", "--output", "json"]),
    )?;
    let keys: Value =
        serde_json::from_str(&text).context("`larder config keys --output json` is not JSON")?;
    let table = key_table(&keys)?;
    settle_part(&root().join("docs/guide/configuration.md"), "keys", &table, mode)
}

/// Each key is an object of texts; its members become the columns, in the order in which the binary prints them.
fn key_table(keys: &Value) -> Result<String> {
    let rows = keys.as_array().or_else(|| keys["keys"].as_array()).context("expected a list of keys")?;
    let columns: Vec<&str> = ["key", "environment", "default", "description"].into();
    let mut table = String::from("| key | environment variable | default | meaning |\n|---|---|---|---|\n");
    for row in rows {
        let cell = |column: &str| -> Result<String> {
            let value = row.get(column).with_context(|| format!("a key without `{column}`: {row}"))?;
            let text = match value {
                Value::Null => "–".into(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let text = text.replace('|', "\\|").replace('\n', " ");
            Ok(if column == "description" || text == "–" { text } else { format!("`{text}`") })
        };
        let cells: Vec<String> = columns.iter().map(|column| cell(column)).collect::<Result<_>>()?;
        let _ = writeln!(table, "| {} |", cells.join(" | "));
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_read_from_help() {
        let help = "Pulls.\n\nUsage: larder [OPTIONS] <COMMAND>\n\nCommands:\n  pull    Fetch images\n          and keep them\n  \
                    gc      Free space\n  help    Print this\n\nOptions:\n  -q, --quiet  Say less\n";
        assert_eq!(subcommands(help), ["pull", "gc"]);
        assert_eq!(subcommands("Usage: larder pull\n\nOptions:\n  -q\n"), [""; 0]);
    }

    #[test]
    fn the_crate_table_is_sorted_by_layer() {
        let package = |folder: &str, layer| Package {
            name: format!("larder-{folder}"),
            description: format!("About {folder}."),
            folder: Path::new("crates").join(folder),
            layer,
            dependencies: Vec::new(),
        };
        let table = crate_table(&[
            package("testkit", Some(Layer::Test)),
            package("store", Some(Layer::Number(1))),
            package("core", Some(Layer::Number(0))),
        ]);
        assert_eq!(
            table,
            "| layer | crate | what it is |\n|---|---|---|\n\
             | 0 | [`core`](crates/core) | About core. |\n\
             | 1 | [`store`](crates/store) | About store. |\n\
             | – | [`testkit`](crates/testkit) | About testkit. |\n"
        );
    }

    #[test]
    fn configuration_keys_become_a_table() {
        let keys = serde_json::json!([
            {"key": "certs_dir", "environment": "LARDER_CERTS_DIR", "default": null, "description": "a | b"},
        ]);
        let table = key_table(&keys).unwrap();
        assert!(table.ends_with("| `certs_dir` | `LARDER_CERTS_DIR` | – | a \\| b |\n"), "{table}");
        assert!(key_table(&serde_json::json!([{"key": "x"}])).is_err());
    }
}
