//! What is said of a libvirt daemon that answers well, badly, or not at all.

use std::time::Duration;

use serde_json::Value;

use super::support::{Config, LATE, MARGIN, probe};
use crate::fake::{Behaviour, Fake};

const STATES: u32 = 344;

#[tokio::test]
async fn a_healthy_one() {
    let fake = Fake::new(&[("web", 1, 1), ("off", 5, 1)]);
    let config = Config::new("");
    let said = config.run(&fake, &["check"]).await;
    assert_eq!((said.code, said.timeless().as_str(), said.err.as_str()), (0, "libvirt: ok (T)\n", ""));

    let said = config.run(&fake, &["check", "--nagios"]).await;
    assert!(said.code == 0 && said.out.starts_with("LIBVIRT OK - ok | libvirt="), "{said:?}");
    assert_eq!(said.out.lines().count(), 1);
    let steps = ["socket", "connect", "event-loop", "call", "workers", "domains", "storage"];
    assert!(steps.iter().all(|step| said.out.contains(&format!(" libvirt_{step}="))), "{said:?}");

    let object = config.run(&fake, &["check", "--json"]).await.json();
    let keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    let mut wanted =
        ["subject", "verdict", "step", "reason", "advice", "since", "elapsed_ms", "looks", "grace", "phases"];
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
    assert_eq!((&object["subject"], &object["verdict"]), (&"libvirt".into(), &"ok".into()));
    assert_eq!(object["step"], "storage");
    assert!(object["elapsed_ms"].as_f64().unwrap() > 0.0 && object["looks"] == 1, "{object}");
    let phases = object["phases"].as_array().unwrap();
    assert_eq!(phases.iter().map(|phase| phase["step"].as_str().unwrap()).collect::<Vec<_>>(), steps);

    let said = config.run(&fake, &["explain"]).await;
    assert_eq!(said.code, 0);
    for line in [
        "  workers     ok         T  Do the workers that do the real work answer (states of all domains in one call)?\n",
        "                            domains: 1\n",
        "  Nothing is to be done.\n",
    ] {
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeezed(&said.timeless()).contains(&squeezed(line)), "{line}: {}", said.out);
    }
}

#[tokio::test]
async fn a_failure_is_seen_twice_within_the_deadline() {
    let config = Config::new("");
    let cases = [
        (Behaviour::Silent, "event-loop"),
        (Behaviour::Half, "event-loop"),
        (Behaviour::EndlessEvents, "event-loop"),
        (Behaviour::OnlyPings, "call"),
        (Behaviour::Without(STATES), "workers"),
    ];
    for (behaviour, step) in cases {
        let fake = Fake::behaving(behaviour);
        let said = config.run(&fake, &["check", "--deadline", "2000", "--json"]).await;
        let object = said.json();
        assert_eq!(said.code, 2, "{behaviour:?}: {said:?}");
        assert_eq!((&object["verdict"], &object["step"]), (&"failed".into(), &step.into()), "{said:?}");
        assert!(object["looks"] == 2 && !object["reason"].as_str().unwrap().is_empty(), "{said:?}");
        assert!(!object["advice"].as_str().unwrap().is_empty(), "{said:?}");
        assert!(object["elapsed_ms"].as_f64().unwrap() <= 2000.0 + LATE, "{behaviour:?}: {said:?}");
        assert!(said.took <= Duration::from_secs(2) + MARGIN, "{behaviour:?}: {said:?}");
    }
}

#[tokio::test]
async fn nonsense_is_a_failure_at_once_or_at_the_second_look() {
    let config = Config::new("");
    for behaviour in [Behaviour::Garbage, Behaviour::Huge, Behaviour::WrongSerial, Behaviour::Closes] {
        let fake = Fake::behaving(behaviour);
        let said = config.run(&fake, &["check", "--json"]).await;
        let object = said.json();
        assert_eq!((said.code, &object["verdict"]), (2, &Value::from("failed")), "{behaviour:?}: {said:?}");
        assert!(said.took < Duration::from_secs(2) + MARGIN, "{behaviour:?}: {said:?}");
    }
}

#[tokio::test]
async fn exit_codes_of_agents() {
    let config = Config::new("");
    let mut fake = Fake::new(&[("web", 1, 1), ("db", 3, 5), ("mail", 1, 1)]);
    let code = async |fake: &Fake, words: &[&str]| config.run(fake, words).await.code;
    assert_eq!(code(&fake, &["check"]).await, 1);
    assert_eq!(code(&fake, &["check", "--ocf"]).await, 190);
    fake.set_domains(&[]);
    assert_eq!(code(&fake, &["check", "--ocf"]).await, 0);
    fake.set(Behaviour::OnlyPings);
    assert_eq!(code(&fake, &["check", "--ocf", "--deadline", "1500"]).await, 1);
    // Its owner is gone for this socket, which stays.
    fake.crash();
    let said = config.run(&fake, &["check", "--ocf", "--json"]).await;
    assert_eq!((said.code, &said.json()["verdict"]), (7, &Value::from("failed")), "{said:?}");
    assert!(said.took < Duration::from_secs(1) + MARGIN);
}

#[tokio::test]
async fn domains_as_table_and_json() {
    let config = Config::new("");
    let fake = Fake::new(&[("web", 1, 1), ("db", 3, 5), ("off\u{1b}[2J", 5, 1)]);
    let said = config.run(&fake, &["domains"]).await;
    assert_eq!(
        (said.code, said.out.as_str()),
        (
            0,
            "  ID  NAME     STATE                MONITOR  QEMU\n  \
               1   db       paused (I/O error)   ok       ?\n  \
               -   off\u{fffd}[2J  shut off (shutdown)  -        -\n  \
               1   web      running (booted)     ok       ?\n"
        )
    );
    let bad = config.run(&fake, &["domains", "--bad", "--json"]).await.json();
    assert_eq!((bad.as_array().unwrap().len(), &bad[0]["name"]), (1, &Value::from("db")));
    assert_eq!((&bad[0]["state"], &bad[0]["reason"]), (&"paused".into(), &"I/O error".into()));
    fake.set_domains(&[]);
    assert_eq!(config.run(&fake, &["domains"]).await.out, "No domains.\n");
    fake.set(Behaviour::Silent);
    let said = config.run(&fake, &["domains", "--deadline", "1s"]).await;
    assert!(said.code == 2 && said.out.is_empty() && said.err.contains("libvirt-probe explain"), "{said:?}");
    assert!(said.took < Duration::from_secs(1) + MARGIN, "{said:?}");
}

#[tokio::test]
async fn what_it_costs() {
    let config = Config::new("");
    let fake = Fake::new(&[("web", 1, 1)]);
    let said = config.run(&fake, &["bench", "--rounds", "20", "--json"]).await;
    let results = said.json();
    let rows = results["measured"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!((said.code, &names[..]), (0, &["ping", "full pass", "connect and full pass"][..]));
    for row in rows {
        let [min, median, p99] = ["min_ms", "median_ms", "p99_ms"].map(|name| row[name].as_f64().unwrap());
        assert!(0.0 < min && min <= median && median <= p99, "{row}");
    }
    assert_eq!(results["domains"], 1);
    let text = config.run(&fake, &["bench", "-n", "3"]).await;
    assert!(
        text.code == 0 && text.out.contains("  MEASURED  ") && text.out.contains("  full pass  "),
        "{text:?}"
    );
    fake.set(Behaviour::Closes);
    let said = config.run(&fake, &["bench"]).await;
    assert!(said.code == 2 && said.out.contains("FAILED"), "{said:?}");
}

#[tokio::test]
async fn several_subjects_are_looked_at_at_once() {
    let config = Config::new("subjects = [\"libvirt\", \"services\"]");
    let fake = Fake::behaving(Behaviour::Silent);
    let said = config.run(&fake, &["check", "all", "--deadline", "2000", "--json"]).await;
    let object = said.json();
    assert_eq!((&object["subject"], &object["verdict"]), (&"libvirt".into(), &"failed".into()), "{said:?}");
    let subjects = object["subjects"].as_array().unwrap();
    let names: Vec<_> = subjects.iter().map(|one| one["subject"].as_str().unwrap()).collect();
    assert_eq!(names, ["libvirt", "services"]);
    assert!(said.took < Duration::from_secs(2) + MARGIN, "{said:?}");
    let said = config.run(&fake, &["check", "all", "-d", "2000", "--nagios"]).await;
    assert!(said.out.starts_with("COMPUTE CRITICAL - libvirt failed at event-loop: "), "{said:?}");
}

#[tokio::test]
async fn wrong_words_are_unknown_and_told() {
    for (words, wanted) in [
        (&["check", "--no-such"][..], "unexpected argument"),
        (&["check", "libvrit"], "libvirt"),
        (&["check", "--deadline", "soon"], "`soon` is not a time span"),
        (&["check", "--json", "--nagios"], "cannot be used with"),
        (&["--config", "/nowhere", "check"], "/nowhere is missing"),
        (&[], "Usage:"),
    ] {
        let said = probe(words).await;
        assert!(said.code == 3 && said.out.is_empty() && said.err.contains(wanted), "{words:?}: {said:?}");
    }
    let config = Config::new("[libvrt]");
    let said = probe(&["-c", &config.path(), "check"]).await;
    assert_eq!(said.code, 3);
    assert!(said.err.contains("line 1: there is no setting `libvrt`, did you mean `libvirt`?"), "{said:?}");
}
