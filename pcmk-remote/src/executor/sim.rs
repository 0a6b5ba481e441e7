//! Any history of inputs, and what must hold after each: shared by the tests and the fuzzer.
//!
//! The bytes of a history are instructions for a cluster that does whatever it likes: it connects,
//! asks in any order, leaves, and its agents end, fail or hang.
#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a checker fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pcmk_proto::lrmd::{
    CallOptions, ExecRequest, IpcForward, IpcForwardKind, Message, Notify, Operation, Request, Style,
};
use pcmk_proto::types::{AgentSpec, ExecStatus, OcfRc, ResourceId};

use super::{Action, Executor, Input, Mono, Now, Settings};
use crate::agent::Outcome;
use crate::audit::Origin;
use crate::caller::{Access, Caller};
use crate::ids::{ClientId, OpId, ToolId};
use crate::policy::Policy;

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

struct Running {
    resource: ResourceId,
    deadline: Option<u64>,
    killed: bool,
}

struct World {
    executor: Executor,
    now: u64,
    clients: BTreeSet<ClientId>,
    next_client: u64,
    next_msg: i64,
    running: BTreeMap<OpId, Running>,
    /// One-shot operations that were accepted and owe their one result.
    owed: BTreeSet<i32>,
    exited: bool,
    /// Whether the agent `Other` must not be started.
    strict: bool,
}

/// What a step asked for, to check the answer against.
struct Expect {
    msg_id: i64,
    reply: bool,
    one_shot: bool,
}

impl World {
    fn new() -> Self {
        let settings = Settings { max_resources: 4, max_operations: 12, ..Settings::default() };
        let mut world = Self {
            executor: Executor::new(settings),
            now: 0,
            clients: BTreeSet::new(),
            next_client: 0,
            next_msg: 0,
            running: BTreeMap::new(),
            owed: BTreeSet::new(),
            exited: false,
            strict: false,
        };
        // Client 0 stays to the end and hears everything, so that every result can be counted.
        world.connect(2);
        world.ask(0, Some("witness"), 0, Operation::Poke { origin: None });
        world
    }

    fn step(&mut self, instruction: u8, argument: u8) {
        let id = ResourceId::new(format!("r{}", argument & 3));
        let interval_ms = match argument >> 2 & 3 {
            0 | 1 => 0,
            2 => 10,
            _ => 1000,
        };
        let action = match argument >> 4 & 3 {
            0 => "start",
            1 => "stop",
            2 => "monitor",
            _ => "Monitor",
        }
        .to_owned();
        let timeout_ms = if argument & 0x40 == 0 { 100 } else { 0 };
        let start_delay_ms = if argument & 0x80 == 0 { 0 } else { 50 };
        let client = usize::from(instruction >> 4);
        match instruction & 15 {
            0 => self.connect(argument),
            1 => self.disconnect(client),
            2..=4 => {
                let exec = ExecRequest {
                    id,
                    action: Some(action),
                    interval_ms,
                    timeout_ms,
                    start_delay_ms,
                    ..ExecRequest::default()
                };
                let options = i64::from(instruction & 0x10 != 0) * 4;
                self.ask(client, None, options, Operation::Exec(Box::new(exec)));
            }
            5 => self.ask(
                client,
                None,
                0,
                Operation::Cancel { origin: None, action: Some(action), id, interval_ms },
            ),
            6 => {
                let kind = if argument & 4 == 0 { "Dummy" } else { "Other" };
                let agent = AgentSpec { class: "ocf".into(), provider: Some("p".into()), kind: kind.into() };
                let options = if argument & 8 == 0 { 3 } else { 0 };
                self.ask(client, None, options, Operation::ResourceRegister { origin: None, id, agent });
            }
            7 => self.ask(client, None, 0, Operation::ResourceUnregister { origin: None, id }),
            8 => self.ask(
                client,
                Some("late name"),
                0,
                Operation::Register {
                    protocol_version: Some("1.1".into()),
                    is_ipc_provider: Some(argument & 4 != 0),
                },
            ),
            9 => self.ask(
                client,
                None,
                0,
                Operation::Recurring { origin: None, id: id.filter(|_| argument & 4 == 0) },
            ),
            10 | 11 => self.finish(usize::from(argument >> 3), i32::from(argument & 7)),
            12 | 13 => self.pass(u64::from(argument) * 4),
            14 => {
                let kind =
                    if argument & 4 == 0 { IpcForwardKind::ShutdownAck } else { IpcForwardKind::Event };
                let session = (argument & 8 != 0).then(|| "s".to_owned());
                self.ask(
                    client,
                    None,
                    0,
                    Operation::IpcForward(Box::new(IpcForward {
                        kind,
                        session,
                        msg_id: None,
                        payload: None,
                    })),
                );
            }
            _ if argument == 0xff => self.input(Input::Terminate, None),
            _ if argument == 0xfe => {
                self.input(Input::Unreadable { client: ClientId(u64::MAX), msg_id: 1 }, None);
            }
            _ if argument & 0xfc == 0xf8 => {
                if let Some(resource) = id {
                    self.input(Input::Hurry { resource }, None);
                }
            }
            _ if argument & 0xfe == 0xfc => self.adopt(argument & 1 == 0),
            _ => self.ask(client, None, 0, Operation::Poke { origin: None }),
        }
    }

    /// Ends every run and lets all time pass: nothing may stay owed.
    fn wind_down(&mut self) {
        for _ in 0..64 {
            while !self.running.is_empty() {
                self.finish(0, 0);
            }
            self.pass(100);
        }
        for name in ["r0", "r1", "r2", "r3"] {
            self.ask(0, None, 0, Operation::ResourceUnregister { origin: None, id: ResourceId::new(name) });
            while !self.running.is_empty() {
                self.finish(0, 0);
            }
        }
        if !self.exited {
            assert!(self.owed.is_empty(), "operations without a result: {:?}", self.owed);
            assert_eq!(self.executor.operation_count(), 0, "nothing is left behind");
            assert_eq!(self.executor.next_deadline(), None, "no deadline is left behind");
        }
    }

    fn connect(&mut self, argument: u8) {
        let access = match argument & 3 {
            0 => Some(Access::Member),
            1 => Some(Access::Privileged),
            _ => None,
        };
        let (client, origin) = match access {
            Some(access) => {
                let caller = Caller { pid: 7, uid: 1, gid: 1, user: "nobody".into(), access };
                (ClientId::local(ToolId(self.next_client)), Origin::process(&caller))
            }
            None => (ClientId(self.next_client), Origin::default()),
        };
        self.next_client += 1;
        self.clients.insert(client);
        self.input(Input::Connected { client, token: String::new(), origin }, None);
        let provider = self.executor.current_provider();
        assert!(provider.is_none_or(|provider| provider.tool().is_none()), "only cluster nodes provide");
    }

    fn adopt(&mut self, strict: bool) {
        let text = if strict { "[agents]\nallow = ['ocf:p:Dummy']" } else { "" };
        self.strict = strict;
        self.input(Input::Policy(Arc::new(Policy::parse(text).expect("a policy"))), None);
    }

    fn disconnect(&mut self, nth: usize) {
        // The witness stays.
        if let Some(client) = self.clients.iter().skip(1).nth(nth).copied() {
            self.clients.remove(&client);
            self.input(Input::Disconnected { client }, None);
        }
    }

    fn ask(&mut self, nth: usize, name: Option<&str>, options: i64, operation: Operation) {
        let client = self.clients.iter().nth(nth).copied().unwrap_or(ClientId(0));
        self.next_msg += 1;
        let expect = Expect {
            msg_id: self.next_msg,
            reply: !matches!(operation, Operation::Check { .. }),
            one_shot: matches!(&operation, Operation::Exec(exec) if exec.interval_ms == 0),
        };
        let request = Request {
            msg_id: self.next_msg,
            client_name: name.map(Into::into),
            token: None,
            call_timeout_ms: None,
            options: Some(CallOptions(options)),
            style: Style::default(),
            operation,
        };
        self.input(Input::Request { client, request }, Some(expect));
    }

    fn finish(&mut self, nth: usize, rc: i32) {
        let count = self.running.len();
        if count == 0 {
            return;
        }
        let op = *self.running.keys().nth(nth % count).expect("counted");
        self.running.remove(&op);
        let outcome =
            Outcome { rc: OcfRc(rc), raw_rc: rc, status: ExecStatus::Done, exit_reason: None, output: None };
        self.input(Input::Finished { op, outcome }, None);
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(Mono(next)) = self.executor.next_deadline().filter(|at| at.0 <= end) {
            self.now = self.now.max(next);
            self.input(Input::Tick, None);
        }
        self.now = end;
    }

    fn input(&mut self, input: Input, expect: Option<Expect>) {
        let now = Now { mono: Mono(self.now), wall: self.now };
        let actions = self.executor.handle(input, now);
        assert!(!self.exited || actions.is_empty(), "nothing is decided after the end");
        let expect = expect.filter(|_| !self.exited);
        let mut replies = 0;
        for action in actions {
            match action {
                Action::Send { to, message } => {
                    assert!(!to.is_empty() && to.iter().all(|client| self.clients.contains(client)));
                    match message {
                        Message::Reply(reply) => {
                            let expect = expect.as_ref().expect("replies answer requests");
                            assert_eq!(reply.msg_id, expect.msg_id);
                            replies += 1;
                            if expect.one_shot && reply.rc > 0 {
                                assert!(self.owed.insert(reply.rc), "call ids are new");
                            }
                        }
                        Message::Notify(Notify::Result(result)) if result.interval_ms == 0 => {
                            assert!(
                                self.owed.remove(&result.call_id),
                                "one result, after the reply: {result:?}"
                            );
                        }
                        Message::Notify(_) | Message::Proxy(_) => {}
                    }
                }
                Action::Start { op, call } => {
                    assert!(self.running.values().all(|run| run.resource != call.id), "one run per resource");
                    let forbidden = self.strict && call.agent.kind == "Other" && call.action == "start";
                    assert!(!forbidden, "no agent that the policy forbids is started");
                    let deadline = (call.timeout_ms > 0).then(|| self.now + u64::from(call.timeout_ms));
                    self.running.insert(op, Running { resource: call.id, deadline, killed: false });
                }
                Action::Kill { op } => {
                    let run = self.running.get_mut(&op).expect("only what runs is killed");
                    assert!(!std::mem::replace(&mut run.killed, true), "killed once");
                }
                Action::Exit(_) => self.exited = true,
                Action::Alert(_)
                | Action::Forget { .. }
                | Action::CheckWatchdog { .. }
                | Action::Forward { .. }
                | Action::FetchSchemas { .. }
                | Action::StopListening => {}
            }
        }
        if let Some(expect) = expect {
            assert_eq!(replies, i32::from(expect.reply), "exactly one reply");
        }
        if !self.exited {
            for run in self.running.values().filter(|run| !run.killed) {
                if let Some(deadline) = run.deadline {
                    let armed = self.executor.next_deadline().expect("a run with a timeout has a deadline");
                    assert!(armed.0 <= deadline, "the deadline is armed");
                }
            }
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
