//! What is installed from placements: versions beside each other, and one link that says which one counts.

use super::{Installation, Placement, Sending};
use crate::{Connection, Error, Output, Result};
use larder_rootfs::{Decoder, Limits};
use std::io::Read as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;

/// What is installed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Installed {
    /// Where its versions lie beside each other.
    pub base: String,
    /// The version that counts; nothing after a return to what was there before larder.
    pub current: Option<String>,
    /// The one that `--rollback` goes back to.
    pub previous: Option<String>,
    /// What was done.
    pub state: State,
}

/// What was done to what is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It counted before.
    Present,
    /// It counts now.
    Installed,
    /// The one before counts again.
    Returned,
}

/// What a node says.
#[derive(Debug)]
struct Answer {
    unpacked: bool,
    current: Option<String>,
    previous: Option<String>,
    zstd: String,
}

impl Sending<'_> {
    /// Unpacks a placement that is in its place, and switches to it.
    pub(super) async fn install(
        &self,
        placement: &Placement,
        installation: &Installation,
    ) -> Result<Installed> {
        let Installation { base, key, pairs } = installation;
        let before = ask(self.connection, base, key).await?;
        let node = self.connection.node().name();
        if before.zstd == "none" {
            let (node, reason) = (node.to_owned(), "it has no tar".to_owned());
            return Err(Error::Unsupported { node, reason, hint: "install tar there" });
        }
        // Where the node cannot inflate it, this side does.
        let local = before.unpacked || before.zstd == "yes";
        let way = if local { "unpack" } else { "receive" };
        let archive = if local { placement.path() } else { inflated_size(placement).await?.to_string() };
        let mut argv = vec!["sh", "-c", SCRIPT, "larder", way, base, key, &archive];
        argv.extend(pairs.iter().flat_map(|(from, to)| [from.as_str(), to.as_str()]));
        let answer = if local {
            unpacked(node, self.connection.run(&argv, b"").await?)?
        } else {
            self.stream(placement, &argv).await?
        };
        let answer = parse(node, &answer)?;
        if answer.current.as_ref() != Some(key) {
            let problem = "another version counts".to_owned();
            return Err(Error::NotThere { node: node.to_owned(), image: placement.title.clone(), problem });
        }
        let state = if before.current.as_ref() == Some(key) { State::Present } else { State::Installed };
        Ok(Installed { base: base.clone(), current: answer.current, previous: answer.previous, state })
    }

    /// Runs the program with the inflated archive as its input.
    async fn stream(&self, placement: &Placement, argv: &[&str]) -> Result<Vec<u8>> {
        let (sender, mut receiver) = mpsc::channel::<Vec<u8>>(8);
        let source = placement.source.clone();
        let inflating = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            let mut decoder = Decoder::new(std::fs::File::open(source)?, None, &Limits::default());
            loop {
                let mut buffer = vec![0; 128 << 10];
                let count = decoder.read(&mut buffer)?;
                buffer.truncate(count);
                if count == 0 || sender.blocking_send(buffer).is_err() {
                    return Ok(());
                }
            }
        });
        let mut child = self.connection.spawn(argv)?;
        let mut stdin = child.stdin.take().expect("it is piped");
        let feed = async move {
            while let Some(piece) = receiver.recv().await {
                self.pass(piece.len() as u64).await;
                if stdin.write_all(&piece).await.is_err() {
                    break;
                }
                (self.advanced)(piece.len() as u64);
            }
            let _ = stdin.shutdown().await;
        };
        let ((), output) = tokio::join!(feed, self.connection.collect(child));
        let inflated = inflating.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        inflated.map_err(Error::file("read", &placement.source))?;
        unpacked(self.connection.node().name(), output?)
    }
}

/// How long the tar in an archive is.
async fn inflated_size(placement: &Placement) -> Result<u64> {
    let source = placement.source.clone();
    let counting = tokio::task::spawn_blocking(move || -> std::io::Result<u64> {
        let mut decoder = Decoder::new(std::fs::File::open(source)?, None, &Limits::default());
        std::io::copy(&mut decoder, &mut std::io::sink())
    });
    let counted = counting.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    counted.map_err(Error::file("read", &placement.source))
}

/// What the script said, if it succeeded. What no other attempt could change is an error for good.
fn unpacked(node: &str, output: Output) -> Result<Vec<u8>> {
    match output.code {
        Some(NOTHING | IN_THE_WAY) => {
            let reason = output.stderr.trim().lines().last().unwrap_or_default().to_owned();
            Err(Error::Unsupported { node: node.to_owned(), reason, hint: "" })
        }
        _ => output.success(node, "tar"),
    }
}

/// Goes back to the version before.
pub(super) async fn roll_back(connection: &Connection, base: &str) -> Result<Installed> {
    let node = connection.node().name();
    let argv = ["sh", "-c", SCRIPT, "larder", "rollback", base, "-", "-"];
    let output = connection.run(&argv, b"").await?;
    if output.code == Some(NOTHING) {
        let reason = format!("nothing is installed in {base}");
        return Err(Error::Unsupported { node: node.to_owned(), reason, hint: "" });
    }
    let answer = parse(node, &output.success(node, "mv")?)?;
    let (current, previous) = (answer.current, answer.previous);
    Ok(Installed { base: base.to_owned(), current, previous, state: State::Returned })
}

async fn ask(connection: &Connection, base: &str, key: &str) -> Result<Answer> {
    let node = connection.node().name();
    let argv = ["sh", "-c", SCRIPT, "larder", "ask", base, key, "-"];
    parse(node, &connection.run(&argv, b"").await?.success(node, "readlink")?)
}

fn parse(node: &str, said: &[u8]) -> Result<Answer> {
    let said = String::from_utf8_lossy(said);
    let line = said.lines().rev().find_map(|line| line.strip_prefix("state "));
    let words: Vec<&str> = line.unwrap_or_default().split(' ').collect();
    let named = |word: &str| (word != "-").then(|| word.to_owned());
    match words[..] {
        [unpacked, current, previous, zstd] => Ok(Answer {
            unpacked: unpacked == "yes",
            current: named(current),
            previous: named(previous),
            zstd: zstd.to_owned(),
        }),
        _ => Err(Error::Answer {
            node: node.to_owned(),
            program: "sh",
            said: said.chars().take(200).collect(),
        }),
    }
}

const SCRIPT: &str = include_str!("install.sh");
/// How the script ends where there is nothing to go back from.
const NOTHING: i32 = 66;
/// How it ends where something else has the name.
const IN_THE_WAY: i32 = 73;
