//! A daemon under attack, and the client that must not notice.

use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pcmk_differential::client::{Client, header};
use pcmk_differential::message::flatten;
use pcmk_differential::node::{Kind, Node};

/// The acceptance: other clients are served within this time.
pub(crate) const MEDIAN: Duration = Duration::from_millis(10);
/// A machine with other work to do must not fail the test; a stall is longer.
pub(crate) const WORST: Duration = Duration::from_millis(250);
pub(crate) const NEVER: Duration = Duration::from_secs(2);
/// Memory that an allocator may keep.
pub(crate) const KEPT_KIB: u64 = 8 << 10;
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn soon() -> Instant {
    Instant::now() + SOON
}

/// One at a time: they measure.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A daemon, and the client that must not notice anything.
pub(crate) struct Trial {
    pub(crate) name: &'static str,
    pub(crate) node: Node,
    pub(crate) pid: u32,
    pub(crate) descriptors: usize,
    pub(crate) rss: u64,
    pub(crate) over: Arc<AtomicBool>,
    witness: Option<JoinHandle<Vec<Duration>>>,
    _lock: MutexGuard<'static, ()>,
}

impl Trial {
    pub(crate) fn start(name: &'static str) -> Self {
        let lock = alone();
        let node = Node::start(Kind::Ours).unwrap();
        let mut client = named(&node, "witness");
        // Whatever is set up once is there before the figures are taken.
        for number in 0..20 {
            poke(&mut client, number);
        }
        drop(named(&node, "passing"));
        let pid = node.daemon();
        let descriptors = settled(|| node.descriptors().unwrap());
        let rss = node.rss_kib().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let witness = std::thread::spawn(move || {
            let mut times = Vec::new();
            // Some tests are over in a moment.
            while times.len() < 10 || !stop.load(Ordering::Relaxed) {
                times.push(poke(&mut client, 100 + times.len()));
                // Pace, not synchronisation: one poke after the other would be a load of its own.
                std::thread::sleep(Duration::from_millis(3));
            }
            assert!(client.framing_faults.is_empty(), "{:?}", client.framing_faults);
            times
        });
        Self { name, node, pid, descriptors, rss, over, witness: Some(witness), _lock: lock }
    }

    /// The end of every test.
    pub(crate) fn finish(mut self) {
        self.over.store(true, Ordering::Relaxed);
        let mut times = self.witness.take().unwrap().join().expect("another client was not served");
        times.sort();
        let median = times[times.len() / 2];
        let worst = times[times.len() - 1];
        assert_eq!(self.node.ended().unwrap(), None, "the daemon ended");
        assert_eq!(self.node.daemon(), self.pid);
        let deadline = soon();
        // The witness has left.
        let expected = self.descriptors - 1;
        while self.node.descriptors().unwrap() > expected && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let descriptors = self.node.descriptors().unwrap();
        while self.node.rss_kib().unwrap() > self.rss + KEPT_KIB && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let rss = self.node.rss_kib().unwrap();
        println!(
            "{}: {} pokes of another client, median {median:.2?}, worst {worst:.2?}; memory {} KiB, then {rss} KiB",
            self.name,
            times.len(),
            self.rss
        );
        assert!(median <= MEDIAN, "another client was served after {median:?} (median)");
        // Now and then the machine itself is busy elsewhere.
        let late = times.iter().filter(|time| **time > WORST).count();
        assert!(
            late <= 1 + times.len() / 100,
            "another client was served late {late} times, worst {worst:?}"
        );
        assert!(worst <= NEVER, "another client was served after {worst:?} (worst)");
        assert!(descriptors <= expected, "{descriptors} descriptors, expected {expected}");
        assert!(rss <= self.rss + KEPT_KIB, "memory was {} KiB and is {rss} KiB", self.rss);
    }

    pub(crate) fn client(&self) -> Client {
        named(&self.node, "peer")
    }
}

/// A value once it no longer changes.
pub(crate) fn settled(read: impl Fn() -> usize) -> usize {
    let mut value = read();
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(200) {
        std::thread::sleep(Duration::from_millis(10));
        let now = read();
        if now != value {
            (value, since) = (now, Instant::now());
        }
    }
    value
}

pub(crate) fn request(op: &str, id: usize, data: &str) -> String {
    format!(
        "<lrmd_command t=\"lrmd\" lrmd_op=\"{op}\" lrmd_timeout=\"30000\" lrmd_callopt=\"3\" \
         lrmd_remote_msg_id=\"{id}\" lrmd_remote_msg_type=\"request\">\
         <lrmd_calldata>{data}</lrmd_calldata></lrmd_command>"
    )
}

/// Connects and registers.
pub(crate) fn named(node: &Node, name: &str) -> Client {
    let mut client = Client::connect(node).unwrap();
    client
        .send(&format!(
            "<lrmd_command t=\"lrmd\" lrmd_op=\"register\" lrmd_clientname=\"{name}\" \
             lrmd_protocol_version=\"1.1\" lrmd_remote_msg_id=\"1\" lrmd_remote_msg_type=\"request\"/>"
        ))
        .unwrap();
    assert_eq!(reply(&mut client, 1).as_deref(), Some("0"));
    client
}

pub(crate) fn field(message: &[(String, String)], name: &str) -> Option<String> {
    message.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
}

/// `lrmd_rc` of the reply to a request; `None` if it does not come.
pub(crate) fn reply(client: &mut Client, id: usize) -> Option<String> {
    wait(client, |message| {
        field(message, "lrmd_remote_msg_type").as_deref() == Some("reply")
            && field(message, "lrmd_remote_msg_id") == Some(id.to_string())
    })
    .and_then(|message| field(&message, "lrmd_rc"))
}

pub(crate) fn wait(
    client: &mut Client,
    fits: impl Fn(&[(String, String)]) -> bool,
) -> Option<Vec<(String, String)>> {
    let deadline = soon();
    while let Some(xml) = client.message(deadline).unwrap() {
        let message = flatten(&xml).unwrap_or_else(|| panic!("malformed: {xml}"));
        if fits(&message) {
            return Some(message);
        }
    }
    None
}

/// Time until a poke's notification.
pub(crate) fn poke(client: &mut Client, id: usize) -> Duration {
    let begin = Instant::now();
    client.send(&request("lrmd_rsc_poke", id, "<lrmd_rsc lrmd_origin=\"test\"/>")).unwrap();
    assert_eq!(reply(client, id).as_deref(), Some("0"), "no reply to a poke");
    wait(client, |m| field(m, "lrmd_op").as_deref() == Some("lrmd_rsc_poke"))
        .expect("no notification of a poke");
    begin.elapsed()
}

pub(crate) fn register_resource(client: &mut Client, id: usize, name: &str, agent: &str) {
    let data = format!(
        "<lrmd_rsc lrmd_rsc_id=\"{name}\" lrmd_class=\"ocf\" lrmd_provider=\"alone\" lrmd_type=\"{agent}\"/>"
    );
    client.send(&request("lrmd_rsc_register", id, &data)).unwrap();
    assert_eq!(reply(client, id).as_deref(), Some("0"));
}

/// Result of one operation.
pub(crate) fn run(client: &mut Client, id: usize, name: &str, script: &str) -> Vec<(String, String)> {
    let script = script.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let data = format!(
        "<lrmd_rsc lrmd_rsc_id=\"{name}\" lrmd_rsc_action=\"start\" lrmd_rsc_interval=\"0\" \
         lrmd_timeout=\"60000\"><attributes do=\"{script}\"/></lrmd_rsc>"
    );
    client.send(&request("lrmd_rsc_exec", id, &data)).unwrap();
    wait(client, |m| field(m, "lrmd_op").as_deref() == Some("lrmd_rsc_exec")).expect("no result")
}

/// Sends raw bytes over TCP and reads until the daemon closes.
pub(crate) fn raw(node: &Node, bytes: &[u8]) {
    let mut tcp = node.tcp().unwrap();
    tcp.set_read_timeout(Some(SOON)).unwrap();
    // The daemon may close before it has read all.
    let _ = tcp.write_all(bytes);
    let mut sink = Vec::new();
    match tcp.read_to_end(&mut sink) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "not closed: {error}"),
    }
}

/// Sends one message with this header and payload; whether the daemon ends the connection.
pub(crate) fn refused(trial: &Trial, head: &[u8], payload: &[u8]) -> bool {
    let mut client = trial.client();
    client.send_record(head).unwrap();
    if !payload.is_empty() {
        let _ = client.send_record(payload);
    }
    // A request behind it: either it is answered or the connection is gone.
    let _ = client.send(&request("lrmd_rsc_info", 77, "<lrmd_rsc lrmd_rsc_id=\"none\"/>"));
    reply(&mut client, 77).is_none()
}

pub(crate) fn patched(offset: usize, value: u32, text: usize) -> Vec<u8> {
    let mut head = header(1, text).to_vec();
    head[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    head
}
