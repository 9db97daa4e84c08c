//! The bytes of a placement: what is there of them, the rest, and the proof.

use super::{Placement, Sending};
use crate::{Error, Result};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

/// What is on the node of a placement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct There {
    /// What the file hashes to, where there is one.
    sum: Option<String>,
    /// Bytes that an interrupted transfer left.
    part: u64,
    /// Free room in bytes, where it could be found out.
    free: Option<u64>,
}

impl There {
    /// Whether it is the placement.
    pub(super) fn is(&self, placement: &Placement) -> bool {
        self.sum.as_deref() == Some(placement.digest.hex().as_str())
    }

    /// Bytes that have to be sent.
    pub(super) fn missing(&self, placement: &Placement) -> u64 {
        if self.is(placement) { 0 } else { placement.size - self.offset(placement) }
    }

    /// Where the transfer goes on. A part that is too long is of no use.
    fn offset(&self, placement: &Placement) -> u64 {
        if self.part > placement.size { 0 } else { self.part }
    }
}

impl Sending<'_> {
    /// What is on the node of these placements, hashed there.
    pub(super) async fn survey(&self, placements: &[Arc<Placement>]) -> Result<Vec<There>> {
        let mut argv = vec!["sh".to_owned(), "-c".into(), include_str!("survey.sh").into(), "larder".into()];
        for placement in placements {
            argv.extend([placement.directory.clone(), placement.path(), placement.part()]);
        }
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let node = self.connection.node().name();
        let said = self.connection.run(&argv, b"").await?.success(node, "sha256sum")?;
        let said = String::from_utf8_lossy(&said);
        let strange = || Error::Answer {
            node: node.to_owned(),
            program: "sha256sum",
            said: said.chars().take(200).collect(),
        };
        let lines = said.lines().skip_while(|line| *line != "larder-survey 1").skip(1);
        let there: Vec<There> = lines.map_while(parse).collect();
        if there.len() != placements.len() || !said.trim_end().ends_with("\nend") {
            return Err(strange());
        }
        Ok(there)
    }

    /// Sends what is missing, and puts it in its place if it is whole.
    pub(super) async fn send(&self, placement: &Placement, there: &There) -> Result<()> {
        let node = self.connection.node().name();
        let mut offset = there.offset(placement);
        if there.part > offset {
            let removed = self.connection.run(&["rm", "-f", "--", &placement.part()], b"").await?;
            removed.success(node, "rm")?;
        }
        let needed = placement.size - offset;
        if let Some(free) = there.free.filter(|free| *free < needed + ROOM) {
            let (node, directory) = (node.to_owned(), placement.directory.clone());
            return Err(Error::Full { node, directory, free, needed: needed + ROOM });
        }
        let read = |source| Error::File { action: "read", path: placement.source.clone(), source };
        let mut file = tokio::fs::File::open(&placement.source).await.map_err(read)?;
        file.seek(std::io::SeekFrom::Start(offset)).await.map_err(read)?;
        let argv = [
            "sh",
            "-c",
            include_str!("receive.sh"),
            "larder",
            &placement.directory,
            &placement.part(),
            &offset.to_string(),
        ];
        let mut child = self.connection.spawn(&argv)?;
        let mut stdin = child.stdin.take().expect("it is piped");
        let feed = async {
            let mut buffer = vec![0; 128 << 10];
            while offset < placement.size {
                let want = usize::try_from(placement.size - offset).unwrap_or(usize::MAX).min(buffer.len());
                let count = file.read(&mut buffer[..want]).await.map_err(read)?;
                if count == 0 {
                    let problem = "its archive became shorter".to_owned();
                    return Err(Error::Damaged { digest: placement.digest, problem });
                }
                self.pass(count as u64).await;
                // A node that takes nothing more says why by how its program ends.
                if stdin.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
                offset += count as u64;
                (self.advanced)(count as u64);
            }
            let _ = stdin.shutdown().await;
            drop(stdin);
            Ok(())
        };
        let (fed, output) = tokio::join!(feed, self.connection.collect(child));
        fed?;
        output?.success(node, "cat")?;
        let hex = placement.digest.hex();
        let argv = [
            "sh",
            "-c",
            include_str!("finish.sh"),
            "larder",
            &placement.part(),
            &placement.path(),
            hex.as_str(),
        ];
        let said = self.connection.run(&argv, b"").await?.success(node, "sha256sum")?;
        match String::from_utf8_lossy(&said).lines().last() {
            Some("done") => Ok(()),
            _ => {
                let (node, image) = (node.to_owned(), placement.title.clone());
                let problem = "it hashes to something else there".to_owned();
                Err(Error::NotThere { node, image, problem })
            }
        }
    }
}

fn parse(line: &str) -> Option<There> {
    let mut words = line.strip_prefix("file ")?.split(' ');
    let (sum, part, free) = (words.next()?, words.next()?, words.next()?);
    let is_sum = sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(There {
        sum: is_sum.then(|| sum.to_owned()),
        part: part.parse().ok()?,
        free: free.parse::<u64>().ok().map(|kib| kib.saturating_mul(1024)),
    })
}

/// What is left free on a node's disk.
const ROOM: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let sum = "ab".repeat(32);
        let there = parse(&format!("file {sum} 17 100")).unwrap();
        assert_eq!(there, There { sum: Some(sum), part: 17, free: Some(102_400) });
        assert_eq!(parse("file - 0 -").unwrap(), There { sum: None, part: 0, free: None });
        assert!(parse("end").is_none() && parse("file - x -").is_none());
    }
}
