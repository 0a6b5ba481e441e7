//! What the executor says and does, told as short stories in virtual time.

mod clients;
mod hurry;
mod policy;
mod record;
mod requests;
mod scheduling;

use pcmk_proto::lrmd::{
    CallOptions, ExecRequest, IpcForward, IpcForwardKind, Message, Notify, OpResult, Operation, ProxyNotify,
    Reply, ReplyBody, Request, Style,
};
use pcmk_proto::types::{AgentSpec, ExecStatus, OcfRc, ResourceId};

use super::{Action, Executor, ExitReason, Input, Mono, Now, Settings};
use crate::agent::Outcome;
use crate::audit::Origin;
use crate::ids::{ClientId, OpId, ToolId};

const CONTROLLER: ClientId = ClientId(1);
const OTHER: ClientId = ClientId(2);
const CHANGES_ONLY: i64 = 4;
const DROP_RECURRING: i64 = 3;

/// The executor, a clock that only the test moves, and everything that was said so far.
struct Story {
    executor: Executor,
    now: u64,
    next_msg: i64,
    said: Vec<(ClientId, Message)>,
    started: Vec<(OpId, String)>,
    killed: Vec<OpId>,
    exit: Option<ExitReason>,
    listening: bool,
    alerts: usize,
    forgotten: Vec<ResourceId>,
    forwarded: Vec<(ClientId, IpcForward)>,
    schemas_from: Vec<ClientId>,
}

impl Story {
    fn new() -> Self {
        Self {
            executor: Executor::new(Settings::default()),
            now: 1_000,
            next_msg: 100,
            said: vec![],
            started: vec![],
            killed: vec![],
            exit: None,
            listening: true,
            alerts: 0,
            forgotten: vec![],
            forwarded: vec![],
            schemas_from: vec![],
        }
    }

    /// A story that begins with a controller registered as provider and one resource `r`.
    fn with_resource() -> Self {
        let mut story = Self::new();
        story.join(CONTROLLER, true);
        story.register("r", "Dummy");
        story.said.clear();
        story
    }

    fn input(&mut self, input: Input) {
        let now = Now { mono: Mono(self.now), wall: 1_700_000_000 + self.now / 1000 };
        for action in self.executor.handle(input, now) {
            match action {
                Action::Send { to, message } => {
                    assert!(!to.is_empty());
                    self.said.extend(to.into_iter().map(|client| (client, message.clone())));
                }
                Action::Start { op, call } => self.started.push((op, format!("{} {}", call.id, call.action))),
                Action::Kill { op } => self.killed.push(op),
                Action::Forget { resource } => self.forgotten.push(resource),
                Action::Alert(_) => self.alerts += 1,
                Action::StopListening => self.listening = false,
                Action::CheckWatchdog { .. } => {}
                Action::Forward { from, forward } => self.forwarded.push((from, forward)),
                Action::FetchSchemas { provider } => self.schemas_from.push(provider),
                Action::Exit(reason) => self.exit = Some(reason),
            }
        }
    }

    fn join(&mut self, client: ClientId, provider: bool) {
        self.input(Input::Connected {
            client,
            token: format!("token-{}", client.0),
            origin: Origin::default(),
        });
        self.ask_as(
            client,
            Some("controller"),
            0,
            Operation::Register { protocol_version: Some("1.1".into()), is_ipc_provider: Some(provider) },
        );
    }

    fn ask_as(&mut self, client: ClientId, name: Option<&str>, options: i64, operation: Operation) -> i64 {
        self.next_msg += 1;
        let request = Request {
            msg_id: self.next_msg,
            client_name: name.map(Into::into),
            token: None,
            call_timeout_ms: None,
            options: Some(CallOptions(options)),
            style: Style::default(),
            operation,
        };
        self.input(Input::Request { client, request });
        self.next_msg
    }

    /// Asks as the controller and returns the reply.
    fn ask(&mut self, options: i64, operation: Operation) -> Reply {
        let msg_id = self.ask_as(CONTROLLER, None, options, operation);
        self.said
            .iter()
            .rev()
            .find_map(|(_, message)| match message {
                Message::Reply(reply) if reply.msg_id == msg_id => Some(reply.clone()),
                _ => None,
            })
            .expect("every request is answered")
    }

    fn register(&mut self, id: &str, kind: &str) -> i32 {
        let agent = AgentSpec { class: "ocf".into(), provider: Some("test".into()), kind: kind.into() };
        self.ask(DROP_RECURRING, Operation::ResourceRegister { origin: None, id: rsc(id), agent }).rc
    }

    fn unregister(&mut self, id: &str) -> i32 {
        self.ask(0, Operation::ResourceUnregister { origin: None, id: rsc(id) }).rc
    }

    fn exec(&mut self, action: &str, interval_ms: u32) -> i32 {
        self.exec_with(ExecRequest {
            action: Some(action.into()),
            interval_ms,
            timeout_ms: 20_000,
            ..ExecRequest::default()
        })
    }

    fn exec_with(&mut self, exec: ExecRequest) -> i32 {
        let exec = ExecRequest { id: exec.id.or_else(|| rsc("r")), ..exec };
        self.ask(CHANGES_ONLY, Operation::Exec(Box::new(exec))).rc
    }

    fn cancel(&mut self, action: &str, interval_ms: u32) -> i32 {
        self.ask(
            0,
            Operation::Cancel { origin: None, action: Some(action.into()), id: rsc("r"), interval_ms },
        )
        .rc
    }

    fn last_run(&self) -> OpId {
        self.started.last().expect("something was started").0
    }

    fn ends(&mut self, rc: i32) {
        let op = self.last_run();
        self.run_ends(op, rc);
    }

    fn run_ends(&mut self, op: OpId, rc: i32) {
        let outcome =
            Outcome { rc: OcfRc(rc), raw_rc: rc, status: ExecStatus::Done, exit_reason: None, output: None };
        self.input(Input::Finished { op, outcome });
    }

    fn dies(&mut self, op: OpId) {
        let outcome = Outcome {
            rc: OcfRc(1),
            raw_rc: 1,
            status: ExecStatus::Error,
            exit_reason: Some("Resource agent interrupted by Killed signal".into()),
            output: Some("partial".into()),
        };
        self.input(Input::Finished { op, outcome });
    }

    /// Moves the clock, stopping at every deadline on the way.
    fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(Mono(next)) = self.executor.next_deadline().filter(|next| next.0 <= end) {
            self.now = self.now.max(next);
            self.input(Input::Tick);
        }
        self.now = end;
    }

    fn results(&self) -> Vec<OpResult> {
        self.said
            .iter()
            .filter_map(|(_, message)| match message {
                Message::Notify(Notify::Result(result)) => Some((**result).clone()),
                _ => None,
            })
            .collect()
    }

    /// `action/rc/status` of each result so far; forgets them.
    fn outcomes(&mut self) -> Vec<(String, i32, ExecStatus)> {
        let all = self.results().into_iter().map(|r| (r.action, r.rc.0, r.status)).collect();
        self.said.clear();
        all
    }
}

fn rsc(id: &str) -> Option<ResourceId> {
    ResourceId::new(id)
}

fn done(action: &str, rc: i32) -> (String, i32, ExecStatus) {
    (action.into(), rc, ExecStatus::Done)
}

fn cancelled(action: &str, rc: i32) -> (String, i32, ExecStatus) {
    (action.into(), rc, ExecStatus::Cancelled)
}
