//! What the executor says and does, told as short stories in virtual time.

use pcmk_proto::lrmd::{
    CallOptions, ExecRequest, IpcForward, IpcForwardKind, Message, Notify, OpResult, Operation, ProxyNotify,
    Reply, ReplyBody, Request, Style,
};
use pcmk_proto::types::{AgentSpec, ExecStatus, OcfRc, ResourceId};

use super::{Action, Executor, ExitReason, Input, Mono, Now, Settings};
use crate::agent::Outcome;
use crate::ids::{ClientId, OpId};

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
                Action::Alert(_) => self.alerts += 1,
                Action::StopListening => self.listening = false,
                Action::CheckWatchdog { .. } => {}
                Action::Exit(reason) => self.exit = Some(reason),
            }
        }
    }

    fn join(&mut self, client: ClientId, provider: bool) {
        self.input(Input::Connected { client, token: format!("token-{}", client.0) });
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

#[test]
fn registration_tells_version_uptime_and_token() {
    let mut story = Story::new();
    story.now = 65_000;
    story.join(CONTROLLER, true);
    let Message::Reply(reply) = &story.said[0].1 else { panic!("a reply") };
    assert_eq!(reply.rc, 0);
    assert_eq!(
        reply.body,
        ReplyBody::Registered {
            client_id: "token-1".into(),
            protocol_version: "1.2".into(),
            uptime_s: Some(65),
            node_start_state: None
        }
    );
}

#[test]
fn ancient_protocol_versions_are_refused_and_provide_nothing() {
    let mut story = Story::new();
    story.input(Input::Connected { client: CONTROLLER, token: "t".into() });
    for (version, rc) in [(Some("0.9"), -71), (Some("x"), -71), (Some("1"), 0), (None, 0), (Some("2.0"), 0)] {
        let operation =
            Operation::Register { protocol_version: version.map(Into::into), is_ipc_provider: Some(true) };
        assert_eq!(story.ask(0, operation).rc, rc, "{version:?}");
        if rc != 0 {
            assert!(story.executor.clients.current_provider().is_none());
        }
    }
}

#[test]
fn the_heartbeat_is_a_reply_and_then_a_notification() {
    let mut story = Story::with_resource();
    story.ask(0, Operation::Poke { origin: None });
    let [(_, Message::Reply(reply)), (_, Message::Notify(Notify::Done { rc: 0, call_id, op, id: None, .. }))] =
        &story.said[..]
    else {
        panic!("reply, then notification: {:?}", story.said)
    };
    assert_eq!((reply.rc, reply.call_id), (0, *call_id));
    assert_eq!(op, "lrmd_rsc_poke");
}

#[test]
fn call_ids_count_every_request() {
    let mut story = Story::with_resource();
    let first = story.ask(0, Operation::Poke { origin: None }).call_id;
    let second = story.exec("start", 0);
    assert_eq!(second, first + 1);
    story.executor.call_id_for_test(i32::MAX);
    assert_eq!(story.ask(0, Operation::Poke { origin: None }).call_id, 1);
}

#[test]
fn unknown_and_incomplete_requests_get_their_errno() {
    let mut story = Story::with_resource();
    assert_eq!(story.ask(0, Operation::Other("lrmd_rsc_metadata".into())).rc, -95);
    assert_eq!(story.ask(0, Operation::Exec(Box::default())).rc, -22);
    assert_eq!(story.exec_with(ExecRequest { id: rsc("nobody"), ..ExecRequest::default() }), -19);
    assert_eq!(story.ask(0, Operation::ResourceInfo { origin: None, id: None }).rc, -19);
    assert_eq!(story.ask(0, Operation::ResourceInfo { origin: None, id: rsc("nobody") }).rc, -19);
    assert_eq!(story.ask(0, Operation::ResourceUnregister { origin: None, id: None }).rc, -19);
    assert_eq!(story.unregister("nobody"), 0);
    assert_eq!(story.cancel("monitor", 10), -95);
    let incomplete = Operation::Cancel { origin: None, action: None, id: rsc("r"), interval_ms: 0 };
    assert_eq!(story.ask(0, incomplete).rc, -22);
    assert_eq!(story.ask(0, Operation::Recurring { origin: None, id: rsc("nobody") }).rc, -19);
    assert_eq!(story.ask(0, Operation::Alert(Box::default())).rc, -22);
    assert!(story.started.is_empty() && story.alerts == 0);
}

#[test]
fn a_start_is_answered_at_once_and_reported_once() {
    let mut story = Story::with_resource();
    let call_id = story.exec_with(ExecRequest {
        action: Some("start".into()),
        userdata: Some("1:2:0:key".into()),
        timeout_ms: 20_000,
        params: vec![("p".into(), "v".into())],
        ..ExecRequest::default()
    });
    assert!(call_id > 0);
    assert!(matches!(story.said.last(), Some((_, Message::Reply(_)))), "the reply comes before any result");
    story.pass(250);
    story.ends(0);
    let results = story.results();
    let [result] = &results[..] else { panic!("one result: {results:?}") };
    assert_eq!((result.call_id, result.rc.0, result.status), (call_id, 0, ExecStatus::Done));
    assert_eq!((result.exec_time_ms, result.rcchange_time, result.rsc_deleted), (250, 0, false));
    assert_eq!(result.userdata.as_deref(), Some("1:2:0:key"));
    assert_eq!(result.params, vec![("p".to_string(), "v".to_string())]);
    assert_eq!(story.executor.operation_count(), 0);
}

#[test]
fn one_operation_at_a_time_per_resource_and_many_resources_at_once() {
    let mut story = Story::with_resource();
    story.register("other", "Dummy");
    story.exec("start", 0);
    story.exec("monitor", 0);
    story.exec_with(ExecRequest { id: rsc("other"), action: Some("start".into()), ..ExecRequest::default() });
    let names: Vec<&str> = story.started.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["r start", "other start"]);
    let first = story.started[0].0;
    story.run_ends(first, 0);
    assert_eq!(story.started.last().map(|(_, name)| name.as_str()), Some("r monitor"));
}

#[test]
fn a_recurring_monitor_speaks_only_when_its_result_changes() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.ends(0);
    assert_eq!(story.outcomes(), [done("monitor", 0)]);
    for _ in 0..360 {
        story.pass(10_000);
        story.ends(0);
    }
    assert_eq!(story.outcomes(), [], "an hour without change is an hour of silence");
    story.pass(10_000);
    story.ends(7);
    story.pass(10_000);
    story.ends(7);
    assert_eq!(story.outcomes(), [done("monitor", 7)]);
    assert_eq!(story.started.len(), 363);
}

#[test]
fn the_interval_counts_from_completion() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.pass(4_000);
    story.ends(0);
    story.pass(9_999);
    assert_eq!(story.started.len(), 1);
    story.pass(1);
    assert_eq!(story.started.len(), 2);
}

#[test]
fn a_repeated_recurring_request_takes_over_and_is_answered_again() {
    let mut story = Story::with_resource();
    let old = story.exec("monitor", 10_000);
    story.ends(0);
    story.said.clear();
    let new = story.exec("MONITOR", 10_000);
    assert!(new > old);
    assert_eq!(story.started.len(), 2, "a sleeping one runs at once");
    story.ends(0);
    assert_eq!(story.results().iter().map(|r| r.call_id).collect::<Vec<_>>(), [new], "reported unchanged");
    let third = story.exec("monitor", 10_000);
    story.said.clear();
    let fourth = story.exec("monitor", 10_000);
    story.ends(0);
    assert_eq!(story.results().iter().map(|r| r.call_id).collect::<Vec<_>>(), [fourth]);
    assert!(fourth > third);
    assert_eq!(story.executor.operation_count(), 1);
}

#[test]
fn stop_cancels_what_recurs_and_says_so_before_its_own_reply() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.ends(7);
    story.exec("monitor", 20_000);
    let running = story.last_run();
    story.said.clear();
    story.exec("stop", 0);
    assert_eq!(story.killed, [running]);
    assert!(matches!(story.said[0].1, Message::Notify(_)) && matches!(story.said[2].1, Message::Reply(_)));
    assert_eq!(story.outcomes(), [cancelled("monitor", 7), cancelled("monitor", 0)]);
    assert_eq!(story.started.len(), 2, "stop waits for the killed monitor to be gone");
    story.dies(running);
    assert_eq!(story.started.last().map(|(_, name)| name.as_str()), Some("r stop"));
    story.ends(0);
    assert_eq!(story.outcomes(), [done("stop", 0)]);
    story.pass(60_000);
    assert_eq!(story.started.len(), 3);
}

#[test]
fn cancel_finds_an_operation_wherever_it_is() {
    let mut story = Story::with_resource();
    // Waiting for its interval: the last exit code is repeated.
    story.exec("monitor", 10_000);
    story.ends(0);
    story.said.clear();
    assert_eq!(story.cancel("monitor", 10_000), 0);
    assert!(matches!(story.said[0].1, Message::Notify(_)), "the cancellation precedes the reply");
    assert_eq!(story.outcomes(), [cancelled("monitor", 0)]);
    // Running one-shot: cannot be cancelled. Queued behind it: can.
    story.exec("start", 0);
    assert_eq!(story.cancel("start", 0), -95);
    story.exec("monitor", 0);
    assert_eq!(story.cancel("monitor", 0), 0);
    assert_eq!(story.outcomes(), [cancelled("monitor", 0)]);
    story.ends(0);
    // Running recurring: killed.
    story.exec("monitor", 10_000);
    let running = story.last_run();
    story.said.clear();
    assert_eq!(story.cancel("monitor", 10_000), 0);
    assert_eq!(story.killed, [running]);
    assert_eq!(story.outcomes(), [cancelled("monitor", 0)]);
    story.dies(running);
    assert_eq!(story.outcomes(), [], "a cancelled run is reported once");
    assert_eq!(story.cancel("monitor", 10_000), -95);
    assert_eq!(story.executor.operation_count(), 0);
}

#[test]
fn a_start_delay_holds_up_the_queue_and_can_be_cancelled() {
    let mut story = Story::with_resource();
    let delayed = |action: &str| ExecRequest {
        action: Some(action.into()),
        start_delay_ms: 6_000,
        timeout_ms: 3_000,
        ..ExecRequest::default()
    };
    story.exec_with(delayed("start"));
    story.exec("monitor", 0);
    assert!(story.started.is_empty());
    story.pass(6_000);
    assert_eq!(story.started.len(), 1);
    story.ends(0);
    assert_eq!(story.started.len(), 2);
    story.ends(0);
    story.said.clear();
    story.exec_with(delayed("start"));
    assert_eq!(story.cancel("start", 0), 0);
    story.pass(60_000);
    assert_eq!(story.started.len(), 2);
}

#[test]
fn a_timeout_kills_and_is_reported_when_the_agent_is_dead() {
    let mut story = Story::with_resource();
    story.exec("start", 0);
    let run = story.last_run();
    story.pass(19_999);
    assert!(story.killed.is_empty());
    story.pass(1);
    assert_eq!(story.killed, [run]);
    assert!(story.results().is_empty());
    story.dies(run);
    let results = story.results();
    let [result] = &results[..] else { panic!("one result") };
    assert_eq!((result.rc.0, result.status), (1, ExecStatus::Timeout));
    assert_eq!(result.exit_reason.as_deref(), Some("Resource agent did not complete within 20s"));
    assert_eq!(result.output.as_deref(), Some("partial"));
    story.pass(60_000);
    assert_eq!(story.killed.len(), 1);
}

#[test]
fn an_agent_that_cannot_be_killed_is_reported_but_keeps_its_resource() {
    let mut story = Story::with_resource();
    story.exec("stop", 0);
    let run = story.last_run();
    story.exec("start", 0);
    story.pass(20_000 + 5_000);
    assert_eq!(story.outcomes(), [("stop".into(), 1, ExecStatus::Timeout)]);
    story.pass(600_000);
    assert_eq!(story.started.len(), 1, "nothing runs beside the undead agent");
    assert_eq!(story.unregister("r"), 0, "no result is outstanding any more");
    story.dies(run);
    assert_eq!(story.results().iter().filter(|r| r.status != ExecStatus::Cancelled).count(), 0);
    assert_eq!(story.executor.operation_count(), 0);
}

#[test]
fn a_monitor_that_times_out_goes_on_recurring() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.pass(20_000);
    let run = story.last_run();
    story.dies(run);
    assert_eq!(story.outcomes(), [("monitor".into(), 1, ExecStatus::Timeout)]);
    story.pass(10_000);
    assert_eq!(story.started.len(), 2);
    story.ends(0);
    assert_eq!(story.outcomes(), [done("monitor", 0)]);
}

#[test]
fn timeout_zero_is_no_limit() {
    let mut story = Story::with_resource();
    story.exec_with(ExecRequest { action: Some("start".into()), ..ExecRequest::default() });
    story.pass(100_000_000);
    assert!(story.killed.is_empty());
}

#[test]
fn unregistering_reports_what_never_ran_and_marks_what_still_runs() {
    let mut story = Story::with_resource();
    assert_eq!(story.unregister("r"), 0);
    story.register("r", "Dummy");
    story.exec("start", 0);
    story.exec("monitor", 10_000);
    story.said.clear();
    assert_eq!(story.unregister("r"), -115);
    let results = story.results();
    assert_eq!(
        results.iter().map(|r| (r.status, r.rsc_deleted)).collect::<Vec<_>>(),
        [(ExecStatus::Cancelled, true)]
    );
    story.said.clear();
    story.ends(0);
    let results = story.results();
    assert_eq!(results.iter().map(|r| (r.rc.0, r.rsc_deleted)).collect::<Vec<_>>(), [(0, true)]);
    assert_eq!(story.executor.operation_count(), 0);
}

#[test]
fn another_agent_under_the_same_name_replaces_the_old_registration() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.ends(0);
    story.said.clear();
    assert_eq!(story.register("r", "DUMMY"), 0);
    assert_eq!(story.outcomes(), [], "the same agent in other letters changes nothing");
    assert_eq!(story.register("r", "Stateful"), 0);
    assert_eq!(story.outcomes(), [cancelled("monitor", 0)]);
    // A run of the old registration still keeps the name occupied.
    story.exec("start", 0);
    let old = story.last_run();
    story.register("r", "Dummy");
    story.exec("start", 0);
    assert_eq!(story.started.last().map(|(op, _)| *op), Some(old));
    story.run_ends(old, 0);
    assert_ne!(story.last_run(), old);
}

#[test]
fn results_go_to_every_named_client_or_only_to_the_one_that_asked() {
    let mut story = Story::with_resource();
    story.input(Input::Connected { client: OTHER, token: "t".into() });
    story.said.clear();
    story.exec("start", 0);
    story.ends(0);
    assert!(story.said.iter().all(|(client, _)| *client == CONTROLLER), "nameless clients hear nothing");
    story.ask_as(OTHER, Some("tool"), 0, Operation::Poke { origin: None });
    story.said.clear();
    story.exec("monitor", 0);
    story.ends(0);
    let heard: Vec<ClientId> = story
        .said
        .iter()
        .filter(|(_, message)| matches!(message, Message::Notify(Notify::Result(_))))
        .map(|(client, _)| *client)
        .collect();
    assert_eq!(heard, [CONTROLLER, OTHER]);
    story.said.clear();
    let exec = ExecRequest { id: rsc("r"), action: Some("monitor".into()), ..ExecRequest::default() };
    story.ask(2, Operation::Exec(Box::new(exec)));
    story.ends(0);
    assert!(story.said.iter().all(|(client, _)| *client == CONTROLLER));
}

#[test]
fn a_second_client_is_announced_to_the_first() {
    let mut story = Story::with_resource();
    story.join(OTHER, true);
    assert!(matches!(&story.said[0], (CONTROLLER, Message::Notify(Notify::NewClient { .. }))));
    assert_eq!(story.executor.clients.current_provider(), Some(OTHER));
}

#[test]
fn recurring_operations_survive_a_takeover_and_end_with_the_last_client() {
    let mut story = Story::with_resource();
    story.exec("monitor", 10_000);
    story.ends(0);
    story.join(OTHER, true);
    story.input(Input::Disconnected { client: CONTROLLER });
    story.pass(10_000);
    assert_eq!(story.started.len(), 2);
    let running = story.last_run();
    story.input(Input::Disconnected { client: OTHER });
    assert_eq!(story.killed, [running]);
    story.dies(running);
    story.pass(60_000);
    assert_eq!(story.started.len(), 2);
    assert_eq!(story.executor.resource_count(), 1, "registrations persist");
}

#[test]
fn one_shot_operations_outlive_their_client() {
    let mut story = Story::with_resource();
    story.exec("start", 0);
    story.input(Input::Disconnected { client: CONTROLLER });
    assert!(story.killed.is_empty());
    story.ends(0);
    assert_eq!(story.executor.operation_count(), 0);
}

#[test]
fn recurring_operations_of_lasting_registrations_need_no_client() {
    let mut story = Story::with_resource();
    let agent = AgentSpec { class: "ocf".into(), provider: Some("test".into()), kind: "Dummy".into() };
    story.ask(0, Operation::ResourceRegister { origin: None, id: rsc("lasting"), agent });
    story.exec_with(ExecRequest {
        id: rsc("lasting"),
        action: Some("monitor".into()),
        interval_ms: 1_000,
        ..ExecRequest::default()
    });
    story.ends(0);
    story.input(Input::Disconnected { client: CONTROLLER });
    story.pass(1_000);
    assert_eq!(story.started.len(), 2);
}

#[test]
fn stopping_without_a_cluster_is_immediate() {
    let mut story = Story::new();
    story.input(Input::Terminate);
    assert_eq!(story.exit, Some(ExitReason::NotConnected));
}

#[test]
fn stopping_asks_the_cluster_and_waits_until_it_has_disconnected() {
    let mut story = Story::with_resource();
    story.input(Input::Terminate);
    assert!(!story.listening);
    assert!(matches!(&story.said[0], (CONTROLLER, Message::Proxy(ProxyNotify::ShutdownRequest))));
    story.input(Input::Terminate);
    assert_eq!(story.said.len(), 1, "a second TERM changes nothing");
    let ack = IpcForward { kind: IpcForwardKind::ShutdownAck, session: None, msg_id: None, payload: None };
    assert_eq!(story.ask(0, Operation::IpcForward(Box::new(ack))).rc, 0);
    story.exec("stop", 0);
    story.ends(0);
    assert_eq!(story.exit, None);
    story.input(Input::Disconnected { client: CONTROLLER });
    assert_eq!(story.exit, Some(ExitReason::Drained));
    assert_eq!(story.executor.next_deadline(), None);
}

#[test]
fn a_refusal_ends_the_daemon_at_once_but_only_while_it_is_stopping() {
    let mut story = Story::with_resource();
    let nack =
        || IpcForward { kind: IpcForwardKind::ShutdownNack, session: None, msg_id: None, payload: None };
    story.ask(0, Operation::IpcForward(Box::new(nack())));
    assert_eq!(story.exit, None);
    story.input(Input::Terminate);
    story.ask(0, Operation::IpcForward(Box::new(nack())));
    assert_eq!(story.exit, Some(ExitReason::Refused));
}

#[test]
fn forwarded_messages_for_nobody_are_sent_back() {
    let mut story = Story::with_resource();
    let stray = IpcForward {
        kind: IpcForwardKind::Response,
        session: Some("s-1".into()),
        msg_id: Some(1),
        payload: None,
    };
    assert_eq!(story.ask(0, Operation::IpcForward(Box::new(stray))).rc, 0);
    let Message::Proxy(ProxyNotify::Destroy { session }) = &story.said[0].1 else { panic!("a destroy") };
    assert_eq!(session, "s-1");
}

#[test]
fn registrations_and_operations_are_bounded() {
    let mut story = Story::new();
    story.executor = Executor::new(Settings { max_resources: 2, max_operations: 3, ..Settings::default() });
    story.join(CONTROLLER, true);
    assert_eq!((story.register("a", "D"), story.register("b", "D"), story.register("c", "D")), (0, 0, -105));
    assert_eq!(story.register("a", "Other"), 0, "replacing needs no room");
    for rc in [true, true, true, false] {
        let exec = ExecRequest { id: rsc("a"), action: Some("start".into()), ..ExecRequest::default() };
        assert_eq!(story.exec_with(exec) > 0, rc);
    }
}

#[test]
fn recurring_operations_are_listed_once_they_have_run() {
    let mut story = Story::with_resource();
    story.exec("start", 0);
    story.exec("monitor", 10_000);
    let listed = |story: &mut Story| match story.ask(0, Operation::Recurring { origin: None, id: None }).body
    {
        ReplyBody::Recurring(list) => list[0].ops.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(listed(&mut story), []);
    story.ends(0);
    assert_eq!(listed(&mut story), [("monitor".to_string(), 10_000, 20_000)]);
}

#[test]
fn busy_monitors_do_not_starve_a_one_shot() {
    let mut story = Story::with_resource();
    for interval in 1..=9 {
        story.exec("monitor", interval);
    }
    for _ in 0..9 {
        story.pass(2_000);
        story.ends(0);
    }
    story.exec("start", 0);
    for _ in 0..10 {
        story.pass(2_000);
        story.ends(0);
    }
    assert!(story.started.iter().any(|(_, name)| name == "r start"));
}
