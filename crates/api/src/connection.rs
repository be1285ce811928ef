//! A client's connection, and what it is told of bytes that are no request.
//!
//! actix-http answers by itself what it can't parse (`400`, `431`) or what does not arrive (`408`):
//! with an empty body, before any of our code runs. No setting of it changes that, but it writes
//! such an answer in one piece, and reports the parse error when it ends the connection. So
//! [`Socket`] holds back what looks like such an answer at the end of a write, and [`serve`] sends
//! either that or the problem in its place, in the same turn in which it was written.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_http::body::{BoxBody, MessageBody};
use actix_http::error::{DispatchError, ParseError};
use actix_http::{HttpService, Protocol, Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory, apply_fn_factory, map_config};
use actix_web::ResponseError;
use actix_web::dev::AppConfig;
use actix_web::http::header::{CONNECTION, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use actix_web::rt::net::{TcpStream, UnixStream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use crate::ApiError;
use crate::error::{HEAD_TOO_SLOW, MALFORMED_REQUEST, answered_by_sync};
use crate::limit;

/// How long a connection stays open without a request. Reverse proxies close theirs after 60 s
/// (nginx' `keepalive_timeout` of an upstream) and expect the server to wait longer: a request that
/// meets a connection as the server closes it is lost.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long the server goes on to read what it refused before it had arrived. A connection
/// that closes while bytes arrive is reset, and the client may never see the answer; with the
/// default, one second, a slow upload often doesn't.
const REFUSED: Duration = Duration::from_secs(10);

/// After the version, how an answer of actix-http's own begins. None of ours is empty.
const EMPTY_ANSWERS: [&[u8]; 3] = [
    b" 400 Bad Request\r\ncontent-length: 0\r\n",
    b" 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n",
    HEAD_DID_NOT_ARRIVE,
];
const HEAD_DID_NOT_ARRIVE: &[u8] = b" 408 Request Timeout\r\ncontent-length: 0\r\n";
const VERSION: usize = "HTTP/1.1".len();
/// Such an answer has fewer bytes: what is above, `Connection` and `Date`.
const EMPTY_ANSWER_AT_MOST: usize = 160;

/// A socket that a listener accepted.
pub(crate) trait Accepted: AsyncRead + AsyncWrite + Unpin + 'static {
    /// Prepares it, and says whose it is.
    fn open(&self) -> Option<SocketAddr>;
}

impl Accepted for TcpStream {
    /// Small writes, such as the lines of a stream, are sent at once.
    fn open(&self) -> Option<SocketAddr> {
        if let Err(error) = self.set_nodelay(true) {
            tracing::debug!(%error, "what this connection sends may come some milliseconds late");
        }
        self.peer_addr().ok()
    }
}

impl Accepted for UnixStream {
    fn open(&self) -> Option<SocketAddr> {
        None
    }
}

/// Serves connections by these routes, as actix-web's `HttpServer` does, which has no place for a
/// [`Socket`]. A future of `draining` ends when the server begins to stop.
pub(crate) fn service<Io: Accepted, S, B, Draining>(
    routes: impl IntoServiceFactory<S, Request>,
    base_url: Arc<str>,
    head_patience: Duration,
    draining: impl Fn() -> Draining + 'static,
) -> impl ServiceFactory<Io, Config = ()>
where
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: std::fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
    Draining: Future<Output = ()> + 'static,
{
    let http = HttpService::build()
        // Hidden, but what actix-web calls: no release of actix-http 3 can take it away.
        .graceful_shutdown_signal(draining)
        .client_request_timeout(head_patience)
        .keep_alive(KEEP_ALIVE)
        .client_disconnect_timeout(REFUSED)
        .on_connect_ext(|_: &Socket<Io>, connection| limit::on_connect(connection))
        .finish(map_config(routes, |()| AppConfig::default()));
    apply_fn_factory(http, move |io: Io, http: &_| {
        let peer = io.open();
        let socket =
            Socket(Rc::new(RefCell::new(State { io, held: Vec::new(), is_new: true, base_url: base_url.clone() })));
        serve(Service::call(http, (socket.clone(), Protocol::Http1, peer)), socket)
    })
}

/// Serves one connection until its end.
async fn serve<Io: Accepted>(
    dispatcher: impl Future<Output = Result<(), DispatchError>>,
    mut socket: Socket<Io>,
) -> Result<(), DispatchError> {
    let mut dispatcher = Box::pin(dispatcher);
    let ended = poll_fn(|cx| {
        let ended = dispatcher.as_mut().poll(cx);
        if ended.is_pending() {
            socket.go_on(cx);
        }
        ended
    })
    .await;
    drop(dispatcher);
    if let Err(DispatchError::Parse(error)) = &ended
        && let Some(answer) = socket.instead_of_held(&refusal(error))
    {
        let refusing = async {
            socket.write_all(&answer).await?;
            socket.shutdown().await?;
            tokio::io::copy(&mut socket, &mut tokio::io::sink()).await
        };
        let _too_late_or_gone = timeout(REFUSED, refusing).await;
    }
    ended
}

fn refusal(error: &ParseError) -> ApiError {
    match error {
        ParseError::TooLarge => limit::head_too_large(),
        other => ApiError::new(
            MALFORMED_REQUEST,
            format!("This is no request of HTTP/1.1 ({other}). Nothing more is read from this connection."),
        ),
    }
}

/// A connection's socket, which its dispatcher and [`serve`] share.
struct Socket<Io>(Rc<RefCell<State<Io>>>);

struct State<Io> {
    io: Io,
    /// The end of what the dispatcher wrote, if it may be an answer of actix-http's own. It may
    /// also be the end of a file that looks like one.
    held: Vec<u8>,
    /// Nothing was written yet.
    is_new: bool,
    /// The public address of the API.
    base_url: Arc<str>,
}

impl<Io> Clone for Socket<Io> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<Io: Accepted> Socket<Io> {
    /// What was held back is sent after all.
    fn go_on(&self, cx: &mut Context<'_>) {
        let state = &mut *self.0.borrow_mut();
        if let Poll::Ready(Err(_)) = state.poll_held(cx) {
            // The dispatcher meets the same error with what it does next.
            state.held.clear();
        }
    }

    /// The answer in the place of what is held back, if anything is.
    fn instead_of_held(&self, refusal: &ApiError) -> Option<Vec<u8>> {
        let state = &mut *self.0.borrow_mut();
        let held = std::mem::take(&mut state.held);
        (!held.is_empty()).then(|| filled(&held, refusal, &state.base_url))
    }
}

impl<Io: Accepted> State<Io> {
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(cx, &self.held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: Accepted> AsyncRead for Socket<Io> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_read(cx, buffer)
    }
}

impl<Io: Accepted> AsyncWrite for Socket<Io> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let state = &mut *self.0.borrow_mut();
        ready!(state.poll_held(cx))?;
        let answer = empty_answer(bytes).unwrap_or(bytes.len());
        if answer > 0 || bytes.is_empty() {
            state.is_new = false;
            return Pin::new(&mut state.io).poll_write(cx, &bytes[..answer]);
        }
        // What a connection begins with is no part of a file. actix-http reports no error of it.
        state.held = if state.is_new && bytes[VERSION..].starts_with(HEAD_DID_NOT_ARRIVE) {
            let refusal = ApiError::new(HEAD_TOO_SLOW, "Send the whole head of the request sooner.");
            filled(bytes, &refusal, &state.base_url)
        } else {
            bytes.to_vec()
        };
        state.is_new = false;
        Poll::Ready(Ok(bytes.len()))
    }

    /// Leaves alone what is held back: it is decided when the dispatcher has had its turn.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.0.borrow_mut();
        ready!(state.poll_held(cx))?;
        Pin::new(&mut state.io).poll_shutdown(cx)
    }
}

/// Where these bytes end with what may be an answer of actix-http's own.
fn empty_answer(bytes: &[u8]) -> Option<usize> {
    // Heads alone end so, hardly ever a body.
    if !bytes.ends_with(b"\r\n\r\n") {
        return None;
    }
    let skipped = bytes.len().saturating_sub(EMPTY_ANSWER_AT_MOST);
    let end = &bytes[skipped..];
    let found = |begin: &[u8]| end.windows(begin.len()).rposition(|window| window == begin);
    let status = EMPTY_ANSWERS.into_iter().find_map(found)?;
    status.checked_sub(VERSION).map(|version| skipped + version)
}

/// The same answer with a body.
fn filled(empty: &[u8], refusal: &ApiError, base_url: &Arc<str>) -> Vec<u8> {
    let mut response = answered_by_sync(base_url.clone(), || refusal.error_response());
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    let lines = String::from_utf8_lossy(empty);
    let kept = lines.lines().enumerate().filter(|(number, line)| *number == 0 || line.starts_with("date:"));
    let mut answer = Vec::new();
    for (_, line) in kept {
        answer.extend_from_slice(line.as_bytes());
        answer.extend_from_slice(b"\r\n");
    }
    for (name, value) in response.headers() {
        answer.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    let body = response.into_body().try_into_bytes().unwrap_or_default();
    answer.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    answer.extend_from_slice(&body);
    answer
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use actix_web::body::SizedStream;
    use actix_web::dev::Server;
    use actix_web::web::Bytes;
    use actix_web::{App, HttpResponse, Resource};
    use futures_util::{StreamExt, stream};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::{empty_answer, service};

    const EMPTY: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\
                         date: Tue, 01 Dec 2026 00:00:00 GMT\r\n\r\n";

    #[test]
    fn an_answer_without_a_body_is_found_at_the_end_alone() {
        let before = "x".repeat(1000);
        assert_eq!(empty_answer(EMPTY.as_bytes()), Some(0));
        assert_eq!(empty_answer(format!("{before}{EMPTY}").as_bytes()), Some(1000));
        assert_eq!(empty_answer(format!("{EMPTY}{EMPTY}").as_bytes()), Some(EMPTY.len()));
        for other in [
            "",
            "\r\n\r\n",
            " 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 10\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\n\r\n",
            &format!("{EMPTY}x"),
        ] {
            assert_eq!(empty_answer(other.as_bytes()), None, "{other}");
        }
    }

    /// A file that twice ends a write with what looks like an answer of actix-http's own.
    async fn file() -> HttpResponse {
        let part = |number: u64| async move {
            // The first one has been written when the second one comes.
            tokio::time::sleep(Duration::from_millis(50 * number)).await;
            Ok::<_, actix_web::Error>(Bytes::from_static(EMPTY.as_bytes()))
        };
        let length = 2 * EMPTY.len() as u64;
        HttpResponse::Ok().body(SizedStream::new(length, stream::iter([0, 1]).then(part).boxed_local()))
    }

    #[tokio::test]
    async fn a_file_that_looks_like_an_answer_is_sent_as_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        #[expect(clippy::disallowed_methods, reason = "a route that no permission guards")]
        let routes = || App::new().service(Resource::new("/file").to(file));
        let patience = Duration::from_secs(10);
        let server = Server::build()
            .workers(1)
            .disable_signals()
            .listen("file", listener, move || service(routes(), "".into(), patience, std::future::pending::<()>))
            .expect("it listens")
            .run();
        let handle = server.handle();
        tokio::spawn(server);
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = |more: &str| format!("GET /file HTTP/1.1\r\nhost: localhost\r\n{more}\r\n");
        let requests = [request(""), request(""), request("connection: close\r\n")].concat();
        stream.write_all(requests.as_bytes()).await.expect("sent");
        let mut sent = String::new();
        timeout(patience, stream.read_to_string(&mut sent)).await.expect("in time").expect("it ends in order");
        assert_eq!(sent.matches("HTTP/1.1 200 OK").count(), 3, "{sent}");
        assert_eq!(sent.matches(&EMPTY.repeat(2)).count(), 3, "{sent}");
        handle.stop(false).await;
    }
}
