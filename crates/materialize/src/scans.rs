//! Scanned layers kept in memory between import and preparation.

use larder_core::Digest;
use larder_rootfs::Layer;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The scans of the layers seen last, by diff id. Cheap to clone; bounded by the memory they take.
///
/// Nothing depends on it: a layer that is not here is scanned again from its raw tar.
#[derive(Clone, Default)]
pub struct Scans(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    layers: VecDeque<(Digest, Arc<Layer>)>,
    memory: u64,
}

impl Scans {
    /// Keeps what [`LayerImport::run`](crate::LayerImport::run) returned.
    pub fn put(&self, diff_id: Digest, layer: impl Into<Arc<Layer>>) {
        let (layer, mut kept) = (layer.into(), self.lock());
        if kept.layers.iter().any(|(known, _)| *known == diff_id) {
            return;
        }
        kept.memory += layer.memory();
        kept.layers.push_back((diff_id, layer));
        while kept.memory > SCANS {
            let Some((_, oldest)) = kept.layers.pop_front() else { break };
            kept.memory -= oldest.memory();
        }
    }

    /// The scan of a layer, if it is still here.
    pub fn get(&self, diff_id: &Digest) -> Option<Arc<Layer>> {
        self.lock().layers.iter().find(|(known, _)| known == diff_id).map(|(_, layer)| Arc::clone(layer))
    }

    /// Drops the scan of a layer. The drivers do so once an image is ready.
    pub(crate) fn forget(&self, diff_id: &Digest) {
        let mut kept = self.lock();
        if let Some(at) = kept.layers.iter().position(|(known, _)| known == diff_id)
            && let Some((_, layer)) = kept.layers.remove(at)
        {
            kept.memory -= layer.memory();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Scans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scans").field("layers", &self.lock().layers.len()).finish()
    }
}

/// Bytes of all scans together, and most of one: above a million files.
pub(crate) const SCANS: u64 = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let scans = Scans::default();
        let layer = |bytes: u64| {
            let entry = larder_rootfs::Entry {
                path: vec![b'x'; bytes as usize - 12].into(),
                meta: larder_rootfs::Meta::implicit(),
                body: larder_rootfs::Body::Fifo,
            };
            let layer = Layer::new([entry], 0);
            assert!(layer.memory() <= bytes && layer.memory() > bytes - 12);
            layer
        };
        let [a, b, c] = [b"a", b"b", b"c"].map(|name| Digest::of(name));
        scans.put(a, layer(SCANS / 2));
        scans.put(b, layer(SCANS / 2));
        scans.put(a, layer(100));
        assert!(scans.get(&a).is_some() && scans.get(&b).is_some());
        scans.put(c, layer(100));
        assert!(scans.get(&a).is_none());
        assert!(scans.get(&b).is_some() && scans.get(&c).is_some());
        scans.forget(&b);
        scans.forget(&a);
        assert!(scans.get(&b).is_none() && scans.get(&c).is_some());
        scans.put(a, layer(SCANS - 100));
        assert!(scans.get(&a).is_some() && scans.get(&c).is_some(), "what was dropped does not count");
        scans.put(b, layer(SCANS + 100));
        assert!([a, b, c].iter().all(|id| scans.get(id).is_none()), "one that is too large is not kept");
    }
}
