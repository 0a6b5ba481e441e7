//! One RMCP+ session, from its login to its end. No socket and no clock: datagrams and times in, datagrams and events
//! out.
//!
//! - Every datagram is believed only if it answers what is open: by tag and session before the login is done, and by
//!   integrity code, session sequence and request sequence after. All others are dropped: doubles, stragglers, forgeries.
//! - What changes nothing is repeated, as the same request under a new session sequence number. A control command goes
//!   out once.
//! - A board that has heard our last login message and whose answer is lost answers the repeated message inside the
//!   session. Its integrity code shows as much as the lost message would have shown; the session is used.

mod active;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::crypto::{Handshake, Suite, same};
use super::message::{self, Command, Message};
use super::packet::{
    self, BY_NAME_ALONE, OpenRequest, OpenResponse, Packet, Payload, Rakp1, Rakp2, Rakp3, Rakp4,
};
use super::trouble::Trouble;
use crate::secret::Secret;
use active::{Active, Seen};

/// An unanswered request is repeated after this, or after twice the time that the answer before took; each time it
/// waits longer, up to the second. A board that is slow must not get everything twice: it would take a repeated login
/// message for a new one.
const FIRST_GAP: Duration = Duration::from_secs(1);
const LONGEST_GAP: Duration = Duration::from_secs(3);
/// So often the last login message is sent before the login starts anew, and so often it starts.
const LAST_MESSAGES: u32 = 2;
const LOGINS: u32 = 3;
/// So long a board may take to list its suites. One that does not is offered suite 17, and suite 3 if it refuses.
const LISTING: Duration = Duration::from_millis(300);
/// So often suite 17 is offered to a board that may not know it.
const OFFERS: u32 = 2;
/// A list of suites has at most so many parts of 16 bytes.
const PARTS: u8 = 16;
/// In RAKP message 3: the code in message 2 was wrong. The board forgets the login.
const WRONG_CODE: u8 = 0x0F;

/// Fills with random bytes; false if there are none.
pub type Random = Box<dyn FnMut(&mut [u8]) -> bool + Send + Sync>;

/// What a login needs.
#[derive(Clone)]
pub struct Login {
    /// Up to 16 bytes.
    pub user: String,
    /// Up to 20 bytes.
    pub password: Secret,
    /// The board's own key, up to 20 bytes.
    pub board_key: Option<Zeroizing<Vec<u8>>>,
    /// The privilege level that is asked for: 2 user, 3 operator, 4 administrator.
    pub level: u8,
    /// The suite; none for the best one that the board offers.
    pub suite: Option<Suite>,
}

/// What a session tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The login is done, with this suite.
    Ready(Suite),
    /// The answer to the request: completion code and data.
    Answer(u8, Vec<u8>),
    /// What was under way came to nothing.
    Failed(Trouble),
    /// The session is over.
    Closed,
}

/// A session.
pub struct Session {
    login: Login,
    random: Random,
    phase: Phase,
    pending: Option<Pending>,
    out: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    tag: u8,
    sequence: u8,
    logins: u32,
    /// After this a request is repeated.
    gap: Duration,
    /// Suite 17 is offered without knowing whether the board has it.
    offering: bool,
    until: Option<Instant>,
}

enum Phase {
    /// Not logged in.
    Out,
    /// Asking for the cipher suites.
    Listing { part: u8, list: Vec<u8> },
    /// Open Session Request is sent.
    Opening { suite: Suite, console: u32 },
    /// RAKP message 1 is sent.
    Proving { suite: Suite, console: u32, board: u32, random: [u8; 16] },
    /// RAKP message 3 is sent.
    Finishing { active: Active, check: Vec<u8> },
    /// The privilege level is being raised.
    Raising(Active),
    /// Ready, or a request is under way.
    In(Active),
    /// Leaving.
    Closing(Active),
}

/// What waits for an answer.
struct Pending {
    what: What,
    since: Instant,
    tries: u32,
    again: Option<Instant>,
    gap: Duration,
    until: Instant,
}

enum What {
    /// Bytes that are the same each time, with this tag.
    Bytes(Vec<u8>, u8),
    /// A request outside a session.
    Outside(Command, u8),
    /// A request in it.
    Inside(Command, u8),
}

impl Session {
    /// A session that is not logged in.
    pub fn new(login: Login, random: Random) -> Self {
        Self {
            login,
            random,
            phase: Phase::Out,
            pending: None,
            out: VecDeque::new(),
            events: VecDeque::new(),
            tag: 0,
            sequence: 0,
            logins: 0,
            gap: FIRST_GAP,
            offering: false,
            until: None,
        }
    }

    /// Logs in; ends with `Ready` or `Failed`.
    pub fn log_in(&mut self, now: Instant, until: Instant) {
        self.logins = 0;
        self.offering = false;
        self.until = Some(until);
        match self.login.suite {
            Some(suite) => self.open(suite, now),
            None => self.list(0, Vec::new(), now),
        }
    }

    /// Sends a request; ends with `Answer` or `Failed`. `once` is for what changes something.
    pub fn request(&mut self, command: Command, once: bool, now: Instant, until: Instant) {
        if !matches!(self.phase, Phase::In(_)) {
            return self.events.push_back(Event::Failed(Trouble::Silent("there is no session")));
        }
        self.until = Some(until);
        let sequence = self.next_sequence();
        self.start(What::Inside(command, sequence), now);
        if let Some(pending) = self.pending.as_mut().filter(|_| once) {
            pending.again = None;
        }
    }

    /// Ends the session; ends with `Closed`, also when the board does not answer.
    pub fn close(&mut self, now: Instant, until: Instant) {
        let phase = std::mem::replace(&mut self.phase, Phase::Out);
        self.pending = None;
        self.until = Some(until);
        match phase {
            Phase::Finishing { active, .. }
            | Phase::Raising(active)
            | Phase::In(active)
            | Phase::Closing(active) => {
                let board = active.board;
                self.phase = Phase::Closing(active);
                let sequence = self.next_sequence();
                self.start(What::Inside(Command::Close(board), sequence), now);
            }
            _ => self.events.push_back(Event::Closed),
        }
    }

    /// A datagram came.
    pub fn hear(&mut self, datagram: &[u8], now: Instant) {
        let code = self.active().map_or(0, |active| active.suite.code_length());
        // Whatever cannot be made out was not for us.
        let Ok(packet) = Packet::parse(datagram, code) else { return };
        match packet.payload {
            Payload::Message if packet.session == 0 => self.hear_outside(&packet, now),
            Payload::OpenResponse => self.hear_opened(&packet, now),
            Payload::Rakp(2) => self.hear_their_proof(&packet, now),
            Payload::Rakp(4) if packet.session == 0 => self.hear_finished(&packet, now),
            _ => self.hear_inside(&packet, now),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) {
        let Some(pending) = &mut self.pending else { return };
        if now >= pending.until {
            return self.give_up(now);
        }
        if pending.again.is_none_or(|again| now < again) {
            return;
        }
        let given_up = match self.phase {
            Phase::Finishing { .. } => pending.tries >= LAST_MESSAGES,
            Phase::Listing { .. } => true,
            Phase::Opening { suite: Suite::Seventeen, .. } => self.offering && pending.tries >= OFFERS,
            _ => false,
        };
        if given_up {
            return self.give_up(now);
        }
        pending.gap = (pending.gap * 3 / 2).min(LONGEST_GAP);
        pending.again = Some(now + pending.gap);
        self.transmit();
    }

    /// When `tick` is wanted.
    pub fn wake(&self) -> Option<Instant> {
        let pending = self.pending.as_ref()?;
        Some(pending.again.map_or(pending.until, |again| again.min(pending.until)))
    }

    /// The next datagram to send.
    pub fn datagram(&mut self) -> Option<Vec<u8>> {
        self.out.pop_front()
    }

    /// What has happened.
    pub fn event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether it is logged in and can take a request.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::In(_)) && self.pending.is_none()
    }

    fn active(&self) -> Option<&Active> {
        match &self.phase {
            Phase::Finishing { active, .. }
            | Phase::Raising(active)
            | Phase::In(active)
            | Phase::Closing(active) => Some(active),
            _ => None,
        }
    }

    fn active_mut(&mut self) -> Option<&mut Active> {
        match &mut self.phase {
            Phase::Finishing { active, .. }
            | Phase::Raising(active)
            | Phase::In(active)
            | Phase::Closing(active) => Some(active),
            _ => None,
        }
    }

    fn next_tag(&mut self) -> u8 {
        self.tag = self.tag.wrapping_add(1);
        self.tag
    }

    fn next_sequence(&mut self) -> u8 {
        self.sequence = self.sequence.wrapping_add(1) & message::SEQUENCES;
        self.sequence
    }

    fn fill<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        if (self.random)(&mut bytes) {
            return Some(bytes);
        }
        self.fail(Trouble::Garbled("this system gives no random numbers".into()));
        None
    }

    fn fail(&mut self, trouble: Trouble) {
        self.pending = None;
        self.phase = Phase::Out;
        self.events.push_back(Event::Failed(trouble));
    }

    /// What was waited for has come.
    fn learn(&mut self, now: Instant) {
        if let Some(pending) = self.pending.take() {
            let took = now.saturating_duration_since(pending.since);
            self.gap = (took * 2).clamp(FIRST_GAP, LONGEST_GAP);
        }
    }

    /// Sends for the first time.
    fn start(&mut self, what: What, now: Instant) {
        let (gap, until) = (self.gap, self.until.unwrap_or(now));
        self.pending = Some(Pending { what, since: now, tries: 0, again: Some(now + gap), gap, until });
        self.transmit();
    }

    fn transmit(&mut self) {
        let Some(mut pending) = self.pending.take() else { return };
        pending.tries += 1;
        match &pending.what {
            What::Bytes(bytes, _) => self.out.push_back(bytes.clone()),
            What::Outside(command, sequence) => {
                self.out.push_back(packet::plain(Payload::Message, &command.encode(*sequence)));
            }
            What::Inside(command, sequence) => {
                let message = command.encode(*sequence);
                let Some(iv) = self.fill() else { return };
                let sealed = self.active_mut().map(|active| active.seal(&message, iv));
                self.out.extend(sealed);
            }
        }
        self.pending = Some(pending);
    }

    /// No answer came in time.
    fn give_up(&mut self, now: Instant) {
        let late = self.until.is_none_or(|until| now >= until);
        match &mut self.phase {
            Phase::Listing { .. } if !late => self.offer(now),
            Phase::Opening { suite: Suite::Seventeen, .. } if !late && self.offering => {
                self.open(Suite::Three, now);
            }
            Phase::Finishing { .. } if !late && self.logins < LOGINS => self.start_anew(now),
            Phase::Listing { .. } | Phase::Opening { .. } => {
                self.fail(Trouble::Silent("a session was asked for"));
            }
            Phase::Proving { .. } | Phase::Finishing { .. } | Phase::Raising(_) => {
                self.fail(Trouble::Silent("the login was under way"));
            }
            // The session stays: the next request may be answered.
            Phase::In(_) => {
                self.pending = None;
                self.events.push_back(Event::Failed(Trouble::Silent("a command was sent")));
            }
            Phase::Closing(_) => self.over(),
            Phase::Out => self.pending = None,
        }
    }

    fn over(&mut self) {
        self.pending = None;
        self.phase = Phase::Out;
        self.events.push_back(Event::Closed);
    }

    /// Leaves what the board may regard as a session, and logs in again.
    fn start_anew(&mut self, now: Instant) {
        if let Phase::Finishing { active, .. } = std::mem::replace(&mut self.phase, Phase::Out) {
            let suite = active.suite;
            self.abandon(active);
            self.open(suite, now);
        }
    }

    /// Close Session, without waiting for its answer.
    fn abandon(&mut self, mut active: Active) {
        let message = Command::Close(active.board).encode(self.next_sequence());
        if let Some(iv) = self.fill() {
            self.out.push_back(active.seal(&message, iv));
        }
    }

    fn list(&mut self, part: u8, list: Vec<u8>, now: Instant) {
        self.phase = Phase::Listing { part, list };
        let sequence = self.next_sequence();
        self.start(What::Outside(Command::CipherSuites(part), sequence), now);
        if let Some(pending) = &mut self.pending {
            pending.again = Some(now + LISTING);
        }
    }

    /// For a board that does not list its suites.
    fn offer(&mut self, now: Instant) {
        self.offering = true;
        self.open(Suite::Seventeen, now);
    }

    fn hear_outside(&mut self, packet: &Packet<'_>, now: Instant) {
        let Some(Pending { what: What::Outside(command, sequence), .. }) = &self.pending else { return };
        let Ok(answer) = Message::parse(packet.body) else { return };
        if packet.encrypted || packet.signed.is_some() || !command.is_answered_by(*sequence, &answer) {
            return;
        }
        let Phase::Listing { part, list } = &mut self.phase else { return };
        if answer.code != 0 {
            return self.offer(now);
        }
        let more = answer.data.split_first().map(|(_, records)| records).unwrap_or_default();
        list.extend(more.iter().take(16));
        let (part, list) = (*part + 1, std::mem::take(list));
        if more.len() >= 16 && part < PARTS {
            return self.list(part, list, now);
        }
        let listed = message::cipher_suites(&list);
        let best =
            [Suite::Seventeen, Suite::Three].into_iter().find(|suite| listed.contains(&suite.number()));
        match best {
            Some(suite) => self.open(suite, now),
            None => self.fail(Trouble::suites(&listed)),
        }
    }

    fn open(&mut self, suite: Suite, now: Instant) {
        self.logins += 1;
        let Some(bytes) = self.fill::<4>() else { return };
        // 0 is for what is outside sessions.
        let console = u32::from_le_bytes(bytes).max(1);
        let tag = self.next_tag();
        self.phase = Phase::Opening { suite, console };
        let body =
            OpenRequest { tag, level: self.login.level, console, algorithms: suite.algorithms() }.encode();
        self.start(What::Bytes(packet::plain(Payload::OpenRequest, &body), tag), now);
    }

    /// The tag that is waited for.
    fn tagged(&self) -> Option<u8> {
        match &self.pending {
            Some(Pending { what: What::Bytes(_, tag), .. }) => Some(*tag),
            _ => None,
        }
    }

    fn hear_opened(&mut self, packet: &Packet<'_>, now: Instant) {
        let Phase::Opening { suite, console } = self.phase else { return };
        let Ok(answer) = OpenResponse::parse(packet.body) else { return };
        if self.tagged() != Some(answer.tag) {
            return;
        }
        let Some((board, algorithms)) = answer.opened else {
            if self.offering && suite == Suite::Seventeen && Trouble::is_of_suite(answer.status) {
                return self.open(Suite::Three, now);
            }
            return self.fail(Trouble::status(answer.status, &self.login.user));
        };
        if answer.console != console {
            return;
        }
        if algorithms != suite.algorithms() {
            return self.fail(Trouble::downgrade());
        }
        self.learn(now);
        let Some(random) = self.fill::<16>() else { return };
        let tag = self.next_tag();
        self.phase = Phase::Proving { suite, console, board, random };
        let user = self.login.user.as_bytes();
        let body = Rakp1 { tag, board, random, role: self.role(), user }.encode();
        self.start(What::Bytes(packet::plain(Payload::Rakp(1), &body), tag), now);
    }

    fn role(&self) -> u8 {
        BY_NAME_ALONE | self.login.level
    }

    fn hear_their_proof(&mut self, packet: &Packet<'_>, now: Instant) {
        let Phase::Proving { suite, console, board, random } = self.phase else { return };
        let Ok(answer) = Rakp2::parse(packet.body) else { return };
        if self.tagged() != Some(answer.tag) {
            return;
        }
        let Some((their_random, guid, code)) = answer.proof else {
            return self.refused(answer.status, suite, now);
        };
        if answer.console != console {
            return;
        }
        let handshake = Handshake {
            suite,
            user: self.login.user.as_bytes(),
            password: self.login.password.expose().as_bytes(),
            board_key: self.login.board_key.as_ref().map(|key| key.as_slice()),
            console,
            board,
            our_random: random,
            their_random,
            guid,
            role: self.role(),
        };
        let (right, ours, (keys, check)) = (handshake.their_code(), handshake.our_code(), handshake.keys());
        let tag = self.next_tag();
        if !same(&right, code) {
            let body = Rakp3 { tag, status: WRONG_CODE, board, code: &[] }.encode();
            self.out.push_back(packet::plain(Payload::Rakp(3), &body));
            return self.fail(Trouble::password(&self.login.user));
        }
        self.learn(now);
        let active = Active { suite, keys, console, board, sent: 0, seen: Seen::default() };
        self.phase = Phase::Finishing { active, check };
        let body = Rakp3 { tag, status: 0, board, code: &ours }.encode();
        self.start(What::Bytes(packet::plain(Payload::Rakp(3), &body), tag), now);
    }

    fn hear_finished(&mut self, packet: &Packet<'_>, now: Instant) {
        let Phase::Finishing { active, check } = &self.phase else { return };
        let Ok(answer) = Rakp4::parse(packet.body) else { return };
        if self.tagged() != Some(answer.tag) {
            return;
        }
        if answer.status != 0 {
            return self.refused(answer.status, active.suite, now);
        }
        if answer.console != active.console {
            return;
        }
        if same(check, answer.check) {
            return self.raise(now);
        }
        let given = self.login.board_key.is_some();
        if let Phase::Finishing { active, .. } = std::mem::replace(&mut self.phase, Phase::Out) {
            // With a wrong key the board cannot read this; with a wrong answer of the board it can.
            self.abandon(active);
        }
        self.fail(Trouble::board_key(given));
    }

    /// A login message was refused. If it was repeated, the refusal may be of the copy.
    fn refused(&mut self, status: u8, suite: Suite, now: Instant) {
        let repeated = self.pending.as_ref().is_some_and(|pending| pending.tries > 1);
        if repeated && self.logins < LOGINS && matches!(status, 0x02 | 0x08 | 0x0F | 0x12) {
            return self.open(suite, now);
        }
        self.fail(Trouble::status(status, &self.login.user));
    }

    fn raise(&mut self, now: Instant) {
        self.learn(now);
        if let Phase::Finishing { active, .. } = std::mem::replace(&mut self.phase, Phase::Out) {
            self.phase = Phase::Raising(active);
            let sequence = self.next_sequence();
            self.start(What::Inside(Command::SetPrivilege(self.login.level), sequence), now);
        }
    }

    fn hear_inside(&mut self, packet: &Packet<'_>, now: Instant) {
        let finishing = matches!(self.phase, Phase::Finishing { .. });
        let Some(active) = self.active_mut() else { return };
        if packet.session != active.console {
            return;
        }
        let Ok(text) = active.keys.unseal(packet) else { return };
        if !active.seen.is_new(packet.sequence) {
            return;
        }
        if finishing {
            return self.raise(now);
        }
        let Ok(answer) = Message::parse(&text) else { return };
        let Some(Pending { what: What::Inside(command, sequence), .. }) = &self.pending else { return };
        if packet.payload != Payload::Message || !command.is_answered_by(*sequence, &answer) {
            return;
        }
        self.learn(now);
        self.answered(answer.code, answer.data);
    }

    fn answered(&mut self, code: u8, data: &[u8]) {
        self.pending = None;
        match std::mem::replace(&mut self.phase, Phase::Out) {
            Phase::Raising(active) => {
                let level = data.first().map_or(0, |level| level & 0x0F);
                if code == 0 && level >= self.login.level {
                    let suite = active.suite;
                    self.phase = Phase::In(active);
                    self.events.push_back(Event::Ready(suite));
                } else {
                    self.abandon(active);
                    self.fail(Trouble::privilege(&self.login.user, code));
                }
            }
            Phase::Closing(_) => self.over(),
            phase => {
                self.phase = phase;
                self.events.push_back(Event::Answer(code, data.to_vec()));
            }
        }
    }
}
