//! What a text would be as a reference: looked at before it is parsed, since nearly all texts are none.

/// What is written of a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    registry: bool,
    path: bool,
    tag: bool,
    digest: bool,
    /// It looks more like `host:port`.
    address: bool,
}

/// What a rule wants of a reference at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Any,
    Path,
    Pinned,
    Tagged,
    Full,
}

impl Shape {
    /// `None` if the text cannot be a reference.
    pub(super) fn of(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let first = *bytes.first()?;
        if bytes.len() > MAX_LENGTH || !(first.is_ascii_alphanumeric() || first == b'[') {
            return None;
        }
        let allowed = |byte: &u8| {
            byte.is_ascii_alphanumeric()
                || matches!(byte, b'.' | b'-' | b'_' | b'/' | b':' | b'@' | b'[' | b']')
        };
        if !bytes.iter().all(allowed) {
            return None;
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) if digest.starts_with("sha") => (name, true),
            Some(_) => return None,
            None => (text, false),
        };
        let (registry, path) = match name.split_once('/') {
            Some((host, _)) => (host.contains(['.', ':', '[']) || host == "localhost", true),
            None => (false, false),
        };
        let tag = name.rsplit('/').next().is_some_and(|last| last.contains(':'));
        let address = !path
            && !digest
            && name.split_once(':').is_some_and(|(host, port)| {
                (host.contains('.') || host == "localhost") && port.bytes().all(|byte| byte.is_ascii_digit())
            });
        Some(Self { registry, path, tag, digest, address })
    }

    /// Whether it has what is wanted.
    pub(super) fn has(self, needs: Needs) -> bool {
        let pinned = (self.tag || self.digest) && !self.address;
        match needs {
            Needs::Any => true,
            Needs::Path => self.path || pinned,
            Needs::Pinned => self.registry || pinned,
            Needs::Tagged => pinned,
            Needs::Full => self.registry && pinned,
        }
    }
}

/// Registry, path, tag and digest at their longest.
const MAX_LENGTH: usize = 253 + 6 + 256 + 129 + 136;
