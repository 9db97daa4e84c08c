//! Frames of larder-node: no bytes make either end panic or take more memory than the longest frame, and what is understood is
//! written as something that is understood again and means the same.
#![no_main]

use larder_agent::{CONTROL_LIMIT, Frames, Reply, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut frames = Frames::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Ok(space) = frames.space() else { return };
        let count = space.len().min(rest.len());
        space[..count].copy_from_slice(&rest[..count]);
        frames.filled(count);
        rest = &rest[count..];
        assert!(frames.capacity() <= 2 * CONTROL_LIMIT + (1 << 19));
        loop {
            let frame = match frames.take() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return,
            };
            if let Ok(request) = Request::decode(frame) {
                let mut out = Vec::new();
                if request.encode(&mut out).is_some() {
                    let mut again = Frames::new();
                    let mut out = out.as_slice();
                    while !out.is_empty() {
                        let space = again.space().expect("what is written is a frame");
                        let count = space.len().min(out.len());
                        space[..count].copy_from_slice(&out[..count]);
                        again.filled(count);
                        out = &out[count..];
                    }
                    let frame = again.take().expect("what is written is a frame").expect("and whole");
                    assert_eq!(Request::decode(frame).expect("and understood"), request);
                }
            }
            let _ = Reply::decode(frame);
        }
    }
});
