//! The server: reads requests from its sockets, records them and replies by the script.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lumos_core::Clock;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::limits::Buckets;
use crate::protocol::{Rendered, render};
use crate::script::{Answer, Break, Received, Reply, Script};
use crate::tls;

/// Most bytes of a request's head.
const MOST_HEAD: usize = 64 << 10;

/// A server on this machine; it ends when this is dropped.
pub struct FaultServer {
    address: SocketAddr,
    authority: Option<String>,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    script: Script,
    clock: Arc<dyn Clock>,
    received: Mutex<Vec<Received>>,
    buckets: Mutex<Option<Buckets>>,
    open: AtomicUsize,
    rejected: AtomicUsize,
    written: AtomicU64,
    changed: Notify,
}

impl FaultServer {
    /// Listens on a free port of the loopback interface. `clock` stamps requests and refills the buckets.
    pub async fn start(script: Script, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (acceptor, authority) = if script.tls { Some(tls::acceptor()?) } else { None }.unzip();
        let buckets = script.limits.as_ref().map(|limits| Buckets::new(limits, clock.now_us()));
        let state = Arc::new(State {
            script,
            clock,
            received: Mutex::default(),
            buckets: Mutex::new(buckets),
            open: AtomicUsize::new(0),
            rejected: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            changed: Notify::new(),
        });
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // Small pieces must leave at once, or clients would measure this server's delays.
                let _ = socket.set_nodelay(true);
                let (state, acceptor) = (Arc::clone(&shared), acceptor.clone());
                tokio::spawn(async move {
                    let open = Open::new(&state);
                    match acceptor {
                        None => serve(socket, &state).await,
                        Some(acceptor) => {
                            if let Ok(socket) = acceptor.accept(socket).await {
                                serve(socket, &state).await;
                            }
                        }
                    }
                    drop(open);
                });
            }
        });
        Ok(Self { address, authority, state, task })
    }

    /// `http://127.0.0.1:PORT`, or `https` where the script says so.
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate of the authority behind the server's own, in PEM; empty without TLS.
    pub fn authority_pem(&self) -> &str {
        self.authority.as_deref().unwrap_or_default()
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Received> {
        self.state.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Requests that the limits refused.
    pub fn rejected(&self) -> usize {
        self.state.rejected.load(Ordering::SeqCst)
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.state.written.load(Ordering::SeqCst)
    }

    /// Waits until `holds`, which is asked again whenever a connection opens or closes or a request arrives; false
    /// when it does not within `limit`.
    pub async fn wait(&self, limit: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let waiting = async {
            loop {
                let changed = self.state.changed.notified();
                if holds(self) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, waiting).await.is_ok() || holds(self)
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts a connection while it is open.
struct Open<'a>(&'a State);

impl<'a> Open<'a> {
    fn new(state: &'a State) -> Self {
        state.open.fetch_add(1, Ordering::SeqCst);
        state.changed.notify_waiters();
        Self(state)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_waiters();
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(socket: S, state: &State) {
    let (mut reader, mut writer) = tokio::io::split(socket);
    let mut buffer = Vec::new();
    while let Some(request) = next_request(&mut reader, &mut buffer, state).await {
        // A client that closes while it is answered ends the answer; what it sends meanwhile is the next request.
        let watch = async { while matches!(reader.read_buf(&mut buffer).await, Ok(1..)) {} };
        let goes_on = tokio::select! {
            () = watch => false,
            done = respond(&request, &mut writer, state) => done.unwrap_or(false),
        };
        if !goes_on {
            break;
        }
    }
    // TLS says goodbye; a client that is gone does not hear it.
    let _ = writer.shutdown().await;
}

async fn next_request(reader: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>, state: &State) -> Option<Received> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if buffer.len() > MOST_HEAD || reader.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end);
    let mut request = Received { number: 0, at_us: 0, head, body: Vec::new() };
    let length = request.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    while buffer.len() < length {
        if reader.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    request.body = buffer.drain(..length).collect();
    request.at_us = state.clock.now_us();
    {
        let mut received = state.received.lock().unwrap_or_else(PoisonError::into_inner);
        request.number = received.len();
        received.push(request.clone());
    }
    state.changed.notify_waiters();
    Some(request)
}

struct Out<'a, W> {
    writer: &'a mut W,
    state: &'a State,
}

impl<W: AsyncWrite + Unpin> Out<'_, W> {
    async fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await?;
        self.writer.flush().await?;
        self.state.written.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    async fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut framed = format!("{:x}\r\n", bytes.len()).into_bytes();
        framed.extend_from_slice(bytes);
        framed.extend_from_slice(b"\r\n");
        self.raw(&framed).await
    }

    async fn whole(&mut self, status: u16, headers: &[(String, String)], kind: &str, body: &str) -> io::Result<()> {
        let mut head = head(status, headers, kind);
        let _ = write!(head, "content-length: {}\r\n\r\n{body}", body.len());
        self.raw(head.as_bytes()).await
    }
}

fn head(status: u16, headers: &[(String, String)], kind: &str) -> String {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\ncontent-type: {kind}\r\nx-request-id: req-1\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head
}

/// Replies; whether the connection may serve another request.
async fn respond<W: AsyncWrite + Unpin>(request: &Received, writer: &mut W, state: &State) -> io::Result<bool> {
    let reply = (state.script.rule)(request);
    let mut out = Out { writer, state };
    if let Reply::Answer(answer) | Reply::Broken(answer, _) | Reply::MediaType(answer, _) = &reply
        && let Err(wait_us) = admit(state, answer)
    {
        state.rejected.fetch_add(1, Ordering::SeqCst);
        let headers = [("retry-after-ms".to_owned(), wait_us.div_ceil(1000).to_string())];
        let body = r#"{"error": {"message": "rate limit reached", "type": "rate_limit_error"}}"#;
        out.whole(429, &headers, "application/json", body).await?;
        return Ok(true);
    }
    match reply {
        Reply::Answer(answer) => good(request, &answer, None, &mut out).await,
        Reply::MediaType(answer, kind) => good(request, &answer, Some(&kind), &mut out).await,
        Reply::Broken(answer, how) => spoiled(request, &answer, how, &mut out).await,
        Reply::Status(status, headers, body) => {
            out.whole(status, &headers, "application/json", &body).await?;
            Ok(true)
        }
        Reply::Huge(bytes) => {
            let start = head(200, &[], "text/event-stream");
            out.raw(format!("{start}transfer-encoding: chunked\r\n\r\n").as_bytes()).await?;
            let block = vec![b'x'; 64 << 10];
            for _ in 0..bytes.div_ceil(block.len() as u64) {
                out.chunk(&block).await?;
            }
            out.raw(b"0\r\n\r\n").await?;
            Ok(true)
        }
        Reply::Silence => std::future::pending().await,
        Reply::Close => Ok(false),
    }
}

fn admit(state: &State, answer: &Answer) -> Result<(), u64> {
    let mut buckets = state.buckets.lock().unwrap_or_else(PoisonError::into_inner);
    buckets.as_mut().map_or(Ok(()), |buckets| buckets.arrive(state.clock.now_us(), answer.tokens.input))
}

async fn good<W: AsyncWrite + Unpin>(
    request: &Received,
    answer: &Answer,
    kind: Option<&str>,
    out: &mut Out<'_, W>,
) -> io::Result<bool> {
    /// Output tokens count when the answer ends, however it does.
    struct Ended<'a>(&'a State, u64);
    impl Drop for Ended<'_> {
        fn drop(&mut self) {
            let mut buckets = self.0.buckets.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(buckets) = buckets.as_mut() {
                buckets.end(self.0.clock.now_us(), self.1);
            }
        }
    }
    let ended = Ended(out.state, answer.tokens.output);
    pause(answer.first).await;
    let Rendered { stream, parts } = render(request, answer);
    if stream {
        let start = head(200, &answer.headers, kind.unwrap_or("text/event-stream; charset=utf-8"));
        out.raw(format!("{start}transfer-encoding: chunked\r\n\r\n").as_bytes()).await?;
        let mut ended = Some(ended);
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                pause(answer.between).await;
            }
            // Counted before the client can know that nothing follows.
            if index + 1 == parts.len() {
                ended.take();
            }
            out.chunk(part.as_bytes()).await?;
        }
        out.raw(b"0\r\n\r\n").await?;
    } else {
        drop(ended);
        out.whole(200, &answer.headers, kind.unwrap_or("application/json"), &parts.concat()).await?;
    }
    Ok(true)
}

async fn spoiled<W: AsyncWrite + Unpin>(
    request: &Received,
    answer: &Answer,
    how: Break,
    out: &mut Out<'_, W>,
) -> io::Result<bool> {
    pause(answer.first).await;
    let Rendered { stream, parts } = render(request, answer);
    let kind = if stream { "text/event-stream" } else { "application/json" };
    let start = head(200, &answer.headers, kind);
    out.raw(format!("{start}transfer-encoding: chunked\r\n\r\n").as_bytes()).await?;
    if stream {
        for part in &parts[..parts.len() / 2] {
            out.chunk(part.as_bytes()).await?;
            pause(answer.between).await;
        }
    }
    match how {
        Break::Stall => std::future::pending().await,
        Break::Cut => return Ok(false),
        Break::End => {}
        Break::InvalidUtf8 => out.chunk(b"data: {\"choices\": [{\"delta\": {\"content\": \"\xff\xfe\"}}]}\n\n").await?,
        Break::InvalidJson => out.chunk(b"data: {\"choices\": [\n\n").await?,
        Break::Error => {
            let error = r#"{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}"#;
            out.chunk(format!("event: error\ndata: {error}\n\n").as_bytes()).await?;
        }
    }
    out.raw(b"0\r\n\r\n").await?;
    Ok(true)
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
