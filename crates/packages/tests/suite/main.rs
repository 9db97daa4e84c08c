//! Packages as upstreams publish them: archives by real programs, checksums and signatures in their own formats, and everything
//! that goes wrong on the way.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod archives;
mod downloads;
mod hostile;
mod index;
mod keyless;
mod signatures;
mod tools;
mod world;
