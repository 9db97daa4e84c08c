//! Where the lines of a build come from.
//!
//! The lines of all files that a build reads are counted through, so that the line of a node says also which file it is from.

use std::fmt;
use std::sync::Arc;

/// The files of a build, one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    files: Vec<File>,
    lines: u32,
}

/// What a file of a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has objects.
    Resource,
    /// It says what is done with them.
    Kustomization,
    /// A patch, or another file that a kustomization file names for what it does.
    Patch,
    /// What a chart was rendered to.
    Chart,
}

/// A place in a file of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file, seen from where the build was started.
    pub path: Arc<str>,
    /// The line, from 1.
    pub line: u32,
    /// What the file is.
    pub role: Role,
    /// The field of the kustomization file in which the line is: `images`, `patches`.
    pub field: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    path: Arc<str>,
    /// Lines of all files before it.
    offset: u32,
    /// The line its first one has in what it is a part of.
    first: u32,
    role: Role,
    /// Where the fields of a kustomization file begin.
    fields: Vec<(u32, Arc<str>)>,
}

impl Sources {
    /// Adds a file; its line 1 is the line after what this gives.
    pub(super) fn add(&mut self, path: &str, role: Role, bytes: &[u8]) -> u32 {
        self.add_part(path, role, bytes, 1)
    }

    /// Adds a part of a file that begins at line `first` of it.
    pub(super) fn add_part(&mut self, path: &str, role: Role, bytes: &[u8], first: u32) -> u32 {
        let offset = self.lines;
        let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() + 2;
        self.lines = offset.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.files.push(File { path: path.into(), offset, first, role, fields: Vec::new() });
        offset
    }

    /// Says where the fields of the file added last begin, in lines of the build, in order.
    pub(super) fn set_fields(&mut self, fields: Vec<(u32, Arc<str>)>) {
        if let Some(file) = self.files.last_mut() {
            file.fields = fields;
        }
    }

    /// What a line of a node stands for. `None` for 0 and for lines that no file has.
    pub fn origin(&self, line: u32) -> Option<Origin> {
        if line == 0 || line > self.lines {
            return None;
        }
        let after = self.files.partition_point(|file| file.offset < line);
        let file = self.files.get(after.checked_sub(1)?)?;
        let field = file.fields.partition_point(|(begin, _)| *begin <= line);
        let field = field.checked_sub(1).map(|at| Arc::clone(&file.fields[at].1));
        let line = (line - file.offset).saturating_add(file.first.saturating_sub(1));
        Some(Origin { path: Arc::clone(&file.path), line, role: file.role, field })
    }

    /// The paths of all files that were read.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| file.path.as_ref())
    }
}

impl Origin {
    /// `set by images in overlays/prod/kustomization.yaml:12`, of something that a kustomization put there; `base/app.yaml:3`
    /// of what stands in an object.
    pub fn describe(&self) -> String {
        match (self.role, &self.field) {
            (Role::Kustomization, Some(field)) => format!("set by {field} in {self}"),
            (Role::Patch, _) => format!("set by {self}"),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Origin {
    /// `overlays/prod/kustomization.yaml:12`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path, self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_build_leads_back_to_its_file_and_field() {
        let mut sources = Sources::default();
        assert_eq!(sources.add("a.yaml", Role::Resource, b"kind: A\n"), 0);
        let offset =
            sources.add("kustomization.yaml", Role::Kustomization, b"resources: [a]\nimages:\n- name: a\n");
        sources.set_fields(vec![(offset + 1, "resources".into()), (offset + 2, "images".into())]);
        let shown = |line| sources.origin(line).map(|origin| origin.describe());
        assert_eq!(shown(0), None);
        assert_eq!(shown(1).as_deref(), Some("a.yaml:1"));
        assert_eq!(shown(offset + 1).as_deref(), Some("set by resources in kustomization.yaml:1"));
        assert_eq!(shown(offset + 3).as_deref(), Some("set by images in kustomization.yaml:3"));
        assert_eq!(shown(offset + 100), None);
    }
}
