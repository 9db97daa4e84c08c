//! Connections: taking them, bounding them, and letting them finish.

use crate::exchange::{Peer, answer};
use crate::server::{Server, Shared};
use crate::socket::{Paced, Socket};
use crate::tls::Tls;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Farewell {
    /// Connections that were still transferring when the grace was over; they were cut.
    pub cut: usize,
}

impl Server {
    /// Serves connections until `leave` resolves; then no new ones are taken, transfers are finished, and what takes longer
    /// than the grace of the settings is cut.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Option<Arc<Tls>>,
        leave: impl Future<Output = ()>,
    ) -> Farewell {
        let shared = &self.0;
        let connections = Connections::default();
        let graceful = GracefulShutdown::new();
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::pin!(leave);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut leave => break,
                accepted = listener.accept() => accepted,
                _ = housekeeping.tick() => {
                    let shared = shared.clone();
                    tokio::task::spawn_blocking(move || shared.write_figures());
                    continue;
                }
            };
            match accepted {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true);
                    let entry = connections.enter(shared);
                    let watcher = graceful.watcher();
                    let (shared, tls) = (shared.clone(), tls.clone());
                    tokio::spawn(async move {
                        let peer = Peer {
                            address: address.ip().to_canonical(),
                            certificate: None,
                            secure: false,
                            stretches: None,
                        };
                        let early = entry.early.clone();
                        let evicted = entry.evicted.clone();
                        tokio::select! {
                            () = connection(shared, stream, tls, peer, early, watcher) => {}
                            () = evicted.notified() => {}
                        }
                        drop(entry);
                    });
                }
                // Out of file descriptors, most likely: make room, and give it a moment instead of spinning.
                Err(_) => {
                    connections.evict(shared);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        drop(listener);
        shared.leaving.store(true, Ordering::Relaxed);
        let finished = tokio::time::timeout(shared.settings.grace, graceful.shutdown()).await;
        let uses = shared.clone();
        let _ = tokio::task::spawn_blocking(move || uses.write_figures()).await;
        Farewell { cut: if finished.is_ok() { 0 } else { connections.count() } }
    }
}

async fn connection(
    shared: Arc<Shared>,
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    mut peer: Peer,
    early: Arc<AtomicBool>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let (stall, slowest) = (shared.settings.stall_timeout, shared.settings.slowest_bytes);
    let head_timeout = shared.settings.head_timeout;
    let Some(tls) = tls else {
        let socket = Socket::new(stream, stall, slowest);
        peer.stretches = Some(socket.stretches());
        return http1(shared, TokioIo::new(socket), peer, early, watcher).await;
    };
    let Ok(Ok(stream)) = tokio::time::timeout(head_timeout, tls.accept(stream)).await else { return };
    let (_, session) = stream.get_ref();
    peer.secure = true;
    peer.certificate =
        session.peer_certificates().and_then(<[_]>::first).map(|certificate| Arc::from(certificate.as_ref()));
    let second = session.alpn_protocol() == Some(b"h2");
    let stream = TokioIo::new(Paced::new(stream, stall, slowest));
    if !second {
        return http1(shared, stream, peer, early, watcher).await;
    }
    early.store(false, Ordering::Relaxed);
    let service = service_fn(move |request| {
        let (shared, peer) = (shared.clone(), peer.clone());
        async move { Ok::<_, Infallible>(answer(shared, peer, request).await) }
    });
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_header_list_size(HEAD_LIMIT as u32)
        .keep_alive_interval(head_timeout)
        .keep_alive_timeout(head_timeout);
    // A broken connection is the client's affair; its requests have their records.
    let _ = watcher.watch(builder.serve_connection(stream, service)).await;
}

async fn http1<S>(
    shared: Arc<Shared>,
    stream: S,
    peer: Peer,
    early: Arc<AtomicBool>,
    watcher: hyper_util::server::graceful::Watcher,
) where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let head_timeout = shared.settings.head_timeout;
    let service = service_fn(move |request| {
        // From its first request on a connection is somebody's.
        early.store(false, Ordering::Relaxed);
        let (shared, peer) = (shared.clone(), peer.clone());
        async move { Ok::<_, Infallible>(answer(shared, peer, request).await) }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(READ_BUFFER)
        .max_headers(100)
        .half_close(false)
        // Placeholders for files must reach the socket as they are. (`pipeline_flush` would copy them.)
        .writev(true);
    let _ = watcher.watch(builder.serve_connection(stream, service)).await;
}

/// The connections there are.
#[derive(Clone, Default)]
struct Connections(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    count: usize,
    /// In the order of their arrival; those that have sent a request, or are gone, are dropped when they come to the front.
    early: VecDeque<(Arc<AtomicBool>, Arc<Notify>)>,
}

/// One connection's place.
struct Entry {
    table: Connections,
    shared: Arc<Shared>,
    /// No request has come yet.
    early: Arc<AtomicBool>,
    evicted: Arc<Notify>,
}

impl Connections {
    /// Takes a place. Beyond the limit, whoever has been here longest without a request loses theirs: a flood of silent
    /// connections pushes out itself, and nobody who is being served.
    fn enter(&self, shared: &Arc<Shared>) -> Entry {
        let early = Arc::new(AtomicBool::new(true));
        let evicted = Arc::new(Notify::new());
        let crowded = {
            let mut table = self.lock();
            table.count += 1;
            table.early.push_back((early.clone(), evicted.clone()));
            // Those that are not early any more would pile up behind one that is.
            if table.early.len() > 2 * shared.settings.connections {
                table.early.retain(|(early, _)| early.load(Ordering::Relaxed));
            }
            table.count > shared.settings.connections
        };
        shared.metrics.connections.inc();
        if crowded {
            self.evict(shared);
        }
        Entry { table: self.clone(), shared: shared.clone(), early, evicted }
    }

    fn evict(&self, shared: &Shared) {
        let mut table = self.lock();
        while let Some((early, evicted)) = table.early.pop_front() {
            if early.swap(false, Ordering::Relaxed) {
                evicted.notify_one();
                shared.metrics.refused_connections.inc();
                return;
            }
        }
    }

    fn count(&self) -> usize {
        self.lock().count
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.early.store(false, Ordering::Relaxed);
        self.table.lock().count -= 1;
        self.shared.metrics.connections.dec();
    }
}

/// The head of a request, and what of a body is read at once. Times the number of connections, this is what clients that
/// never finish a head can hold.
const READ_BUFFER: usize = 64 << 10;
const HEAD_LIMIT: usize = 64 << 10;
const HOUSEKEEPING: Duration = Duration::from_secs(2);
