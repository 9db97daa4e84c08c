//! Whatever bytes come, in whatever pieces.

use larder_agent::{
    BlobHeader, CONTROL_LIMIT, Content, DATA_LIMIT, Encoding, Frame, FrameType, Frames, Have, Hello, Input,
    Limits, Member, Reply, Request, Run,
};
use larder_core::Digest;
use proptest::prelude::*;

/// Puts bytes in by pieces, and gives what comes out; the end at the first bytes that are no frame.
fn through(bytes: &[u8], piece: usize) -> (Vec<(FrameType, Vec<u8>)>, usize) {
    let mut frames = Frames::new();
    let mut seen: Vec<(FrameType, Vec<u8>)> = Vec::new();
    let mut most = 0;
    for mut chunk in bytes.chunks(piece) {
        while !chunk.is_empty() {
            let Ok(space) = frames.space() else { return (seen, most) };
            let count = space.len().min(chunk.len());
            space[..count].copy_from_slice(&chunk[..count]);
            frames.filled(count);
            chunk = &chunk[count..];
            most = most.max(frames.capacity());
        }
        loop {
            match frames.take() {
                Ok(Some(frame)) => {
                    let is_data = |frame_type| frame_type == FrameType::Data;
                    match seen.last_mut() {
                        Some((last, kept)) if is_data(*last) && is_data(frame.frame_type) => {
                            kept.extend_from_slice(frame.payload);
                        }
                        _ => seen.push((frame.frame_type, frame.payload.to_vec())),
                    }
                }
                Ok(None) => break,
                Err(_) => return (seen, most),
            }
        }
    }
    (seen, most)
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 8]>().prop_map(|bytes| Digest::of(&bytes))
}

fn input() -> impl Strategy<Value = Input> {
    let content = prop_oneof![any::<u64>().prop_map(Content::Inline), digest().prop_map(Content::Blob)];
    let member = (".{0,20}", content).prop_map(|(name, content)| Member { name, content });
    prop_oneof![
        Just(Input::None),
        any::<u64>().prop_map(Input::Bytes),
        digest().prop_map(Input::Blob),
        prop::collection::vec(member, 0..5).prop_map(Input::Tar),
    ]
}

fn request() -> impl Strategy<Value = Request<'static>> {
    let hello =
        (any::<u32>(), prop::collection::vec(".*", 0..3), prop::option::of(".*"), any::<Option<u64>>())
            .prop_map(|(version, paths, owner, idle_seconds)| {
                Request::Hello(Hello { version, paths, owner, idle_seconds, keep_seconds: None })
            });
    let blob =
        (digest(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(|(digest, size, offset, zstd)| {
            let encoding = if zstd { Encoding::Zstd } else { Encoding::Identity };
            Request::Blob(BlobHeader { digest, size, offset, encoding })
        });
    let have = prop::collection::vec(digest(), 0..20).prop_map(|digests| Request::Have(Have { digests }));
    let run = (prop::collection::vec(".*", 0..4), prop::collection::vec((".*", ".*"), 0..3), input())
        .prop_map(|(argv, env, stdin)| {
            let limits = Limits { seconds: None, stdout_bytes: 1, stderr_bytes: u64::MAX };
            Request::Run(Run { argv, env, stdin, limits })
        });
    prop_oneof![hello, blob, have, run, Just(Request::Ping), Just(Request::Cancel), Just(Request::End)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_panic_or_cost_more_than_a_frame(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        start in prop::sample::select(vec![0_u8, 1, 2, 3, 4, 6, 0x81, 0x85, 0x8f]),
        announced in 0_u32..2_000_000,
        piece in 1_usize..500,
    ) {
        // Mostly noise ends at its first byte; this gets further.
        let mut input = vec![start];
        input.extend_from_slice(&announced.to_be_bytes());
        input.extend_from_slice(&bytes);
        for input in [&bytes, &input] {
            let (frames, most) = through(input, piece);
            prop_assert!(most <= 2 * CONTROL_LIMIT);
            prop_assert!(most <= 512 << 10, "{most} bytes for {} that came", input.len());
            for (frame_type, payload) in frames {
                let frame = Frame { frame_type, payload: &payload };
                let _ = (Request::decode(frame), Reply::decode(frame));
            }
        }
    }

    #[test]
    fn what_is_said_is_understood_however_it_is_cut(
        requests in prop::collection::vec(request(), 1..6),
        data in prop::collection::vec(any::<u8>(), 0..3000),
        piece in 1_usize..4000,
    ) {
        let mut said = requests;
        said.push(Request::Data(&data));
        let mut bytes = Vec::new();
        for request in &said {
            prop_assert!(request.encode(&mut bytes).is_some());
        }
        let (frames, _) = through(&bytes, piece);
        prop_assert_eq!(frames.len(), said.len());
        for ((frame_type, payload), request) in frames.iter().zip(&said) {
            let frame = Frame { frame_type: *frame_type, payload };
            prop_assert_eq!(&Request::decode(frame).unwrap(), request);
            prop_assert!(Reply::decode(frame).is_err(), "requests are no replies");
        }
    }
}

#[test]
fn what_does_not_fit_is_not_said() {
    let digests = vec![Digest::of(b"x"); 20_000];
    let mut out = Vec::new();
    assert!(Request::Have(Have { digests }).encode(&mut out).is_none());
    assert!(Request::Data(&vec![0; DATA_LIMIT + 1]).encode(&mut out).is_none());
    assert!(out.is_empty());
}
