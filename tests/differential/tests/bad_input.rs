//! What a hostile, broken or slow peer can do to our daemon: nothing that another client notices.
//!
//! In every test a second client pokes the daemon all the while. It is answered in time, the daemon
//! stays the same process, and in the end its descriptors and its memory are back where they were.
//!
//! Needs root, gcc, libgnutls28-dev, the rig's images and our daemon (see `differential.rs`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::format_collect,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking and print the figures"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pcmk_differential::client::{Client, Manner, header};
use pcmk_differential::message::flatten;
use pcmk_differential::node::{Kind, Node};

/// The acceptance: other clients are served within this time.
const MEDIAN: Duration = Duration::from_millis(10);
/// A machine with other work to do must not fail the test; a stall is longer.
const WORST: Duration = Duration::from_millis(250);
const NEVER: Duration = Duration::from_secs(2);
/// Memory that an allocator may keep.
const KEPT_KIB: u64 = 8 << 10;
const SOON: Duration = Duration::from_secs(20);

fn soon() -> Instant {
    Instant::now() + SOON
}

/// One at a time: they measure.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A daemon, and the client that must not notice anything.
struct Trial {
    name: &'static str,
    node: Node,
    pid: u32,
    descriptors: usize,
    rss: u64,
    over: Arc<AtomicBool>,
    witness: Option<JoinHandle<Vec<Duration>>>,
    _lock: MutexGuard<'static, ()>,
}

impl Trial {
    fn start(name: &'static str) -> Self {
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
    fn finish(mut self) {
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

    fn client(&self) -> Client {
        named(&self.node, "peer")
    }
}

/// A value once it no longer changes.
fn settled(read: impl Fn() -> usize) -> usize {
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

fn request(op: &str, id: usize, data: &str) -> String {
    format!(
        "<lrmd_command t=\"lrmd\" lrmd_op=\"{op}\" lrmd_timeout=\"30000\" lrmd_callopt=\"3\" \
         lrmd_remote_msg_id=\"{id}\" lrmd_remote_msg_type=\"request\">\
         <lrmd_calldata>{data}</lrmd_calldata></lrmd_command>"
    )
}

/// Connects and registers.
fn named(node: &Node, name: &str) -> Client {
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

fn field(message: &[(String, String)], name: &str) -> Option<String> {
    message.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
}

/// `lrmd_rc` of the reply to a request; `None` if it does not come.
fn reply(client: &mut Client, id: usize) -> Option<String> {
    wait(client, |message| {
        field(message, "lrmd_remote_msg_type").as_deref() == Some("reply")
            && field(message, "lrmd_remote_msg_id") == Some(id.to_string())
    })
    .and_then(|message| field(&message, "lrmd_rc"))
}

fn wait(client: &mut Client, fits: impl Fn(&[(String, String)]) -> bool) -> Option<Vec<(String, String)>> {
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
fn poke(client: &mut Client, id: usize) -> Duration {
    let begin = Instant::now();
    client.send(&request("lrmd_rsc_poke", id, "<lrmd_rsc lrmd_origin=\"test\"/>")).unwrap();
    assert_eq!(reply(client, id).as_deref(), Some("0"), "no reply to a poke");
    wait(client, |m| field(m, "lrmd_op").as_deref() == Some("lrmd_rsc_poke"))
        .expect("no notification of a poke");
    begin.elapsed()
}

fn register_resource(client: &mut Client, id: usize, name: &str, agent: &str) {
    let data = format!(
        "<lrmd_rsc lrmd_rsc_id=\"{name}\" lrmd_class=\"ocf\" lrmd_provider=\"alone\" lrmd_type=\"{agent}\"/>"
    );
    client.send(&request("lrmd_rsc_register", id, &data)).unwrap();
    assert_eq!(reply(client, id).as_deref(), Some("0"));
}

/// Result of one operation.
fn run(client: &mut Client, id: usize, name: &str, script: &str) -> Vec<(String, String)> {
    let script = script.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let data = format!(
        "<lrmd_rsc lrmd_rsc_id=\"{name}\" lrmd_rsc_action=\"start\" lrmd_rsc_interval=\"0\" \
         lrmd_timeout=\"60000\"><attributes do=\"{script}\"/></lrmd_rsc>"
    );
    client.send(&request("lrmd_rsc_exec", id, &data)).unwrap();
    wait(client, |m| field(m, "lrmd_op").as_deref() == Some("lrmd_rsc_exec")).expect("no result")
}

/// Sends raw bytes over TCP and reads until the daemon closes.
fn raw(node: &Node, bytes: &[u8]) {
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
fn refused(trial: &Trial, head: &[u8], payload: &[u8]) -> bool {
    let mut client = trial.client();
    client.send_record(head).unwrap();
    if !payload.is_empty() {
        let _ = client.send_record(payload);
    }
    // A request behind it: either it is answered or the connection is gone.
    let _ = client.send(&request("lrmd_rsc_info", 77, "<lrmd_rsc lrmd_rsc_id=\"none\"/>"));
    reply(&mut client, 77).is_none()
}

fn patched(offset: usize, value: u32, text: usize) -> Vec<u8> {
    let mut head = header(1, text).to_vec();
    head[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    head
}

#[test]
fn garbage_before_tls() {
    let trial = Trial::start("garbage before TLS");
    let noise: Vec<u8> = (0..20_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for _ in 0..5 {
        raw(&trial.node, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        raw(&trial.node, &noise);
        raw(&trial.node, &header(1, 10));
        // A record that promises a handshake of another kind.
        raw(&trial.node, b"\x16\x03\x01\x00\x04\x01\xff\xff\xff");
        raw(&trial.node, b"\x15\x03\x03\x00\x02\x02\x28");
    }
    // Begun and given up.
    for length in [0, 1, 4, 5, 6, 9] {
        let mut tcp = trial.node.tcp().unwrap();
        tcp.write_all(&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..length]).unwrap();
    }
    trial.finish();
}

#[test]
fn a_wrong_key() {
    let trial = Trial::start("wrong key");
    let file = std::env::temp_dir().join(format!("pcmk-wrong-key-{}", std::process::id()));
    std::fs::write(&file, [7; 4096]).unwrap();
    let manner = Manner { key: Some(file.clone()), ..Manner::default() };
    let errors: Vec<_> = (0..10).map(|_| Client::connect_as(&trial.node, &manner).map(drop)).collect();
    std::fs::remove_file(file).unwrap();
    for error in errors {
        assert!(error.unwrap_err().starts_with("alert"));
    }
    trial.finish();
}

#[test]
fn a_wrong_identity() {
    let trial = Trial::start("wrong identity");
    for identity in ["hacluster", "LRMD", "lrmd ", "l"] {
        let manner = Manner { identity: Some(identity), ..Manner::default() };
        assert!(Client::connect_as(&trial.node, &manner).is_err(), "{identity}");
    }
    trial.finish();
}

#[test]
fn other_kinds_of_tls() {
    let trial = Trial::start("TLS 1.2 only, anonymous, certificate");
    for priority in [
        "NORMAL:-VERS-ALL:+VERS-TLS1.2:+DHE-PSK:+PSK",
        "NORMAL:-VERS-ALL:+VERS-TLS1.2:+ANON-ECDH:+ANON-DH:-KX-ALL:+ANON-ECDH:+ANON-DH",
        "NORMAL:-VERS-ALL:+VERS-TLS1.2",
        "NORMAL:-VERS-ALL:+VERS-TLS1.1:+VERS-TLS1.0:+DHE-PSK:+PSK",
        "NORMAL:-CIPHER-ALL:+AES-256-GCM:+DHE-PSK:+PSK",
    ] {
        let manner = Manner { priority: Some(priority), ..Manner::default() };
        assert!(Client::connect_as(&trial.node, &manner).is_err(), "{priority}");
    }
    trial.finish();
}

#[test]
fn five_hundred_half_open_handshakes() {
    let trial = Trial::start("500 half-open handshakes");
    let open: Vec<TcpStream> = (0..500)
        .map(|number| {
            let mut tcp = trial.node.tcp().unwrap();
            if number % 2 == 0 {
                tcp.write_all(b"\x16\x03\x01").unwrap();
            }
            tcp
        })
        .collect();
    // Served meanwhile: a client that connects now.
    let begin = Instant::now();
    drop(trial.client());
    println!("a new client got in after {:.1?}", begin.elapsed());
    assert!(begin.elapsed() < Duration::from_secs(5), "a controller would have given up");
    // The daemon ends them all by itself.
    for mut tcp in open {
        tcp.set_read_timeout(Some(SOON)).unwrap();
        let mut sink = Vec::new();
        match tcp.read_to_end(&mut sink) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
    }
    trial.finish();
}

#[test]
fn headers_with_each_field_wrong() {
    let trial = Trial::start("wrong headers");
    let text = request("lrmd_rsc_info", 5, "<lrmd_rsc lrmd_rsc_id=\"none\"/>");
    let mut payload = text.clone().into_bytes();
    payload.push(0);
    let length = text.len();
    let total = u32::try_from(length + 41).unwrap();
    // Fields without a meaning for us.
    for (name, offset, value) in [("version", 4, 2), ("id", 8, u32::MAX), ("flags", 16, u32::MAX)] {
        assert!(!refused(&trial, &patched(offset, value, length), &payload), "{name}");
    }
    for (name, offset, value) in [
        ("marker", 0, 0),
        ("marker", 0, 0x3c21_444f),
        ("total of 0", 24, 0),
        ("total below the header", 24, 39),
        ("total without payload", 24, 40),
        ("total too small", 24, total - 1),
        ("total too large", 24, total + 1),
        ("total above the limit", 24, (20 << 20) + 1),
        ("total of 4 GiB", 24, u32::MAX),
        ("offset of 0", 28, 0),
        ("offset inside the header", 28, 39),
        ("offset inside the payload", 28, 41),
        ("offset of 4 GiB", 28, u32::MAX),
        ("compressed, but is not", 32, 1),
        ("compressed, 4 GiB", 32, u32::MAX),
        ("payload of 0", 36, 0),
        ("payload too small", 36, total - 41),
        ("payload too large", 36, total - 39),
        ("payload of 4 GiB", 36, u32::MAX),
    ] {
        assert!(refused(&trial, &patched(offset, value, length), &payload), "{name} was accepted");
    }
    trial.finish();
}

#[test]
fn a_length_of_four_gibibytes_reserves_nothing() {
    let trial = Trial::start("4 GiB promised");
    let mut head = header(1, 10).to_vec();
    head[24..28].copy_from_slice(&u32::MAX.to_ne_bytes());
    head[36..40].copy_from_slice(&(u32::MAX - 40).to_ne_bytes());
    let clients: Vec<Client> = (0..10)
        .map(|_| {
            let mut client = trial.client();
            client.send_record(&head).unwrap();
            client
        })
        .collect();
    // The largest that is allowed, promised by several and never sent.
    let most = (20 << 20) - 41;
    let slow: Vec<Client> = (0..10)
        .map(|_| {
            let mut client = trial.client();
            client.send_record(&header(1, most)).unwrap();
            client.send_record(b"<a").unwrap();
            client
        })
        .collect();
    // A request of another client is answered behind them.
    drop(trial.client());
    let rss = trial.node.rss_kib().unwrap();
    assert!(rss < trial.rss + (16 << 10), "{} KiB, then {rss} KiB", trial.rss);
    drop((clients, slow));
    trial.finish();
}

#[test]
fn compressed_messages_and_bombs() {
    let trial = Trial::start("bzip2");
    let pack = |bytes: &[u8]| {
        let mut packer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    };
    let compressed = |packed: &[u8], claimed: u32| {
        let size = u32::try_from(packed.len()).unwrap();
        let mut head = header(1, 0).to_vec();
        head[24..28].copy_from_slice(&(40 + size).to_ne_bytes());
        head[32..36].copy_from_slice(&size.to_ne_bytes());
        head[36..40].copy_from_slice(&claimed.to_ne_bytes());
        head
    };
    // A compressed request is answered.
    let mut text = request("lrmd_rsc_info", 5, "<lrmd_rsc lrmd_rsc_id=\"none\"/>").into_bytes();
    text.push(0);
    let packed = pack(&text);
    let mut client = trial.client();
    client.send_record(&compressed(&packed, u32::try_from(text.len()).unwrap())).unwrap();
    client.send_record(&packed).unwrap();
    assert_eq!(reply(&mut client, 5).as_deref(), Some("-19"));
    // 200 MiB in a few hundred bytes, whatever the header claims.
    let bomb = pack(&vec![b' '; 200 << 20]);
    for claimed in [200 << 20, 1000, 20 << 20, (20 << 20) - 40, u32::MAX] {
        assert!(refused(&trial, &compressed(&bomb, claimed), &bomb), "bomb that claims {claimed}");
    }
    // Damaged.
    let mut damaged = packed.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    assert!(refused(&trial, &compressed(&damaged, u32::try_from(text.len()).unwrap()), &damaged));
    drop(client);
    trial.finish();
}

#[test]
fn a_truncated_payload() {
    let trial = Trial::start("truncated payload");
    for _ in 0..20 {
        let mut client = trial.client();
        client.send_record(&header(1, 1000)).unwrap();
        client.send_record(&[b'<'; 500]).unwrap();
    }
    trial.finish();
}

#[test]
fn a_sender_of_one_byte_at_a_time() {
    let trial = Trial::start("one byte per record");
    let text = request("lrmd_rsc_info", 5, "<lrmd_rsc lrmd_rsc_id=\"none\"/>");
    let mut client = trial.client();
    for byte in header(1, text.len()).iter().chain(text.as_bytes()).chain(&[0]) {
        client.send_record(&[*byte]).unwrap();
    }
    assert_eq!(reply(&mut client, 5).as_deref(), Some("-19"));
    drop(client);
    trial.finish();
}

#[test]
fn several_messages_in_one_record() {
    let trial = Trial::start("messages that share a record");
    let mut bytes = Vec::new();
    for id in 5..15 {
        let text = request("lrmd_rsc_info", id, "<lrmd_rsc lrmd_rsc_id=\"none\"/>");
        bytes.extend(header(1, text.len()));
        bytes.extend(text.as_bytes());
        bytes.push(0);
    }
    let mut client = trial.client();
    client.send_record(&bytes).unwrap();
    for id in 5..15 {
        assert_eq!(reply(&mut client, id).as_deref(), Some("-19"));
    }
    drop(client);
    trial.finish();
}

#[test]
fn garbage_instead_of_a_tls_record() {
    let trial = Trial::start("garbage after the handshake");
    for _ in 0..10 {
        let mut client = trial.client();
        client.send_below_tls(&[0x17, 3, 3, 0, 40]).unwrap();
        client.send_below_tls(&[9; 40]).unwrap();
        assert!(client.ends_by(soon()).unwrap().is_some());
    }
    trial.finish();
}

#[test]
fn a_peer_that_stops_reading() {
    let trial = Trial::start("peer that stops reading");
    let client = Arc::new(Mutex::new(trial.client()));
    // Asks and asks and never reads an answer: its own queue fills up and blocks it.
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (writer, counter) = (Arc::clone(&client), Arc::clone(&sent));
    let thread = std::thread::spawn(move || {
        let mut client = writer.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = client.write_timeout(Duration::from_secs(2));
        let text = request("lrmd_rsc_info", 5, "<lrmd_rsc lrmd_rsc_id=\"none\"/>");
        while client.send(&text).is_ok() && counter.fetch_add(1, Ordering::Relaxed) < 300_000 {}
    });
    thread.join().unwrap();
    let rss = trial.node.rss_kib().unwrap();
    println!("{} requests taken; memory {} KiB, then {rss} KiB", sent.load(Ordering::Relaxed), trial.rss);
    assert!(rss < trial.rss + (48 << 10), "memory grew from {} KiB to {rss} KiB", trial.rss);
    drop(client);
    trial.finish();
}

#[test]
fn a_peer_that_stops_in_the_middle_of_a_message() {
    let trial = Trial::start("peer that stops mid-message");
    let mut hanging = Vec::new();
    for count in [0, 1, 39, 40, 41, 500] {
        let text = [b' '; 1000];
        let bytes: Vec<u8> = header(1, text.len()).iter().chain(&text).copied().take(count).collect();
        let mut client = trial.client();
        if !bytes.is_empty() {
            client.send_record(&bytes).unwrap();
        }
        hanging.push(client);
    }
    for _ in 0..20 {
        drop(trial.client());
    }
    drop(hanging);
    trial.finish();
}

#[test]
fn xml_that_is_too_much() {
    let trial = Trial::start("XML bombs");
    let entities: String =
        (1..10).map(|n| format!("<!ENTITY e{n} \"{}\">", format!("&e{};", n - 1).repeat(10))).collect();
    let wide: String = (0..100_000).map(|n| format!(" a{n}=\"x\"")).collect();
    for (name, text) in [
        ("entities", format!("<!DOCTYPE a [<!ENTITY e0 \"lol\">{entities}]><a b=\"&e9;\">&e9;</a>")),
        ("file", "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a b=\"&x;\">&x;</a>".to_owned()),
        ("depth", "<a>".repeat(100_000) + &"</a>".repeat(100_000)),
        ("depth without an end", "<a>".repeat(1_000_000)),
        ("attributes", format!("<lrmd_command t=\"lrmd\" lrmd_op=\"lrmd_rsc_poke\"{wide}/>")),
        ("elements", "<a>".to_owned() + &"<b/>".repeat(1_000_000) + "</a>"),
        ("a long name", format!("<{}/>", "a".repeat(5_000_000))),
        ("a long value", format!("<a b=\"{}\"/>", "x".repeat(15_000_000))),
        ("twice the same attribute", "<a b=\"1\" b=\"2\"/>".to_owned()),
        ("an unknown entity", "<a b=\"&nothing;\"/>".to_owned()),
        ("an illegal character", "<a b=\"&#0;&#xFFFF;&#xD800;\"/>".to_owned()),
        ("no root", "text".to_owned()),
        ("two roots", "<a/><b/>".to_owned()),
        ("only a comment", "<!-- -->".to_owned()),
        ("nothing", String::new()),
    ] {
        // Bad XML costs the message or the connection, as the daemon likes.
        let begin = Instant::now();
        let mut client = trial.client();
        client.send(&text).unwrap();
        let _ = client.send(&request("lrmd_rsc_info", 77, "<lrmd_rsc lrmd_rsc_id=\"none\"/>"));
        let answered = reply(&mut client, 77).is_some();
        println!(
            "{name}: {} after {:.1?}",
            if answered { "ignored" } else { "disconnected" },
            begin.elapsed()
        );
        assert!(begin.elapsed() < SOON, "{name}: neither answered nor disconnected");
    }
    trial.finish();
}

#[test]
fn bytes_that_are_not_utf8() {
    let trial = Trial::start("not UTF-8");
    for bytes in
        [&b"<a b=\"\xff\xfe\"/>\0"[..], b"<a b=\"\xc3\"/>\0", b"<a \0 b=\"1\"/>\0", b"\xed\xa0\x80\0"]
    {
        let mut client = trial.client();
        client.send_record(&header(1, bytes.len() - 1)).unwrap();
        client.send_record(bytes).unwrap();
        let _ = client.send(&request("lrmd_rsc_info", 77, "<lrmd_rsc lrmd_rsc_id=\"none\"/>"));
        let _ = reply(&mut client, 77);
    }
    trial.finish();
}

#[test]
fn requests_that_lack_something() {
    let trial = Trial::start("missing attributes and unknown operations");
    let mut client = trial.client();
    let mut id = 100;
    for op in [
        "no_such_operation",
        "",
        "lrmd_rsc_register",
        "lrmd_rsc_info",
        "lrmd_rsc_unregister",
        "lrmd_rsc_exec",
        "lrmd_rsc_cancel",
        "lrmd_get_recurring",
        "lrmd_alert_exec",
        "ipc_fwd",
    ] {
        for data in [
            "",
            "<lrmd_rsc/>",
            "<lrmd_rsc lrmd_rsc_id=\"\"/>",
            "<lrmd_rsc lrmd_rsc_id=\"x\" lrmd_rsc_action=\"\" lrmd_rsc_interval=\"0\"/>",
            "<lrmd_alert lrmd_alert_path=\"\"/>",
        ] {
            id += 1;
            client.send(&request(op, id, data)).unwrap();
            assert!(reply(&mut client, id).is_some(), "{op} with '{data}' is not answered");
        }
    }
    // A number that is none is answered, as long as the request's own number is one.
    let numbers =
        "<lrmd_rsc lrmd_rsc_id=\"x\" lrmd_rsc_interval=\"-1\" lrmd_timeout=\"99999999999999999999\"/>";
    let word = "<lrmd_rsc lrmd_rsc_id=\"x\" lrmd_rsc_action=\"a\" lrmd_rsc_interval=\"x\"/>";
    for (op, data) in [("lrmd_rsc_exec", numbers), ("lrmd_rsc_cancel", word)] {
        id += 1;
        client.send(&request(op, id, data)).unwrap();
        assert_eq!(reply(&mut client, id).as_deref(), Some("-22"), "{op} with '{data}'");
    }
    // What cannot be understood at all may stay without a reply, but the next request has one.
    for text in ["<lrmd_command/>", "<x/>", "<lrmd_command t=\"crmd\" lrmd_op=\"lrmd_rsc_poke\"/>"] {
        client.send(text).unwrap();
    }
    id += 1;
    client.send(&request("lrmd_rsc_info", id, "<lrmd_rsc lrmd_rsc_id=\"none\"/>")).unwrap();
    assert_eq!(reply(&mut client, id).as_deref(), Some("-19"));
    drop(client);
    trial.finish();
}

#[test]
fn ten_thousand_resources() {
    let trial = Trial::start("10^4 resources");
    let mut client = trial.client();
    let count = 10_000;
    for (op, base) in [("lrmd_rsc_register", 1000), ("lrmd_rsc_unregister", 20_000)] {
        for number in 0..count {
            let data = format!(
                "<lrmd_rsc lrmd_rsc_id=\"r{number}\" lrmd_class=\"ocf\" lrmd_provider=\"alone\" lrmd_type=\"null\"/>"
            );
            client.send(&request(op, base + number, &data)).unwrap();
            if number % 50 == 49 {
                assert_eq!(reply(&mut client, base + number).as_deref(), Some("0"));
            }
        }
        if op == "lrmd_rsc_register" {
            let result = run(&mut client, 90_000, "r9999", "");
            assert_eq!(field(&result, "lrmd_exec_rc").as_deref(), Some("0"));
        }
    }
    drop(client);
    trial.finish();
}

#[test]
fn agents_that_are_not_there_or_cannot_be_executed() {
    let mut trial = Trial::start("agents that cannot be run");
    let make = "cd /usr/lib/ocf/resource.d/alone; printf '#!/bin/sh\\n' >unreadable; chmod 000 unreadable; \
                mkdir folder; printf '#!/no/such\\n' >orphan; chmod 755 orphan; head -c 5000 /dev/urandom >noise; \
                chmod 755 noise; ln -s loop loop";
    assert_eq!(trial.node.run(make).unwrap().0, 0);
    let mut client = trial.client();
    let agents = [
        "missing",
        "unreadable",
        "noexec",
        "folder",
        "orphan",
        "noise",
        "loop",
        "../../../../../bin/sh",
        "a/b",
    ];
    for (number, agent) in agents.iter().enumerate() {
        register_resource(&mut client, 10 + number, agent, agent);
        let result = run(&mut client, 30 + number, agent, "");
        let (rc, status) = (field(&result, "lrmd_exec_rc"), field(&result, "lrmd_exec_op_status"));
        println!("{agent}: rc {rc:?} status {status:?} {:?}", field(&result, "lrmd_rsc_exit_reason"));
        assert_ne!((rc.as_deref(), *agent), (Some("0"), "missing"));
    }
    drop(client);
    trial.finish();
}

#[test]
fn an_agent_that_prints_too_much() {
    let trial = Trial::start("100 MB of output");
    let mut client = trial.client();
    register_resource(&mut client, 10, "r", "act");
    let begin = Instant::now();
    let result = run(&mut client, 11, "r", "head -c 100000000 /dev/zero | tr '\\0' x; exit 0");
    assert_eq!(field(&result, "lrmd_exec_rc").as_deref(), Some("0"));
    let length = field(&result, "lrmd_rsc_output").unwrap_or_default().len();
    println!("{length} bytes reported after {:.1?}", begin.elapsed());
    assert!(length <= 20 << 20);
    let result = run(&mut client, 12, "r", "head -c 1000000 /dev/urandom; exit 0");
    assert_eq!(field(&result, "lrmd_exec_rc").as_deref(), Some("0"));
    drop(client);
    trial.finish();
}

#[test]
fn noise_in_requests() {
    let trial = Trial::start("mutated requests");
    let whole = request(
        "lrmd_rsc_exec",
        5,
        "<lrmd_rsc lrmd_rsc_id=\"r\" lrmd_rsc_action=\"monitor\" lrmd_rsc_interval=\"0\" lrmd_timeout=\"1000\"><attributes a=\"b\"/></lrmd_rsc>",
    )
    .into_bytes();
    let mut seed = 12_345_u32;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(seed >> 8).unwrap() % below
    };
    let mut client = trial.client();
    for round in 0..1000 {
        let mut text = whole.clone();
        for _ in 0..=random(4) {
            let at = random(text.len());
            match random(3) {
                0 => text[at] = u8::try_from(random(256)).unwrap(),
                1 => drop(text.remove(at)),
                _ => text.truncate(at + 1),
            }
        }
        client.send_record(&header(1, text.len())).unwrap();
        text.push(0);
        client.send_record(&text).unwrap();
        if round % 20 == 19 {
            client
                .send(&request("lrmd_rsc_info", 10_000 + round, "<lrmd_rsc lrmd_rsc_id=\"none\"/>"))
                .unwrap();
            if reply(&mut client, 10_000 + round).is_none() {
                client = trial.client();
            }
        }
    }
    drop(client);
    trial.finish();
}
