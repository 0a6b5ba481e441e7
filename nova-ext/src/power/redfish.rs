//! Redfish over HTTPS.
//!
//! The system is found from the service root. Every reading is a new GET; what a reset answers (200, 202 with a task,
//! 204) is not followed, for the readings tell. Paths that the device names are used on the same device alone.

mod resource;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Method, StatusCode, Url, redirect, retry};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::{Answer, Device, Look, Order, Place, PowerError};
use crate::cloud::Tls;
use crate::cloud::tls;
use crate::secret::Secret;
use resource::{Collection, Root, System};

/// The largest answer that is read.
const LARGEST: usize = 1 << 20;
/// For a connection to be there.
const CONNECT: Duration = Duration::from_secs(5);
const TOKEN: &str = "x-auth-token";

/// Where a device is and how to log in to it.
#[derive(Debug, Clone)]
pub struct RedfishSettings {
    /// Where it is; port 443 if none is given.
    pub place: Place,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// The system, if there are several: its id, or its path.
    pub system: Option<String>,
    /// Whether to log in to a session, and not with each request.
    pub session: bool,
    /// The authority that has signed its certificate, or the certificate itself; the system's if none is given.
    pub ca_file: Option<PathBuf>,
    /// Whether to believe any certificate.
    pub insecure: bool,
}

/// A device that speaks Redfish.
pub struct Redfish {
    name: String,
    base: Url,
    client: Client,
    settings: RedfishSettings,
    root: Option<Root>,
    /// The path of the system.
    system: Option<String>,
    session: Option<Session>,
}

struct Session {
    token: HeaderValue,
    path: Option<String>,
}

/// An answer of the device.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Redfish {
    /// Checks the settings; sends nothing.
    pub fn new(settings: RedfishSettings) -> Result<Self, PowerError> {
        let place = &settings.place;
        let wrong = |why: String| PowerError::Settings(format!("redfish {place}: {why}"));
        if let Some(system) = &settings.system {
            let plain = |c: char| c.is_ascii_graphic() && !"/\\#?@".contains(c);
            if !system.chars().all(plain) && resource::path(system).is_none() {
                return Err(wrong(format!("{system:?} is neither the id nor the path of a system")));
            }
        }
        let host = if place.host.contains(':') { format!("[{}]", place.host) } else { place.host.clone() };
        let port = place.port.map(|port| format!(":{port}")).unwrap_or_default();
        let base = Url::parse(&format!("https://{host}{port}/")).map_err(|error| wrong(error.to_string()))?;
        let tls = Tls { ca: settings.ca_file.clone(), insecure: settings.insecure, ..Tls::default() };
        let tls = tls::config(&tls).map_err(|error| wrong(error.to_string()))?;
        if settings.insecure {
            tracing::warn!(device = %place, "insecure: its certificate is not checked, so anybody could answer");
        }
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT)
            // An order is given once, and the password goes where we send it and nowhere else.
            .retry(retry::never())
            .redirect(redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self {
            name: format!("redfish {place}"),
            base,
            client,
            settings,
            root: None,
            system: None,
            session: None,
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        known: bool,
        until: Instant,
    ) -> Result<Reply, PowerError> {
        let what = format!("{method} {path}");
        let url = self.base.join(path).map_err(|error| self.garbled(format!("{path}: {error}")))?;
        if url.origin() != self.base.origin() {
            return Err(self.garbled(format!("{path} is not on this device")));
        }
        let mut request = self.client.request(method, url);
        if known {
            request = match &self.session {
                Some(session) => request.header(TOKEN, session.token.clone()),
                None => request.basic_auth(&self.settings.user, Some(self.settings.password.expose())),
            };
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let exchange = async {
            let mut response = request.send().await?;
            let (status, headers) = (response.status(), response.headers().clone());
            let mut bytes = Vec::new();
            while let Some(part) = response.chunk().await? {
                if bytes.len() + part.len() > LARGEST {
                    return Ok(None);
                }
                bytes.extend_from_slice(&part);
            }
            Ok(Some((status, headers, bytes)))
        };
        let silent = || PowerError::Silent { device: self.name.clone(), waiting: what.clone() };
        let (status, headers, bytes) = timeout_at(until, exchange)
            .await
            .map_err(|_| silent())?
            .map_err(|error| self.broken(&error, &what))?
            .ok_or_else(|| self.garbled(format!("{what}: the answer is larger than 1 MiB")))?;
        // An empty answer, or one that is no JSON, is told by its status.
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Reply { status, headers, body })
    }

    fn broken(&self, error: &reqwest::Error, what: &str) -> PowerError {
        let device = self.name.clone();
        let mut why = String::new();
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
        while let Some(error) = cause {
            why = error.to_string();
            if let Some(tls) = of_tls(error) {
                let advice = match tls {
                    rustls::Error::InvalidCertificate(_) => {
                        ": give the authority or the certificate in ca_file, or set insecure"
                    }
                    _ => "",
                };
                return PowerError::Denied { device, why: format!("{tls}{advice}") };
            }
            cause = error.source();
        }
        let why = if why.is_empty() { error.to_string() } else { why };
        if error.is_connect() {
            PowerError::Unreachable { device, why: resource::tidy(&why) }
        } else {
            PowerError::Silent { device, waiting: format!("{what}: {}", resource::tidy(&why)) }
        }
    }

    fn garbled(&self, why: String) -> PowerError {
        PowerError::Garbled { device: self.name.clone(), why }
    }

    /// What a status other than success means for what does not change anything.
    fn refused(&self, what: &str, reply: &Reply) -> PowerError {
        let said = resource::message(&reply.body).map(|said| format!(": {said}")).unwrap_or_default();
        let device = self.name.clone();
        match reply.status {
            StatusCode::UNAUTHORIZED => {
                PowerError::Denied { device, why: format!("the user or the password is wrong{said}") }
            }
            StatusCode::FORBIDDEN => PowerError::Denied {
                device,
                why: format!("user {:?} may not do this ({what}){said}", self.settings.user),
            },
            StatusCode::SERVICE_UNAVAILABLE => {
                PowerError::Full { device, why: format!("it is busy ({what}){said}: try again") }
            }
            status => self.garbled(format!("{what}: HTTP {}{said}", status.as_u16())),
        }
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        known: bool,
        until: Instant,
    ) -> Result<T, PowerError> {
        let reply = self.send(Method::GET, path, None, known, until).await?;
        if !reply.status.is_success() {
            return Err(self.refused(&format!("GET {path}"), &reply));
        }
        T::deserialize(reply.body).map_err(|error| self.garbled(format!("GET {path}: {error}")))
    }

    /// The path of the system; logs in and looks for it if that has not been done.
    async fn system(&mut self, until: Instant) -> Result<String, PowerError> {
        if let Some(path) = &self.system {
            return Ok(path.clone());
        }
        if self.root.is_none() {
            self.root = Some(self.get("/redfish/v1/", false, until).await?);
        }
        if self.settings.session && self.session.is_none() {
            self.log_in(until).await?;
        }
        let path = match self.settings.system.as_deref().and_then(resource::path) {
            Some(path) => path,
            None => self.find(until).await?,
        };
        self.system = Some(path.clone());
        Ok(path)
    }

    async fn find(&self, until: Instant) -> Result<String, PowerError> {
        let none = || self.garbled("it has no computer systems".into());
        let systems = self.root.as_ref().and_then(|root| root.systems.as_ref()).ok_or_else(none)?;
        let path = systems.path().ok_or_else(none)?;
        let Collection { members } = self.get(&path, true, until).await?;
        let names =
            || members.iter().take(16).map(|one| resource::tidy(one.name())).collect::<Vec<_>>().join(", ");
        let found = match (&self.settings.system, &members[..]) {
            (Some(wanted), all) => all.iter().find(|one| one.name() == wanted).ok_or_else(|| {
                PowerError::Settings(format!("{} has no system {wanted:?}: it has {}", self.name, names()))
            })?,
            (None, [only]) => only,
            (None, []) => return Err(none()),
            (None, _) => {
                return Err(PowerError::Settings(format!(
                    "{} has several systems: say with system which of {}",
                    self.name,
                    names()
                )));
            }
        };
        found.path().ok_or_else(|| self.garbled("the path of the system leads elsewhere".into()))
    }

    async fn log_in(&mut self, until: Instant) -> Result<(), PowerError> {
        let path = self.root.as_ref().and_then(Root::sessions);
        let path = path.ok_or_else(|| self.garbled("the path of its sessions leads elsewhere".into()))?;
        let login = json!({"UserName": self.settings.user, "Password": self.settings.password.expose()});
        let reply = self.send(Method::POST, &path, Some(login), false, until).await?;
        if !reply.status.is_success() {
            return Err(self.refused(&format!("POST {path}"), &reply));
        }
        let token = reply.headers.get(TOKEN).cloned();
        let mut token = token.ok_or_else(|| self.garbled("it made a session without a token".into()))?;
        token.set_sensitive(true);
        // A path or a full URL of the same device.
        let location = reply.headers.get(LOCATION).and_then(|location| location.to_str().ok());
        let location = location.and_then(|location| self.base.join(location).ok());
        let location = location.filter(|url| url.origin() == self.base.origin());
        let path = location.and_then(|url| resource::path(url.path()));
        self.session = Some(Session { token, path });
        Ok(())
    }

    async fn read(&mut self, until: Instant) -> Result<(String, System), PowerError> {
        let path = self.system(until).await?;
        let system = self.get(&path, true, until).await;
        if matches!(system, Err(PowerError::Denied { .. })) && self.session.is_some() {
            // An expired session: the next reading logs in again.
            (self.session, self.system) = (None, None);
            return Err(self.garbled("its session has ended".into()));
        }
        Ok((path, system?))
    }
}

/// The error of TLS that an error is made of: one of I/O hides it from the chain of causes.
fn of_tls<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut error = error;
    for _ in 0..8 {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        error = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    }
    None
}

impl Device for Redfish {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn status(&mut self, until: Instant) -> Answer<'_, Look> {
        Box::pin(async move {
            let (_, system) = self.read(until).await?;
            let none = || self.garbled("its PowerState is missing or unknown".into());
            let (state, said) = system.power().ok_or_else(none)?;
            Ok(Look { state, said })
        })
    }

    fn order(&mut self, order: Order, until: Instant) -> Answer<'_, ()> {
        Box::pin(async move {
            let (path, system) = self.read(until).await?;
            let mut reset = system.reset();
            if let Some(info) = reset.info() {
                let info: Value = self.get(&info, true, until).await?;
                reset = reset.with_info(&info);
            }
            let device = self.name.clone();
            let kind = reset.kind(order).map_err(|why| PowerError::Denied { device, why })?;
            let target = reset.target(&path);
            let target = target.ok_or_else(|| self.garbled("its reset leads elsewhere".into()))?;
            let body = json!({ "ResetType": kind });
            let reply = self.send(Method::POST, &target, Some(body), true, until).await?;
            let device = self.name.clone();
            match reply.status {
                status if status.is_success() => Ok(()),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.refused("reset", &reply)),
                status if status.is_client_error() => {
                    let said = resource::message(&reply.body).unwrap_or_default();
                    Err(PowerError::Refused {
                        device,
                        order,
                        why: format!("HTTP {} {said}", status.as_u16()),
                    })
                }
                _ => Err(self.refused("reset", &reply)),
            }
        })
    }

    fn close(&mut self, until: Instant) -> Answer<'_, ()> {
        Box::pin(async move {
            self.system = None;
            let Some(Session { path: Some(path), .. }) = &self.session else {
                self.session = None;
                return Ok(());
            };
            let ended = self.send(Method::DELETE, &path.clone(), None, true, until).await;
            self.session = None;
            ended.map(drop)
        })
    }
}
