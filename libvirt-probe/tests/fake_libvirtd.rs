//! The probe against libvirt daemons that misbehave: it never hangs, never believes nonsense, never takes more
//! memory than what arrived, and says what is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "a test may fail")]

mod fake;

use std::time::{Duration, Instant};

use fake::{Behaviour, Fake, io_error, ping};
use libvirt_probe::libvirt::{Libvirt, Settings};
use libvirt_probe::verdict::{Health, Report, Step};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(10);
const STEPS: [Step; 7] =
    [Step::Socket, Step::Connect, Step::EventLoop, Step::Call, Step::Workers, Step::Domains, Step::Storage];

/// A check that ends within its deadlines, however the daemon behaves.
async fn check(probe: &mut Libvirt, settings: &Settings) -> Report {
    let start = Instant::now();
    // A busy machine may be late, but not by much.
    let limit = settings.deadlines.total() + Duration::from_secs(5);
    let report = timeout(limit, probe.check()).await.expect("a check ends");
    assert!(start.elapsed() >= report.elapsed);
    report
}

fn decisive(report: &Report) -> (Health, Step, String) {
    let finding = report.worst().expect("a finding");
    (finding.health, finding.step, finding.reason.clone())
}

#[tokio::test]
async fn a_good_one_is_ok_over_one_connection() {
    let fake = Fake::new(&[("instance-1", 1, 1), ("instance-2", 3, 1), ("instance-3", 5, 1)]);
    let settings = fake.settings();
    let mut probe = Libvirt::new(settings.clone());
    for _ in 0..20 {
        let report = check(&mut probe, &settings).await;
        assert_eq!(decisive(&report), (Health::Ok, Step::Storage, String::new()), "{report:?}");
        let steps: Vec<_> = report.findings.iter().map(|finding| finding.step).collect();
        assert_eq!(steps, STEPS);
    }
    assert_eq!(fake.connections(), 1);
    assert_eq!(probe.version().unwrap().to_string(), "9.0.0");
    let domains = probe.domains().await.unwrap();
    let seen: Vec<_> = domains.iter().map(|domain| (domain.name.as_str(), domain.state, domain.id)).collect();
    let expected = [
        ("instance-1", "running", Some(1)),
        ("instance-2", "paused", Some(1)),
        ("instance-3", "shut off", None),
    ];
    assert_eq!(seen, expected);
    assert_eq!(domains[0].control.unwrap().state, "ok");
    assert_eq!(domains[2].control, None);
}

#[tokio::test]
async fn four_calls_at_most_are_on_their_way() {
    let names: Vec<String> = (0..200).map(|number| format!("instance-{number}")).collect();
    let fake = Fake::new(&names.iter().map(|name| (name.as_str(), 1, 1)).collect::<Vec<_>>());
    let mut probe = Libvirt::new(fake.settings());
    assert_eq!(probe.domains().await.unwrap().len(), 200);
    assert!(fake.calls() > 200);
    assert!((2..=4).contains(&fake.most_in_flight()), "{}", fake.most_in_flight());
}

#[tokio::test]
async fn nonsense_of_a_daemon_is_a_failure_that_says_so() {
    for (behaviour, text) in [
        (Behaviour::Garbage, "larger than the limit"),
        (Behaviour::Huge, "a message of 4294967295 bytes, larger than the limit"),
        (Behaviour::WrongSerial, "which was not asked"),
        (Behaviour::WrongProcedure, "an answer of procedure"),
        (Behaviour::Twice, "which was not asked"),
        (Behaviour::Calls, "which only clients send"),
        (Behaviour::HalfAndCloses, "in the middle of a message"),
        (Behaviour::Closes, "closed the connection"),
    ] {
        let fake = Fake::behaving(behaviour);
        let settings = fake.settings();
        let mut probe = Libvirt::new(settings.clone());
        let report = check(&mut probe, &settings).await;
        let (health, step, reason) = decisive(&report);
        assert_eq!((health, step), (Health::Failed, Step::Connect), "{behaviour:?}: {report:?}");
        assert!(reason.contains(text), "{behaviour:?}: {reason}");
        // The same from one that was good before.
        fake.set(Behaviour::Good);
        assert_eq!(decisive(&check(&mut probe, &settings).await).0, Health::Ok);
        fake.set(behaviour);
        let (health, _, reason) = decisive(&check(&mut probe, &settings).await);
        assert_eq!(health, Health::Failed, "{behaviour:?}: {reason}");
        assert!(reason.contains(text), "{behaviour:?}: {reason}");
        fake.set(Behaviour::Good);
        assert_eq!(decisive(&check(&mut probe, &settings).await).0, Health::Ok);
    }
}

#[tokio::test]
async fn nonsense_of_a_stranger_is_not_libvirts_failure() {
    for behaviour in [Behaviour::Garbage, Behaviour::Silent, Behaviour::Closes, Behaviour::Half] {
        let fake = Fake::behaving(behaviour);
        let settings = Settings { programs: vec!["libvirtd".into()], ..fake.settings() };
        let report = check(&mut Libvirt::new(settings.clone()), &settings).await;
        let (health, step, reason) = decisive(&report);
        assert_eq!((health, step), (Health::Unknown, Step::Connect), "{report:?}");
        assert!(reason.contains("is no libvirt"), "{reason}");
    }
}

#[tokio::test]
async fn silence_of_a_stranger_who_was_named_is_a_failure() {
    for behaviour in [Behaviour::Silent, Behaviour::Half] {
        let fake = Fake::behaving(behaviour);
        let settings = Settings { programs: vec!["libvirtd".into()], vouched: true, ..fake.settings() };
        let report = check(&mut Libvirt::new(settings.clone()), &settings).await;
        let (health, step, reason) = decisive(&report);
        assert_eq!((health, step), (Health::Failed, Step::EventLoop), "{report:?}");
        assert!(reason.contains("does not answer"), "{reason}");
    }
}

#[tokio::test]
async fn an_answer_that_promises_too_much_is_refused() {
    for (behaviour, text) in [
        (Behaviour::Promises(u32::MAX), "list of domains of length 4294967295; the limit is 16384"),
        (Behaviour::Promises(16384), "ends in the middle of list of domains"),
        (Behaviour::LongString, "a domain's name of length 4294967295"),
    ] {
        let fake = Fake::behaving(behaviour);
        let settings = fake.settings();
        let (health, step, reason) = decisive(&check(&mut Libvirt::new(settings.clone()), &settings).await);
        assert_eq!((health, step), (Health::Failed, Step::Workers));
        assert!(reason.contains(text), "{reason}");
    }
    let fake = Fake::behaving(Behaviour::Trailing);
    let settings = fake.settings();
    let (health, step, reason) = decisive(&check(&mut Libvirt::new(settings.clone()), &settings).await);
    assert_eq!((health, step), (Health::Failed, Step::Call));
    assert!(reason.contains("8 bytes too many"), "{reason}");
}

#[tokio::test]
async fn silence_is_named_by_the_layer_that_is_silent() {
    for (behaviour, fresh, known) in [
        (Behaviour::Silent, Step::EventLoop, Step::EventLoop),
        (Behaviour::Half, Step::EventLoop, Step::EventLoop),
        (Behaviour::OnlyPings, Step::Call, Step::Call),
        (Behaviour::Without(157), Step::Call, Step::Call),
        (Behaviour::Without(344), Step::Workers, Step::Workers),
        (Behaviour::Without(229), Step::Domains, Step::Domains),
        (Behaviour::EndlessEvents, Step::EventLoop, Step::EventLoop),
    ] {
        let fake = Fake::behaving(behaviour);
        let settings = fake.settings();
        let report = check(&mut Libvirt::new(settings.clone()), &settings).await;
        let expected = if fresh == Step::Domains { Health::Degraded } else { Health::Failed };
        assert_eq!(
            (decisive(&report).0, decisive(&report).1),
            (expected, fresh),
            "{behaviour:?}: {report:?}"
        );
        assert!(!report.worst().unwrap().advice.is_empty());

        fake.set(Behaviour::Good);
        let mut probe = Libvirt::new(settings.clone());
        assert_eq!(decisive(&check(&mut probe, &settings).await).0, Health::Ok);
        fake.set(behaviour);
        let report = check(&mut probe, &settings).await;
        assert_eq!(
            (decisive(&report).0, decisive(&report).1),
            (expected, known),
            "{behaviour:?}: {report:?}"
        );
    }
}

#[tokio::test]
async fn a_stuck_daemon_is_not_given_more_and_more_to_do() {
    for procedure in [157, 344, 229] {
        let fake = Fake::new(&[("instance-1", 1, 1)]);
        let settings = fake.settings();
        let mut probe = Libvirt::new(settings.clone());
        assert_eq!(decisive(&check(&mut probe, &settings).await).0, Health::Ok);
        fake.set(Behaviour::Without(procedure));
        let mut steps = Vec::new();
        for _ in 0..12 {
            let report = check(&mut probe, &settings).await;
            assert_ne!(report.health(), Health::Ok, "{report:?}");
            steps.push(decisive(&report).1);
        }
        // Never blames another layer because its own questions fill the pipe.
        steps.dedup();
        assert_eq!(steps.len(), 1, "{procedure}: {steps:?}");
        assert_eq!(fake.connections(), 1);
    }
}

#[tokio::test]
async fn refusals_are_unknown_or_failures_by_their_number() {
    for (procedure, code, step, health) in [
        (66, 45, Step::Connect, Health::Unknown),
        (1, 88, Step::Connect, Health::Unknown),
        (1, 5, Step::Connect, Health::Unknown),
        (1, 1, Step::Connect, Health::Failed),
        (344, 88, Step::Workers, Health::Unknown),
        (344, 3, Step::Workers, Health::Unknown),
        (344, 38, Step::Workers, Health::Failed),
        (229, 42, Step::Storage, Health::Ok),
        (316, 3, Step::Storage, Health::Ok),
    ] {
        let fake = Fake::behaving(Behaviour::Refuses(procedure, code));
        let settings = fake.settings();
        let report = check(&mut Libvirt::new(settings.clone()), &settings).await;
        assert_eq!(
            (decisive(&report).1, decisive(&report).0),
            (step, health),
            "{procedure} {code} {report:?}"
        );
    }
}

#[tokio::test]
async fn answers_in_single_bytes_are_read() {
    let fake = Fake::behaving(Behaviour::Bytewise);
    let settings = fake.settings();
    let report = check(&mut Libvirt::new(settings.clone()), &settings).await;
    assert_eq!(report.health(), Health::Ok, "{report:?}");
}

#[tokio::test]
async fn endless_pings_end_the_connection() {
    let fake = Fake::behaving(Behaviour::EndlessPings);
    let settings = fake.settings();
    let report = check(&mut Libvirt::new(settings.clone()), &settings).await;
    assert_eq!(report.health(), Health::Failed, "{report:?}");
}

#[tokio::test]
async fn pings_are_answered_between_checks() {
    let fake = Fake::new(&[]);
    let settings = fake.settings();
    let mut probe = Libvirt::new(settings.clone());
    assert_eq!(check(&mut probe, &settings).await.health(), Health::Ok);
    fake.push(&ping().repeat(3));
    let start = Instant::now();
    while fake.pongs() < 3 {
        assert!(start.elapsed() < SOON);
        let quiet = timeout(Duration::from_millis(20), probe.changed()).await;
        assert!(quiet.is_err(), "pings are nothing to check");
    }
}

#[tokio::test]
async fn bad_news_wakes_the_caller() {
    let mut fake = Fake::new(&[("instance-1", 1, 1), ("instance-2", 1, 1)]);
    let settings = fake.settings();
    let mut probe = Libvirt::new(settings.clone());
    assert_eq!(check(&mut probe, &settings).await.health(), Health::Ok);
    fake.set_domains(&[("instance-1", 3, 5), ("instance-2", 1, 1)]);
    fake.push(&io_error("instance-1"));
    timeout(SOON, probe.changed()).await.expect("an I/O error wakes");
    // Until there is a check, it wakes again.
    timeout(SOON, probe.changed()).await.expect("it was not looked at");
    let report = check(&mut probe, &settings).await;
    let (health, step, reason) = decisive(&report);
    // One of two is half of them, but one alone is not yet the storage.
    assert_eq!((health, step), (Health::Degraded, Step::Storage), "{reason}");
    assert!(reason.contains("instance-1") && !reason.contains("instance-2"), "{reason}");
    assert!(timeout(Duration::from_millis(100), probe.changed()).await.is_err(), "that was looked at");

    fake.set(Behaviour::Without(344));
    timeout(SOON, probe.changed()).await.expect("late workers wake");
    assert_eq!(decisive(&check(&mut probe, &settings).await).1, Step::Workers);
    fake.set(Behaviour::Silent);
    timeout(SOON, probe.changed()).await.expect("a late ping wakes");
    assert_eq!(decisive(&check(&mut probe, &settings).await).1, Step::EventLoop);

    fake.crash();
    timeout(SOON, probe.changed()).await.expect("a lost connection wakes");
    let report = check(&mut probe, &settings).await;
    assert_eq!((decisive(&report).0, decisive(&report).1), (Health::Failed, Step::Connect));
    assert!(report.worst().unwrap().certain);
}

#[tokio::test]
async fn a_restart_is_no_failure_and_a_stop_is_one_at_once() {
    let mut fake = Fake::new(&[("instance-1", 1, 1)]);
    let settings = fake.settings();
    let mut probe = Libvirt::new(settings.clone());
    assert_eq!(check(&mut probe, &settings).await.health(), Health::Ok);
    fake.stop();
    let again = async {
        timeout(SOON, probe.changed()).await.expect("the loss wakes");
        check(&mut probe, &settings).await
    };
    let restart = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fake.start();
    };
    let (report, ()) = tokio::join!(again, restart);
    assert_eq!(report.health(), Health::Ok, "{report:?}");

    fake.stop();
    timeout(SOON, probe.changed()).await.expect("the loss wakes");
    let report = check(&mut probe, &settings).await;
    let finding = report.worst().unwrap();
    assert_eq!((finding.health, finding.step, finding.certain), (Health::Failed, Step::Connect, true));
    assert!(report.elapsed < Duration::from_secs(10) + settings.deadlines.redial, "{:?}", report.elapsed);
    fake.start();
    timeout(SOON, probe.changed()).await.expect("a failure is looked at again");
    assert_eq!(check(&mut probe, &settings).await.health(), Health::Ok);
}

#[tokio::test]
async fn a_socket_that_is_taken_away_is_missed_although_the_connection_lives() {
    let fake = Fake::new(&[]);
    let settings = fake.settings();
    let mut probe = Libvirt::new(settings.clone());
    assert_eq!(check(&mut probe, &settings).await.health(), Health::Ok);
    let elsewhere = fake.path().with_file_name("moved");
    std::fs::rename(fake.path(), &elsewhere).unwrap();
    timeout(SOON, probe.changed()).await.expect("a missing socket wakes");
    let report = check(&mut probe, &settings).await;
    assert_eq!((decisive(&report).0, decisive(&report).1), (Health::Failed, Step::Connect), "{report:?}");
    std::fs::rename(elsewhere, fake.path()).unwrap();
    assert_eq!(check(&mut probe, &settings).await.health(), Health::Ok);
}

#[tokio::test]
async fn absent_wrong_and_closed_sockets_are_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let missing = folder.path().join("nothing");
    let dead = folder.path().join("dead-sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    let long = folder.path().join("x".repeat(120));
    for (path, text) in [
        (&file, "is not a socket"),
        (&missing, "libvirt is not installed"),
        (&dead, "libvirt is not installed"),
        (&long, "cannot connect to"),
    ] {
        let settings = Settings { folders: vec![], ..fake::settings(path) };
        let report = check(&mut Libvirt::new(settings.clone()), &settings).await;
        let (health, _, reason) = decisive(&report);
        assert_eq!(health, Health::Unknown, "{report:?}");
        assert!(reason.contains(text), "{reason}");
        assert!(report.elapsed < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn an_installed_libvirt_that_does_not_run_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("libvirtd"), "").unwrap();
    let dead = folder.path().join("dead-sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    for (socket, by_hand) in
        [("libvirt-sock", true), ("virtqemud-sock-ro", true), ("some-sock", false), ("dead-sock", true)]
    {
        let path = folder.path().join(socket);
        let folders = vec![folder.path().to_owned()];
        let programs = vec!["libvirtd".to_owned()];
        let settings = Settings { by_hand, folders, programs, ..fake::settings(&path) };
        let report = check(&mut Libvirt::new(settings.clone()), &settings).await;
        let finding = report.worst().unwrap();
        assert_eq!((finding.health, finding.step), (Health::Failed, Step::Connect), "{report:?}");
        assert!(finding.certain && !finding.advice.is_empty());
        let unlikely = Settings { by_hand: true, ..fake::settings(&folder.path().join("libvirt-sokc")) };
        assert_eq!(check(&mut Libvirt::new(unlikely.clone()), &unlikely).await.health(), Health::Unknown);
    }
}
