//! Plays a scenario against a daemon and writes down what each connection gets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::message::{Entry, Normaliser, flatten};
use crate::node::Node;
use crate::script::{Scenario, Step};
use crate::{Context as _, Result};

/// How long an answer may take; longer is an answer that does not come.
const REPLY: Duration = Duration::from_secs(10);
/// The same for results of operations.
const RESULT: Duration = Duration::from_secs(20);

/// What each connection got; the machine's own entries are under "".
pub type Transcript = BTreeMap<String, Vec<Entry>>;

struct Connection {
    client: Client,
    next_id: u64,
    /// Raw messages since the last request, for `until`.
    recent: Vec<Vec<(String, String)>>,
    /// The tool that was heard last.
    session: String,
}

struct Player<'a> {
    node: &'a mut Node,
    connections: BTreeMap<String, Connection>,
    normaliser: Normaliser,
    transcript: Transcript,
    resources: BTreeSet<String>,
}

/// Plays one scenario.
pub fn play(node: &mut Node, scenario: &Scenario) -> Result<Transcript> {
    if node.ended()?.is_some() {
        node.start_daemon()?;
    }
    let mut player = Player {
        node,
        connections: BTreeMap::new(),
        normaliser: Normaliser::default(),
        transcript: Transcript::new(),
        resources: BTreeSet::new(),
    };
    for step in &scenario.steps {
        player.step(step).map_err(|error| format!("line {} ({}): {error}", step.line, step.text))?;
    }
    player.finish()?;
    Ok(player.transcript)
}

/// `name=value` words as a map; a word without "=" is an error.
fn settings(words: &[String]) -> Result<BTreeMap<&str, &str>> {
    words
        .iter()
        .map(|word| word.split_once('=').ok_or_else(|| format!("'{word}': name=value expected")))
        .collect()
}

fn escape(value: &str) -> String {
    value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn word(step: &Step, index: usize) -> Result<&str> {
    step.words.get(index).map(String::as_str).ok_or_else(|| format!("word {} is missing", index + 1))
}

impl Player<'_> {
    fn note(&mut self, who: &str, entry: Entry) {
        self.transcript.entry(who.to_owned()).or_default().push(entry);
    }

    fn connection(&mut self, who: &str) -> Result<&mut Connection> {
        self.connections.get_mut(who).ok_or_else(|| format!("{who} is not connected"))
    }

    /// Reads one message into the transcript; its fields, or `None` at the deadline or the end.
    fn read(&mut self, who: &str, deadline: Instant) -> Result<Option<Vec<(String, String)>>> {
        let connection = self.connections.get_mut(who).ok_or_else(|| format!("{who} is not connected"))?;
        let Some(xml) = connection.client.message(deadline)? else { return Ok(None) };
        let entry = self.normaliser.entry(&xml);
        let fields = flatten(&xml).unwrap_or_default();
        connection.recent.push(fields.clone());
        self.note(who, entry);
        Ok(Some(fields))
    }

    /// Sends a request and, unless told otherwise, waits for its reply.
    fn request(&mut self, who: &str, envelope: &str, data: &str, wait: bool) -> Result<()> {
        let id = self.connection(who)?.next_id;
        let inside =
            if data.is_empty() { String::new() } else { format!("<lrmd_calldata>{data}</lrmd_calldata>") };
        self.raw(
            who,
            &format!(
                "<lrmd_command t=\"lrmd\" {envelope} lrmd_remote_msg_id=\"{id}\" lrmd_remote_msg_type=\"request\">{inside}</lrmd_command>"
            ),
            wait,
        )
    }

    fn raw(&mut self, who: &str, xml: &str, wait: bool) -> Result<()> {
        let connection = self.connection(who)?;
        let id = connection.next_id.to_string();
        connection.next_id += 1;
        connection.recent.clear();
        connection.client.send(&xml.replace("%ID%", &id))?;
        if wait {
            self.until(who, REPLY, &format!("no reply to {id}"), |fields| {
                has(fields, "lrmd_remote_msg_type", "reply") && has(fields, "lrmd_remote_msg_id", &id)
            })?;
        }
        Ok(())
    }

    /// Reads until a message fits, the ones since the last request included.
    fn until(
        &mut self,
        who: &str,
        limit: Duration,
        missing: &str,
        fits: impl Fn(&[(String, String)]) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        let recent = &mut self.connection(who)?.recent;
        if let Some(at) = recent.iter().position(|fields| fits(fields)) {
            recent.drain(..=at);
            return Ok(());
        }
        recent.clear();
        loop {
            match self.read(who, deadline)? {
                Some(fields) if fits(&fields) => {
                    self.connection(who)?.recent.clear();
                    return Ok(());
                }
                Some(_) => {}
                None => {
                    self.note(who, Entry::note(format!("({missing})")));
                    return Ok(());
                }
            }
        }
    }

    /// Everything the daemon has sent so far is read: a poke comes back behind it.
    fn settle(&mut self, who: &str) -> Result<()> {
        self.request(
            who,
            "lrmd_op=\"lrmd_rsc_poke\" lrmd_timeout=\"30000\" lrmd_callopt=\"0\"",
            "<lrmd_rsc lrmd_origin=\"script\"/>",
            true,
        )?;
        self.until(who, REPLY, "no notification of a poke", |fields| has(fields, "lrmd_op", "lrmd_rsc_poke"))
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let who = step.who.as_str();
        let wait = !step.verb.ends_with('!');
        match step.verb.trim_end_matches('!') {
            "run" => {
                let (code, output) = self.node.run(&step.rest)?;
                if code == 0 { Ok(()) } else { Err(format!("exit code {code}: {output}")) }
            }
            "show" => {
                let (code, output) = self.node.run(&step.rest)?;
                let fields = vec![("exit".to_owned(), code.to_string()), ("output".to_owned(), output)];
                self.note(who, Entry { key: step.text.clone(), fields });
                Ok(())
            }
            "ended" => {
                let entry = match self.node.wait_for_end(RESULT)? {
                    Some(code) => format!("ended with {code}"),
                    None => "still running".to_owned(),
                };
                self.note(who, Entry { key: "daemon".to_owned(), fields: vec![("state".to_owned(), entry)] });
                Ok(())
            }
            "connect" => {
                let client = Client::connect(self.node)?;
                self.connections.insert(
                    who.to_owned(),
                    Connection { client, next_id: 1, recent: Vec::new(), session: String::new() },
                );
                Ok(())
            }
            "leave" => {
                let connection = self.connections.remove(who).ok_or("not connected")?;
                self.faults(who, &connection.client);
                connection.client.leave()
            }
            "gone" => {
                let end = self.connection(who)?.client.ends_by(Instant::now() + REPLY)?;
                let text = if end.is_some() { "closed by the daemon" } else { "still connected" };
                self.note(who, Entry::note(text));
                Ok(())
            }
            "settle" | "poke" => self.settle(who),
            "xml" => {
                let xml = step.rest.clone();
                self.raw(who, &xml, wait)
            }
            "op" => {
                let op = escape(word(step, 0)?);
                self.request(
                    who,
                    &format!("lrmd_op=\"{op}\" lrmd_timeout=\"30000\" lrmd_callopt=\"0\""),
                    "",
                    wait,
                )
            }
            "until" => self.until_step(step),
            "hears" => self.hears(step),
            "tells" => self.tells(step, wait),
            verb => self.operation(step, verb, wait),
        }
    }

    fn until_step(&mut self, step: &Step) -> Result<()> {
        let names = ["lrmd_op", "lrmd_rsc_id", "lrmd_rsc_action", "lrmd_rsc_interval", "lrmd_exec_rc"];
        let mut wanted: Vec<(&str, String)> = names.into_iter().zip(step.words.iter().cloned()).collect();
        if let Some((_, op)) = wanted.first_mut() {
            let full =
                if op == "new_client" { "lrmd_rsc_new_client".to_owned() } else { format!("lrmd_rsc_{op}") };
            *op = full;
        }
        self.until(&step.who, RESULT, &format!("did not come: {}", step.rest), |fields| {
            has(fields, "lrmd_remote_msg_type", "notify")
                && wanted.iter().all(|(name, value)| has(fields, name, value))
        })
    }

    /// Waits for a message of a local tool; its session is the one that is spoken to from then on.
    fn hears(&mut self, step: &Step) -> Result<()> {
        let who = step.who.as_str();
        let op = word(step, 0)?.to_owned();
        let mut session = None;
        let heard = std::cell::RefCell::new(&mut session);
        self.until(who, RESULT, &format!("did not come: {}", step.rest), |fields| {
            let fits = has(fields, "lrmd_ipc_op", &op);
            if fits {
                **heard.borrow_mut() =
                    fields.iter().find(|(name, _)| name == "lrmd_ipc_session").map(|(_, v)| v.clone());
            }
            fits
        })?;
        if let Some(session) = session {
            self.connection(who)?.session = session;
        }
        Ok(())
    }

    /// Speaks to the tool that was heard last, or answers a shutdown request.
    fn tells(&mut self, step: &Step, wait: bool) -> Result<()> {
        let who = step.who.as_str();
        let op = word(step, 0)?.to_owned();
        let mut rest = step.rest.strip_prefix(&op).unwrap_or_default().trim_start();
        let mut number = String::new();
        if op == "response" {
            let (id, xml) = rest.split_once(' ').unwrap_or((rest, ""));
            number = format!(" lrmd_ipc_msg_id=\"{id}\"");
            rest = xml;
        }
        let session = match op.as_str() {
            "shutdown_ack" | "shutdown_nack" => String::new(),
            _ => format!(" lrmd_ipc_session=\"{}\"", self.connection(who)?.session),
        };
        let payload =
            if rest.is_empty() { String::new() } else { format!("<lrmd_ipc_msg>{rest}</lrmd_ipc_msg>") };
        let xml = format!(
            "<lrmd_ipc_proxy lrmd_ipc_op=\"{op}\"{session}{number} lrmd_op=\"ipc_fwd\" \
             lrmd_remote_msg_id=\"%ID%\" lrmd_remote_msg_type=\"request\">{payload}</lrmd_ipc_proxy>"
        );
        self.raw(who, &xml, wait)
    }

    fn operation(&mut self, step: &Step, verb: &str, wait: bool) -> Result<()> {
        let who = step.who.as_str();
        let plain = |op: &str, options: u32| {
            format!("lrmd_op=\"{op}\" lrmd_timeout=\"30000\" lrmd_callopt=\"{options}\"")
        };
        match verb {
            "register" => {
                let set = settings(&step.words)?;
                let mut envelope = format!("lrmd_op=\"register\" lrmd_clientname=\"script-{who}\"");
                if let Some(version) = set.get("version") {
                    let _ = write!(envelope, " lrmd_protocol_version=\"{version}\"");
                }
                if let Some(provider) = set.get("provider") {
                    let _ = write!(envelope, " lrmd_is_ipc_provider=\"{provider}\"");
                }
                self.request(who, &envelope, "", wait)
            }
            "resource" => {
                let id = word(step, 0)?.to_owned();
                let agent: Vec<&str> = word(step, 1)?.split(':').collect();
                let set = settings(step.words.get(2..).unwrap_or_default())?;
                let options = set.get("options").map_or(Ok(3), |v| v.parse()).context("options")?;
                let agent = match agent.as_slice() {
                    [class, provider, kind] => {
                        format!("lrmd_class=\"{class}\" lrmd_provider=\"{provider}\" lrmd_type=\"{kind}\"")
                    }
                    [class, kind] => format!("lrmd_class=\"{class}\" lrmd_type=\"{kind}\""),
                    _ => return Err("class:provider:type expected".to_owned()),
                };
                self.resources.insert(id.clone());
                let data =
                    format!("<lrmd_rsc lrmd_origin=\"script\" lrmd_rsc_id=\"{}\" {agent}/>", escape(&id));
                self.request(who, &plain("lrmd_rsc_register", options), &data, wait)
            }
            "resources" => self.many_resources(step),
            "info" | "unregister" => {
                let data =
                    format!("<lrmd_rsc lrmd_origin=\"script\" lrmd_rsc_id=\"{}\"/>", escape(word(step, 0)?));
                self.request(who, &plain(&format!("lrmd_rsc_{verb}"), 0), &data, wait)
            }
            "exec" => self.exec(step, wait),
            "cancel" => {
                let (id, action, interval) = (word(step, 0)?, word(step, 1)?, word(step, 2)?);
                let data = format!(
                    "<lrmd_rsc lrmd_origin=\"script\" lrmd_rsc_action=\"{action}\" lrmd_rsc_id=\"{}\" lrmd_rsc_interval=\"{interval}\"/>",
                    escape(id)
                );
                self.request(who, &plain("lrmd_rsc_cancel", 0), &data, wait)
            }
            "check" => {
                let set = settings(&step.words)?;
                let watchdog =
                    set.get("watchdog").map(|v| format!(" lrmd_watchdog=\"{v}\"")).unwrap_or_default();
                self.request(
                    who,
                    &plain("lrmd_check", 0),
                    &format!("<lrmd_op lrmd_origin=\"script\"{watchdog}/>"),
                    false,
                )
            }
            "recurring" => {
                let data = step
                    .words
                    .first()
                    .map(|id| format!("<lrmd_rsc lrmd_origin=\"script\" lrmd_rsc_id=\"{}\"/>", escape(id)));
                self.request(who, &plain("lrmd_get_recurring", 0), &data.unwrap_or_default(), wait)
            }
            "alert" => {
                let set = settings(step.words.get(2..).unwrap_or_default())?;
                let mut params = String::new();
                for (name, value) in &set {
                    let _ = write!(params, " {name}=\"{}\"", escape(value));
                }
                let data = format!(
                    "<lrmd_alert lrmd_alert_id=\"{}\" lrmd_alert_path=\"{}\" lrmd_timeout=\"30000\"><attributes{params}/></lrmd_alert>",
                    escape(word(step, 0)?),
                    escape(word(step, 1)?)
                );
                self.request(who, &plain("lrmd_alert_exec", 0), &data, wait)
            }
            other => Err(format!("unknown step '{other}'")),
        }
    }

    fn exec(&mut self, step: &Step, wait: bool) -> Result<()> {
        let (id, action) = (word(step, 0)?, word(step, 1)?);
        let (mut interval, mut timeout, mut delay, mut options, mut userdata) =
            ("0", "20000", "0", "4", String::new());
        let (mut attributes, mut children) = (String::new(), String::new());
        for (name, value) in
            step.words.get(2..).unwrap_or_default().iter().map(|w| w.split_once('=').unwrap_or((w, "")))
        {
            match name {
                "interval" => interval = value,
                "timeout" => timeout = value,
                "delay" => delay = value,
                "options" => options = value,
                "userdata" => userdata = format!(" lrmd_rsc_userdata_str=\"{}\"", escape(value)),
                name if name.starts_with(|c: char| c.is_ascii_digit()) => {
                    let _ = write!(children, "<param name=\"{name}\" value=\"{}\"/>", escape(value));
                }
                name => {
                    let _ = write!(attributes, " {name}=\"{}\"", escape(value));
                }
            }
        }
        let data = format!(
            "<lrmd_rsc lrmd_origin=\"script\" lrmd_rsc_id=\"{}\" lrmd_rsc_action=\"{action}\"{userdata} \
             lrmd_rsc_interval=\"{interval}\" lrmd_timeout=\"{timeout}\" lrmd_rsc_start_delay=\"{delay}\">\
             <attributes{attributes}>{children}</attributes></lrmd_rsc>",
            escape(id)
        );
        let envelope =
            format!("lrmd_op=\"lrmd_rsc_exec\" lrmd_timeout=\"{timeout}\" lrmd_callopt=\"{options}\"");
        self.request(&step.who, &envelope, &data, wait)
    }

    /// Registers or unregisters that many resources without writing every reply down.
    fn many_resources(&mut self, step: &Step) -> Result<()> {
        let count: u64 = word(step, 0)?.parse().context("count")?;
        let op = word(step, 1)?.to_owned();
        let who = step.who.as_str();
        let before = self.transcript.get(who).map_or(0, Vec::len);
        let mut bad = 0;
        // In portions, so that neither side's buffers fill up.
        for number in 0..count {
            let last = number % 50 == 49 || number + 1 == count;
            let data = format!(
                "<lrmd_rsc lrmd_origin=\"script\" lrmd_rsc_id=\"many-{number}\" lrmd_class=\"ocf\" lrmd_provider=\"alone\" lrmd_type=\"null\"/>"
            );
            let envelope = format!("lrmd_op=\"{op}\" lrmd_timeout=\"30000\" lrmd_callopt=\"3\"");
            self.request(who, &envelope, &data, last)?;
            let entries = self.transcript.entry(who.to_owned()).or_default();
            bad += entries
                .iter()
                .skip(before)
                .filter(|e| e.key.starts_with('(') || e.get("lrmd_rc").is_some_and(|rc| rc != "0"))
                .count();
            entries.truncate(before);
        }
        self.settle(who)?;
        self.transcript.entry(who.to_owned()).or_default().truncate(before);
        let fields = vec![("answers other than 0".to_owned(), bad.to_string())];
        self.note(who, Entry { key: step.text.clone(), fields });
        Ok(())
    }

    fn faults(&mut self, who: &str, client: &Client) {
        for fault in client.framing_faults.clone() {
            self.note(who, Entry::note(format!("(framing: {fault})")));
        }
    }

    /// Reads what is still on its way, closes everything and takes the scenario's resources away.
    fn finish(&mut self) -> Result<()> {
        if self.node.ended()?.is_some() {
            self.note("", Entry::note("the daemon ended"));
            self.connections.clear();
            return Ok(());
        }
        let names: Vec<String> = self.connections.keys().cloned().collect();
        for who in names {
            self.settle(&who)?;
            let Some(connection) = self.connections.remove(&who) else { continue };
            self.faults(&who, &connection.client);
            connection.client.leave()?;
        }
        if self.resources.is_empty() {
            return Ok(());
        }
        let mut sweeper = Client::connect(self.node)?;
        for (number, id) in self.resources.iter().enumerate() {
            sweeper.send(&format!(
                "<lrmd_command t=\"lrmd\" lrmd_op=\"lrmd_rsc_unregister\" lrmd_timeout=\"30000\" lrmd_callopt=\"0\" \
                 lrmd_remote_msg_id=\"{}\" lrmd_remote_msg_type=\"request\"><lrmd_calldata>\
                 <lrmd_rsc lrmd_origin=\"script\" lrmd_rsc_id=\"{}\"/></lrmd_calldata></lrmd_command>",
                number + 1,
                escape(id)
            ))?;
            sweeper.message(Instant::now() + REPLY)?;
        }
        sweeper.leave()
    }
}

fn has(fields: &[(String, String)], name: &str, value: &str) -> bool {
    fields.iter().any(|(n, v)| n == name && (v == value || value == "*"))
}
