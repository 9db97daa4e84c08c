//! What a kustomization asks for.

use super::{Reading, Survey, Trouble, Worker};
use crate::kustomize::{self, Origin, Role, Sources};
use crate::manifest::Place;
use std::path::Path;

impl Worker<'_> {
    pub(super) fn kustomization(&self, directory: &Path) -> Reading {
        let options = kustomize::Options {
            capabilities: self.options.capabilities.clone(),
            run: self.run(),
            ..kustomize::Options::default()
        };
        let build = kustomize::build(directory, &options);
        let mut survey = Survey { sources: 1, ..Survey::default() };
        let label = directory.display().to_string();
        for object in &build.objects {
            let mut scan = self.scanner.scan_node(&label, object);
            for place in scan.finds.iter_mut().map(|find| &mut find.place) {
                lead_back(place, &build.sources);
            }
            for place in scan.problems.iter_mut().map(|problem| &mut problem.place) {
                lead_back(place, &build.sources);
            }
            survey.finds.extend(scan.finds);
            survey.troubles.extend(scan.problems.iter().map(Trouble::from));
        }
        for problem in &build.problems {
            let place = problem.origin.as_ref().map_or_else(|| label.clone(), ToString::to_string);
            survey.troubles.push(Trouble::error(place, problem.fault.to_string()));
        }
        let own = std::fs::canonicalize(directory).ok();
        let parts = build.sources.paths().filter_map(|path| std::fs::canonicalize(path).ok());
        // Its own file is not a part of it.
        let parts =
            parts.filter(|path| path.parent() != own.as_deref() || !kustomize::is_kustomization_file(path));
        Reading { survey, parts: parts.collect() }
    }
}

/// From a line of the build to the file and line it stands for.
fn lead_back(place: &mut Place, sources: &Sources) {
    let Some(origin) = sources.origin(place.line) else { return };
    let Origin { path, line, role, field } = &origin;
    place.line = *line;
    place.source = match (role, field) {
        (Role::Kustomization, Some(field)) => format!("set by {field} in {path}").into(),
        (Role::Patch, _) => format!("set by {path}").into(),
        _ => path.clone(),
    };
}
