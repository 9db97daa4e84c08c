//! A blob that somebody else writes, brought aside.
//!
//! The store lets one writer at a time at a blob. Who that is cannot always be trusted: another registry may send it slowly, or
//! claim another length, and nobody who asks an honest one is to wait for that. So after a while the blob is brought on our own
//! upstream's word, as an upload, and becomes part of the store once it hashes to its name, whatever the other does.

use super::Shared;
use super::blobs::Order;
use larder_core::{Descriptor, Event, Kind, Tier};
use larder_remote::Repo;
use larder_server::Trouble;
use larder_store::Lease;

impl Shared {
    /// Brings a blob without anybody seeing it before it is whole.
    pub(super) async fn detour(
        &self,
        order: &Order,
        repo: &Repo,
        descriptor: &Descriptor,
        lease: &Lease,
    ) -> Result<(), Trouble> {
        let what = format!("blob {} of {}", order.digest, order.repository);
        self.warn(format!("{what} is fetched although somebody else is writing it: that takes too long"));
        order.source.health.asking();
        let opened = Box::pin(repo.blob(descriptor, 0)).await;
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => return Err(self.refused(order, &what, &error).await),
        };
        order.source.health.spoke();
        let place = order.repository.clone();
        let mut upload = self.on_disk(move |store| store.create_upload(&place)).await?;
        let outcome = loop {
            match stream.next().await {
                Ok(Some(piece)) => {
                    upload = self.on_disk(move |_| upload.write(&piece).map(|()| upload)).await?;
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(self.refused(order, &what, &error).await),
            }
        };
        order.source.health.sent(stream.received());
        self.pressure.add(stream.received());
        if let Err(trouble) = outcome {
            // Left behind, it is swept with other uploads that nobody finished.
            drop(self.on_disk(move |_| upload.cancel()).await);
            return Err(trouble);
        }
        let (digest, lease) = (order.digest, lease.clone());
        let committed = self.on_disk(move |_| upload.commit(&digest, &lease).map(drop)).await;
        if let Err(trouble) = committed {
            if trouble.kind == Kind::Corrupt {
                order.source.health.erred();
                repo.distrust(stream.host());
            }
            let message = format!("{what} from {}: {}", stream.host(), trouble.message);
            return Err(Trouble { message, ..trouble });
        }
        (self.progress)(Event::BlobFinished { digest, tier: Tier::Registry });
        Ok(())
    }
}
