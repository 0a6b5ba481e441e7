//! The web server: one page, few connections, a deadline for each.

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::exposition::Format;
use super::metrics;

/// Connections at a time; more wait in the kernel's queue.
const CONNECTIONS: usize = 16;
/// For a request to arrive.
const REQUEST: Duration = Duration::from_secs(5);
/// For a whole connection: a scraper gives up after 10 by default.
const DEADLINE: Duration = Duration::from_secs(30);
/// Largest request head.
const HEAD: usize = 16 << 10;
/// Wait after the system ran out of something.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

const PAGE: &str = "<!doctype html>\n<title>pcmk-remote-exporter</title>\n\
    <p>Metrics of pacemaker-remoted on this node: <a href=\"/metrics\">/metrics</a>\n";

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, socket: PathBuf) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let socket = Arc::new(socket);
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&socket), place))),
            Err(_) => sleep(EXHAUSTED_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, socket: Arc<PathBuf>, _place: OwnedSemaphorePermit) {
    let service = service_fn(move |request| {
        let socket = Arc::clone(&socket);
        async move { Ok::<_, Infallible>(answer(request, socket).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .keep_alive(false)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // Whatever goes wrong with one scraper is its own affair.
    let _ = timeout(DEADLINE, served).await;
}

async fn answer(request: Request<Incoming>, socket: Arc<PathBuf>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = page(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n".to_owned());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let format = Format::wanted(accept.unwrap_or_default());
            match tokio::task::spawn_blocking(move || metrics::scrape(&socket, format)).await {
                Ok(text) => page(StatusCode::OK, format.content_type(), text),
                Err(error) => page(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", format!("{error}\n")),
            }
        }
        "/" => page(StatusCode::OK, "text/html; charset=utf-8", PAGE.to_owned()),
        "/-/healthy" => page(StatusCode::OK, "text/plain", "ok\n".to_owned()),
        _ => page(StatusCode::NOT_FOUND, "text/plain", "see /metrics\n".to_owned()),
    }
}

fn page(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
