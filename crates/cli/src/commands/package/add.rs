//! `larder package add`.

use super::architectures;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::problem::{Problem, Usage};
use crate::words::size;
use anyhow::Result;
use larder_core::Digest;
use larder_engine::{PackageOrder, PackageOutcome, PackageReport, Wish};

/// Bring packages into the store: download, verify, pack
///
/// NAME alone is the newest version in the store, else the latest one; NAME@latest asks its project; NAME@1.33 is the newest
/// of that series. What is there is not fetched again, and an interrupted download continues where it stopped. With --from,
/// the bytes come from a file or a mirror, and checksums and signatures are looked for beside it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Packages: NAME, NAME@VERSION, NAME@latest
    #[arg(value_name = "NAME[@VERSION]", required = true)]
    wishes: Vec<Wish>,

    #[command(flatten)]
    manner: Manner,

    /// Take it from this file or URL
    #[arg(long, value_name = "FILE|URL")]
    from: Option<String>,

    /// What the published file hashes to
    #[arg(long, value_name = "sha256:HEX")]
    checksum: Option<Digest>,
}

/// What `add` and `ensure` share.
#[derive(Debug, clap::Args)]
pub(crate) struct Manner {
    /// For this architecture; may be given several times [default: this machine's]
    #[arg(long, value_name = "ARCH", value_delimiter = ',', value_parser = super::architecture)]
    pub(super) arch: Vec<String>,

    /// Refuse what has no signature, or none that can be verified, also if it is here already
    #[arg(long)]
    pub(super) require_signature: bool,
}

const EXAMPLES: &str = "\
Examples:
  larder package add kubelet@1.33.4 kubeadm@1.33.4 --arch amd64,arm64
  larder package add helm@latest
  larder package add runc@1.3.0 --from ./runc.amd64
  larder package add mytool@2.0 --from https://tools.example/mytool-2.0.zip --checksum sha256:…";

const DOCUMENT: &str = "\
JSON:
  {\"packages\": [{\"wish\", \"architecture\", \"up_to_date\", \"downloaded\", and one of:
    \"package\": as in `larder package list`, \"failure\": {\"message\", \"kind\", \"hints\": []}}]}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let architectures = architectures(&args.manner.arch);
    let one = args.wishes.len() == 1 && architectures.len() == 1;
    if !one && (args.from.is_some() || args.checksum.is_some()) {
        return Err(Usage::new("--from and --checksum are about one package for one architecture").into());
    }
    let orders = orders(&args.wishes, &architectures, |order| {
        order.from.clone_from(&args.from);
        order.checksum = args.checksum;
        order.require_signature = args.manner.require_signature;
    });
    let report = fetch(orders, invocation)?;
    tell(&report, invocation)
}

/// One order per package and architecture.
pub(super) fn orders(
    wishes: &[Wish],
    architectures: &[String],
    change: impl Fn(&mut PackageOrder),
) -> Vec<PackageOrder> {
    let mut orders: Vec<PackageOrder> = Vec::new();
    for wish in wishes {
        for architecture in architectures {
            let mut order = PackageOrder {
                wish: wish.clone(),
                architecture: architecture.clone(),
                from: None,
                checksum: None,
                require_signature: false,
            };
            change(&mut order);
            if !orders
                .iter()
                .any(|other| other.wish == order.wish && other.architecture == order.architecture)
            {
                orders.push(order);
            }
        }
    }
    orders
}

/// Brings packages into the store.
pub(super) fn fetch(orders: Vec<PackageOrder>, invocation: &Invocation) -> Result<PackageReport> {
    let engine = invocation.engine()?;
    let report = invocation.wait(async move { engine.add_packages(&orders).await })??;
    invocation.terminal.finish();
    Ok(report)
}

/// Shows a report, and what became of it all.
pub(super) fn tell(report: &PackageReport, invocation: &Invocation) -> Result<Exit> {
    invocation.done(report, || report.packages.iter().filter_map(line).collect())?;
    Ok(complain(report, invocation))
}

/// Tells what failed.
pub(super) fn complain(report: &PackageReport, invocation: &Invocation) -> Exit {
    for (outcome, failure) in report.failures() {
        let message =
            format!("cannot add {} for {}: {}", outcome.wish, outcome.architecture, failure.message);
        invocation.terminal.complain(&Problem::new(&message, Exit::of(failure.kind), failure.hints.clone()));
    }
    Exit::of_all(report.failures().map(|(_, failure)| failure.kind))
}

fn line(outcome: &PackageOutcome) -> Option<String> {
    let row = outcome.package.as_ref()?;
    let (title, whole) = (row.title(), size(row.size));
    Some(match outcome.up_to_date {
        true => format!("{title} is there: {}, {whole}\n", row.digest.short()),
        false => format!(
            "{title} added: {}, {whole}, {} downloaded\n",
            row.digest.short(),
            size(outcome.downloaded)
        ),
    })
}
