//! Node attributes of the cluster: asked for and set by agents, by whatever way their host has.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// For an answer. Elections and reconnections of the cluster may take seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Questions that may wait.
const WAITING: usize = 16;

/// A value that a node has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The node.
    pub node: String,
    /// Its value.
    pub value: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// Nobody can be asked.
    #[error("the cluster cannot be asked for node attributes: {0}")]
    Unreachable(String),
    /// The cluster is there and does not answer.
    #[error("the cluster does not answer within {} s", PATIENCE.as_secs())]
    Late,
}

/// What is wanted of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The values that nodes have.
    Values {
        /// Name of the attribute.
        name: String,
    },
    /// Another value.
    Set {
        /// Name of the attribute.
        name: String,
        /// The value; `None` removes it.
        value: Option<String>,
        /// Whose; this node's if `None`.
        node: Option<String>,
    },
}

/// Where an answer goes.
pub type Answer = oneshot::Sender<Result<Vec<Value>, AttributeError>>;
/// A question whose answer has not come yet.
pub(super) type Pending = oneshot::Receiver<Result<Vec<Value>, AttributeError>>;

/// The agents' end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Attributes {
    asks: mpsc::Sender<(Wanted, Answer)>,
}

impl Attributes {
    /// Both ends; whoever has the other one does what is wanted, or drops the answer if he cannot.
    pub fn channel() -> (Self, mpsc::Receiver<(Wanted, Answer)>) {
        let (asks, asked) = mpsc::channel(WAITING);
        (Self { asks }, asked)
    }

    /// The values that nodes have.
    pub(super) async fn values(&self, name: &str) -> Result<Vec<Value>, AttributeError> {
        self.ask(Wanted::Values { name: name.to_owned() }).await
    }

    /// Removes a node's value.
    pub(super) async fn remove(&self, name: &str, node: &str) -> Result<(), AttributeError> {
        let wanted = Wanted::Set { name: name.to_owned(), value: None, node: Some(node.to_owned()) };
        self.ask(wanted).await.map(|_| ())
    }

    /// Sets or removes this node's value without waiting; `None` if nobody can be told.
    pub(super) fn tell(&self, name: &str, value: Option<&str>) -> Option<Pending> {
        let (answer, pending) = oneshot::channel();
        let value = value.map(str::to_owned);
        let wanted = Wanted::Set { name: name.to_owned(), value, node: None };
        self.asks.try_send((wanted, answer)).ok().map(|()| pending)
    }

    async fn ask(&self, wanted: Wanted) -> Result<Vec<Value>, AttributeError> {
        let (answer, pending) = oneshot::channel();
        let asked = async {
            self.asks.send((wanted, answer)).await.ok()?;
            pending.await.ok()
        };
        match timeout(PATIENCE, asked).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(AttributeError::Unreachable("nobody takes questions".to_owned())),
            Err(_) => Err(AttributeError::Late),
        }
    }
}

/// An attribute of this node that follows what is believed.
#[derive(Debug, Default)]
pub(super) struct Shown {
    said: Option<(String, tokio::time::Instant)>,
    pending: Option<Pending>,
}

/// Said again, as the cluster forgets transient attributes of a node that was away.
const AGAIN: Duration = Duration::from_secs(60);

impl Shown {
    /// Shows a value, unless it was shown already. Never waits.
    pub(super) fn show(&mut self, attributes: &Attributes, name: &str, value: &str) {
        let now = tokio::time::Instant::now();
        let lost = match self.pending.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(Ok(_))) => {
                self.pending = None;
                false
            }
            None | Some(Err(oneshot::error::TryRecvError::Empty)) => false,
            Some(Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed)) => true,
        };
        let stands = self.said.as_ref().is_some_and(|(said, since)| said == value && now - *since < AGAIN);
        if stands && !lost {
            return;
        }
        self.pending = attributes.tell(name, Some(value));
        self.said = self.pending.as_ref().map(|_| (value.to_owned(), now));
    }

    pub(super) fn value(&self) -> Option<&str> {
        self.said.as_ref().map(|(value, _)| value.as_str())
    }

    /// Waits until what was said has been heard, not for long.
    pub(super) async fn heard(&mut self, patience: Duration) {
        if let Some(pending) = self.pending.take() {
            let _ = timeout(patience, pending).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cluster_that_does_not_answer_is_not_waited_for_for_long() {
        let (attributes, mut asked) = Attributes::channel();
        assert_eq!(attributes.values("a").await, Err(AttributeError::Late));
        drop(asked.try_recv().unwrap());
        let refused = async {
            let (_, answer) = asked.recv().await.unwrap();
            drop(answer);
        };
        let (answer, ()) = tokio::join!(attributes.values("a"), refused);
        assert!(matches!(answer, Err(AttributeError::Unreachable(_))));
        drop(asked);
        assert!(matches!(attributes.values("a").await, Err(AttributeError::Unreachable(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_value_is_shown_once_and_again_when_it_may_be_lost() {
        let (attributes, mut asked) = Attributes::channel();
        let mut shown = Shown::default();
        let mut told = || asked.try_recv().ok();
        shown.show(&attributes, "a", "ok");
        let (wanted, answer) = told().unwrap();
        assert_eq!(wanted, Wanted::Set { name: "a".into(), value: Some("ok".into()), node: None });
        answer.send(Ok(Vec::new())).unwrap();
        for _ in 0..3 {
            shown.show(&attributes, "a", "ok");
            assert!(told().is_none(), "it was heard");
        }
        shown.show(&attributes, "a", "failed");
        let (_, answer) = told().unwrap();
        drop(answer);
        shown.show(&attributes, "a", "failed");
        assert!(told().is_some(), "nobody has heard it");
        tokio::time::advance(AGAIN).await;
        shown.show(&attributes, "a", "failed");
        assert!(told().is_some(), "the cluster may have forgotten it");
    }
}
