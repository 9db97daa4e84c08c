//! JSON as Go's `encoding/json` reads and writes it.

mod decode;
mod encode;

pub(crate) use decode::{decode, decode_as_list, decode_as_map, mismatch};
pub(crate) use encode::{Form, encode};
