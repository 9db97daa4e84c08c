//! A blob arrives.

use crate::arrivals::Arrivals;
use crate::decompress::Decompress;
use crate::error::{Error, Result};
use crate::message::{BlobHeader, Encoding, Offset, Reply, Request, Stored};
use crate::part::Part;
use crate::spool::{Begin, Spool};
use crate::wire::Wire;
use std::time::{Duration, Instant};

/// Answers one [`Request::Blob`], whose data are read to their end also if they are of no use. The answer may go out before that:
/// a client that sees it stops sending.
pub(crate) fn receive(
    wire: &mut Wire<'_>,
    spool: &mut Spool,
    arrivals: &Arrivals,
    header: &BlobHeader,
) -> Result<()> {
    let mut ended = false;
    let outcome = store(wire, spool, arrivals, header, &mut ended);
    match (&outcome, spool.read(&header.digest)) {
        (Ok(_), Ok((file, size))) => arrivals.is_whole(&header.digest, file, size),
        _ => arrivals.failed(&header.digest),
    }
    match outcome {
        Ok(stored) => wire.send(&Reply::Stored(stored))?,
        Err(error) if error.is_fatal() => return Err(error),
        Err(error) => wire.send(&Reply::Failure(error.failure()))?,
    }
    while !ended {
        match wire.continued()? {
            Request::Data(_) => {}
            Request::End => ended = true,
            Request::Ping => wire.send(&Reply::Pong)?,
            _ => return Err(OUT_OF_PLACE),
        }
    }
    Ok(())
}

fn store(
    wire: &mut Wire<'_>,
    spool: &mut Spool,
    arrivals: &Arrivals,
    header: &BlobHeader,
    ended: &mut bool,
) -> Result<Stored> {
    let BlobHeader { digest, size, .. } = *header;
    let Some(mut part) = begin(wire, spool, header)? else {
        return Ok(Stored { digest, existing: true });
    };
    match fill(wire, &mut part, arrivals, header, ended).and_then(|()| part.finish()) {
        Ok(()) => {
            spool.keep(&digest, part.into_file())?;
            Ok(Stored { digest, existing: false })
        }
        Err(error) => {
            let error = explained(error, &part, size);
            let useless =
                matches!(error, Error::WrongBytes { .. } | Error::TooLong { .. } | Error::Encoding { .. });
            // A full disk harms the whole node; the bytes can come again.
            if useless || error.is_full() || part.length() == 0 {
                part.discard()?;
            }
            Err(error)
        }
    }
}

/// Gets hold of the part, waiting for another session that writes it. `None` if the blob is whole.
fn begin(wire: &mut Wire<'_>, spool: &mut Spool, header: &BlobHeader) -> Result<Option<Part>> {
    let BlobHeader { digest, size, .. } = *header;
    let mut said = Instant::now();
    loop {
        match spool.begin(&digest, size)? {
            Begin::Exists { size: actual } if actual == size => return Ok(None),
            Begin::Exists { size: actual } => return Err(Error::Size { digest, size, actual }),
            Begin::Part(part) => return Ok(Some(*part)),
            Begin::Busy { offset } => {
                if said.elapsed() >= SIGN_OF_LIFE {
                    wire.send(&Reply::Progress(Offset { digest, offset }))?;
                    said = Instant::now();
                }
                wire.pause(POLL)?;
            }
        }
    }
}

fn fill(
    wire: &mut Wire<'_>,
    part: &mut Part,
    arrivals: &Arrivals,
    header: &BlobHeader,
    ended: &mut bool,
) -> Result<()> {
    let digest = header.digest;
    part.resume(header.offset)?;
    let mut said = Instant::now();
    let mut buffer = vec![0; BUFFER];
    while part.replay(&mut buffer)? {
        if said.elapsed() >= SIGN_OF_LIFE {
            wire.send(&Reply::Progress(Offset { digest, offset: part.replayed() }))?;
            said = Instant::now();
        }
        wire.pause(Duration::ZERO)?;
    }
    drop(buffer);
    arrivals.begins(&digest, part.file(), part.length());
    let mut told = part.length();
    let mut decompress = match header.encoding {
        Encoding::Identity => None,
        Encoding::Zstd => Some(Decompress::new(digest)?),
    };
    loop {
        // What is in the pipes between the two ends would otherwise pass for silence on a slow line.
        if said.elapsed() >= SIGN_OF_LIFE && part.length() > told {
            told = part.length();
            wire.send(&Reply::Progress(Offset { digest, offset: told }))?;
            said = Instant::now();
        }
        match wire.continued()? {
            Request::Data(bytes) => {
                match &mut decompress {
                    None => part.append(bytes)?,
                    Some(decompress) => decompress.push(bytes, part)?,
                }
                arrivals.grew(&digest, part.length());
            }
            Request::End => {
                *ended = true;
                return Ok(());
            }
            Request::Ping => wire.send(&Reply::Pong)?,
            _ => return Err(OUT_OF_PLACE),
        }
    }
}

/// A full file system says so with the numbers.
fn explained(error: Error, part: &Part, size: u64) -> Error {
    match error {
        Error::File { .. } if error.is_full() => part.full(size),
        other => other,
    }
}

const OUT_OF_PLACE: Error = Error::Unexpected { what: "another request", expected: "data of a blob" };
/// How often the node says how far it is.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);
const BUFFER: usize = 256 << 10;
