//! What a layer means, from compressed bytes to a tree: the traps of the formats and the known attacks.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod agreement;
mod apply;
mod decode;
mod overlay;
mod random;
mod scan;
mod tar;
