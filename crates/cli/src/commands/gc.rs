//! `larder gc`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::table::Table;
use crate::words::size;
use anyhow::Result;
use larder_engine::{Bytes, Collected, Engine, Policy, Span};

/// Remove what nothing needs any more
///
/// First the images that the policy gives up, least recently used first: those not used for max_age, then those beyond
/// max_count and quota. Then all bytes that no name, mount or running operation holds, and interrupted downloads that
/// nobody continued for a week. Pinned, mounted and leased images stay. Safe beside pulls and mounts.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,

    /// Largest size of the store, for example 20GB [default: `quota` of the configuration]
    #[arg(long, value_name = "SIZE")]
    quota: Option<Bytes>,

    /// Give up images that were not used for so long, for example 30d [default: `max_age`]
    #[arg(long, value_name = "SPAN")]
    max_age: Option<Span>,

    /// Keep at most so many images [default: `max_count`]
    #[arg(long, value_name = "N")]
    max_count: Option<usize>,
}

const EXAMPLES: &str = "\
Examples:
  larder gc --dry-run
  larder gc --quota 20GB";

pub(super) const DOCUMENT: &str = "\
JSON:
  {\"dry_run\", \"names\": [REF], \"cached\": [{\"repository\", \"selector\"}], \"blobs\",
   \"blob_bytes\", \"derived\", \"derived_bytes\", \"partials\", \"partial_bytes\", \"uploads\",
   \"upload_bytes\", \"package_bytes\", \"freed_bytes\", \"kept_bytes\"}; in a dry run what would be
   removed, freed and kept";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let engine = invocation.engine()?;
    let configured = engine.policy();
    let policy = Policy {
        quota: args.quota.map(|bytes| bytes.0).or(configured.quota),
        max_age: args.max_age.map(|span| span.0).or(configured.max_age),
        max_count: args.max_count.or(configured.max_count),
    };
    collect(&engine, &policy, args.dry_run, invocation)
}

/// Collects and tells.
pub(super) fn collect(
    engine: &Engine,
    policy: &Policy,
    dry_run: bool,
    invocation: &Invocation,
) -> Result<Exit> {
    let collected = engine.gc(policy, dry_run)?;
    let document = serde_json::json!({
        "dry_run": dry_run,
        "names": collected.names,
        "cached": collected.cached.iter().map(|(repository, selector)| {
            serde_json::json!({ "repository": repository.to_string(), "selector": selector })
        }).collect::<Vec<_>>(),
        "blobs": collected.blobs,
        "blob_bytes": collected.blob_bytes,
        "derived": collected.derived,
        "derived_bytes": collected.derived_bytes,
        "partials": collected.partials,
        "partial_bytes": collected.partial_bytes,
        "uploads": collected.uploads,
        "upload_bytes": collected.upload_bytes,
        "package_bytes": collected.package_bytes,
        "freed_bytes": collected.freed_bytes,
        "kept_bytes": collected.kept_bytes,
    });
    invocation.done(&document, || show(&collected, dry_run))?;
    Ok(Exit::Done)
}

fn show(collected: &Collected, dry_run: bool) -> String {
    let (removed, freed) =
        if dry_run { ("would be removed", "would be freed") } else { ("removed", "freed") };
    let mut text: String =
        collected.names.iter().map(|name| format!("{} {removed}\n", name.familiar())).collect();
    for (repository, selector) in &collected.cached {
        let separator = if selector.contains(':') { '@' } else { ':' };
        let state = if dry_run { "would not be cached any more" } else { "not cached any more" };
        text.push_str(&format!("{repository}{separator}{selector} {state}\n"));
    }
    let mut table = Table::facts();
    for (number, bytes, noun) in [
        (collected.blobs, collected.blob_bytes, "blob"),
        (collected.derived, collected.derived_bytes, "unpacked layer or index"),
        (collected.partials, collected.partial_bytes, "interrupted download"),
        (collected.uploads, collected.upload_bytes, "interrupted upload"),
    ] {
        if number > 0 {
            let noun = if number == 1 { noun.into() } else { plural(noun) };
            table.row([format!("{number} {noun} {removed}"), size(bytes)]);
        }
    }
    text.push_str(&table.to_string());
    let of_packages = match collected.package_bytes {
        0 => String::new(),
        bytes => format!(", {} of them packages", size(bytes)),
    };
    let (gone, kept) = (size(collected.freed_bytes), size(collected.kept_bytes));
    text.push_str(&format!("{gone} {freed}, {kept} stay{of_packages}\n"));
    text
}

fn plural(noun: &str) -> String {
    match noun.split_once(" or ") {
        Some((first, second)) => format!("{first}s or {second}es"),
        None => format!("{noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_name_what_went_and_what_stays() {
        let mut collected = Collected { freed_bytes: 170_000_000, kept_bytes: 0, ..Collected::default() };
        collected.names = vec!["debian:11".parse().unwrap()];
        (collected.blobs, collected.blob_bytes) = (3, 170_000_000);
        (collected.derived, collected.derived_bytes) = (2, 10);
        assert_eq!(
            show(&collected, false),
            "debian:11 removed\n3 blobs removed                       170 MB\n\
             2 unpacked layers or indexes removed  10 B\n170 MB freed, 0 B stay\n"
        );
        let mut cached = Collected { uploads: 1, upload_bytes: 7, ..Collected::default() };
        cached.cached = vec![("ghcr.io/a/b".parse().unwrap(), "1".into())];
        assert_eq!(
            show(&cached, false),
            "ghcr.io/a/b:1 not cached any more\n1 interrupted upload removed  7 B\n0 B freed, 0 B stay\n"
        );
        assert_eq!(show(&Collected::default(), true), "0 B would be freed, 0 B stay\n");
    }
}
