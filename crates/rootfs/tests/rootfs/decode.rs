//! Compressed layers.

use flate2::write::GzEncoder;
use larder_core::{Classify, Compression, Kind};
use larder_rootfs::{Decoder, Error, Limits};
use std::io::{Read, Write};

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn decode(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    decode_with(bytes, None, &Limits::default())
}

fn decode_with(bytes: &[u8], declared: Option<Compression>, limits: &Limits) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    Decoder::new(bytes, declared, limits).read_to_end(&mut out).map_err(Error::from_io)?;
    Ok(out)
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as u8
    };
    (0..length).map(|at| if at % 3 == 0 { next() } else { b'a' }).collect()
}

/// Gives one byte, then some, then an interruption.
struct Trickle<'a>(&'a [u8], usize);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.1 += 1;
        if self.1.is_multiple_of(3) {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let count = if self.1.is_multiple_of(2) { 1 } else { 1000 }.min(buffer.len()).min(self.0.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

/// T13: members, frames and padding of every kind.
#[test]
fn streams_of_several_parts() {
    let (a, b) = (noise(700_000), noise(5));
    let both = [&a[..], &b].concat();
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
    let cases = [
        ("plain", both.clone()),
        ("gzip", gzip(&both)),
        ("two members", [gzip(&a), gzip(&b)].concat()),
        ("empty members", [gzip(b""), gzip(&a), gzip(b""), gzip(b""), gzip(&b), gzip(b"")].concat()),
        ("padding", [gzip(&a), gzip(&b), vec![0; 300_000]].concat()),
        ("zstd", zstd(&both)),
        ("two frames", [zstd(&a), zstd(&b)].concat()),
        (
            "skippable frames",
            [skippable.clone(), zstd(&a), skippable.clone(), zstd(b""), zstd(&b), skippable].concat(),
        ),
    ];
    for (name, bytes) in cases {
        assert!(decode(&bytes).unwrap() == both, "{name}");
        for size in [1usize, 1000, 262_144] {
            let mut decoder = Decoder::new(Trickle(&bytes, 0), None, &Limits::default());
            let (mut out, mut buffer) = (Vec::new(), vec![0; size]);
            loop {
                match decoder.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => out.extend_from_slice(&buffer[..count]),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => panic!("{name}: {error}"),
                }
                if size == 1 && out.len() > 3000 {
                    break;
                }
            }
            if size > 1 {
                assert!(out == both, "{name} {size}");
                assert_eq!(
                    decoder.totals(),
                    (bytes.len() as u64, both.len() as u64),
                    "{name} is read to its end"
                );
                assert_eq!(decoder.read(&mut buffer).unwrap(), 0);
            }
        }
    }
}

#[test]
fn the_bytes_decide() {
    let data = noise(1000);
    for declared in [None, Some(Compression::None), Some(Compression::Gzip), Some(Compression::Zstd)] {
        for bytes in [data.clone(), gzip(&data), zstd(&data)] {
            assert!(decode_with(&bytes, declared, &Limits::default()).unwrap() == data);
        }
    }
    assert_eq!(decode(b"").unwrap(), b"");
    assert_eq!(decode(b"x").unwrap(), b"x");
    assert!(decode_with(b"", Some(Compression::Gzip), &Limits::default()).is_err());
    for bytes in [&b"\xfd7zXZ\0\0\x04abc"[..], b"BZh91AY&SYabc"] {
        assert_eq!(decode(bytes).unwrap_err().kind(), Kind::Unsupported);
    }
    assert_eq!(decode(b"BZh91AY_SYabc").unwrap(), b"BZh91AY_SYabc");
}

#[test]
fn damage() {
    let data = noise(400_000);
    let (gz, zs) = (gzip(&data), zstd(&data));
    let flip = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0x10;
        bytes
    };
    let cases = [
        ("gzip without its last byte", gz[..gz.len() - 1].to_vec()),
        ("gzip without its trailer", gz[..gz.len() - 8].to_vec()),
        ("half of gzip", gz[..gz.len() / 2].to_vec()),
        ("three bytes of gzip", gz[..3].to_vec()),
        ("wrong sum", flip(&gz, gz.len() - 8)),
        ("wrong length", flip(&gz, gz.len() - 4)),
        ("garbage after gzip", [&gz[..], b"garbage, and a lot of it"].concat()),
        ("garbage after padding", [&gz[..], &[0; 512], b"x"].concat()),
        ("a member after padding", [&gz[..], &[0; 512], &gz].concat()),
        ("a cut second member", [&gz[..], &gz[..100]].concat()),
        ("one byte of a second member", [&gz[..], &gz[..1]].concat()),
        ("half of zstd", zs[..zs.len() / 2].to_vec()),
        ("zstd without its last byte", zs[..zs.len() - 1].to_vec()),
        ("damaged zstd", flip(&zs, zs.len() / 2)),
        ("garbage after zstd", [&zs[..], b"garbage"].concat()),
        ("half of a skippable frame", [&zs[..], &[0x50, 0x2a, 0x4d, 0x18, 9, 0, 0, 0, 1]].concat()),
    ];
    for (name, bytes) in cases {
        let error = decode(&bytes).map(|out| out.len()).expect_err(name);
        assert!(matches!(error, Error::Stream { .. }), "{name}: {error}");
        assert_eq!(error.kind(), Kind::Corrupt, "{name}");
    }
}

#[test]
fn errors_of_the_source_are_its_own() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::TimedOut.into())
        }
    }
    let error = Decoder::new(Failing, None, &Limits::default()).read(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!(matches!(Error::from_io(error), Error::Read(_)));
}

/// CVE-2026-39396: a bomb is stopped while it goes off.
#[test]
fn bombs() {
    let zeros = vec![0; 80 << 20];
    let drain = |bytes: &[u8], limits: &Limits| {
        let mut decoder = Decoder::new(bytes, None, limits);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match decoder.read(&mut buffer) {
                Ok(0) => return Ok(decoder.totals().1),
                Ok(_) => {}
                Err(error) => return Err((decoder.totals().1, Error::from_io(error).to_string())),
            }
        }
    };
    let default = Limits::default();
    // Gzip reaches 1000 to 1, zstd far more.
    let bytes = zstd(&zeros);
    let (given, error) = drain(&bytes, &default).unwrap_err();
    assert!(error.contains("per compressed byte") && given <= 65 << 20, "{given}: {error}");
    let bytes = gzip(&zeros);
    assert_eq!(drain(&bytes, &default).unwrap(), 80 << 20);
    let (_, error) = drain(&bytes, &Limits { ratio: 100, ..Limits::default() }).unwrap_err();
    assert!(error.contains("per compressed byte"), "{error}");
    let (given, error) = drain(&bytes, &Limits { bytes: 1 << 20, ..Limits::default() }).unwrap_err();
    assert!(error.contains("uncompressed bytes") && given <= (1 << 20) + (256 << 10), "{given}: {error}");
    // Many small members add up.
    let members = [gzip(&zeros[..10 << 20]), gzip(&zeros[..60 << 20])].concat();
    assert!(drain(&members, &Limits { ratio: 100, ..Limits::default() }).is_err());
    // A window of 256 MiB is not allocated.
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (28 - 10) << 3, 1, 0, 0];
    assert!(drain(&frame, &default).unwrap_err().1.contains("damaged zstd"));
    let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (27 - 10) << 3, 1, 0, 0];
    assert_eq!(drain(&frame, &default).unwrap(), 0);
}
