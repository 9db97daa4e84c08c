//! Layers: compressed or not, whatever is accepted becomes a tree whose paths stay inside, encodes as erofs, and reads the
//! same however the bytes are cut into pieces.
#![no_main]

use larder_rootfs::encode::{ErofsDevice, ErofsOptions, erofs};
use larder_rootfs::{Decoder, Layer, Limits, Scanner, Tree, listing, listing_of_layer};
use libfuzzer_sys::fuzz_target;
use std::io::Read;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { bytes: 64 << 20, entries: 10_000, metadata_bytes: 16 << 20, ..Limits::default() };
    let mut tar = Vec::new();
    if Decoder::new(bytes, None, &limits).read_to_end(&mut tar).is_err() {
        return;
    }
    let whole = scan(&tar, tar.len().max(1), &limits);
    let pieces = scan(&tar, 97, &limits);
    match (&whole, &pieces) {
        (Some(whole), Some(pieces)) => assert_eq!(listing_of_layer(whole), listing_of_layer(pieces)),
        (None, None) => return,
        _ => panic!("the size of the pieces decides what is accepted"),
    }
    let Some(layer) = whole else { return };
    let mut tree = Tree::with_limits(&limits);
    if tree.apply(&layer, 0).is_err() {
        return;
    }
    tree.visit(|path, _| {
        assert!(path.split(|byte| *byte == b'/').all(|part| part != b".." && part != b"."), "{path:?}");
    });
    listing(&tree);
    let device = [ErofsDevice { size_bytes: tar.len() as u64, digest: None }];
    let mut content = |_source: u16, at: u64, buffer: &mut [u8]| {
        let at = usize::try_from(at).expect("within the tar");
        buffer.copy_from_slice(&tar[at..at + buffer.len()]);
        Ok(())
    };
    // An error is an answer too: not every tree fits the format.
    let _ = erofs(&tree, &device, &ErofsOptions::index(), &mut content, &mut std::io::sink());
});

fn scan(tar: &[u8], piece: usize, limits: &Limits) -> Option<Layer> {
    let mut scanner = Scanner::new(limits.clone());
    for bytes in tar.chunks(piece) {
        scanner.feed(bytes).ok()?;
    }
    scanner.finish().ok()
}
