//! One blob from the nearest tier that has it into every nearer one, and past a reader on the way.

use crate::tier::{Begin, Fill, Reader, Scope, SourceTier, Tap};
use crate::{Error, Result};
use bytes::Bytes;
use larder_core::{Classify, Descriptor, Event, Kind, Tier, report};
use larder_store::Follower;
use tokio::sync::{mpsc, oneshot};

/// What a finished transfer reports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    /// Who served it.
    pub(crate) tier: Tier,
    /// Bytes that tier delivered in this call.
    pub(crate) bytes: u64,
}

/// Moves a blob. With a `reader`, all of its bytes pass through it, wherever they come from; without one, a blob that a keeping
/// tier holds already costs nothing.
///
/// The reader's channel is closed early when the transfer has to begin again from zero; the blob itself may still arrive whole.
pub(crate) async fn transfer(
    tiers: &[SourceTier],
    scope: &Scope,
    descriptor: &Descriptor,
    mut reader: Reader,
) -> Result<Moved> {
    let mut again = true;
    loop {
        match attempt(tiers, scope, descriptor, &mut reader).await {
            // The kept prefix may have been the damaged part: once more, from zero and without it.
            Err(Failed { error, resumed: true }) if again && error.kind() == Kind::Corrupt => {
                again = false;
                reader = Reader::None;
            }
            Err(failed) => return Err(failed.error),
            Ok(moved) => return Ok(moved),
        }
    }
}

struct Failed {
    error: Error,
    resumed: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, resumed: false }
    }
}

async fn attempt(
    tiers: &[SourceTier],
    scope: &Scope,
    descriptor: &Descriptor,
    reader: &mut Reader,
) -> std::result::Result<Moved, Failed> {
    let chunks = match &*reader {
        Reader::Chunks(chunks) => Some(chunks.clone()),
        _ => None,
    };
    let chunks = chunks.as_ref();
    let mut fills: Vec<Box<dyn Fill>> = Vec::new();
    let mut at = 0;
    let mut begun = false;
    let mut resumed = false;
    let mut trouble: Option<Error> = None;
    for tier in tiers {
        // A keeping tier is asked to begin before farther tiers are asked to serve: whoever else is bringing the blob is
        // waited for there, and afterwards it is present.
        if let Some(sink) = tier.sink() {
            match sink.begin(scope, descriptor).await? {
                Begin::Fill(fill) => {
                    resumed |= fill.kept() > 0;
                    fills.push(fill);
                    continue;
                }
                Begin::Present if chunks.is_none() && fills.is_empty() => {
                    return Ok(Moved { tier: tier.tier(), bytes: 0 });
                }
                Begin::Present => {}
                Begin::Unwanted => continue,
            }
        }
        let kept = fills.iter().map(|fill| fill.kept()).max().unwrap_or_default().max(at);
        let mut stream = match tier.open(scope, descriptor, kept).await {
            Ok(Some(stream)) => stream,
            Ok(None) => continue,
            Err(error) => {
                skip(scope, tier.tier(), &mut trouble, error);
                continue;
            }
        };
        if !begun {
            begun = true;
            let event = Event::BlobStarted {
                reference: scope.reference.to_string(),
                digest: descriptor.digest,
                size: descriptor.size,
                done: kept,
            };
            (scope.progress)(event);
            if let Reader::File(asked) = std::mem::replace(reader, Reader::None) {
                follow(&mut fills, asked).await?;
            }
            replay(&mut fills, chunks).await.map_err(|error| Failed { error, resumed })?;
            at = kept;
        }
        let from = at;
        let outcome = loop {
            let chunk = match stream.next().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            at += chunk.len() as u64;
            (scope.progress)(Event::BlobAdvanced { digest: descriptor.digest, bytes: chunk.len() as u64 });
            let mut tap = Tap { fills: &mut fills, reader: chunks };
            tap.pass(&chunk).await.map_err(|error| Failed { error, resumed })?;
        };
        match outcome {
            Ok(()) => {
                // Farthest first: when a nearer tier shows the blob, the durable one has it.
                for fill in fills.into_iter().rev() {
                    fill.commit().await.map_err(|error| Failed { error, resumed })?;
                }
                (scope.progress)(Event::BlobFinished { digest: descriptor.digest, tier: tier.tier() });
                return Ok(Moved { tier: tier.tier(), bytes: at - from });
            }
            Err(error) => skip(scope, tier.tier(), &mut trouble, error),
        }
    }
    Err(Failed { error: trouble.unwrap_or_else(|| absent(tiers, descriptor)), resumed })
}

/// A tier that fails is passed over; the registry's word is the one that counts when nobody can serve.
fn skip(scope: &Scope, tier: Tier, trouble: &mut Option<Error>, error: Error) {
    if tier != Tier::Registry {
        (scope.progress)(Event::Warning { message: format!("the {tier} tier failed: {}", report(&error)) });
    }
    *trouble = Some(error);
}

/// Gives whoever asked a reader of the fill that has one.
async fn follow(fills: &mut [Box<dyn Fill>], asked: oneshot::Sender<Follower>) -> Result<()> {
    for fill in fills {
        if let Some(follower) = fill.follow().await? {
            // Gone meanwhile: the blob is wanted all the same.
            drop(asked.send(follower));
            break;
        }
    }
    Ok(())
}

/// Brings every other fill and the reader up to the offset of the one that kept the most.
async fn replay(fills: &mut [Box<dyn Fill>], reader: Option<&mpsc::Sender<Bytes>>) -> Result<()> {
    let Some(anchor) = (0..fills.len()).max_by_key(|at| fills[*at].kept()).filter(|at| fills[*at].kept() > 0)
    else {
        return Ok(());
    };
    for (at, fill) in fills.iter_mut().enumerate() {
        if at != anchor && fill.kept() > 0 {
            fill.reset().await?;
        }
    }
    let (before, rest) = fills.split_at_mut(anchor);
    let [fill, after @ ..] = rest else { return Ok(()) };
    // Only one tier keeps partial blobs today; the others stand before or after it.
    let others = if after.is_empty() { before } else { after };
    fill.replay(&mut Tap { fills: others, reader }).await
}

fn absent(tiers: &[SourceTier], descriptor: &Descriptor) -> Error {
    let names: Vec<&str> = tiers.iter().map(|tier| tier.tier().as_str()).collect();
    Error::Absent { what: descriptor.digest.to_string(), tiers: names.join(", ") }
}
