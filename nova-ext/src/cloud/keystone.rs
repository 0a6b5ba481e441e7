//! Keystone v3: a token for a password or an application credential, kept until it ends.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{Instrument as _, debug_span, info, warn};

use super::catalog::{Catalog, below, identity};
use super::error::{CloudError, RequestId};
use super::http::{Answer, Http, LARGEST_LIST, Request, next_attempt};
use super::settings::{Auth, Credential, Domain, Named, Settings};
use crate::secret::Secret;
use crate::stamp::Stamp;

/// A token is renewed so long before its end.
const BEFORE_END: Duration = Duration::from_secs(120);
/// After a refused log-in, the next one: Keystone may lock a user after a few.
const AFTER_REFUSAL: Duration = Duration::from_secs(30);

/// How long a token is tried at least, and at most.
const SHORTEST: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(86_400);

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// A token and what came with it.
#[derive(Clone)]
pub(super) struct Token {
    secret: Secret,
    number: u64,
    expires: SystemTime,
    pub(super) catalog: Catalog,
    pub(super) project: Option<String>,
    pub(super) roles: Vec<String>,
    pub(super) user: String,
}

struct Refusal {
    at: Instant,
    status: u16,
    message: String,
    id: RequestId,
}

#[derive(Default)]
struct Kept {
    token: Option<Token>,
    refusal: Option<Refusal>,
    logins: u64,
}

/// Logged in, and stays so.
pub(super) struct Session {
    pub(super) http: Http,
    auth: Auth,
    url: Url,
    kept: Mutex<Kept>,
}

impl Session {
    pub(super) fn new(settings: &Settings) -> Result<Self, CloudError> {
        let url = below(&identity(&settings.auth_url), "auth/tokens");
        Ok(Self { http: Http::new(settings)?, auth: settings.auth.clone(), url, kept: Mutex::default() })
    }

    /// Sends a request with a token. A token that is not accepted is renewed once. If `repeat`, what may help to
    /// repeat is repeated until `until`.
    pub(super) async fn send(
        &self,
        request: Request,
        repeat: bool,
        until: Instant,
    ) -> Result<Answer, CloudError> {
        let span = debug_span!("cloud", call = %request.call);
        self.attempts(request, repeat, until).instrument(span).await
    }

    async fn attempts(&self, request: Request, repeat: bool, until: Instant) -> Result<Answer, CloudError> {
        let mut attempt = 1;
        loop {
            let error = match self.with_token(&request, until).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let limits = &self.http.limits;
            let pause = next_attempt(&error, attempt, limits, luck()).filter(|_| repeat);
            let Some(pause) = pause.filter(|pause| Instant::now() + *pause < until) else {
                return Err(error);
            };
            warn!(attempt, pause = pause.as_secs_f64(), "{error}: once more");
            sleep(pause).await;
            attempt += 1;
        }
    }

    async fn with_token(&self, request: &Request, until: Instant) -> Result<Answer, CloudError> {
        let token = self.token(None, until).await?;
        match self.http.once(&carrying(request, &token)?, until).await {
            Err(CloudError::Refused { status: 401, .. }) => {
                // Whoever checks tokens does so before anything is done, so that this is safe for every call.
                let token = self.token(Some(token.number), until).await?;
                self.http.once(&carrying(request, &token)?, until).await
            }
            other => other,
        }
    }

    /// A token that holds: the one at hand, but not number `stale`.
    pub(super) async fn token(&self, stale: Option<u64>, until: Instant) -> Result<Token, CloudError> {
        let late = || CloudError::Login(Box::new(CloudError::Late { call: "POST /v3/auth/tokens".into() }));
        // One logs in, the others wait for the same token.
        let mut kept = timeout_at(until, self.kept.lock()).await.map_err(|_| late())?;
        let usable = |token: &&Token| Some(token.number) != stale && token.expires > SystemTime::now();
        if let Some(token) = kept.token.as_ref().filter(usable) {
            return Ok(token.clone());
        }
        kept.token = None;
        if let Some(refusal) = kept.refusal.as_ref().filter(|refusal| refusal.at.elapsed() < AFTER_REFUSAL) {
            return Err(CloudError::Login(Box::new(CloudError::Refused {
                call: self.call(),
                status: refusal.status,
                message: refusal.message.clone(),
                after: None,
                id: refusal.id.clone(),
            })));
        }
        kept.refusal = None;
        kept.logins += 1;
        match self.log_in(kept.logins, until).await {
            Ok(token) => Ok(kept.token.insert(token).clone()),
            Err(error) => {
                if let CloudError::Refused { status: status @ (401 | 403), message, id, .. } = &error {
                    let (message, id) = (message.clone(), id.clone());
                    kept.refusal = Some(Refusal { at: Instant::now(), status: *status, message, id });
                }
                Err(CloudError::Login(Box::new(error)))
            }
        }
    }

    fn call(&self) -> String {
        format!("POST {}", self.url.path())
    }

    /// A token more than needed does no harm, so that this can be repeated.
    async fn log_in(&self, number: u64, until: Instant) -> Result<Token, CloudError> {
        let request = Request {
            call: self.call(),
            method: Method::POST,
            url: self.url.clone(),
            headers: HeaderMap::new(),
            body: Some(Bytes::from(body(&self.auth).to_string())),
            largest: LARGEST_LIST,
            status_only: false,
        };
        let mut attempt = 1;
        let answer = loop {
            let error = match self.http.once(&request, until).await {
                Ok(answer) => break answer,
                Err(error) => error,
            };
            let pause = next_attempt(&error, attempt, &self.http.limits, luck());
            let Some(pause) = pause.filter(|pause| Instant::now() + *pause < until) else {
                return Err(error);
            };
            warn!(attempt, pause = pause.as_secs_f64(), "log-in: {error}: once more");
            sleep(pause).await;
            attempt += 1;
        };
        let token = read(&answer, number, SystemTime::now())?;
        info!(user = %token.user, request_id = %answer.id, "logged in at Keystone");
        Ok(token)
    }
}

fn carrying(request: &Request, token: &Token) -> Result<Request, CloudError> {
    let mut request = request.clone();
    let mut value = HeaderValue::from_str(token.secret.expose())
        .map_err(|_| CloudError::Senseless("Keystone's token cannot be sent in a header".into()))?;
    value.set_sensitive(true);
    request.headers.insert(TOKEN, value);
    Ok(request)
}

/// A number from 0 to 1, another one each time.
fn luck() -> f64 {
    let mut bytes = [0; 2];
    // Without randomness everybody waits equally long, which is no error.
    let _ = getrandom::fill(&mut bytes);
    f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX)
}

/// The request for a token.
fn body(auth: &Auth) -> Value {
    match auth {
        Auth::Password { user, password, project } => {
            let mut user = named(user);
            if let Some(user) = user.as_object_mut() {
                user.insert("password".into(), password.expose().into());
            }
            json!({"auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": named(project)},
            }})
        }
        Auth::ApplicationCredential { credential, secret } => {
            let mut credential = match credential {
                Credential::Id(id) => json!({"id": id}),
                Credential::Name { name, user } => json!({"name": name, "user": named(user)}),
            };
            if let Some(credential) = credential.as_object_mut() {
                credential.insert("secret".into(), secret.expose().into());
            }
            json!({"auth": {"identity": {
                "methods": ["application_credential"],
                "application_credential": credential,
            }}})
        }
    }
}

fn named(named: &Named) -> Value {
    match named {
        Named::Id(id) => json!({"id": id}),
        Named::Name { name, domain: Domain::Id(id) } => json!({"name": name, "domain": {"id": id}}),
        Named::Name { name, domain: Domain::Name(domain) } => {
            json!({"name": name, "domain": {"name": domain}})
        }
    }
}

#[derive(Deserialize)]
struct Envelope {
    token: Body,
}

#[derive(Deserialize)]
struct Body {
    expires_at: String,
    #[serde(default)]
    catalog: Catalog,
    project: Option<Thing>,
    #[serde(default)]
    roles: Vec<Thing>,
    user: Option<Thing>,
}

#[derive(Deserialize)]
struct Thing {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
}

fn read(answer: &Answer, number: u64, now: SystemTime) -> Result<Token, CloudError> {
    let secret =
        answer.token.clone().ok_or_else(|| answer.malformed("no X-Subject-Token: is this Keystone v3?"))?;
    let Envelope { token } = answer.parse()?;
    let expires: Stamp = token.expires_at.parse().map_err(|_| answer.malformed("expires_at is no time"))?;
    // A clock that is wrong, theirs or ours, makes no log-in for every call: the 401 says when it is time.
    let (theirs, ours) = answer.clock.unwrap_or((now, now));
    let left = SystemTime::from(expires).duration_since(theirs).unwrap_or_default();
    let life = left.saturating_sub(BEFORE_END.min(left / 2)).clamp(SHORTEST, LONGEST);
    let expires = ours.checked_add(life).unwrap_or(ours);
    let user = token.user.map(|user| if user.name.is_empty() { user.id } else { user.name });
    Ok(Token {
        secret,
        number,
        expires,
        catalog: token.catalog,
        project: token.project.map(|project| project.id),
        roles: token.roles.into_iter().map(|role| role.name).collect(),
        user: user.unwrap_or_default(),
    })
}
