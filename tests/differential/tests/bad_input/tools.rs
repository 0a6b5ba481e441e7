//! Local tools, and the cluster node that serves them: large answers, and one that does not read.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use pcmk_differential::client::Client;
use pcmk_differential::message::flatten;
use pcmk_differential::node::Node;

use crate::trial::*;

/// A configuration as large as that of 1,000 remote nodes.
const CONFIGURATION: usize = 8 << 20;

/// Connects and offers the cluster's services.
fn provider(node: &Node) -> Client {
    let mut client = Client::connect(node).unwrap();
    client
        .send(
            "<lrmd_command t=\"lrmd\" lrmd_op=\"register\" lrmd_clientname=\"provider\" lrmd_protocol_version=\"1.1\" \
             lrmd_is_ipc_provider=\"true\" lrmd_remote_msg_id=\"1\" lrmd_remote_msg_type=\"request\"/>",
        )
        .unwrap();
    assert_eq!(reply(&mut client, 1).as_deref(), Some("0"));
    client
}

/// Reads the next request of a tool; its session and its number.
fn asked(client: &mut Client) -> (String, String) {
    let message = wait(client, |m| field(m, "lrmd_ipc_op").as_deref() == Some("request")).expect("a request");
    (field(&message, "lrmd_ipc_session").unwrap(), field(&message, "lrmd_ipc_msg_id").unwrap())
}

fn tell(client: &mut Client, op: &str, session: &str, msg_id: &str, payload: &str) {
    client
        .send(&format!(
            "<lrmd_ipc_proxy lrmd_ipc_op=\"{op}\" lrmd_ipc_session=\"{session}\" lrmd_ipc_msg_id=\"{msg_id}\" \
             lrmd_op=\"ipc_fwd\" lrmd_remote_msg_id=\"7\" lrmd_remote_msg_type=\"request\">\
             <lrmd_ipc_msg>{payload}</lrmd_ipc_msg></lrmd_ipc_proxy>"
        ))
        .unwrap();
}

fn configuration(bytes: usize) -> String {
    let mut lines = String::with_capacity(bytes + 100);
    let mut number = 0;
    while lines.len() < bytes {
        let _ = write!(
            lines,
            "<nvpair id=\"some-attribute-of-node-{number}\" name=\"attribute\" value=\"value &lt;{number}&gt;\"/>"
        );
        number += 1;
    }
    format!(
        "<cib epoch=\"1\" num_updates=\"0\" admin_epoch=\"0\" validate-with=\"none\"><configuration>{lines}</configuration><status/></cib>"
    )
}

const HELLO: &str =
    "<cib_common_callback_worker cib_op=\"register\" cib_clientid=\"dc53c6d3-e95a-4be9-9d96-09aba0ded43a\"/>";

#[test]
fn large_answers_to_tools() {
    let mut trial = Trial::start("large answers to tools");
    let mut provider = provider(&trial.node);
    let cib = configuration(CONFIGURATION);
    for round in 0..3 {
        let out = format!("/tmp/out{round}");
        let tool =
            format!("(timeout 60 cibadmin -Q >{out}.part 2>&1; mv {out}.part {out}) >/dev/null 2>&1 &");
        assert_eq!(trial.node.run(&tool).unwrap().0, 0);
        let (session, number) = asked(&mut provider);
        tell(&mut provider, "response", &session, &number, HELLO);
        let (session, number) = asked(&mut provider);
        let begin = Instant::now();
        tell(
            &mut provider,
            "event",
            &session,
            &number,
            &format!(
                "<cib-reply t=\"cib\" cib_op=\"cib_query\" cib_callid=\"2\" cib_clientid=\"dc53c6d3-e95a-4be9-9d96-09aba0ded43a\" cib_callopt=\"0\" cib_rc=\"0\">\
                 <cib_calldata>{cib}</cib_calldata></cib-reply>"
            ),
        );
        let gone = |m: &[(String, String)]| {
            field(m, "lrmd_ipc_op").as_deref() == Some("destroy")
                && field(m, "lrmd_ipc_session").as_deref() == Some(&session)
        };
        wait(&mut provider, gone).expect("the tool ends");
        let look = format!(
            "timeout 30 sh -c 'until [ -e {out} ]; do sleep 0.02; done'; grep -c '<nvpair' {out}; rm {out}"
        );
        let (_, seen) = trial.node.run(&look).unwrap();
        println!("8 MiB for a tool: {:.2?}", begin.elapsed());
        assert_eq!(seen.trim(), cib.matches("<nvpair").count().to_string());
    }
    provider.leave().unwrap();
    trial.finish();
}

#[test]
fn a_cluster_node_that_does_not_read_what_tools_ask() {
    let mut trial = Trial::start("a cluster node that does not read");
    let mut provider = provider(&trial.node);
    std::fs::write(format!("/proc/{}/root/tmp/cib.xml", trial.node.daemon()), configuration(4 << 20))
        .unwrap();
    // Each waits for the first answer and is told to go on; then all replace the configuration at once.
    let mut sessions = Vec::new();
    for _ in 0..12 {
        let tool = "(timeout 100 cibadmin --replace --xml-file /tmp/cib.xml) >/dev/null 2>&1 &";
        assert_eq!(trial.node.run(tool).unwrap().0, 0);
        sessions.push(asked(&mut provider));
    }
    for (session, number) in &sessions {
        tell(&mut provider, "response", session, number, HELLO);
    }
    // 48 MiB are on their way to somebody who reads nothing. The witness goes on.
    let end = Instant::now() + Duration::from_secs(3);
    let mut other = trial.client();
    while Instant::now() < end {
        assert!(poke(&mut other, 5) < NEVER);
    }
    // It comes to its senses: nothing was lost, and its connection is still there.
    let mut heard = std::collections::BTreeSet::new();
    let deadline = soon();
    while heard.len() < sessions.len() {
        let xml = provider.message(deadline).unwrap().expect("the connection is still there");
        // 4 MiB are not looked at more closely.
        let start: String = xml.chars().take(300).collect();
        if start.contains("lrmd_ipc_op=\"request\"") {
            let session = start.split("lrmd_ipc_session=\"").nth(1).unwrap().split('"').next().unwrap();
            assert!(heard.insert(session.to_owned()), "asked once");
        } else {
            assert!(flatten(&xml).is_some());
        }
    }
    provider.leave().unwrap();
    drop(other);
    trial.finish();
}

/// Local processes that connect and make no sense, or do nothing at all: 24 bytes are what a set-up request has.
const CROWD: &str = r#"
import socket, struct

def dial(name):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(20)
    s.connect(b"\0" + name + bytes(107 - len(name)))
    return s

def set_up(id=-1, size=24, wish=131072):
    return struct.pack("<i4xi4xI4x", id, size, wish)

def reply(s):
    got = b""
    while len(got) < 12328:
        part = s.recv(12328 - len(got))
        if not part:
            return None
        got += part
    return struct.unpack_from("<i", got, 16)[0]

def ended(s):
    try:
        while s.recv(65536):
            pass
    except ConnectionResetError:
        pass

names = [b"cib_rw", b"attrd", b"crmd", b"stonith-ng", b"lrmd", b"cib_ro", b"cib_shm", b"pacemakerd"]
nonsense = [bytes(24), b"\xff" * 24, b"GET / HTTP/1.0\r\n\r\n      ", set_up(id=7), set_up(size=0), set_up(size=2**31 - 1)]
for round in range(10):
    for name in names:
        for bytes_ in nonsense:
            s = dial(name)
            s.sendall(bytes_)
            ended(s)
for length in range(24):
    s = dial(names[length % len(names)])
    s.sendall(set_up()[:length])
    s.close()
half = [dial(name) for name in names for _ in range(6)]
for s in half:
    s.sendall(set_up()[:11])
crowd = []
for number in range(1000):
    s = dial(b"cib_rw")
    s.sendall(set_up(wish=2**32 - 1 if number % 10 == 0 else 131072))
    crowd.append(s)
answers = [reply(s) for s in crowd]
print(answers.count(0), "of", len(answers), "came in")
assert all(answer in (0, -11, None) for answer in answers), set(answers)
assert answers.count(0) >= 100, answers.count(0)
for s in crowd + half:
    s.close()
"#;

#[test]
fn nonsense_of_local_processes_and_a_thousand_of_them() {
    let mut trial = Trial::start("nonsense of local processes, and a thousand of them");
    let provider = provider(&trial.node);
    std::fs::write(format!("/proc/{}/root/tmp/crowd.py", trial.node.daemon()), CROWD).unwrap();
    let (code, said) = trial.node.run("timeout 120 python3 /tmp/crowd.py 2>&1").unwrap();
    println!("{}", said.trim());
    assert_eq!(code, 0, "{said}");
    provider.leave().unwrap();
    trial.finish();
}
