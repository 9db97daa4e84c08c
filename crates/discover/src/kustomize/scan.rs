//! The images that a build asks for.

use super::build::Build;
use super::sources::{Origin, Role};
use crate::manifest::{Find, Problem, Scanner};
use larder_gotemplate::yaml::{Node, NodeKind};
use std::sync::Arc;

/// The images of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildScan {
    /// The images, by objects.
    pub finds: Vec<BuildFind>,
    /// What in the objects could not be read. What the build could not do is in [`Build::problems`].
    pub problems: Vec<Problem>,
}

/// An image that an object of a build asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildFind {
    /// The image. Its place is where its text stands: in the file the object is from, in a patch or in a kustomization file.
    pub find: Find,
    /// The file the object is from.
    pub object: Option<Origin>,
    /// What put the image there, if it is not from that file.
    pub set_by: Option<Origin>,
}

impl Build {
    /// Looks for images in all objects.
    pub fn scan(&self, scanner: &Scanner) -> BuildScan {
        let mut scan = BuildScan::default();
        for object in &self.objects {
            let own = self.object_origin(object);
            let source = own.as_ref().map_or("", |origin| origin.path.as_ref());
            let found = scanner.scan_node(source, object);
            for mut find in found.finds {
                let origin = self.sources.origin(find.place.line);
                self.resolve(&mut find.place);
                let set_by = origin.filter(|origin| !matches!(origin.role, Role::Resource | Role::Chart));
                scan.finds.push(BuildFind { find, object: own.clone(), set_by });
            }
            for mut problem in found.problems {
                self.resolve(&mut problem.place);
                scan.problems.push(problem);
            }
        }
        scan
    }

    fn resolve(&self, place: &mut crate::manifest::Place) {
        if let Some(origin) = self.sources.origin(place.line) {
            place.source = Arc::clone(&origin.path);
            place.line = origin.line;
        }
    }

    /// Where an object is from: its first line that no patch put there.
    fn object_origin(&self, object: &Node) -> Option<Origin> {
        let NodeKind::Map(entries) = &object.kind else { return self.sources.origin(object.line) };
        let mut origins = entries.iter().filter_map(|(key, _)| self.sources.origin(key.line));
        origins.find(|origin| origin.role != Role::Patch).or_else(|| self.sources.origin(object.line))
    }
}
