//! A Keystone and Nova in this process, which answer as they are told and break as they are told.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::{Named, Settings};
use crate::secret::Secret;

pub(crate) const PASSWORD: &str = "hunter2-Xyzzy";

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Value,
    /// How often this method and path were asked for before.
    pub before: usize,
}

impl Seen {
    pub(crate) fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }

    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

/// What comes back.
pub(crate) enum Reply {
    Json(u16, Value),
    Headed(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// The connection is closed instead of an answer.
    Cut,
    /// A status, the begin of a body, and then the connection is closed.
    CutBody(u16),
    /// A body of so many bytes in pieces, without its length before.
    Long(usize),
    /// Later.
    Slow(Duration, Box<Reply>),
    /// Not at all.
    Never,
}

#[expect(clippy::unnecessary_wraps, reason = "what an answerer returns")]
pub(crate) fn ok(body: Value) -> Option<Reply> {
    Some(Reply::Json(200, body))
}

type Answerer = dyn Fn(&Seen) -> Option<Reply> + Send + Sync;

/// The server; it ends with this.
pub(crate) struct Fake {
    pub address: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    /// One that answers so, and where that says nothing as a usual cloud of microversion `max` does.
    pub(crate) async fn new(
        max: &'static str,
        answer: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        Self::start("http", max, Arc::new(answer), None).await
    }

    /// The same over TLS.
    pub(crate) async fn tls(config: rustls::ServerConfig) -> Self {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        Self::start("https", "2.104", Arc::new(|_| None), Some(acceptor)).await
    }

    async fn start(
        scheme: &'static str,
        max: &'static str,
        answer: Arc<Answerer>,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let at = Place {
            base: format!("{scheme}://localhost:{}", address.port()),
            max,
            answer,
            seen: Arc::clone(&seen),
        };
        let task = tokio::spawn(async move {
            let at = Arc::new(at);
            while let Ok((stream, _)) = listener.accept().await {
                let (at, tls) = (Arc::clone(&at), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, at).await;
                            }
                        }
                        None => serve(stream, at).await,
                    }
                });
            }
        });
        Self { address, scheme, seen, task }
    }

    pub(crate) fn settings(&self) -> Settings {
        let url = Url::parse(&format!("{}://localhost:{}", self.scheme, self.address.port())).unwrap();
        let named = |name: &str| Named::Name {
            name: name.into(),
            domain: super::super::Domain::Id("default".into()),
        };
        let mut settings =
            Settings::password(url, named("nova-ha"), Secret::new(PASSWORD.into()), named("service"));
        settings.limits.pause = Duration::from_millis(2);
        settings
    }

    /// The requests of one method and path so far.
    pub(crate) fn seen(&self, method: &str, path: &str) -> Vec<Seen> {
        self.all().into_iter().filter(|seen| seen.is(method, path)).collect()
    }

    pub(crate) fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

struct Place {
    base: String,
    max: &'static str,
    answer: Arc<Answerer>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, at: Arc<Place>) {
    let service = service_fn(move |request| {
        let at = Arc::clone(&at);
        async move { at.handle(request).await }
    });
    // A connection that was cut on purpose ends with an error.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl Place {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Pieces>, io::Error> {
        let (head, body) = request.into_parts();
        let url = Url::parse("http://x").unwrap().join(&head.uri.to_string()).unwrap();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let mut seen = Seen {
            method: head.method.to_string(),
            path: url.path().to_owned(),
            query: url.query_pairs().into_owned().collect(),
            headers: head.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            before: 0,
        };
        {
            let mut all = self.seen.lock().unwrap();
            seen.before = all.iter().filter(|old| old.is(&seen.method, &seen.path)).count();
            all.push(seen.clone());
        }
        let mut reply = (self.answer)(&seen).unwrap_or_else(|| self.usual(&seen));
        loop {
            reply = match reply {
                Reply::Json(status, body) => {
                    return Ok(respond(status, &[], Pieces::all(body.to_string().into())));
                }
                Reply::Headed(status, headers, body) => {
                    return Ok(respond(status, &headers, Pieces::all(body.into())));
                }
                Reply::Cut => return Err(io::Error::other("cut on purpose")),
                Reply::CutBody(status) => return Ok(respond(status, &[], Pieces::cut())),
                Reply::Long(size) => return Ok(respond(200, &[], Pieces::long(size))),
                Reply::Never => std::future::pending().await,
                Reply::Slow(time, reply) => {
                    tokio::time::sleep(time).await;
                    *reply
                }
            };
        }
    }

    fn usual(&self, seen: &Seen) -> Reply {
        match (seen.method.as_str(), seen.path.as_str()) {
            ("POST", "/v3/auth/tokens") => {
                let endpoint = |kind: &str, path: &str| {
                    json!({"type": kind, "endpoints": [{
                        "interface": "public", "region_id": "one", "url": format!("{}{path}", self.base),
                    }]})
                };
                let catalog = [
                    endpoint("compute", "/v2.1"),
                    endpoint("placement", "/placement"),
                    endpoint("image", "/image"),
                ];
                let body = json!({"token": {
                    "expires_at": "2100-01-01T00:00:00.000000Z", "catalog": catalog,
                    "roles": [{"id": "r", "name": "admin"}], "project": {"id": "p1", "name": "service"},
                    "user": {"id": "u1", "name": "nova-ha"},
                }});
                let token = format!("token-{}", seen.before + 1);
                Reply::Headed(201, vec![("x-subject-token", token)], body.to_string().into_bytes())
            }
            ("GET", "/v2.1/") => Reply::Json(
                200,
                json!({"version": {"id": "v2.1", "version": self.max, "min_version": "2.1"}}),
            ),
            ("GET", "/v2.1/os-services") => {
                let c1 = services(&["c1", "c2", "c3"]);
                let host = seen.query("host").map(str::to_owned);
                let binary = seen.query("binary").unwrap_or("nova-compute").to_owned();
                let all = c1.as_array().unwrap().iter();
                let fits = |service: &&Value| {
                    host.as_ref().is_none_or(|host| service["host"] == json!(host))
                        && service["binary"] == json!(binary)
                };
                Reply::Json(200, json!({"services": all.filter(fits).collect::<Vec<_>>()}))
            }
            _ => Reply::Json(404, json!({"itemNotFound": {"code": 404, "message": "nothing here"}})),
        }
    }
}

/// The nova-computes of these hosts, and a scheduler.
pub(crate) fn services(hosts: &[&str]) -> Value {
    let service = |number: usize, binary: &str, host: &str| {
        json!({
            "id": format!("00000000-0000-4000-8000-{number:012}"), "binary": binary, "host": host, "zone": "nova",
            "status": "enabled", "state": "up", "updated_at": "2026-11-22T09:35:02.000000",
            "disabled_reason": null, "forced_down": false,
        })
    };
    let computes = hosts.iter().enumerate().map(|(number, host)| service(number, "nova-compute", host));
    Value::Array(computes.chain([service(999, "nova-scheduler", "controller")]).collect())
}

/// A server as Nova shows it to an admin.
pub(crate) fn server(number: usize, host: &str) -> Value {
    json!({
        "id": format!("00000000-0000-4000-9000-{number:012}"), "name": format!("s{number}"), "status": "ACTIVE",
        "tenant_id": "p2", "OS-EXT-SRV-ATTR:host": host, "OS-EXT-STS:vm_state": "active",
        "OS-EXT-STS:task_state": null, "OS-EXT-STS:power_state": 1, "metadata": {}, "tags": [], "locked": false,
        "flavor": {"original_name": "tiny", "vcpus": 1, "ram": 64, "disk": 1, "ephemeral": 0, "swap": 0, "extra_specs": {}},
        "image": "", "created": "2026-11-22T09:35:14Z", "os-extended-volumes:volumes_attached": [],
    })
}

fn respond(status: u16, headers: &[(&'static str, String)], body: Pieces) -> Response<Pieces> {
    let mut response =
        Response::builder().status(status).header("x-openstack-request-id", "req-of-the-cloud");
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(body).unwrap()
}

/// A body in pieces, which may end in the middle.
struct Pieces {
    left: usize,
    piece: Bytes,
    cut: bool,
    waits: usize,
}

impl Pieces {
    fn all(body: Bytes) -> Self {
        Self { left: 1, piece: body, cut: false, waits: 0 }
    }

    fn cut() -> Self {
        Self { left: 1, piece: Bytes::from_static(b"{\"servers\": ["), cut: true, waits: 3 }
    }

    fn long(size: usize) -> Self {
        let piece = Bytes::from(vec![b' '; 64 * 1024]);
        Self { left: size.div_ceil(piece.len()), piece, cut: false, waits: 0 }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))));
        }
        // What was written so far has to be on its way before the connection ends.
        if self.cut && self.waits > 0 {
            self.waits -= 1;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.cut {
            return Poll::Ready(Some(Err(io::Error::other("cut on purpose"))));
        }
        Poll::Ready(None)
    }
}
