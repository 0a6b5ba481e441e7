//! One HTTP exchange: sent once, answered within its time and size, and what became of it said exactly.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect, retry};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::error::{CloudError, RequestId};
use super::refusal;
use super::settings::{Limits, Settings, SettingsError};
use super::tls;
use crate::secret::Secret;

/// The largest answer about one thing.
pub(super) const LARGEST_ONE: usize = 1024 * 1024;
/// The largest page of a list.
pub(super) const LARGEST_LIST: usize = 64 * 1024 * 1024;
/// The longest pause that a `Retry-After` can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
/// An idle connection is given up before the usual servers close it (Apache: 5 s), so that a request rarely meets
/// a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(4);
/// Idle connections to one service.
const POOL: usize = 32;

const GLOBAL_ID: HeaderName = HeaderName::from_static("x-openstack-request-id");
const COMPUTE_ID: HeaderName = HeaderName::from_static("x-compute-request-id");
const SUBJECT_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");

/// The connections.
pub(super) struct Http {
    client: Client,
    pub(super) limits: Limits,
    /// Seconds by which the cloud's clock is ahead of ours, as last seen.
    ahead: AtomicI64,
}

/// What is sent.
#[derive(Clone)]
pub(super) struct Request {
    /// Name of the call in messages: method and path, without secrets.
    pub call: String,
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
    /// The largest body of an answer.
    pub largest: usize,
    /// The status says all: the body of a success is not needed.
    pub status_only: bool,
}

/// What came back with a status from 200 to 300.
pub(super) struct Answer {
    pub call: String,
    pub body: Bytes,
    pub id: RequestId,
    /// The peer's clock, and ours when it was read.
    pub clock: Option<(SystemTime, SystemTime)>,
    /// Keystone's token.
    pub token: Option<Secret>,
    /// The peer's certificate.
    pub certificate: Option<Vec<u8>>,
}

impl Answer {
    /// The body as what this API answers.
    pub(super) fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, CloudError> {
        serde_json::from_slice(&self.body).map_err(|error| self.malformed(error.to_string()))
    }

    pub(super) fn malformed(&self, why: impl Into<String>) -> CloudError {
        CloudError::Malformed { call: self.call.clone(), why: why.into(), id: self.id.clone() }
    }
}

impl Http {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls::config(&settings.tls)?)
            .tls_info(true)
            .http1_only()
            .connect_timeout(settings.limits.connect)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(POOL)
            .tcp_nodelay(true)
            // A token goes to no other place than the one it is for, and nothing is repeated behind our back.
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(retry::never())
            .user_agent(concat!("pcmk-remote/", env!("CARGO_PKG_VERSION")));
        if !settings.proxy {
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| SettingsError::Tls(reason(&error)))?;
        Ok(Self { client, limits: settings.limits, ahead: AtomicI64::new(0) })
    }

    /// Seconds by which the cloud's clock is ahead of ours, as last seen.
    pub(super) fn ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// Sends it once. The answer, or what is known of its fate, is there by `until`.
    pub(super) async fn once(&self, request: &Request, until: Instant) -> Result<Answer, CloudError> {
        let begun = Instant::now();
        let call = request.call.clone();
        let until = until.min(begun + self.limits.request);
        if begun >= until {
            return Err(CloudError::Late { call });
        }
        let ours = RequestId::new_random();
        let mut built = reqwest::Request::new(request.method.clone(), request.url.clone());
        *built.headers_mut() = request.headers.clone();
        if let Ok(value) = HeaderValue::from_str(ours.as_str()) {
            built.headers_mut().insert(GLOBAL_ID, value);
        }
        if let Some(body) = &request.body {
            built.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *built.body_mut() = Some(body.clone().into());
        }
        let unheard = |why: String, status: Option<u16>, after: Option<Duration>, id: RequestId| {
            CloudError::Unheard { call: request.call.clone(), why, status, after, id }
        };
        let response = match timeout_at(until, self.client.execute(built)).await {
            Err(_) => {
                let why = format!("no answer within {:.1} s", begun.elapsed().as_secs_f64());
                return Err(unheard(why, None, None, ours));
            }
            Ok(Err(error)) if error.is_connect() => {
                return Err(CloudError::NotSent { call, peer: peer(&request.url), why: reason(&error) });
            }
            Ok(Err(error)) if error.is_builder() => return Err(CloudError::Senseless(reason(&error))),
            Ok(Err(error)) => {
                let why = format!("the connection broke before the answer: {}", reason(&error));
                return Err(unheard(why, None, None, ours));
            }
            Ok(Ok(response)) => response,
        };
        let status = response.status();
        let id = name(response.headers()).unwrap_or(ours);
        let after = pause(response.headers());
        let clock = clock(response.headers());
        if let Some((theirs, ours)) = clock {
            let seconds = |span: Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
            let ahead =
                theirs.duration_since(ours).map_or_else(|behind| -seconds(behind.duration()), seconds);
            self.ahead.store(ahead, Ordering::Relaxed);
        }
        let token = response.headers().get(SUBJECT_TOKEN).and_then(|value| value.to_str().ok());
        let token = token.map(|text| Secret::new(text.to_owned()));
        let elsewhere = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(plain);
        let tls = response.extensions().get::<reqwest::tls::TlsInfo>();
        let certificate = tls.and_then(|tls| tls.peer_certificate()).map(<[u8]>::to_vec);
        let body = read(response, request.largest, until).await;
        debug!(
            call = %request.call, status = status.as_u16(), request_id = %id,
            seconds = begun.elapsed().as_secs_f64(), "the cloud answered"
        );
        if status.is_success() || status == StatusCode::MULTIPLE_CHOICES {
            let body = match body {
                Ok(body) => body,
                Err(_) if request.status_only => Bytes::new(),
                Err(Cut::Large) => {
                    let why = format!("more than {} KiB", request.largest / 1024);
                    return Err(CloudError::Malformed { call, why, id });
                }
                Err(Cut::Broken(why)) => return Err(unheard(why, Some(status.as_u16()), None, id)),
            };
            return Ok(Answer { call, body, id, clock, token, certificate });
        }
        let message = match (elsewhere.filter(|_| status.is_redirection()), body) {
            (Some(place), _) => {
                format!("it points to {place}, which is not followed: is the endpoint right?")
            }
            (None, Ok(body)) => refusal::message(&body, status),
            (None, Err(_)) => refusal::message(&[], status),
        };
        // A proxy in front also says 408 when it gave up waiting for the service behind.
        let settled = status.is_client_error() && status != StatusCode::REQUEST_TIMEOUT;
        if settled || status.is_redirection() {
            return Err(CloudError::Refused { call, status: status.as_u16(), message, after, id });
        }
        // From a proxy in front or from the service itself: nobody can tell, so perhaps it was carried out.
        Err(unheard(
            format!("answered with {}: {message}", status.as_u16()),
            Some(status.as_u16()),
            after,
            id,
        ))
    }
}

/// The pause before the next attempt of a call that can be repeated; none if it is not to be repeated.
///
/// `luck` from 0 to 1 spreads the attempts of many callers.
pub(super) fn next_attempt(error: &CloudError, attempt: u32, limits: &Limits, luck: f64) -> Option<Duration> {
    use super::error::Retry;
    // A log-in has been repeated already, as often as makes sense.
    if attempt >= limits.attempts || matches!(error, CloudError::Login(_) | CloudError::Late { .. }) {
        return None;
    }
    match error.kind() {
        Retry::Never => None,
        Retry::After(pause) => Some(pause),
        // A state that does not allow it does not change by itself.
        Retry::Backoff if error.status() == Some(409) => None,
        Retry::Backoff => {
            let doubled = limits.pause.saturating_mul(1 << attempt.saturating_sub(1).min(5));
            Some(doubled.mul_f64(0.5 + luck.clamp(0.0, 1.0) / 2.0))
        }
    }
}

/// Where a URL leads, for messages.
fn peer(url: &Url) -> String {
    let host = url.host_str().unwrap_or("?");
    url.port_or_known_default().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The innermost reason, without URLs.
fn reason(error: &reqwest::Error) -> String {
    let mut text = None;
    let mut next = error.source();
    // A chain of causes has a few links; a circle would be a bug that shall not hang us.
    for _ in 0..16 {
        let Some(cause) = next else { break };
        if let Some(refused) = of_tls(cause) {
            return plain(&tls::explain(refused));
        }
        text = Some(cause.to_string());
        next = cause.source();
    }
    plain(&text.unwrap_or_else(|| "it could not be made".to_owned()))
}

/// The error of TLS that an error is. One of I/O does not show what it is made of as its cause.
fn of_tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut error = error;
    for _ in 0..8 {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        error = error.downcast_ref::<io::Error>()?.get_ref()?;
    }
    None
}

/// A text of others, made fit for one line of a log.
pub(super) fn plain(text: &str) -> String {
    const LONGEST: usize = 500;
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut out: String = clean.take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    out.trim().to_owned()
}

fn name(headers: &HeaderMap) -> Option<RequestId> {
    let read = |header: HeaderName| headers.get(header)?.to_str().ok()?.to_owned().try_into().ok();
    read(GLOBAL_ID).or_else(|| read(COMPUTE_ID))
}

fn clock(headers: &HeaderMap) -> Option<(SystemTime, SystemTime)> {
    let theirs = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    Some((theirs, SystemTime::now()))
}

/// `Retry-After`, in seconds or as a date.
fn pause(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u32>() {
        Ok(seconds) => Duration::from_secs(seconds.into()),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).unwrap_or_default(),
    };
    Some(pause.min(LONGEST_PAUSE))
}

enum Cut {
    Large,
    Broken(String),
}

async fn read(mut response: Response, largest: usize, until: Instant) -> Result<Bytes, Cut> {
    if response.content_length().is_some_and(|length| length > largest as u64) {
        return Err(Cut::Large);
    }
    let mut body = BytesMut::new();
    loop {
        let chunk = match timeout_at(until, response.chunk()).await {
            Err(_) => return Err(Cut::Broken("the answer began and did not end in time".into())),
            Ok(Err(error)) => return Err(Cut::Broken(format!("the answer was cut: {}", reason(&error)))),
            Ok(Ok(None)) => return Ok(body.freeze()),
            Ok(Ok(Some(chunk))) => chunk,
        };
        if body.len().saturating_add(chunk.len()) > largest {
            return Err(Cut::Large);
        }
        body.extend_from_slice(&chunk);
    }
}
