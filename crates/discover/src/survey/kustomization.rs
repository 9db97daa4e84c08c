//! What a kustomization asks for.

use super::{Reading, Survey, Trouble, Worker};
use crate::kustomize::{self, BuildFind, Origin, Role};
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
        let scan = build.scan(self.scanner);
        for BuildFind { mut find, set_by, .. } in scan.finds {
            // The line is where the text stands; who wrote it there is a part of the place.
            match set_by {
                Some(Origin { path, role: Role::Kustomization, field: Some(field), .. }) => {
                    find.place.source = format!("set by {field} in {path}").into();
                }
                Some(Origin { path, .. }) => find.place.source = format!("set by {path}").into(),
                None => {}
            }
            survey.finds.push(find);
        }
        survey.troubles.extend(scan.problems.iter().map(Trouble::from));
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
