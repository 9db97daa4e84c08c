//! Small files of a node, read and changed as a whole.

use crate::connection::Output;
use crate::{Connection, Error, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use larder_core::Digest;

const SCRIPT: &str = include_str!("files.sh");

/// The files of one node. Paths are absolute.
pub(crate) struct RemoteFiles<'a> {
    pub(crate) connection: &'a Connection,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Absent,
    Directory,
    File(Vec<u8>),
    /// A device, a link to nowhere.
    Odd,
    /// A file of more than a mebibyte.
    Large,
}

/// What containerd says of itself.
pub(crate) struct ContainerdSays {
    /// The first number of its version.
    pub(crate) major: Option<u32>,
    /// Its configuration with all defaults; nothing where it does not print one.
    pub(crate) configuration: Option<String>,
}

impl RemoteFiles<'_> {
    /// What is at these paths, in their order.
    pub(crate) async fn look(&self, paths: &[&str]) -> Result<Vec<Seen>> {
        let answer = self.answer(&[&["look"], paths].concat()).await?;
        let seen: Option<Vec<Seen>> = answer.lines().map(parse).collect();
        seen.filter(|seen| seen.len() == paths.len()).ok_or_else(|| self.strange(&answer))
    }

    /// What containerd says of itself.
    pub(crate) async fn containerd(&self) -> Result<ContainerdSays> {
        let answer = self.answer(&["containerd"]).await?;
        let line = |key: &str| answer.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let (version, dump) = line("version ").zip(line("dump")).ok_or_else(|| self.strange(&answer))?;
        let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse().ok());
        let dump = STANDARD.decode(dump).ok().and_then(|dump| String::from_utf8(dump).ok());
        Ok(ContainerdSays { major, configuration: dump.filter(|dump| !dump.trim().is_empty()) })
    }

    /// Puts this content there, with the directories above it.
    pub(crate) async fn write(&self, path: &str, content: &[u8]) -> Result<()> {
        let digest = Digest::of(content).hex();
        self.done(self.run(&["write", path, &digest], content).await?, path).map(drop)
    }

    /// Makes a copy with mode, owner and times.
    pub(crate) async fn keep(&self, path: &str, copy: &str) -> Result<()> {
        self.done(self.run(&["keep", path, copy], b"").await?, path).map(drop)
    }

    /// Puts a copy back.
    pub(crate) async fn restore(&self, copy: &str, path: &str) -> Result<()> {
        self.done(self.run(&["restore", copy, path], b"").await?, path).map(drop)
    }

    /// Removes files, and directories where they are empty.
    pub(crate) async fn remove(&self, paths: &[&str]) -> Result<()> {
        let argv = [&["remove"], paths].concat();
        self.done(self.run(&argv, b"").await?, paths.first().copied().unwrap_or_default()).map(drop)
    }

    /// Removes the record of what was before.
    pub(crate) async fn forget(&self, directory: &str) -> Result<()> {
        self.done(self.run(&["forget", directory], b"").await?, directory).map(drop)
    }

    /// Lets Docker read its settings again.
    pub(crate) async fn reload_docker(&self) -> Result<()> {
        let output = self.run(&["reload"], b"").await?;
        output.success(self.connection.node().name(), "the reload of Docker").map(drop)
    }

    async fn answer(&self, words: &[&str]) -> Result<String> {
        let output = self.run(words, b"").await?;
        let answer = output.success(self.connection.node().name(), "a look at its files")?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        // A noisy profile may have spoken before.
        match answer.split_once("larder-files\n") {
            Some((_, answer)) => Ok(answer.to_owned()),
            None => Err(self.strange(&answer)),
        }
    }

    async fn run(&self, words: &[&str], input: &[u8]) -> Result<Output> {
        let argv = [&["sh", "-c", SCRIPT, "larder"], words].concat();
        self.connection.run(&argv, input).await
    }

    fn done(&self, output: Output, path: &str) -> Result<Vec<u8>> {
        output.success(self.connection.node().name(), &format!("a change of {path}"))
    }

    fn strange(&self, answer: &str) -> Error {
        Error::Answer {
            node: self.connection.node().name().into(),
            program: "a look at its files",
            said: answer.chars().take(200).collect(),
        }
    }
}

impl Seen {
    /// The content of a file, nothing where there is none.
    pub(crate) fn content(&self) -> Option<&[u8]> {
        match self {
            Self::File(content) => Some(content),
            _ => None,
        }
    }
}

fn parse(line: &str) -> Option<Seen> {
    Some(match line.split_once(' ').unwrap_or((line, "")) {
        ("absent", _) => Seen::Absent,
        ("directory", _) => Seen::Directory,
        ("odd", _) => Seen::Odd,
        ("large", _) => Seen::Large,
        ("file", content) => Seen::File(STANDARD.decode(content.trim()).ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_they_are() {
        assert_eq!(parse("file "), Some(Seen::File(Vec::new())));
        assert_eq!(parse("file"), Some(Seen::File(Vec::new())));
        assert_eq!(parse("file YQA="), Some(Seen::File(b"a\0".to_vec())));
        assert_eq!(parse("absent"), Some(Seen::Absent));
        assert_eq!(parse("file *"), None);
        assert_eq!(parse("what"), None);
    }
}
