//! What an API server has: its groups, their versions, and the kinds in them.

use super::ApiServer;
use super::server::read;
use crate::{Error, Result};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroupList, APIResourceList, APIVersions};
use kube::api::{ApiResource, DynamicObject};
use kube::client::{APIGroupDiscoveryList, APIResourceDiscovery};
use kube::core::Resource as _;
use kube::core::discovery::v2::ACCEPT_AGGREGATED_DISCOVERY_V2;
use serde::Deserialize;

/// A kind of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKind {
    /// The API group; empty for the first one.
    pub group: String,
    /// The version in the group.
    pub version: String,
    /// Its name in objects: `Pod`.
    pub kind: String,
    /// Its name in paths: `pods`.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Whether its objects can be listed.
    pub listable: bool,
}

/// Everything that an API server has, and what it does not say.
#[derive(Debug, Default)]
pub struct ApiKinds {
    /// All kinds; those of the versions that the server prefers come first.
    pub kinds: Vec<ApiKind>,
    /// Groups with versions: `apps/v1`, `v1`.
    pub versions: Vec<String>,
    /// Groups or lists that could not be read: the group, the path, and why.
    pub refused: Vec<(String, String, Error)>,
}

impl ApiKind {
    /// `apps/v1`, or `v1`.
    pub fn group_version(&self) -> String {
        joined(&self.group, &self.version)
    }

    /// The path of a list, of all namespaces or of one.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let resource = ApiResource {
            group: self.group.clone(),
            version: self.version.clone(),
            api_version: self.group_version(),
            kind: self.kind.clone(),
            plural: self.plural.clone(),
        };
        DynamicObject::url_path(&resource, namespace.filter(|_| self.namespaced))
    }
}

impl ApiKinds {
    pub(super) async fn read(server: &ApiServer) -> Result<Self> {
        let mut kinds = Self::default();
        let mut others = Vec::new();
        for root in ["/api", "/apis"] {
            // Older servers know one document for each version only, and answer with the list of them.
            let accept = format!("{ACCEPT_AGGREGATED_DISCOVERY_V2},application/json");
            let bytes = match server.bytes(root, Some(&accept)).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    kinds.refuse("", root, error)?;
                    continue;
                }
            };
            match kinds.sort(server, root, &bytes, &mut others).await {
                Ok(()) => {}
                Err(error) => kinds.refuse("", root, error)?,
            }
        }
        // A kind may be there in another version only.
        for other in others {
            match other {
                Other::Read(found) => kinds.add(found),
                Other::Named { group, version } => kinds.list(server, &group, &version).await?,
            }
        }
        Ok(kinds)
    }

    /// Takes in what is preferred; the rest comes later.
    async fn sort(
        &mut self,
        server: &ApiServer,
        root: &str,
        bytes: &[u8],
        others: &mut Vec<Other>,
    ) -> Result<()> {
        let Document { kind } = read(root, bytes)?;
        if kind == "APIGroupDiscoveryList" {
            let list: APIGroupDiscoveryList = read(root, bytes)?;
            for group in list.items {
                let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
                for (at, found) in group.versions.into_iter().enumerate() {
                    let version = found.version.unwrap_or_default();
                    if found.freshness.as_deref() == Some("Stale") {
                        let message = "the server that has this group does not answer".to_owned();
                        let what = path(&name, &version);
                        self.refuse(&name, &what.clone(), Error::ApiStatus { what, status: 503, message })?;
                    }
                    let all = found.resources.into_iter().map(|found| aggregated(&name, &version, found));
                    let found = Version { kinds: all.collect(), group: name.clone(), version };
                    match at {
                        0 => self.add(found),
                        _ => others.push(Other::Read(found)),
                    }
                }
            }
        } else if root == "/api" {
            let list: APIVersions = read(root, bytes)?;
            for version in list.versions {
                self.list(server, "", &version).await?;
            }
        } else {
            let list: APIGroupList = read(root, bytes)?;
            for group in list.groups {
                let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
                let mut versions = group.versions.iter().map(|version| last(&version.group_version));
                let preferred = group.preferred_version.map(|version| last(&version.group_version));
                let Some(preferred) = preferred.or_else(|| versions.next()) else { continue };
                self.list(server, &group.name, &preferred).await?;
                let rest = group.versions.iter().map(|version| last(&version.group_version));
                others.extend(
                    rest.filter(|version| *version != preferred)
                        .map(|version| Other::Named { group: group.name.clone(), version }),
                );
            }
        }
        Ok(())
    }

    /// Reads the document of one version.
    async fn list(&mut self, server: &ApiServer, group: &str, version: &str) -> Result<()> {
        let path = path(group, version);
        let list: APIResourceList = match server.document(&path, None).await {
            Ok(list) => list,
            Err(error) => return self.refuse(group, &path, error),
        };
        let all = list.resources.into_iter().filter(|found| !found.name.contains('/'));
        let kinds = all.map(|found| ApiKind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: found.kind,
            plural: found.name,
            namespaced: found.namespaced,
            listable: found.verbs.iter().any(|verb| verb == "list"),
        });
        self.add(Version { group: group.to_owned(), version: version.to_owned(), kinds: kinds.collect() });
        Ok(())
    }

    fn add(&mut self, found: Version) {
        self.versions.push(joined(&found.group, &found.version));
        self.kinds.extend(found.kinds);
    }

    /// What a server says of itself is never the end, unless it says nothing at all.
    fn refuse(&mut self, group: &str, path: &str, error: Error) -> Result<()> {
        if !error.is_answer() {
            return Err(error);
        }
        self.refused.push((group.to_owned(), path.to_owned(), error));
        Ok(())
    }
}

/// A version of a group, and what is in it.
struct Version {
    group: String,
    version: String,
    kinds: Vec<ApiKind>,
}

/// A version of a group that is not preferred: read along with the others, or named only.
enum Other {
    Read(Version),
    Named { group: String, version: String },
}

/// What every document has.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    kind: String,
}

fn aggregated(group: &str, version: &str, found: APIResourceDiscovery) -> ApiKind {
    ApiKind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: found.response_kind.and_then(|kind| kind.kind).unwrap_or_default(),
        plural: found.resource.unwrap_or_default(),
        namespaced: found.scope.as_deref() == Some("Namespaced"),
        listable: found.verbs.iter().any(|verb| verb == "list"),
    }
}

fn path(group: &str, version: &str) -> String {
    match group.is_empty() {
        true => format!("/api/{version}"),
        false => format!("/apis/{group}/{version}"),
    }
}

fn joined(group: &str, version: &str) -> String {
    match group.is_empty() {
        true => version.to_owned(),
        false => format!("{group}/{version}"),
    }
}
