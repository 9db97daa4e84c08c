//! `package … --node`: tools of the store on nodes, each in its architecture.

use crate::package::PackageOrder;
use crate::{Engine, Error, Failure, PackageRow, Result};
use larder_nodes::{
    Fleet, Installation, Installed, Node, Placed, Placement, PlacementOptions, PlacementReport,
};
use larder_packages::Wish;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Packages that are to be on nodes.
pub struct PlacementRequest {
    /// Which ones.
    pub wishes: Vec<Wish>,
    /// A signature that cannot be verified is an error.
    pub require_signature: bool,
    /// On which nodes.
    pub fleet: Fleet,
    /// How they are sent.
    pub options: PlacementOptions,
    /// They are installed there, too.
    pub install: bool,
}

/// What became of all nodes.
#[derive(Debug, serde::Serialize)]
pub struct PlacementsReport {
    /// One per node, in the order of the inventory.
    pub nodes: Vec<NodePackages>,
}

/// What became of one node.
#[derive(Debug, serde::Serialize)]
pub struct NodePackages {
    /// Its name.
    pub node: String,
    /// Where it is.
    pub address: String,
    /// Its architecture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// What is there now, if everything did what it should.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<Vec<Placed>>,
    /// What counts there after a return.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub returned: Option<Vec<Installed>>,
    /// Or why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Bytes that went over the network.
    pub sent: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// Milliseconds.
    pub elapsed: u64,
}

impl PlacementsReport {
    /// The nodes that lack something, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Failure)> {
        self.nodes.iter().filter_map(|node| Some((node.node.as_str(), node.failure.as_ref()?)))
    }
}

impl Engine {
    /// Sees to it that packages are on nodes, each in its own architecture, and installed if that is asked for. Packages that are
    /// not in the store are added first.
    ///
    /// # Errors
    /// When a package cannot be had, or nothing says where its files go: then nothing is sent to anybody. What becomes of a node is
    /// in the report.
    pub async fn place_packages(&self, request: PlacementRequest) -> Result<PlacementsReport> {
        let PlacementRequest { wishes, require_signature, fleet, options, install } = request;
        let asked = fleet.architectures(options.jobs).await;
        let wanted: BTreeSet<&String> =
            asked.iter().filter_map(|(_, architecture)| architecture.as_ref().ok()).collect();
        let mut orders = Vec::new();
        for architecture in wanted {
            orders.extend(wishes.iter().map(|wish| PackageOrder {
                wish: wish.clone(),
                architecture: architecture.clone(),
                from: None,
                checksum: None,
                require_signature,
            }));
        }
        let added = self.add_packages(&orders).await?;
        let mut placements: BTreeMap<String, Vec<Arc<Placement>>> = BTreeMap::new();
        for outcome in added.packages {
            if let Some(failure) = outcome.failure {
                let package = format!("{} for {}", outcome.wish, outcome.architecture);
                return Err(Error::NotAdded { package, failure });
            }
            if let Some(row) = outcome.package {
                let placement = self.placement(&row, install)?;
                placements.entry(row.architecture).or_default().push(Arc::new(placement));
            }
        }
        let architectures: BTreeMap<String, String> = asked
            .iter()
            .filter_map(|(node, architecture)| {
                Some((node.name().to_owned(), architecture.as_ref().ok()?.clone()))
            })
            .collect();
        let reports = fleet
            .place(
                |node| {
                    let architecture = architectures.get(node.name());
                    architecture
                        .and_then(|architecture| placements.get(architecture))
                        .cloned()
                        .unwrap_or_default()
                },
                &options,
            )
            .await;
        let nodes = reports.into_iter().zip(asked).map(|(report, (_, asked))| placed(report, asked));
        Ok(PlacementsReport { nodes: nodes.collect() })
    }

    /// Goes back to what was installed before, on all nodes.
    ///
    /// # Errors
    /// None; what becomes of a node is in the report.
    pub async fn roll_back_packages(
        &self,
        wishes: &[Wish],
        fleet: &Fleet,
        jobs: usize,
    ) -> Result<PlacementsReport> {
        let bases: Vec<String> = wishes.iter().map(|wish| base(&wish.name)).collect();
        let rolled = fleet.roll_back(&bases, jobs).await;
        let nodes = rolled.into_iter().map(|(node, outcome)| {
            let (returned, failure) = match outcome {
                Ok(returned) => (Some(returned), None),
                Err(error) => (None, Some(Failure::from(&Error::from(error)))),
            };
            NodePackages { returned, failure, attempts: 1, ..NodePackages::of(&node) }
        });
        Ok(PlacementsReport { nodes: nodes.collect() })
    }

    fn placement(&self, row: &PackageRow, install: bool) -> Result<Placement> {
        let installation = match install {
            true => Some(self.installation(row)?),
            false => None,
        };
        Ok(Placement {
            title: row.title(),
            source: row.archive.clone(),
            digest: row.digest,
            size: row.size,
            directory: format!("{SOURCES}/{}", row.name),
            file_name: format!("{}-{}-{}.tar.zst", row.name, row.version, row.architecture),
            installation,
        })
    }

    fn installation(&self, row: &PackageRow) -> Result<Installation> {
        let wish: Wish = format!("{}@{}", row.name, row.version).parse()?;
        let (_, installs) = self.package(&wish, &row.architecture)?;
        if installs.is_empty() {
            return Err(Error::NoInstructions { package: row.title() });
        }
        Ok(Installation {
            base: base(&row.name),
            // The same version made anew is another one.
            key: format!("{}-{}", row.version, row.digest.short()),
            pairs: installs.iter().map(|install| (install.from().to_owned(), install.to.clone())).collect(),
        })
    }
}

impl NodePackages {
    fn of(node: &Node) -> Self {
        Self {
            node: node.name().to_owned(),
            address: node.address(),
            architecture: None,
            packages: None,
            returned: None,
            failure: None,
            sent: 0,
            attempts: 0,
            elapsed: 0,
        }
    }
}

fn placed(report: PlacementReport, asked: larder_nodes::Result<String>) -> NodePackages {
    let mut outcome = NodePackages {
        sent: report.sent,
        attempts: report.attempts,
        elapsed: u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX),
        ..NodePackages::of(&report.node)
    };
    match (asked, report.outcome) {
        // Nothing was sent to a node whose architecture nobody knows.
        (Err(error), _) | (Ok(_), Err(error)) => outcome.failure = Some(Failure::from(&Error::from(error))),
        (Ok(architecture), Ok(packages)) => {
            outcome.architecture = Some(architecture);
            outcome.packages = Some(packages);
        }
    }
    outcome
}

/// Where the versions of a package lie beside each other on a node.
fn base(name: &str) -> String {
    format!("/usr/local/lib/larder/{name}")
}

/// Where archives of packages are on a node.
const SOURCES: &str = "/usr/local/src";
