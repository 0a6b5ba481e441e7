//! Whole messages that ask for too much, for nonsense, or for agents that misbehave.

use std::time::Instant;

use pcmk_differential::client::header;

use crate::trial::*;

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
