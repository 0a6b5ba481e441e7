//! One exchange with a device after the other: where to, as whom, and what went wrong.

use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::resource;
use crate::power::PowerError;
use crate::secret::Secret;

/// The largest answer that is read.
const LARGEST: usize = 1 << 20;
pub(super) const TOKEN: &str = "x-auth-token";

/// A device, and the user there.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) base: Url,
    /// For what can be asked again.
    pub(super) client: Client,
    /// Keeps no connection.
    pub(super) fresh: Client,
    pub(super) user: String,
    pub(super) password: Secret,
}

/// As whom something is asked.
pub(super) enum As<'a> {
    Nobody,
    User,
    Session(&'a HeaderValue),
}

/// An answer of the device.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Line {
    /// Gives an order, on a connection of its own.
    pub(super) async fn order(
        &self,
        path: &str,
        body: Value,
        who: As<'_>,
        until: Instant,
    ) -> Result<Reply, PowerError> {
        self.exchange(&self.fresh, (Method::POST, path), Some(body), who, until).await
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        who: As<'_>,
        until: Instant,
    ) -> Result<Reply, PowerError> {
        self.exchange(&self.client, (method, path), body, who, until).await
    }

    async fn exchange(
        &self,
        client: &Client,
        (method, path): (Method, &str),
        body: Option<Value>,
        who: As<'_>,
        until: Instant,
    ) -> Result<Reply, PowerError> {
        let what = format!("{method} {path}");
        let url = self.base.join(path).map_err(|error| self.garbled(format!("{path}: {error}")))?;
        if url.origin() != self.base.origin() {
            return Err(self.garbled(format!("{path} is not on this device")));
        }
        let mut request = client.request(method, url);
        request = match who {
            As::Nobody => request,
            As::User => request.basic_auth(&self.user, Some(self.password.expose())),
            As::Session(token) => request.header(TOKEN, token.clone()),
        };
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

    pub(super) fn garbled(&self, why: String) -> PowerError {
        PowerError::Garbled { device: self.name.clone(), why }
    }

    /// What a status other than success means for what does not change anything.
    pub(super) fn refused(&self, what: &str, reply: &Reply) -> PowerError {
        let said = resource::message(&reply.body).map(|said| format!(": {said}")).unwrap_or_default();
        let device = self.name.clone();
        match reply.status {
            StatusCode::UNAUTHORIZED => {
                PowerError::Denied { device, why: format!("the user or the password is wrong{said}") }
            }
            StatusCode::FORBIDDEN => PowerError::Denied {
                device,
                why: format!("user {:?} may not do this ({what}){said}", self.user),
            },
            StatusCode::SERVICE_UNAVAILABLE => {
                PowerError::Full { device, why: format!("it is busy ({what}){said}: try again") }
            }
            status => self.garbled(format!("{what}: HTTP {}{said}", status.as_u16())),
        }
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
