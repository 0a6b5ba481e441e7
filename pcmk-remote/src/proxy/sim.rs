//! Any history of tools and cluster nodes, and what must hold after each step: shared by the tests and
//! the fuzzer.
//!
//! The bytes of a history are instructions: tools come, ask and go in any order, cluster nodes come, answer
//! what nobody asked, speak to sessions of others, and vanish.
#![allow(clippy::panic, clippy::missing_panics_doc, reason = "a checker fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use pcmk_proto::lrmd::{IpcForward, IpcForwardKind, ProxyNotify};
use pcmk_proto::qb::IpcName;
use pcmk_proto::xml::Element;

use super::{Action, Input, Proxy, Settings};
use crate::caller::{Access, Caller};
use crate::ids::{ClientId, ToolId};

/// Plays one history and panics if a rule is broken.
pub fn play(history: &[u8]) {
    let mut world = World::new();
    let mut bytes = history.iter().copied();
    while let Some(instruction) = bytes.next() {
        let argument = bytes.next().unwrap_or(0);
        world.step(instruction, argument);
    }
    world.wind_down();
}

const MAX_SESSIONS: usize = 6;
const MAX_WAITING: usize = 4;

/// What is known of an accepted session.
struct Session {
    name: String,
    provider: ClientId,
    /// Number of the tool's last request, and of the last that the provider has heard.
    asked: i32,
    heard: i32,
}

struct World {
    proxy: Proxy,
    /// Newest last.
    providers: Vec<ClientId>,
    next: u64,
    /// Connected and accepted.
    live: BTreeMap<ToolId, Session>,
    /// Ended by the proxy; their `Closed` is still to come.
    cut: BTreeSet<ToolId>,
    /// Names of sessions that were destroyed.
    over: BTreeMap<String, ClientId>,
}

/// What a step may bring about besides what it always may.
#[derive(Clone, Copy)]
enum Expect {
    /// Exactly one word to this tool: come in, or go away.
    Decision(ToolId),
    /// One request to the tool's provider, or the tool is cut.
    Relay(ToolId),
    /// Something for this tool and no other, or nothing.
    Word(Option<ToolId>),
    /// The tools of this provider are cut, and nothing is said to it.
    Loss(ClientId),
    /// A tool is gone.
    End(ToolId),
}

impl World {
    fn new() -> Self {
        let settings = Settings { max_sessions: MAX_SESSIONS, max_waiting: MAX_WAITING };
        Self {
            proxy: Proxy::new(settings),
            providers: Vec::new(),
            next: 1,
            live: BTreeMap::new(),
            cut: BTreeSet::new(),
            over: BTreeMap::new(),
        }
    }

    fn step(&mut self, instruction: u8, argument: u8) {
        match instruction & 15 {
            0 => {
                self.next += 1;
                self.providers.push(ClientId(self.next));
            }
            1 => {
                if !self.providers.is_empty() {
                    let client = self.providers.remove(usize::from(argument) % self.providers.len());
                    self.input(Input::ClientGone { client }, Expect::Loss(client));
                }
            }
            2..=4 => self.connect(argument),
            5..=8 => self.ask(argument, i32::from(instruction >> 4)),
            9 => self.leave(argument),
            10..=13 => self.forward(instruction, argument),
            14 => {
                if let Some(tool) = self.nth(argument) {
                    self.input(Input::Overflow { tool }, Expect::End(tool));
                }
            }
            _ => {
                // Tools and clients that nobody knows.
                let tool = ToolId(u64::MAX);
                self.input(Input::Closed { tool }, Expect::Word(None));
                let request = Input::Request { tool, msg_id: 1, flags: 0, payload: Element::new("x") };
                self.input(request, Expect::Word(None));
                let client = ClientId(u64::MAX);
                self.input(Input::ClientGone { client }, Expect::Loss(client));
            }
        }
    }

    fn wind_down(&mut self) {
        while let Some(client) = self.providers.pop() {
            self.input(Input::ClientGone { client }, Expect::Loss(client));
        }
        assert!(self.live.is_empty(), "no tool stays without a provider");
        for tool in std::mem::take(&mut self.cut) {
            self.input(Input::Closed { tool }, Expect::Word(None));
        }
        assert_eq!(self.proxy.session_count(), 0, "nothing is left behind");
    }

    fn nth(&self, argument: u8) -> Option<ToolId> {
        let count = self.live.len().max(1);
        self.live.keys().nth(usize::from(argument) % count).copied()
    }

    fn connect(&mut self, argument: u8) {
        self.next += 1;
        let tool = ToolId(self.next);
        let server = IpcName::ALL.get(usize::from(argument & 7)).copied().unwrap_or(IpcName::Crmd);
        let access = match argument >> 3 & 3 {
            0 => Access::None,
            1 => Access::Member,
            _ => Access::Privileged,
        };
        let caller = Caller { pid: 7, uid: 0, gid: 0, user: "root".into(), access };
        let (session, provider) = (format!("session-{}", self.next), self.providers.last().copied());
        self.input(Input::Connecting { tool, server, caller, session, provider }, Expect::Decision(tool));
    }

    fn ask(&mut self, argument: u8, flags: i32) {
        let Some(tool) = self.nth(argument) else { return };
        let Some(session) = self.live.get_mut(&tool) else { return };
        session.asked += 1;
        let msg_id = session.asked;
        let flags = if flags & 1 == 0 { 0x200 } else { 0 };
        self.input(Input::Request { tool, msg_id, flags, payload: Element::new("q") }, Expect::Relay(tool));
    }

    fn leave(&mut self, argument: u8) {
        if argument & 0x80 != 0
            && let Some(tool) = self.cut.pop_first()
        {
            return self.input(Input::Closed { tool }, Expect::Word(None));
        }
        if let Some(tool) = self.nth(argument) {
            self.input(Input::Closed { tool }, Expect::End(tool));
            self.cut.remove(&tool);
        }
    }

    fn forward(&mut self, instruction: u8, argument: u8) {
        let Some(newest) = self.providers.last().copied() else { return };
        let tool = self.nth(argument);
        let (name, owner) = match tool.and_then(|tool| self.live.get(&tool)) {
            Some(session) => (session.name.clone(), session.provider),
            None => ("nobody".to_owned(), newest),
        };
        let from = if instruction & 0x10 == 0 { owner } else { newest };
        let kind = match instruction >> 5 {
            0..=2 => IpcForwardKind::Response,
            3 | 4 => IpcForwardKind::Event,
            5 => IpcForwardKind::Destroy,
            _ => IpcForwardKind::Other("dance".into()),
        };
        let payload = (argument & 0x40 == 0).then(|| Element::new("a"));
        let msg_id = Some(if argument & 0x20 == 0 { 1 } else { i64::MAX });
        let session = (argument & 0x10 == 0).then_some(name);
        let reaches = tool.filter(|_| session.is_some() && from == owner);
        self.input(
            Input::Forward { from, forward: IpcForward { kind, session, msg_id, payload } },
            Expect::Word(reaches),
        );
    }

    fn input(&mut self, input: Input, expect: Expect) {
        let opening = match &input {
            Input::Connecting { tool, server, caller, session, provider } => {
                let admitted = caller.access > Access::None
                    && !matches!(server, IpcName::Pacemakerd | IpcName::Lrmd)
                    && self.live.len() < MAX_SESSIONS;
                provider.filter(|_| admitted).map(|provider| (*tool, session.clone(), provider))
            }
            _ => None,
        };
        let before = self.live.len();
        let mut decided = 0;
        let mut relayed = false;
        let mut cut = BTreeSet::new();
        for action in self.proxy.handle(input) {
            match action {
                Action::Accept { tool } => {
                    decided += 1;
                    let Some((opened, name, provider)) = &opening else { panic!("{tool} is let in") };
                    assert_eq!(tool, *opened);
                    let session = Session { name: name.clone(), provider: *provider, asked: 0, heard: -1 };
                    self.live.insert(tool, session);
                }
                Action::Refuse { tool, errno } => {
                    assert!(opening.is_none() && errno < 0);
                    assert!(matches!(expect, Expect::Decision(asked) if asked == tool));
                    decided += 1;
                }
                Action::Respond { tool, .. } | Action::Event { tool, .. } => {
                    assert!(matches!(expect, Expect::Word(Some(meant)) if meant == tool), "a word to {tool}");
                    assert!(self.live.contains_key(&tool), "{tool} is not connected");
                }
                Action::Close { tool } => {
                    assert!(cut.insert(tool), "{tool} is cut once");
                    if let Some(session) = self.live.remove(&tool) {
                        assert!(
                            matches!(expect, Expect::Loss(provider) if provider == session.provider),
                            "the cluster is not told of the end of {tool}"
                        );
                        self.over.insert(session.name, session.provider);
                    }
                    self.cut.insert(tool);
                }
                Action::Send { to, message } => {
                    assert!(self.providers.contains(&to), "{to} is gone");
                    relayed |= self.said(to, message);
                }
            }
        }
        match expect {
            Expect::Decision(_) => assert_eq!(decided, 1, "one decision"),
            Expect::Relay(tool) => assert!(relayed != cut.contains(&tool), "passed on, or cut"),
            Expect::Loss(provider) => {
                assert!(self.live.values().all(|session| session.provider != provider));
                assert_eq!(before - self.live.len(), cut.len());
            }
            Expect::End(tool) => assert!(!self.live.contains_key(&tool)),
            Expect::Word(_) => {}
        }
        assert_eq!(self.proxy.session_count(), self.live.len());
        assert!(self.live.len() <= MAX_SESSIONS);
    }

    /// True if it was a request.
    fn said(&mut self, to: ClientId, message: ProxyNotify) -> bool {
        match message {
            ProxyNotify::New { session: name, server } => {
                let session = self.live.values_mut().find(|session| session.name == name);
                let Some(session) = session else { panic!("{name} is new without a tool") };
                assert_eq!((session.provider, session.heard), (to, -1), "new once, to its provider");
                assert_ne!(server, "cib_shm");
                session.heard = 0;
                false
            }
            ProxyNotify::Request { session: name, msg_id, flags, .. } => {
                let session = self.live.values_mut().find(|session| session.name == name);
                let Some(session) = session else { panic!("{name} asks without a tool") };
                assert_eq!(session.provider, to);
                assert_ne!(flags & 0x100, 0);
                assert!(session.heard >= 0 && i64::from(session.heard) < msg_id, "in order, after new");
                session.heard = session.asked;
                true
            }
            ProxyNotify::Destroy { session: name } => {
                let tool = self.live.iter().find(|(_, session)| session.name == name).map(|(tool, _)| *tool);
                if let Some(tool) = tool.filter(|tool| self.live.get(tool).is_some_and(|s| s.provider == to))
                    && let Some(session) = self.live.remove(&tool)
                {
                    self.over.insert(session.name, session.provider);
                }
                false
            }
            ProxyNotify::ShutdownRequest => panic!("that is the executor's"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_history_keeps_the_rules(history in proptest::collection::vec(any::<u8>(), 0..400)) {
            super::play(&history);
        }
    }
}
