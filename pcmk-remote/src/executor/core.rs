//! The executor's state and its answers to requests.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use pcmk_proto::lrmd::{
    AlertRequest, CallOptions, ExecRequest, Message, Notify, Operation, RecurringOps, Reply, ReplyBody,
    Request,
};
use pcmk_proto::types::{AgentSpec, ResourceId};
use tracing::{debug, error, info, warn};

use super::arrivals::may_ask;
use super::clients::Clients;
use super::operation::{CmdId, Command, State};
use super::record::Record;
use super::run::{Run, Timer};
use super::timers::Timers;
use super::{Action, Input, Now, Settings};
use crate::agent::AlertCall;
use crate::audit::Local;
use crate::ids::{ClientId, OpId};
use crate::policy::Policy;

const ENODEV: i32 = -19;
const EINVAL: i32 = -22;
pub(super) const EINPROGRESS: i32 = -115;
const EOPNOTSUPP: i32 = -95;
const ENOBUFS: i32 = -105;

/// A registered resource and the operations that wait for it.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) agent: AgentSpec,
    pub(super) options: CallOptions,
    /// Asked for and never run, oldest first.
    pub(super) pending: VecDeque<CmdId>,
    /// Recurring ones that are due and wait for their turn.
    pub(super) due: VecDeque<CmdId>,
    /// Recurring ones that ran at least once.
    pub(super) established: Vec<CmdId>,
}

/// Decides what happens on this node. See the module's documentation.
#[derive(Debug)]
pub struct Executor {
    pub(super) settings: Settings,
    pub(super) clients: Clients,
    pub(super) resources: BTreeMap<ResourceId, Resource>,
    pub(super) commands: HashMap<CmdId, Command>,
    pub(super) runs: HashMap<OpId, Run>,
    /// The run that occupies a resource name, whatever its registration.
    pub(super) busy: HashMap<ResourceId, OpId>,
    pub(super) timers: Timers<Timer>,
    pub(super) out: Vec<Action>,
    pub(super) record: Record,
    pub(super) policy: Arc<Policy>,
    pub(super) active: super::permit::Active,
    next_command: u64,
    next_run: u64,
    next_turn: u64,
    call_id: i32,
    pub(super) shutting_down: bool,
    pub(super) exited: bool,
}

impl Executor {
    /// An executor without resources or clients.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            clients: Clients::default(),
            resources: BTreeMap::new(),
            commands: HashMap::new(),
            runs: HashMap::new(),
            busy: HashMap::new(),
            timers: Timers::new(),
            out: Vec::new(),
            record: Record::default(),
            policy: Arc::default(),
            active: super::permit::Active::default(),
            next_command: 0,
            next_run: 0,
            next_turn: 0,
            call_id: 0,
            shutting_down: false,
            exited: false,
        }
    }

    /// Takes in what happened and says what to do, in order.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Action> {
        if self.exited {
            return Vec::new();
        }
        match input {
            Input::Connected { client, token, origin } => self.connected(client, token, origin),
            Input::Request { client, request } => self.request(client, request, now),
            Input::Unreadable { client, msg_id } => self.unreadable(client, msg_id),
            Input::Disconnected { client } => self.disconnected(client, now),
            Input::Spawned { op, pid } => self.spawned(op, pid),
            Input::Finished { op, outcome } => self.finished(op, outcome, now),
            Input::Hurry { resource } => self.hurry(&resource, now),
            Input::Tick => self.tick(now),
            Input::Terminate => self.terminate(),
            Input::Policy(policy) => self.policy = policy,
        }
        std::mem::take(&mut self.out)
    }

    /// When [`Input::Tick`] is due.
    pub fn next_deadline(&self) -> Option<super::Mono> {
        if self.exited { None } else { self.timers.next() }
    }

    /// Registered resources.
    pub fn resource_count(&self) -> usize {
        self.resources.len()
    }

    /// The cluster node that provides the cluster's services to local tools: the newest that said so.
    pub fn current_provider(&self) -> Option<ClientId> {
        self.clients.current_provider()
    }

    /// Operations that wait or run.
    pub fn operation_count(&self) -> usize {
        self.commands.len()
    }

    fn request(&mut self, client: ClientId, request: Request, now: Now) {
        if !self.clients.contains(client) {
            return;
        }
        self.count_request();
        self.record.request(&request.operation);
        let local = self.clients.local(client);
        if let Some(name) = &request.client_name {
            self.clients.set_name(client, name);
        } else if let Some(Local { pid, .. }) = local {
            self.clients.set_name(client, &pid.to_string());
        }
        if self.clients.is_refused(client) {
            return self.unwelcome(client, request.msg_id);
        }
        let asked = Asked {
            client,
            msg_id: request.msg_id,
            call_id: self.call_id,
            options: request.options.unwrap_or_default(),
        };
        if !may_ask(local, &request.operation) {
            return self.reject(&asked, &request.operation);
        }
        match request.operation {
            Operation::Register { protocol_version, is_ipc_provider } => {
                self.register(&asked, protocol_version.as_deref(), is_ipc_provider.unwrap_or(false), now);
            }
            Operation::ResourceRegister { id, agent, .. } => self.resource_register(&asked, id, agent, now),
            Operation::ResourceInfo { id, .. } => self.resource_info(&asked, id),
            Operation::ResourceUnregister { id, .. } => self.resource_unregister(&asked, id, now),
            Operation::Exec(exec) => self.exec(&asked, *exec, now),
            Operation::Cancel { id, action, interval_ms, .. } => {
                let rc = match (id, action) {
                    (Some(id), Some(action)) => {
                        let rc = self.cancel(&id, &action, interval_ms, now);
                        self.audit(&asked, "cancel", rc, |entry| {
                            entry
                                .field("resource", &id)
                                .field("operation", &action)
                                .field("interval", interval_ms)
                        });
                        rc
                    }
                    _ => EINVAL,
                };
                self.reply(&asked, rc);
            }
            Operation::Poke { .. } => {
                self.reply(&asked, 0);
                // Only the notification proves to the controller that we are alive.
                self.notify_done(&asked, "lrmd_rsc_poke", None, 0);
            }
            // No release answers this one.
            Operation::Check { watchdog, .. } => self.out.push(Action::CheckWatchdog { timeout: watchdog }),
            Operation::Recurring { id, .. } => self.recurring(&asked, id.as_ref()),
            Operation::Alert(alert) => self.alert(&asked, *alert),
            Operation::IpcForward(forward) => self.ipc_forward(&asked, *forward),
            Operation::Other(op) => {
                error!("Unknown IPC request '{op}' from client {}", self.name(client));
                self.reply(&asked, EOPNOTSUPP);
            }
        }
    }

    fn unreadable(&mut self, client: ClientId, msg_id: i64) {
        if self.clients.contains(client) {
            self.count_request();
            self.record.unreadable();
            self.reply(&self.asked(client, msg_id), EINVAL);
        }
    }

    pub(super) fn asked(&self, client: ClientId, msg_id: i64) -> Asked {
        Asked { client, msg_id, call_id: self.call_id, options: CallOptions::default() }
    }

    /// Every request counts, whatever it is; the controller needs the number of an exec to be new.
    fn count_request(&mut self) {
        self.call_id = self.call_id.checked_add(1).unwrap_or(1);
    }

    fn resource_register(&mut self, asked: &Asked, id: Option<ResourceId>, agent: AgentSpec, now: Now) {
        let Some(id) = id else { return self.reply(asked, EINVAL) };
        let known = self.resources.get(&id).map(|resource| same_agent(&resource.agent, &agent));
        match known {
            Some(true) => debug!("Ignoring duplicate registration of '{id}'"),
            None if self.resources.len() >= self.settings.max_resources => {
                warn!("Refusing to register '{id}': {} resources are registered", self.resources.len());
                return self.reply(asked, ENOBUFS);
            }
            Some(false) | None => {
                if known.is_some() {
                    self.abandon(&id, false, now);
                }
                info!("Cached agent information for '{id}'");
                self.audit(asked, "register", 0, |entry| entry.field("resource", &id).field("agent", &agent));
                let resource = Resource {
                    agent,
                    options: asked.options,
                    pending: VecDeque::new(),
                    due: VecDeque::new(),
                    established: Vec::new(),
                };
                self.resources.insert(id.clone(), resource);
            }
        }
        self.reply(asked, 0);
        self.notify_done(asked, "lrmd_rsc_register", Some(id), 0);
    }

    fn resource_info(&mut self, asked: &Asked, id: Option<ResourceId>) {
        const ORIGIN: &str = "process_lrmd_get_rsc_info";
        let found = id.and_then(|id| self.resources.get(&id).map(|resource| (id, resource.agent.clone())));
        match found {
            Some((id, agent)) => self.reply_with(asked, 0, ORIGIN, ReplyBody::ResourceInfo { id, agent }),
            None => self.reply_with(asked, ENODEV, ORIGIN, ReplyBody::Plain),
        }
    }

    fn resource_unregister(&mut self, asked: &Asked, id: Option<ResourceId>, now: Now) {
        let Some(id) = id else { return self.reply(asked, ENODEV) };
        let mut rc = 0;
        if let Some(resource) = self.resources.get(&id) {
            let agent = resource.agent.to_string();
            // The controller then waits for the result that says "deleted", which for an operation that
            // is killed here comes before the reply.
            if self.running_command(&id).is_some() {
                rc = EINPROGRESS;
            }
            self.abandon(&id, true, now);
            self.audit(asked, "unregister", rc, |entry| entry.field("resource", &id).field("agent", agent));
        } else {
            info!("Ignoring unregistration of resource '{id}', which is not registered");
        }
        self.reply(asked, rc);
        self.notify_done(asked, "lrmd_rsc_unregister", Some(id), rc);
    }

    fn exec(&mut self, asked: &Asked, mut exec: ExecRequest, now: Now) {
        let Some(id) = exec.id.take() else { return self.reply(asked, EINVAL) };
        let Some(resource) = self.resources.get(&id) else {
            info!("Resource '{id}' not found ({} active resources)", self.resources.len());
            return self.reply(asked, ENODEV);
        };
        let agent = resource.agent.clone();
        if self.merge_recurring(asked, &id, &mut exec) {
            self.reply(asked, asked.call_id);
            self.start_next(&id, now);
            return;
        }
        if self.commands.len() >= self.settings.max_operations {
            warn!("Refusing {}: {} operations are in progress", id, self.commands.len());
            return self.reply(asked, ENOBUFS);
        }
        if exec.action.as_deref().is_some_and(|action| action.eq_ignore_ascii_case("stop")) {
            self.cancel_recurring(&id, None, now);
        }
        let key = CmdId(self.next_command);
        self.next_command += 1;
        let delay = exec.start_delay_ms;
        let mut command = Command::new(
            id.clone(),
            agent,
            (asked.client, self.clients.who(asked.client)),
            asked.options,
            asked.call_id,
            exec,
            now,
        );
        if delay > 0 {
            self.timers.arm(Timer::Wake(key), now.mono.plus(u64::from(delay)));
        } else {
            command.state = State::Pending(self.turn());
        }
        self.commands.insert(key, command);
        if let Some(resource) = self.resources.get_mut(&id) {
            resource.pending.push_back(key);
        }
        self.reply(asked, asked.call_id);
        self.start_next(&id, now);
    }

    /// A recurring operation asked for again continues under the new call id instead of running twice.
    fn merge_recurring(&mut self, asked: &Asked, id: &ResourceId, exec: &mut ExecRequest) -> bool {
        if exec.interval_ms == 0 {
            return false;
        }
        let action = exec.action.as_deref().unwrap_or_default();
        let Some(resource) = self.resources.get(id) else { return false };
        let duplicate =
            resource.pending.iter().chain(&resource.established).copied().find(|key| {
                self.commands.get(key).is_some_and(|command| command.is(action, exec.interval_ms))
            });
        let Some(key) = duplicate else { return false };
        info!("Merging duplicate recurring {action} of {id} with the one in place");
        let turn = self.turn();
        let Some(command) = self.commands.get_mut(&key) else { return false };
        command.adopt(asked.call_id, exec.userdata.take());
        if command.state == State::Sleeping {
            command.state = State::Due(turn);
            self.timers.disarm(Timer::Wake(key));
            if let Some(resource) = self.resources.get_mut(id) {
                resource.due.push_back(key);
            }
        }
        true
    }

    fn cancel(&mut self, id: &ResourceId, action: &str, interval_ms: u32, now: Now) -> i32 {
        let Some(resource) = self.resources.get(id) else { return ENODEV };
        let found = resource.pending.iter().chain(&resource.established).copied().find(|key| {
            self.commands.get(key).is_some_and(|command| command.is_exactly(action, interval_ms))
        });
        match found {
            Some(key) => {
                self.cancel_command(key, false, now);
                self.start_next(id, now);
                0
            }
            None => EOPNOTSUPP,
        }
    }

    fn recurring(&mut self, asked: &Asked, id: Option<&ResourceId>) {
        const ORIGIN: &str = "process_lrmd_get_recurring";
        if id.is_some_and(|id| !self.resources.contains_key(id)) {
            return self.reply_with(asked, ENODEV, ORIGIN, ReplyBody::Plain);
        }
        let listed = self
            .resources
            .iter()
            .filter(|(name, _)| id.is_none_or(|id| id == *name))
            .map(|(name, resource)| RecurringOps {
                id: name.clone(),
                ops: resource
                    .established
                    .iter()
                    .filter_map(|key| self.commands.get(key))
                    .map(|command| (command.action.clone(), command.interval_ms, command.timeout_ms))
                    .collect(),
            })
            .collect();
        self.reply_with(asked, 0, ORIGIN, ReplyBody::Recurring(listed));
    }

    fn alert(&mut self, asked: &Asked, alert: AlertRequest) {
        let AlertRequest { id: Some(id), path: Some(path), timeout_ms, params, .. } = alert else {
            return self.reply(asked, EINVAL);
        };
        if let Err(refusal) = self.policy.admit_alert(&path, params.iter().map(|(name, _)| name.as_str())) {
            return self.refuse_alert(asked, &id, &path, &refusal);
        }
        self.audit(asked, "alert", 0, |entry| entry.field("alert", &id).field("path", &path).names(&params));
        info!("Executing alert {id} for {}", self.name(asked.client));
        self.out.push(Action::Alert(AlertCall { id, path, timeout_ms, params }));
        self.reply(asked, 0);
    }

    #[cfg(test)]
    pub(super) fn call_id_for_test(&mut self, value: i32) {
        self.call_id = value;
    }

    pub(super) fn turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    pub(super) fn new_run(&mut self) -> OpId {
        self.next_run += 1;
        OpId(self.next_run)
    }

    pub(super) fn send(&mut self, to: Vec<ClientId>, message: Message) {
        if !to.is_empty() {
            self.out.push(Action::Send { to, message });
        }
    }

    pub(super) fn reply(&mut self, asked: &Asked, rc: i32) {
        self.reply_with(asked, rc, "process_lrmd_message", ReplyBody::Plain);
    }

    pub(super) fn reply_with(&mut self, asked: &Asked, rc: i32, origin: &str, body: ReplyBody) {
        let reply = Reply { origin: origin.into(), rc, call_id: asked.call_id, msg_id: asked.msg_id, body };
        self.send(vec![asked.client], Message::Reply(reply));
    }

    fn notify_done(&mut self, asked: &Asked, op: &str, id: Option<ResourceId>, rc: i32) {
        let notify = Notify::Done {
            origin: "send_generic_notify".into(),
            rc,
            call_id: asked.call_id,
            op: op.into(),
            id,
        };
        self.send(self.clients.listeners(), Message::Notify(notify));
    }

    pub(super) fn name(&self, client: ClientId) -> &str {
        self.clients.name(client).unwrap_or("without name")
    }
}

/// The parts of a request that its answer needs.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) client: ClientId,
    msg_id: i64,
    call_id: i32,
    options: CallOptions,
}

fn same_agent(a: &AgentSpec, b: &AgentSpec) -> bool {
    let provider = |spec: &AgentSpec| spec.provider.as_deref().unwrap_or_default().to_ascii_lowercase();
    a.class.eq_ignore_ascii_case(&b.class)
        && a.kind.eq_ignore_ascii_case(&b.kind)
        && provider(a) == provider(b)
}
