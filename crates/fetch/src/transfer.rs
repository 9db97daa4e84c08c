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

/// Moves a blob into every sink that wants it, and past the reader.
///
/// With [`Reader::Chunks`] all of its bytes pass through the channel, wherever they come from; otherwise a blob that every
/// durable sink holds costs nothing. What a keeping tier holds damaged is set aside and brought again. The reader's channel
/// is closed early when the transfer has to begin again after bytes have passed; the blob itself may still arrive whole.
pub(crate) async fn transfer(
    tiers: &[SourceTier],
    scope: &Scope,
    descriptor: &Descriptor,
    mut reader: Reader,
) -> Result<Moved> {
    for _ in 0..2 {
        match attempt(tiers, scope, descriptor, &mut reader).await {
            Ok(moved) => return Ok(moved),
            Err(Failed { again: Again::No, error }) => return Err(error),
            Err(Failed { again: Again::WithReader, .. }) => {}
            Err(Failed { again: Again::WithoutReader, .. }) => reader = Reader::None,
        }
    }
    attempt(tiers, scope, descriptor, &mut reader).await.map_err(|failed| failed.error)
}

struct Failed {
    error: Error,
    again: Again,
}

enum Again {
    /// The same would happen.
    No,
    /// Damage was set aside, and the reader has seen nothing of it.
    WithReader,
    /// Damage was set aside, but the reader has seen some of it.
    WithoutReader,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { error, again: Again::No }
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
    // Every sink is asked first: whoever else is bringing the blob is waited for there, and what is present is under the
    // scope's lease from here on.
    let mut fills: Vec<Box<dyn Fill>> = Vec::new();
    let mut holders: Vec<&SourceTier> = Vec::new();
    let mut arrived = None;
    let mut lacking = false;
    for tier in tiers {
        let Some(sink) = tier.sink() else {
            holders.push(tier);
            continue;
        };
        match sink.begin(scope, descriptor).await? {
            Begin::Present => {
                arrived = arrived.or(sink.is_durable().then(|| tier.tier()));
                holders.push(tier);
            }
            Begin::Fill(fill) => {
                lacking |= sink.is_durable();
                fills.push(fill);
            }
            Begin::Unwanted => {}
        }
    }
    if let (Some(tier), None, false) = (arrived, chunks, lacking) {
        return Ok(Moved { tier, bytes: 0 });
    }
    let kept = fills.iter().map(|fill| fill.kept()).max().unwrap_or_default();
    // A kept prefix may be what is damaged; then once more from zero, and not past a reader that has seen it.
    let doubtful = |error: Error| {
        let again = if kept > 0 && error.kind() == Kind::Corrupt { Again::WithoutReader } else { Again::No };
        Failed { error, again }
    };
    let mut at = kept;
    let mut begun = false;
    let mut trouble: Option<Error> = None;
    for tier in holders {
        let mut stream = match tier.open(scope, descriptor, at).await {
            Ok(Some(stream)) => stream,
            Ok(None) => continue,
            Err(error) => {
                skip(scope, tier.tier(), &mut trouble, error);
                continue;
            }
        };
        if !std::mem::replace(&mut begun, true) {
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
            replay(&mut fills, chunks).await.map_err(doubtful)?;
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
            tap.pass(&chunk).await.map_err(doubtful)?;
        };
        let Err(error) = outcome else {
            // Farthest first: when a nearer tier shows the blob, the durable one has it.
            for fill in fills.into_iter().rev() {
                fill.commit().await.map_err(doubtful)?;
            }
            (scope.progress)(Event::BlobFinished { digest: descriptor.digest, tier: tier.tier() });
            return Ok(Moved { tier: tier.tier(), bytes: at - from });
        };
        if let (Kind::Corrupt, Some(sink)) = (error.kind(), tier.sink()) {
            (scope.progress)(Event::Warning { message: format!("set aside: {}", report(&error)) });
            sink.distrust(descriptor).await?;
            let again = if at > 0 { Again::WithoutReader } else { Again::WithReader };
            return Err(Failed { error, again });
        }
        skip(scope, tier.tier(), &mut trouble, error);
    }
    Err(trouble.unwrap_or_else(|| absent(tiers, descriptor)).into())
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
