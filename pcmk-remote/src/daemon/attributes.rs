//! Node attributes for the agents in this process: short sessions of our own with the attribute manager.

use std::collections::BTreeMap;

use libvirt_probe::agents::{Answer, AttributeError, Wanted};
use pcmk_proto::qb::{IpcName, flags};
use tracing::debug;

use super::config::SERVICE;
use super::schemas::ourselves;
use crate::executor::Mono;
use crate::ids::{ClientId, ToolId};
use crate::proxy::attributes::{answer, request};
use crate::proxy::{Action, Input};

/// For a session, from its beginning. Whoever asks has given up by then.
const TIMEOUT_MS: u64 = 12_000;
/// Sessions at a time.
const MOST: usize = 32;
/// Numbers from here on are ours.
const FIRST: u64 = 1 << 32;
const ONLY: i32 = 1;

/// Sessions that are under way.
#[derive(Debug, Default)]
pub(super) struct AttributeSessions {
    last: u64,
    open: BTreeMap<ToolId, Open>,
}

#[derive(Debug)]
struct Open {
    wanted: Wanted,
    answer: Answer,
    deadline: Mono,
}

impl AttributeSessions {
    /// Begins to ask the cluster, if there is one.
    pub(super) fn ask(
        &mut self,
        wanted: Wanted,
        answer: Answer,
        provider: Option<ClientId>,
        now: Mono,
    ) -> Option<Input> {
        let refusal = match provider {
            None => "no cluster is connected",
            Some(_) if self.open.len() >= MOST => "too many questions are under way",
            Some(_) => {
                self.last += 1;
                let tool = ToolId::own(FIRST + self.last);
                self.open.insert(tool, Open { wanted, answer, deadline: now.plus(TIMEOUT_MS) });
                return Some(Input::Connecting {
                    tool,
                    server: IpcName::Attrd,
                    caller: ourselves(),
                    session: super::node::uuid(),
                    provider,
                });
            }
        };
        // Whoever asked may be gone.
        let _ = answer.send(Err(AttributeError::Unreachable(refusal.to_owned())));
        None
    }

    /// When [`AttributeSessions::expire`] is due.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.open.values().map(|open| open.deadline).min()
    }

    /// Gives up what has taken too long.
    pub(super) fn expire(&mut self, now: Mono) -> Vec<Input> {
        let late: Vec<ToolId> =
            self.open.iter().filter(|(_, open)| open.deadline <= now).map(|(tool, _)| *tool).collect();
        late.into_iter().filter_map(|tool| self.end(tool, Err(AttributeError::Late))).collect()
    }

    /// Whether a session is one of these.
    pub(super) fn has(&self, tool: ToolId) -> bool {
        self.open.contains_key(&tool)
    }

    /// Takes in what the proxy wants of one of these sessions.
    pub(super) fn session(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Accept { tool } => {
                let payload = request(&self.open.get(&tool)?.wanted, SERVICE);
                Some(Input::Request { tool, msg_id: ONLY, flags: flags::CLIENT_RESPONSE, payload })
            }
            Action::Respond { tool, payload, .. } | Action::Event { tool, payload } => {
                let said = answer(&self.open.get(&tool)?.wanted, &payload)?;
                self.end(tool, said.map_err(AttributeError::Unreachable))
            }
            Action::Refuse { tool, .. } | Action::Close { tool } => {
                let text = "the cluster closed the session".to_owned();
                drop(self.end(tool, Err(AttributeError::Unreachable(text))));
                None
            }
            Action::Send { .. } => None,
        }
    }

    fn end(
        &mut self,
        tool: ToolId,
        said: Result<Vec<libvirt_probe::agents::Value>, AttributeError>,
    ) -> Option<Input> {
        let open = self.open.remove(&tool)?;
        if let Err(error) = &said {
            debug!("{:?}: {error}", open.wanted);
        }
        // Whoever asked may be gone.
        let _ = open.answer.send(said);
        Some(Input::Closed { tool })
    }
}

#[cfg(test)]
mod tests {
    use pcmk_proto::lrmd::ProxyNotify;
    use pcmk_proto::xml::Element;
    use tokio::sync::oneshot::{Receiver, channel};

    use super::*;
    use crate::proxy::{Proxy, Settings};

    const PROVIDER: ClientId = ClientId(1);
    type Said = Result<Vec<libvirt_probe::agents::Value>, AttributeError>;

    struct World {
        sessions: AttributeSessions,
        proxy: Proxy,
        sent: Vec<ProxyNotify>,
    }

    impl World {
        fn new() -> Self {
            Self {
                sessions: AttributeSessions::default(),
                proxy: Proxy::new(Settings::default()),
                sent: Vec::new(),
            }
        }

        fn ask(&mut self, wanted: Wanted, provider: Option<ClientId>) -> Receiver<Said> {
            let (answer, said) = channel();
            let input = self.sessions.ask(wanted, answer, provider, Mono(0));
            self.play(input.into_iter().collect());
            said
        }

        fn play(&mut self, mut inputs: Vec<Input>) {
            while let Some(input) = inputs.pop() {
                for action in self.proxy.handle(input) {
                    match action {
                        Action::Send { message, .. } => self.sent.push(message),
                        other => inputs.extend(self.sessions.session(other)),
                    }
                }
            }
        }

        /// The cluster answers the last request.
        fn answers(&mut self, payload: Element) {
            let asked = self.sent.iter().rev().find_map(|message| match message {
                ProxyNotify::Request { session, .. } => Some(session.clone()),
                _ => None,
            });
            let tool = self.proxy.tool_of(&asked.unwrap()).unwrap();
            let input = self.sessions.session(Action::Respond { tool, msg_id: ONLY, payload });
            self.play(input.into_iter().collect());
        }
    }

    fn wanted() -> Wanted {
        Wanted::Set { name: "a".into(), value: Some("failed".into()), node: None }
    }

    #[test]
    fn a_value_is_set_and_the_session_ends() {
        let mut world = World::new();
        let mut said = world.ask(wanted(), Some(PROVIDER));
        let [ProxyNotify::New { server, .. }, ProxyNotify::Request { payload, .. }] = &world.sent[..] else {
            panic!("{:?}", world.sent)
        };
        assert_eq!((server.as_str(), payload.attr("attr_value")), ("attrd", Some("failed")));
        assert!(world.sessions.deadline().is_some());
        world.answers(Element::new("ack"));
        assert_eq!(said.try_recv(), Ok(Ok(vec![])));
        assert!(matches!(world.sent.last(), Some(ProxyNotify::Destroy { .. })));
        assert_eq!((world.sessions.deadline(), world.proxy.session_count()), (None, 0));
    }

    #[test]
    fn nobody_waits_for_a_cluster_that_is_not_there_or_does_not_answer() {
        let mut world = World::new();
        let mut said = world.ask(wanted(), None);
        assert!(matches!(said.try_recv(), Ok(Err(AttributeError::Unreachable(_)))));
        let mut said = world.ask(wanted(), Some(PROVIDER));
        let mut dropped = world.ask(wanted(), Some(PROVIDER));
        assert_eq!(world.sessions.expire(Mono(TIMEOUT_MS - 1)).len(), 0);
        let late = world.sessions.expire(Mono(TIMEOUT_MS));
        world.play(late);
        assert_eq!(said.try_recv(), Ok(Err(AttributeError::Late)));
        assert_eq!(dropped.try_recv(), Ok(Err(AttributeError::Late)));
        let mut said = world.ask(wanted(), Some(PROVIDER));
        world.play(vec![Input::ClientGone { client: PROVIDER }]);
        assert!(matches!(said.try_recv(), Ok(Err(AttributeError::Unreachable(_)))));
        assert_eq!((world.sessions.deadline(), world.proxy.session_count()), (None, 0));
        for _ in 0..MOST {
            world.ask(wanted(), Some(PROVIDER));
        }
        let mut said = world.ask(wanted(), Some(PROVIDER));
        assert!(matches!(said.try_recv(), Ok(Err(AttributeError::Unreachable(_)))));
    }
}
