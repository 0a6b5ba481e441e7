//! A libvirtd that behaves as it is told to: well, or in any way that a real one should not.
#![allow(dead_code, unreachable_pub, reason = "each test file uses another part of it")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use libvirt_probe::libvirt::{Deadlines, Settings};
use libvirt_probe::rpc::codec::{Decoder, Header, KEEPALIVE, Kind, Message, REMOTE, encode};
use libvirt_probe::rpc::xdr::Writer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// What it does when it is asked something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers as libvirtd does.
    Good,
    /// Accepts, reads, says nothing.
    Silent,
    /// Answers pings alone.
    OnlyPings,
    /// Answers everything but this procedure.
    Without(u32),
    /// Refuses this procedure with this number of an error.
    Refuses(u32, i32),
    /// Ends the connection.
    Closes,
    /// Sends bytes that are not libvirt's.
    Garbage,
    /// Sends half of an answer and no more.
    Half,
    /// Sends half of an answer and ends the connection.
    HalfAndCloses,
    /// Promises 4 GiB.
    Huge,
    /// Promises a list of this many domains.
    Promises(u32),
    /// Promises a string of 4 GiB.
    LongString,
    /// Answers a call that was not made.
    WrongSerial,
    /// Answers another procedure.
    WrongProcedure,
    /// Answers twice.
    Twice,
    /// Answers with bytes too many.
    Trailing,
    /// Calls us.
    Calls,
    /// Never stops sending events, and answers nothing.
    EndlessEvents,
    /// Never stops sending pings, and answers nothing.
    EndlessPings,
    /// Sends its answers in single bytes.
    Bytewise,
}

/// Domains: name, state, reason.
pub type Domains = Vec<(String, i32, i32)>;

#[derive(Debug)]
struct State {
    behaviour: Behaviour,
    domains: Domains,
    /// Bytes to send to all connections.
    push: Vec<u8>,
    calls: u32,
    pongs: u32,
    most_in_flight: usize,
    connections: u32,
}

#[derive(Debug)]
pub struct Fake {
    folder: tempfile::TempDir,
    state: Arc<Mutex<State>>,
    task: Option<JoinHandle<()>>,
}

impl Fake {
    /// Listens, and behaves well.
    pub fn new(domains: &[(&str, i32, i32)]) -> Self {
        let domains = domains.iter().map(|&(name, state, reason)| (name.to_owned(), state, reason)).collect();
        let state = State {
            behaviour: Behaviour::Good,
            domains,
            push: Vec::new(),
            calls: 0,
            pongs: 0,
            most_in_flight: 0,
            connections: 0,
        };
        let folder = tempfile::tempdir().unwrap();
        let mut fake = Self { folder, state: Arc::new(Mutex::new(state)), task: None };
        fake.start();
        fake
    }

    pub fn behaving(behaviour: Behaviour) -> Self {
        let fake = Self::new(&[("instance-1", 1, 1)]);
        fake.set(behaviour);
        fake
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("libvirt-sock")
    }

    /// Settings for it, with short deadlines.
    pub fn settings(&self) -> Settings {
        settings(&self.path())
    }

    pub fn set(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
    }

    pub fn set_domains(&self, domains: &[(&str, i32, i32)]) {
        self.state.lock().unwrap().domains =
            domains.iter().map(|&(name, state, reason)| (name.to_owned(), state, reason)).collect();
    }

    /// Sends this to all connections, soon.
    pub fn push(&self, bytes: &[u8]) {
        self.state.lock().unwrap().push = bytes.to_vec();
    }

    pub fn pongs(&self) -> u32 {
        self.state.lock().unwrap().pongs
    }

    pub fn calls(&self) -> u32 {
        self.state.lock().unwrap().calls
    }

    pub fn connections(&self) -> u32 {
        self.state.lock().unwrap().connections
    }

    pub fn most_in_flight(&self) -> usize {
        self.state.lock().unwrap().most_in_flight
    }

    /// Ends, with all its connections; the socket's file stays.
    pub fn crash(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Ends and takes its socket away.
    pub fn stop(&mut self) {
        self.crash();
        std::fs::remove_file(self.path()).unwrap();
    }

    pub fn start(&mut self) {
        let _ = std::fs::remove_file(self.path());
        let listener = UnixListener::bind(self.path()).unwrap();
        let state = self.state.clone();
        self.task = Some(tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                state.lock().unwrap().connections += 1;
                connections.spawn(serve(stream, state.clone()));
            }
        }));
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.crash();
    }
}

pub fn settings(path: &Path) -> Settings {
    let name = std::fs::read_to_string("/proc/self/comm").unwrap().trim().to_owned();
    let short = Duration::from_millis(300);
    Settings {
        deadlines: Deadlines {
            redial: Duration::from_millis(400),
            connect: short,
            ping: short,
            call: short,
            workers: short,
            domains: short,
        },
        // We are the daemon, and old enough.
        grace: Duration::from_nanos(1),
        programs: vec![name],
        folders: vec!["/proc/self/cwd".into()],
        pid_files: vec![],
        watch: Duration::from_millis(20),
        ..Settings::at(path)
    }
}

/// An event: a domain was paused by an I/O error.
pub fn io_error(name: &str) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode(&mut bytes, header(322, Kind::Message, 0), |to| {
        let mut to = Writer::new(to);
        to.i32(1);
        domain(&mut to, name, 1);
        to.string("/dev/disk");
        to.string("virtio-disk0");
        to.i32(1);
    });
    bytes.to_vec()
}

pub fn ping() -> Vec<u8> {
    let mut bytes = BytesMut::new();
    encode(&mut bytes, Header { program: KEEPALIVE, ..header(1, Kind::Message, 0) }, |_| {});
    bytes.to_vec()
}

fn header(procedure: u32, kind: Kind, serial: u32) -> Header {
    Header { program: REMOTE, procedure, kind, serial, failed: false }
}

fn domain(to: &mut Writer<'_>, name: &str, id: i32) {
    to.string(name);
    let mut uuid = [0; 16];
    for (target, source) in uuid.iter_mut().zip(name.bytes().rev()) {
        *target = source;
    }
    to.uuid(&uuid);
    to.i32(id);
}

async fn serve(mut stream: UnixStream, state: Arc<Mutex<State>>) {
    let mut decoder = Decoder::new();
    let mut pushed = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let count = tokio::select! {
            count = stream.read(&mut bytes) => match count {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            },
            () = tokio::time::sleep(Duration::from_millis(5)) => 0,
        };
        let push = state.lock().unwrap().push.clone();
        if push != pushed {
            if stream.write_all(&push).await.is_err() {
                return;
            }
            pushed = push;
        }
        decoder.push(&bytes[..count]);
        let mut messages = Vec::new();
        while let Ok(Some(message)) = decoder.next() {
            messages.push(message);
        }
        if messages.is_empty() {
            continue;
        }
        let behaviour = {
            let mut state = state.lock().unwrap();
            let calls = messages.iter().filter(|message| message.header.kind == Kind::Call).count();
            state.most_in_flight = state.most_in_flight.max(calls);
            state.calls += u32::try_from(calls).unwrap();
            state.behaviour
        };
        for message in messages {
            if message.header.program == KEEPALIVE && message.header.procedure == 2 {
                state.lock().unwrap().pongs += 1;
                continue;
            }
            let domains = state.lock().unwrap().domains.clone();
            if !answer(&mut stream, behaviour, &message, &domains).await {
                return;
            }
        }
    }
}

/// Answers as told; whether the connection goes on.
async fn answer(stream: &mut UnixStream, behaviour: Behaviour, message: &Message, domains: &Domains) -> bool {
    let Header { program, procedure, serial, .. } = message.header;
    let good = reply(message, domains);
    let other = |header, body: &dyn Fn(&mut Writer<'_>)| {
        let mut bytes = BytesMut::new();
        encode(&mut bytes, header, |to| body(&mut Writer::new(to)));
        bytes.to_vec()
    };
    let reply = header(procedure, Kind::Reply, serial);
    let bytes = match behaviour {
        Behaviour::Silent => return true,
        Behaviour::OnlyPings if program != KEEPALIVE => return true,
        Behaviour::Without(this) if procedure == this && program == REMOTE => return true,
        Behaviour::Refuses(this, code) if procedure == this && program == REMOTE => {
            other(Header { failed: true, ..reply }, &|to| {
                to.i32(code);
                to.i32(0);
                to.optional_string(Some("no"));
                to.i32(2);
            })
        }
        Behaviour::Closes => return false,
        Behaviour::Garbage => b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".to_vec(),
        Behaviour::Half => {
            let _ = stream.write_all(&good[..good.len() / 2]).await;
            return std::future::pending().await;
        }
        Behaviour::HalfAndCloses => {
            let _ = stream.write_all(&good[..good.len() / 2]).await;
            return false;
        }
        Behaviour::Huge => [u32::MAX.to_be_bytes().as_slice(), &good[4..]].concat(),
        Behaviour::Promises(count) if procedure == 344 => other(reply, &|to| to.u32(count)),
        Behaviour::LongString if procedure == 344 => other(reply, &|to| {
            to.u32(1);
            to.u32(u32::MAX);
            for _ in 0..10 {
                to.u32(0);
            }
        }),
        Behaviour::WrongSerial if program == REMOTE => {
            let mut bytes = good;
            bytes[20] ^= 0x40;
            bytes
        }
        Behaviour::WrongProcedure if program == REMOTE => {
            let mut bytes = good;
            bytes[15] ^= 0x40;
            bytes
        }
        Behaviour::Twice if program == REMOTE => [good.as_slice(), &good].concat(),
        Behaviour::Trailing if procedure == 157 => other(reply, &|to| {
            to.u64(9_000_000);
            to.u64(9_000_000);
        }),
        Behaviour::Calls => other(header(157, Kind::Call, 7), &|_| {}),
        Behaviour::EndlessEvents => {
            let event = io_error("instance-1").repeat(100);
            while stream.write_all(&event).await.is_ok() {}
            return false;
        }
        Behaviour::EndlessPings => {
            let pings = ping().repeat(100);
            while stream.write_all(&pings).await.is_ok() {}
            return false;
        }
        Behaviour::Bytewise => {
            for byte in good {
                if stream.write_all(&[byte]).await.is_err() {
                    return false;
                }
                tokio::task::yield_now().await;
            }
            return true;
        }
        _ => good,
    };
    stream.write_all(&bytes).await.is_ok()
}

/// What libvirtd would answer.
fn reply(message: &Message, domains: &Domains) -> Vec<u8> {
    let Header { program, procedure, serial, .. } = message.header;
    let mut bytes = BytesMut::new();
    if program == KEEPALIVE {
        encode(&mut bytes, Header { program, ..header(2, Kind::Message, 0) }, |_| {});
        return bytes.to_vec();
    }
    encode(&mut bytes, header(procedure, Kind::Reply, serial), |to| {
        let mut to = Writer::new(to);
        match procedure {
            66 => {
                to.u32(1);
                to.i32(0);
            }
            60 | 316 => to.i32(1),
            157 => to.u64(9_000_000),
            273 => {
                to.u32(u32::try_from(domains.len()).unwrap());
                for (name, state, _) in domains {
                    domain(&mut to, name, if *state == 5 { -1 } else { 1 });
                }
                to.u32(u32::try_from(domains.len()).unwrap());
            }
            344 => {
                to.u32(u32::try_from(domains.len()).unwrap());
                for (name, state, reason) in domains {
                    domain(&mut to, name, if *state == 5 { -1 } else { 1 });
                    to.u32(3);
                    for (field, value) in [("state.state", state), ("state.reason", reason)] {
                        to.string(field);
                        to.u32(1);
                        to.i32(*value);
                    }
                    // A value that is not understood.
                    to.string("balloon.current");
                    to.u32(4);
                    to.u64(8192);
                }
            }
            212 => {
                to.i32(1);
                to.i32(1);
            }
            229 => {
                to.u32(0);
                to.u32(0);
                to.u64(0);
            }
            _ => {}
        }
    });
    bytes.to_vec()
}
