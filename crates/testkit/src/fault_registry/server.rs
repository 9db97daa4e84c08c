//! Accepts connections, and takes each request from its head to the last byte of its answer.

use super::access::{Access, Need, Tokens};
use super::content::Content;
use super::fault::{ActiveRule, Fault};
use super::http::{Head, Wire};
use super::log::Logged;
use super::reply::{Body, Reply};
use super::routes::{self, Target};
use super::send::{self, Ending, Framing, Transfer};
use super::uploads::{self, Interruption};
use crate::Random;
use larder_core::{Compression, Digest};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the handle and the server thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) address: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) content: Content,
    pub(crate) access: Access,
    pub(crate) tokens: Tokens,
    pub(crate) rules: Vec<ActiveRule>,
    log: Vec<Logged>,
    /// The number of the first entry of the log.
    first: usize,
    pub(crate) sent: HashMap<Digest, u64>,
    /// Keys of signed URLs: what they are for, and how often they still work.
    pub(crate) signed: HashMap<String, (Digest, u32)>,
    pub(crate) random: Random,
    pub(crate) referrers_api: bool,
    pub(crate) check_references: bool,
    pub(crate) relative_locations: bool,
    pub(crate) connections: u64,
    pub(crate) active: u64,
    pub(crate) peak: u64,
    pub(crate) listening: bool,
}

/// What the server shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Serve,
    /// Refuse connections, drop those that are.
    Rest,
    End,
}

impl Shared {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let state = State {
            content: Content::default(),
            access: Access::open(),
            tokens: Tokens::new(),
            rules: Vec::new(),
            log: Vec::new(),
            first: 0,
            sent: HashMap::new(),
            signed: HashMap::new(),
            random: Random::new(u64::from(address.port())),
            referrers_api: true,
            check_references: true,
            relative_locations: false,
            connections: 0,
            active: 0,
            peak: 0,
            listening: true,
        };
        Self { address, state: Mutex::new(state) }
    }

    /// A panic in a test's closure must not take the registry's state with it.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts bytes of the body of request `id`.
    pub(crate) fn sent(&self, id: usize, bytes: i64) {
        self.with(|state| {
            let Some(entry) = state.entry(id) else { return };
            entry.sent = entry.sent.saturating_add_signed(bytes);
            if let Some(digest) = entry.digest().filter(|_| matches!(entry.status, Some(200 | 206))) {
                let total = state.sent.entry(digest).or_default();
                *total = total.saturating_add_signed(bytes);
            }
        });
    }
}

impl State {
    /// The requests so far, or since the log was cleared.
    pub(crate) fn log(&self) -> &[Logged] {
        &self.log
    }

    /// The entry of request `id`, unless it was cleared.
    pub(crate) fn entry(&mut self, id: usize) -> Option<&mut Logged> {
        self.log.get_mut(id.checked_sub(self.first)?)
    }

    pub(crate) fn clear_log(&mut self) {
        self.first += self.log.len();
        self.log.clear();
        self.sent.clear();
        self.peak = self.active;
    }

    fn push_log(&mut self, logged: Logged) -> usize {
        self.log.push(logged);
        self.first + self.log.len() - 1
    }
}

/// Serves until told to end.
pub(crate) async fn run(listener: TcpListener, shared: Arc<Shared>, mut orders: watch::Receiver<Order>) {
    let mut listener = Some(listener);
    loop {
        let bound = listener.take().map_or_else(|| TcpListener::bind(shared.address), Ok);
        let accepting = bound.and_then(|listener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        });
        let Ok(accepting) = accepting else {
            // Somebody else has the port for a moment.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            if *orders.borrow() == Order::End {
                return;
            }
            continue;
        };
        shared.with(|state| state.listening = true);
        let mut connections = JoinSet::new();
        while *orders.borrow_and_update() == Order::Serve {
            tokio::select! {
                accepted = accepting.accept() => {
                    if let Ok((stream, _)) = accepted {
                        let _ = stream.set_nodelay(true);
                        connections.spawn(converse(Wire::new(stream), shared.clone()));
                    }
                }
                changed = orders.changed() => if changed.is_err() { return },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        drop(accepting);
        connections.shutdown().await;
        shared.with(|state| state.listening = false);
        loop {
            match *orders.borrow_and_update() {
                Order::Serve => break,
                Order::Rest => {}
                Order::End => return,
            }
            if orders.changed().await.is_err() {
                return;
            }
        }
    }
}

async fn converse(mut wire: Wire, shared: Arc<Shared>) {
    let connection = shared.with(|state| {
        state.connections += 1;
        state.connections
    });
    // An error is a client that went away, which clients may.
    while let Ok(Some(head)) = wire.head().await {
        let close = head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let _active = Active::new(&shared);
        match exchange(&mut wire, &shared, head, connection).await {
            Ok(true) if !close => {}
            _ => break,
        }
    }
}

/// Counts requests in flight.
struct Active<'a>(&'a Shared);

impl<'a> Active<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.with(|state| {
            state.active += 1;
            state.peak = state.peak.max(state.active);
        });
        Self(shared)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.with(|state| state.active -= 1);
    }
}

/// One request and its answer; true where the connection can go on.
async fn exchange(wire: &mut Wire, shared: &Shared, mut head: Head, connection: u64) -> io::Result<bool> {
    let target = Target::of(&head.path);
    let host = head.header("host").map_or_else(|| shared.address.to_string(), str::to_owned);
    let (id, verdict, faults) = shared.with(|state| {
        let verdict = match target.needs(&head.method) {
            Some(needs) => state.access.check(&mut state.tokens, &host, &head, &needs),
            None => Ok(()),
        };
        let authorized = verdict.is_ok();
        let faults: Vec<Fault> =
            state.rules.iter().flat_map(|rule| rule.strike(&head, authorized)).cloned().collect();
        let id = state.push_log(Logged {
            method: head.method.clone(),
            path: head.path.clone(),
            query: head.query.clone(),
            headers: head.headers.clone(),
            connection,
            at: Instant::now(),
            received: 0,
            status: None,
            sent: 0,
            faulted: !faults.is_empty(),
        });
        (id, verdict, faults)
    });
    let mut interruption = None;
    let mut instead = None;
    for fault in &faults {
        match fault {
            Fault::Delay(delay) => tokio::time::sleep(*delay).await,
            Fault::IgnoreRange => head.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("range")),
            Fault::WrongRange(shift) => shift_range(&mut head, *shift),
            Fault::ResetRequest(after) => interruption = Some(Interruption { after: *after, stall: false }),
            Fault::StallRequest(after) => interruption = Some(Interruption { after: *after, stall: true }),
            Fault::Silence => {
                wire.drain().await?;
                send::wait_for_the_end(wire).await;
                return Ok(false);
            }
            Fault::Garbage(bytes) => {
                wire.drain().await?;
                tokio::io::AsyncWriteExt::write_all(&mut wire.stream, bytes).await?;
                return Ok(false);
            }
            other => instead = instead.or_else(|| instead_of_answer(other, shared, &head, &host)),
        }
    }
    let answer = match (instead, verdict) {
        (Some(reply), _) | (None, Err(reply)) => Some(reply),
        (None, Ok(())) => answer(wire, shared, &head, &target, &host, interruption).await?,
    };
    let received = |wire: &Wire| {
        shared.with(|state| state.entry(id).into_iter().for_each(|entry| entry.received = wire.received()));
    };
    received(wire);
    let (Some(mut reply), None) = (answer, interruption) else {
        if interruption.is_some_and(|interruption| interruption.stall) {
            // Nothing is read either, so the client's sending comes to a stop when the buffers are full.
            std::future::pending::<()>().await;
        }
        send::reset(wire, shared.address).await;
        return Ok(false);
    };
    wire.drain().await?;
    received(wire);
    let mut transfer = Transfer::default();
    for fault in &faults {
        distort(fault, &mut reply, &mut transfer);
    }
    send::send(wire, shared, id, head.method == "HEAD", &reply, transfer).await
}

/// The true answer; `None` where the request's body was interrupted.
async fn answer(
    wire: &mut Wire,
    shared: &Shared,
    head: &Head,
    target: &Target,
    host: &str,
    interruption: Option<Interruption>,
) -> io::Result<Option<Reply>> {
    match target {
        Target::Token => {
            let form = wire.whole_body(1 << 20).await?;
            Ok(Some(shared.with(|state| state.access.token(&mut state.tokens, head, &form))))
        }
        Target::Uploads(repository) => {
            let may_pull = |from: &str| {
                let need = [Need { repository: from, action: "pull" }];
                shared.with(|state| state.access.check(&mut state.tokens, host, head, &need)).is_ok()
            };
            uploads::begin(wire, shared, head, repository, may_pull, interruption).await
        }
        Target::Upload(repository, upload) => {
            uploads::upload(wire, shared, head, repository, upload, interruption).await
        }
        Target::Manifest(name, selector) if head.method == "PUT" => {
            if interruption.is_some() {
                return Ok(None);
            }
            Ok(Some(match routes::manifest_body(wire).await? {
                Some(raw) => shared.with(|state| routes::put_manifest(state, head, name, selector, raw)),
                None => Reply::error(413, "MANIFEST_INVALID", "the manifest is too large"),
            }))
        }
        _ if interruption.is_some() => Ok(None),
        _ => Ok(Some(shared.with(|state| routes::read(state, target, head)))),
    }
}

/// Faults that are an answer of their own.
fn instead_of_answer(fault: &Fault, shared: &Shared, head: &Head, host: &str) -> Option<Reply> {
    let redirect = |status: u16, location: String| Some(Reply::new(status).with("Location", location));
    match fault {
        Fault::Status(status) => Some(Reply::error(*status, "UNKNOWN", "scripted fault")),
        Fault::Answer { status, headers, body } => {
            let mut reply = Reply::new(*status);
            reply.headers.clone_from(headers);
            reply.body = Body::Bytes(body.clone());
            Some(reply)
        }
        Fault::Html => Some(Reply::new(200).body(
            "text/html; charset=utf-8",
            "<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in.</body></html>",
        )),
        Fault::Redirect { status, location } => {
            let query = if head.query.is_empty() { String::new() } else { format!("?{}", head.query) };
            let digest = head.path.rsplit('/').next().unwrap_or_default();
            let location = location
                .replace("{host}", &shared.address.to_string())
                .replace("{path}", &head.path)
                .replace("{query}", &query)
                .replace("{digest}", digest);
            redirect(*status, location)
        }
        Fault::RedirectChain(hops) => {
            let hop = head.parameter("hop").and_then(|hop| hop.parse().ok()).unwrap_or(0u32);
            if hop >= *hops {
                return None;
            }
            redirect(307, format!("http://{host}{}?hop={}", head.path, hop + 1))
        }
        Fault::SignedRedirect { host: elsewhere, uses } => {
            let digest = head.path.rsplit('/').next()?.parse().ok()?;
            let key = shared.with(|state| sign(state, digest, *uses));
            let host = elsewhere.clone().unwrap_or_else(|| shared.address.to_string());
            redirect(307, format!("http://{host}/storage/{digest}?key={key}"))
        }
        _ => None,
    }
}

/// Makes a key for a signed URL.
pub(crate) fn sign(state: &mut State, digest: Digest, uses: u32) -> String {
    let key = state.random.hex(32);
    state.signed.insert(key.clone(), (digest, uses));
    key
}

/// Faults that change an answer or the way it travels.
fn distort(fault: &Fault, reply: &mut Reply, transfer: &mut Transfer) {
    let len = reply.body.len().unwrap_or(0);
    let bytes = |reply: &Reply| reply.body.piece(0, usize::MAX / 2);
    match fault {
        Fault::StatusOnly(status) => reply.status = *status,
        Fault::Header(name, Some(value)) => reply.set(name, value.as_str()),
        Fault::Header(name, None) => reply.unset(name),
        Fault::LocationHost(host) => {
            if let Some(location) = reply.header("location").map(str::to_owned) {
                let path = match location.split_once("://") {
                    Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
                    None => &location,
                };
                reply.set("Location", format!("http://{host}{path}"));
            }
        }
        Fault::WrongByte(at) if len > 0 => {
            let mut wrong = bytes(reply).to_vec();
            wrong[(*at).min(len - 1) as usize] ^= 0x20;
            reply.body = Body::Bytes(wrong.into());
        }
        Fault::Body(body) => reply.body = Body::Bytes(body.clone()),
        Fault::HugeBody(size) => reply.body = Body::Repeated(b' ', Some(*size)),
        Fault::ShortBody(by) => {
            let left = len.saturating_sub(*by) as usize;
            reply.body = Body::Bytes(bytes(reply).slice(..left));
        }
        Fault::LongBody(by) => {
            let mut long = bytes(reply).to_vec();
            long.resize(long.len() + *by as usize, b'x');
            reply.body = Body::Bytes(long.into());
        }
        Fault::EndlessBody => reply.body = Body::Repeated(b'x', None),
        Fault::Gzip => {
            reply.body = Body::Bytes(crate::layer::pack(&bytes(reply), Compression::Gzip));
            reply.set("Content-Encoding", "gzip");
        }
        Fault::NoContentLength => transfer.framing = Framing::UntilClosed,
        Fault::Chunked => transfer.framing = Framing::Chunked,
        Fault::Throttle(rate) => transfer.rate = Some(*rate),
        Fault::Stall(after) => transfer.ending = Ending::Stall(*after),
        Fault::Reset(after) => transfer.ending = Ending::Reset(*after),
        Fault::Cut(after) => transfer.ending = Ending::Cut(*after),
        _ => {}
    }
}

/// Moves the start of the range that was asked for.
fn shift_range(head: &mut Head, shift: i64) {
    for (name, value) in &mut head.headers {
        if name.eq_ignore_ascii_case("range")
            && let Some((first, last)) = value.strip_prefix("bytes=").and_then(|range| range.split_once('-'))
            && let Ok(first) = first.parse::<u64>()
        {
            *value = format!("bytes={}-{last}", first.saturating_add_signed(shift));
        }
    }
}
