//! Asking Keystone and Nova with plain calls, without the client that is under test.

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::http::{self, Message};
use crate::error::{Context, Result, fail};

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who asks.
pub struct Api {
    keystone: SocketAddr,
    nova: SocketAddr,
    user: &'static str,
    password: &'static str,
    project: &'static str,
    token: Mutex<Option<String>>,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body; null if there is none.
    pub body: Value,
    /// The request's id.
    pub request: Option<String>,
}

impl Reply {
    /// The body of an answer that says yes.
    pub fn ok(self) -> Result<Value> {
        if self.status < 400 { Ok(self.body) } else { fail(format!("{}: {}", self.status, self.body)) }
    }
}

impl Api {
    /// A user with a password, for a project. The token is fetched when it is needed.
    pub fn new(
        keystone: SocketAddr,
        nova: SocketAddr,
        user: (&'static str, &'static str),
        project: &'static str,
    ) -> Self {
        Self { keystone, nova, user: user.0, password: user.1, project, token: Mutex::new(None) }
    }

    /// Asks Nova. `version`: the microversion.
    pub fn nova(&self, method: &str, path: &str, body: &Value, version: &str) -> Result<Reply> {
        let request = Message::request(method, &format!("/v2.1{path}"))
            .with("OpenStack-API-Version", format!("compute {version}"));
        self.ask(self.nova, request, body)
    }

    /// Asks Nova for something with the newest microversion.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.nova("GET", path, &Value::Null, "latest")?.ok().context(path)
    }

    /// Asks Keystone.
    pub fn keystone(&self, method: &str, path: &str, body: &Value) -> Result<Reply> {
        self.ask(self.keystone, Message::request(method, &format!("/v3{path}")), body)
    }

    fn ask(&self, to: SocketAddr, request: Message, body: &Value) -> Result<Reply> {
        let request = request.with("X-Auth-Token", self.token()?).with("Host", to.to_string());
        let request = if body.is_null() {
            request
        } else {
            request.with("Content-Type", "application/json").with_body(body.to_string())
        };
        let reply = http::exchange(to, &request, PATIENCE)?;
        Ok(Reply {
            status: reply.status()?,
            request: reply.header("x-openstack-request-id").map(str::to_owned),
            body: serde_json::from_slice(&reply.body).unwrap_or(Value::Null),
        })
    }

    /// A token of this user, fetched once.
    pub fn token(&self) -> Result<String> {
        let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = &*token {
            return Ok(token.clone());
        }
        let default = json!({"id": "default"});
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": self.user, "domain": default, "password": self.password}}},
            "scope": {"project": {"name": self.project, "domain": default}}}});
        let request = Message::request("POST", "/v3/auth/tokens").with("Host", self.keystone.to_string());
        let request = request.with("Content-Type", "application/json").with_body(body.to_string());
        let reply = http::exchange(self.keystone, &request, PATIENCE)?;
        let found = reply.header("x-subject-token").map(str::to_owned);
        let found = found.context(format!("{}: {}", reply.first, String::from_utf8_lossy(&reply.body)))?;
        Ok(token.insert(found).clone())
    }
}
