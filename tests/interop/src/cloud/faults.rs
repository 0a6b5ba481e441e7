//! A proxy in front of one of the cloud's APIs that does what networks and overloaded servers do, at a word.

use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::http::{self, Message};
use crate::error::{Context, Result};

/// How long the server behind may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The server never hears of it; this is the answer, with more headers.
    Answer(u16, Vec<(String, String)>),
    /// The server hears of it after this time.
    DelayBefore(Duration),
    /// The server has answered; the client hears of it after this time.
    DelayAfter(Duration),
    /// The server never hears of it; the connection is reset.
    ResetBefore,
    /// The server has answered; the connection is reset instead.
    ResetAfter,
    /// The client gets so many bytes of the answer, then the connection ends.
    Cut(usize),
}

impl Fault {
    /// An answer without more headers.
    pub fn answer(status: u16) -> Self {
        Self::Answer(status, Vec::new())
    }
}

/// Which calls a fault befalls.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The method; empty: any.
    pub method: &'static str,
    /// What the path and query must contain.
    pub target: String,
    /// The action in a POST to a server's actions; empty: any.
    pub action: &'static str,
    /// How many that fit are let through first.
    pub skip: u32,
    /// Of the others, each so-manieth.
    pub every: u32,
    /// How often at most.
    pub times: u32,
    /// What happens.
    pub fault: Fault,
}

impl Rule {
    /// All calls of this method whose path and query contain this.
    pub fn new(method: &'static str, target: &str, fault: Fault) -> Self {
        let (action, skip, every, times) = ("", 0, 1, u32::MAX);
        Self { method, target: target.to_owned(), action, skip, every, times, fault }
    }

    /// All requests to evacuate.
    pub fn evacuate(fault: Fault) -> Self {
        Self { action: "evacuate", ..Self::new("POST", "/action", fault) }
    }

    /// This often at most.
    #[must_use]
    pub const fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// Only each so-manieth.
    #[must_use]
    pub const fn every(mut self, every: u32) -> Self {
        self.every = every;
        self
    }

    /// Not the first ones.
    #[must_use]
    pub const fn skip(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    fn fits(&self, request: &Message) -> bool {
        (self.method.is_empty() || self.method == request.word(0))
            && request.word(1).contains(&self.target)
            && (self.action.is_empty() || action(request).as_deref() == Some(self.action))
    }
}

/// A call that came.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it came.
    pub at: Instant,
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The action in a POST to a server's actions.
    pub action: Option<String>,
    /// What the server behind said; none if it never heard of it.
    pub status: Option<u16>,
    /// Whether a fault befell it.
    pub faulted: bool,
}

impl Call {
    /// The server that it is about, if it is about one's actions.
    pub fn server(&self) -> Option<&str> {
        self.target.split("/servers/").nth(1)?.split('/').next()
    }
}

/// The proxy. It ends with the test program.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    behind: SocketAddr,
    rules: Mutex<Vec<(Rule, u32)>>,
    calls: Mutex<Vec<Call>>,
}

impl Proxy {
    /// Starts one at this address (port 0: any) in front of that one.
    pub fn start(at: SocketAddr, behind: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(at).context(format!("listening at {at}"))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State { behind, rules: Mutex::default(), calls: Mutex::default() });
        let own = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&own);
                // What fails here fails for the client: that is what it is for.
                thread::spawn(move || state.serve(client));
            }
        });
        Ok(Self { address, state })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, until [`Proxy::heal`].
    pub fn inject(&self, rule: Rule) {
        lock(&self.state.rules).push((rule, 0));
    }

    /// No faults any more.
    pub fn heal(&self) {
        lock(&self.state.rules).clear();
    }

    /// How many calls faults have befallen since [`Proxy::forget`].
    pub fn hits(&self) -> usize {
        lock(&self.state.calls).iter().filter(|call| call.faulted).count()
    }

    /// All calls since [`Proxy::forget`].
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state.calls).clone()
    }

    /// Forgets the calls so far.
    pub fn forget(&self) {
        lock(&self.state.calls).clear();
    }

    /// How many requests to evacuate each server have reached the API, whatever the client heard.
    pub fn evacuations(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for call in lock(&self.state.calls).iter() {
            if let (Some("evacuate"), Some(_), Some(server)) =
                (call.action.as_deref(), call.status, call.server())
            {
                *counts.entry(server.to_owned()).or_default() += 1;
            }
        }
        counts
    }
}

impl State {
    /// One connection of a client.
    fn serve(&self, mut client: TcpStream) -> Result<()> {
        client.set_nodelay(true)?;
        let mut reader = BufReader::new(client.try_clone()?);
        while let Some(request) = Message::read(&mut reader)? {
            let fault = self.fault(&request);
            let mut call = Call {
                at: Instant::now(),
                method: request.word(0).to_owned(),
                target: request.word(1).to_owned(),
                action: action(&request),
                status: None,
                faulted: fault.is_some(),
            };
            match &fault {
                Some(Fault::Answer(status, headers)) => {
                    lock(&self.calls).push(call);
                    client.write_all(&injected(*status, headers).bytes())?;
                    continue;
                }
                Some(Fault::ResetBefore) => {
                    lock(&self.calls).push(call);
                    return reset(&client);
                }
                Some(Fault::DelayBefore(time)) => thread::sleep(*time),
                _ => {}
            }
            let reply = http::exchange(self.behind, &request, PATIENCE);
            call.status = reply.as_ref().ok().and_then(|reply| reply.status().ok());
            lock(&self.calls).push(call);
            // A server that is down is down for the client too.
            let Ok(reply) = reply else { return reset(&client) };
            let bytes = reply.with("Connection", "keep-alive").bytes();
            match fault {
                Some(Fault::DelayAfter(time)) => thread::sleep(time),
                Some(Fault::ResetAfter) => return reset(&client),
                Some(Fault::Cut(length)) => {
                    client.write_all(bytes.get(..length).unwrap_or(&bytes))?;
                    return Ok(client.shutdown(Shutdown::Both)?);
                }
                _ => {}
            }
            client.write_all(&bytes)?;
        }
        Ok(())
    }

    /// What befalls this call.
    fn fault(&self, request: &Message) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        for (rule, seen) in rules.iter_mut().filter(|(rule, _)| rule.fits(request)) {
            *seen += 1;
            let Some(late) = seen.checked_sub(rule.skip + 1) else { continue };
            if late % rule.every == 0 && late / rule.every < rule.times {
                return Some(rule.fault.clone());
            }
        }
        None
    }
}

/// An answer in the way of Nova's own errors.
fn injected(status: u16, headers: &[(String, String)]) -> Message {
    let mut reply = Message { first: format!("HTTP/1.1 {status} Injected"), ..Message::default() };
    for (name, value) in headers {
        reply = reply.with(name, value);
    }
    let body = format!(r#"{{"injected": {{"code": {status}, "message": "injected by the rig"}}}}"#);
    reply.with("Content-Type", "application/json").with_body(body)
}

/// What a POST to a server's actions wants.
fn action(request: &Message) -> Option<String> {
    if request.word(0) != "POST" || !request.word(1).ends_with("/action") {
        return None;
    }
    let body: serde_json::Value = serde_json::from_slice(&request.body).ok()?;
    body.as_object()?.keys().next().cloned()
}

/// Ends a connection in the way of a machine that has lost its state.
fn reset(stream: &TcpStream) -> Result<()> {
    let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(stream, sockopt::Linger, &linger).context("SO_LINGER")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers each connection's only request with its body.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut reader = BufReader::new(client.try_clone().unwrap());
                let request = Message::read(&mut reader).unwrap().unwrap();
                let reply = Message { first: "HTTP/1.1 200 OK".to_owned(), ..Message::default() };
                client.write_all(&reply.with_body(request.body).bytes()).unwrap();
            }
        });
        address
    }

    fn post(proxy: &Proxy, server: &str) -> Result<Message> {
        let request = Message::request("POST", &format!("/v2.1/servers/{server}/action"));
        http::exchange(proxy.address(), &request.with_body(r#"{"evacuate": {}}"#), Duration::from_secs(5))
    }

    #[test]
    fn faults_befall_what_they_are_meant_for() {
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), echo()).unwrap();
        assert_eq!(post(&proxy, "a").unwrap().status().unwrap(), 200);
        proxy.inject(Rule::evacuate(Fault::answer(503)).skip(1).times(1));
        let codes: Vec<_> = (0..3).map(|_| post(&proxy, "b").unwrap().status().unwrap()).collect();
        assert_eq!(codes, [200, 503, 200]);
        proxy.heal();
        proxy.inject(Rule::evacuate(Fault::ResetAfter).times(1));
        assert!(post(&proxy, "c").is_err());
        proxy.inject(Rule::evacuate(Fault::Cut(30)).times(1));
        assert!(post(&proxy, "c").is_err());
        proxy.inject(Rule::evacuate(Fault::ResetBefore).times(1));
        assert!(post(&proxy, "c").is_err());
        assert_eq!(post(&proxy, "c").unwrap().body, br#"{"evacuate": {}}"#);
        let counts = proxy.evacuations();
        assert_eq!(counts.values().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(proxy.hits(), 4);
    }
}
