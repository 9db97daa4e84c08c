//! Scanned layers kept in memory between import and preparation.

use larder_core::Digest;
use larder_rootfs::Layer;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The scans of the layers seen last, by diff id. Cheap to clone; bounded by the number of members.
///
/// Nothing depends on it: a layer that is not here is scanned again from its raw tar.
#[derive(Clone, Default)]
pub struct Scans(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    layers: VecDeque<(Digest, Arc<Layer>)>,
    members: usize,
}

impl Scans {
    /// Keeps what [`LayerImport::run`](crate::LayerImport::run) returned.
    pub fn put(&self, diff_id: Digest, layer: impl Into<Arc<Layer>>) {
        let (layer, mut kept) = (layer.into(), self.lock());
        if kept.layers.iter().any(|(known, _)| *known == diff_id) {
            return;
        }
        kept.members += layer.entries().len();
        kept.layers.push_back((diff_id, layer));
        while kept.members > MEMBERS && kept.layers.len() > 1 {
            if let Some((_, oldest)) = kept.layers.pop_front() {
                kept.members -= oldest.entries().len();
            }
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
            kept.members -= layer.entries().len();
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

/// Some 100 MB.
const MEMBERS: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let scans = Scans::default();
        let layer = |members: usize| {
            let entry = larder_rootfs::Entry {
                path: b"x"[..].into(),
                meta: larder_rootfs::Meta::implicit(),
                body: larder_rootfs::Body::Fifo,
            };
            Layer::new(vec![entry; members], 0)
        };
        let [a, b, c] = [b"a", b"b", b"c"].map(|name| Digest::of(name));
        scans.put(a, layer(MEMBERS / 2));
        scans.put(b, layer(MEMBERS / 2));
        scans.put(a, layer(1));
        assert!(scans.get(&a).is_some() && scans.get(&b).is_some());
        scans.put(c, layer(1));
        assert!(scans.get(&a).is_none());
        assert!(scans.get(&b).is_some() && scans.get(&c).is_some());
        scans.forget(&b);
        scans.forget(&a);
        assert!(scans.get(&b).is_none() && scans.get(&c).is_some());
        scans.put(a, layer(MEMBERS - 1));
        assert!(scans.get(&a).is_some() && scans.get(&c).is_some(), "what was dropped does not count");
    }
}
