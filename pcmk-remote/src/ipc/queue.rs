//! What waits to be sent to one tool.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The way to one tool. Never blocks; a tool that lets too much pile up is disconnected.
#[derive(Debug)]
pub(super) struct Queue {
    limit: usize,
    state: Mutex<State>,
    changed: Notify,
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Response,
    Event,
}

/// What was decided about a tool that wants to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Accept,
    /// With this negative error number.
    Refuse(i32),
}

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) msg_id: i32,
    pub(super) flags: u32,
    pub(super) xml: String,
}

/// Why nothing more will be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It was asked for.
    Requested,
    /// The tool does not read.
    Overflow,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default(), changed: Notify::new() })
    }

    pub(super) fn decide(&self, decision: Decision) {
        self.lock().decision.get_or_insert(decision);
        self.changed.notify_one();
    }

    pub(super) fn push(&self, channel: Channel, answer: Answer) {
        let cost = answer.xml.len().saturating_add(OVERHEAD);
        let mut state = self.lock();
        if state.end.is_some() {
            return;
        }
        state.bytes = state.bytes.saturating_add(cost);
        if state.bytes > self.limit {
            state.end = Some(End::Overflow);
            state.clear();
        } else {
            state.channel(channel).push_back(answer);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Lets what is queued go out, then ends the connection.
    pub(super) fn close(&self) {
        self.lock().end.get_or_insert(End::Requested);
        self.changed.notify_one();
    }

    /// Something is new, perhaps. Safe to cancel; for one reader.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Makes [`Self::changed`] return once more.
    pub(super) fn again(&self) {
        self.changed.notify_one();
    }

    /// Waits to hear whether the tool may come in. An end before that is a refusal.
    pub(super) async fn decision(&self) -> Decision {
        loop {
            {
                let state = self.lock();
                if let Some(decision) = state.decision {
                    return decision;
                }
                if state.end.is_some() {
                    return Decision::Refuse(-libc::ESHUTDOWN);
                }
            }
            self.changed().await;
        }
    }

    pub(super) fn next(&self, channel: Channel) -> Option<Answer> {
        let mut state = self.lock();
        let queue = state.channel(channel);
        let answer = queue.pop_front();
        if queue.is_empty() {
            *queue = VecDeque::new(); // a burst leaves nothing behind
        }
        answer
    }

    /// A message of this length went out and counts no longer.
    pub(super) fn sent(&self, length: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(length.saturating_add(OVERHEAD));
    }

    pub(super) fn end(&self) -> Option<End> {
        self.lock().end
    }

    /// Events that wait, not counting one that is on its way.
    pub(super) fn backlog(&self) -> usize {
        self.waiting(Channel::Event)
    }

    /// Messages that wait, not counting one that is on its way.
    pub(super) fn waiting(&self, channel: Channel) -> usize {
        self.lock().channel(channel).len()
    }

    /// Waits until the connection is to end. Like [`Self::changed`]: for one reader, who looks at everything
    /// afterwards.
    pub(super) async fn ended(&self) {
        while self.end().is_none() {
            self.changed().await;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// The connection is gone: forgets what is queued, now and later.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.end.get_or_insert(End::Requested);
        state.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a queued message costs besides its text.
const OVERHEAD: usize = 128;

#[derive(Debug, Default)]
struct State {
    decision: Option<Decision>,
    responses: VecDeque<Answer>,
    events: VecDeque<Answer>,
    /// Of the queued messages and of those being sent.
    bytes: usize,
    end: Option<End>,
}

impl State {
    fn channel(&mut self, channel: Channel) -> &mut VecDeque<Answer> {
        match channel {
            Channel::Response => &mut self.responses,
            Channel::Event => &mut self.events,
        }
    }

    fn clear(&mut self) {
        self.responses = VecDeque::new();
        self.events = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(msg_id: i32, length: usize) -> Answer {
        Answer { msg_id, flags: 0, xml: "x".repeat(length) }
    }

    #[tokio::test]
    async fn channels_keep_their_order_and_a_late_message_is_dropped() {
        let queue = Queue::new(1 << 20);
        queue.push(Channel::Event, answer(1, 1));
        queue.push(Channel::Response, answer(2, 1));
        queue.push(Channel::Event, answer(3, 1));
        assert_eq!(queue.backlog(), 2);
        queue.close();
        queue.push(Channel::Event, answer(4, 1));
        assert_eq!(queue.next(Channel::Response), Some(answer(2, 1)));
        assert_eq!(queue.next(Channel::Event), Some(answer(1, 1)));
        assert_eq!(queue.next(Channel::Event), Some(answer(3, 1)));
        assert_eq!(queue.next(Channel::Event), None);
        assert_eq!(queue.end(), Some(End::Requested));
    }

    #[tokio::test]
    async fn what_is_sent_makes_room_and_overflow_is_the_end() {
        let queue = Queue::new(2000);
        for _ in 0..100 {
            queue.push(Channel::Event, answer(1, 1000));
            let sent = queue.next(Channel::Event).unwrap();
            queue.sent(sent.xml.len());
        }
        assert_eq!((queue.bytes(), queue.end()), (0, None));
        queue.push(Channel::Event, answer(1, 1000));
        queue.push(Channel::Response, answer(1, 1000));
        assert_eq!(queue.end(), Some(End::Overflow));
        assert_eq!(queue.backlog(), 0);
    }

    #[tokio::test]
    async fn the_first_decision_counts() {
        let queue = Queue::new(2000);
        queue.decide(Decision::Refuse(-13));
        queue.decide(Decision::Accept);
        assert_eq!(queue.decision().await, Decision::Refuse(-13));
        let queue = Queue::new(2000);
        queue.close();
        assert_eq!(queue.decision().await, Decision::Refuse(-libc::ESHUTDOWN));
    }
}
