//! The fence agent and the resource agent as Pacemaker runs them: real programs, made-up devices and cluster tools.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

#[path = "fence/bench.rs"]
mod bench;
#[path = "fence/cloud.rs"]
mod cloud;
#[path = "fence/power.rs"]
mod power;
#[path = "fence/resource.rs"]
mod resource;
#[path = "fence/unfence.rs"]
mod unfence;

use std::time::{Duration, Instant};

use bench::Bench;
use cloud::Cloud;
use nova_ext::handover::{Marked, Wish};

const LEVEL: &str = r#"<configuration><resources><primitive id="bmc" class="stonith" type="fence_ipmilan"/><primitive id="nova" class="stonith" type="fence_nova"/></resources><fencing-topology><fencing-level id="l" target="c1" index="1" devices="bmc,nova"/></fencing-topology></configuration>"#;
const NO_LEVEL: &str = "<configuration><resources/><fencing-topology/></configuration>";
const WATCHDOG: &str = "[fence.watchdog]\ntimeout_secs = 5\nmargin_secs = 10\n";
const PENDING: &str = r#"<pacemaker-result api-version="2.27"><fence_history><fence_event status="pending" action="off" target="c1" client="pacemaker-controld.9" origin="ctl1"/></fence_history><status code="0" message="OK"/></pacemaker-result>"#;

#[tokio::test]
async fn a_host_is_fenced_although_nova_does_not_answer() {
    let bench = Bench::new();
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    let ended = bench.fence("off", "").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("the engine will tell it"), "{ended:?}");
    let requests = bench.requests();
    assert_eq!((requests.len(), requests[0].wish), (1, Wish::Evacuate));
    assert_eq!((requests[0].host.as_str(), requests[0].power_on), ("c1", false));
    assert!(matches!(requests[0].marked, Marked::Open { .. }) && requests[0].not_before.is_none());
    assert!(requests[0].story.iter().any(|entry| entry.event.host().is_some()));
    assert!(bench.told().contains("-n evacuate -N c1 -U yes"), "{}", bench.told());
    // The same once more is the same incident.
    assert_eq!(bench.fence("off", "").await.code, 0);
    assert_eq!(bench.requests().iter().map(|it| it.id).collect::<Vec<_>>(), [requests[0].id]);
    assert_eq!(bench.fence("status", "").await.code, 2);

    // While it is evacuated it stays off, and is wanted back.
    assert_eq!(bench.fence("on", "").await.code, 0);
    assert_eq!(bench.fence("status", "").await.code, 2);
    assert!(bench.requests().iter().any(|it| it.wish == Wish::Return && it.power_on));
}

#[tokio::test]
async fn a_device_that_lies_fences_nobody() {
    let bench = Bench::new();
    bench.device("false", "true", "true");
    let ended = bench.fence("off", "power_timeout=3\n").await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("did not read off twice in a row"), "{ended:?}");
    assert!(bench.requests().is_empty() && bench.told().is_empty());
    assert_eq!(bench.fence("status", "").await.code, 0);
}

#[tokio::test]
async fn another_device_counts_only_before_us_in_a_level_that_runs() {
    let bench = Bench::new();
    bench.cluster(NO_LEVEL, PENDING);
    let ended = bench.fencer("off", "record_only=1\n").await;
    assert!(ended.code == 1 && ended.err.contains("no power device comes before fence_nova"), "{ended:?}");
    bench.cluster(LEVEL, &PENDING.replace("pending", "success"));
    let ended = bench.fencer("off", "record_only=1\n").await;
    assert!(ended.code == 1 && ended.err.contains("is not fencing c1 now"), "{ended:?}");
    bench.cluster(&LEVEL.replace("fence_ipmilan", "fence_heuristics_ping"), PENDING);
    let ended = bench.fencer("off", "record_only=1\n").await;
    assert!(ended.code == 1 && ended.err.contains("no power device comes before fence_nova"), "{ended:?}");
    bench.cluster(LEVEL, PENDING);
    // The fencer waits for the device before, and somebody else runs the agent meanwhile.
    for more in ["record_only=1\n", "record_only=2\n", ""] {
        let ended = bench.fence("off", more).await;
        assert!(ended.code == 1 && ended.err.contains("only Pacemaker's fencer runs them"), "{ended:?}");
    }
    assert!(bench.requests().is_empty());
    let ended = bench.fencer("off", "record_only=1\n").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(bench.requests().len(), 1);
}

/// A crash kernel on this machine that speaks without end, once the port is nobody else's.
async fn crash_kernel() -> tokio::task::AbortHandle {
    const MESSAGE: [u8; 8] = [0x40, 0x2A, 0x30, 0x1B, 1, 0, 0, 0];
    let end = Instant::now() + Duration::from_secs(60);
    while tokio::net::UdpSocket::bind("0.0.0.0:7410").await.is_err() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let speaks = tokio::spawn(async {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        loop {
            // Refused while nobody listens.
            let _ = socket.send_to(&MESSAGE, "127.0.0.1:7410").await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    speaks.abort_handle()
}

#[tokio::test]
async fn a_host_whose_crash_kernel_runs_keeps_its_power() {
    let cloud = Cloud::start().await;
    let bench = Bench::with(cloud.auth_url());
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    bench.configure("[fence]\nkdump_wait_seconds = 10\n");
    bench.add_to_map("kdump = [\"127.0.0.1\"]\n");
    let speaks = crash_kernel().await;
    let ended = bench.fence("off", "").await;
    speaks.abort();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!bench.path("fence_device.off").exists(), "{ended:?}");
    let requests = bench.requests();
    let line = requests[0].proof.clone().unwrap();
    assert!(line.contains(" kdump ") && line.contains("127.0.0.1"), "{line}");
    // It reads on, and that is no word against the proof.
    assert_eq!(bench.nova_ha(&["evacuate", "c1"]).await.code, 0);
    assert_eq!(bench.resource("start").await.code, 0);
    until("it is evacuated", &bench, &cloud, || is_moved(&bench)).await;
    let report = bench.nova_ha(&["report"]).await;
    assert!(report.out.contains("c1: complete: 0 moved"), "{report:?}\n{}", bench.log());
}

#[tokio::test]
async fn a_host_that_says_nothing_loses_its_power() {
    let bench = Bench::new();
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    bench.configure("[fence]\nkdump_wait_seconds = 1\n");
    bench.add_to_map("kdump = [\"192.0.2.1\"]\n");
    let ended = bench.fence("off", "").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("no word of its crash kernel, so its power is switched off"), "{ended:?}");
    assert!(bench.path("fence_device.off").exists());
    // There is no time for both.
    std::fs::remove_file(bench.path("fence_device.off")).unwrap();
    let ended = bench.fence("off", "power_timeout=10\n").await;
    assert!(ended.code == 0 && ended.err.contains("power_timeout (10 s), raise it to 11"), "{ended:?}");
    assert!(bench.path("fence_device.off").exists());
}

#[tokio::test]
async fn a_watchdog_counts_when_its_time_is_over_and_the_host_is_silent() {
    let cloud = Cloud::start().await;
    let bench = Bench::with(cloud.auth_url());
    bench.cluster(NO_LEVEL, PENDING);
    bench.configure(WATCHDOG);
    bench.node_is(false, false);
    let ended = bench.fencer("off", "power_timeout=19\n").await;
    assert!(ended.code == 1 && ended.err.contains("raise that to 20"), "{ended:?}");
    let ended = bench.fence("off", "power_timeout=90\n").await;
    assert!(ended.code == 1 && ended.err.contains("only Pacemaker's fencer"), "{ended:?}");
    assert!(bench.requests().is_empty());
    let (began, more) = (Instant::now(), "power_timeout=90\n");
    let silent = bench.fencer("off", more);
    // A host that reports to Nova is alive, whatever the cluster says; one that cannot be asked about as well.
    let noisy_cloud = Cloud::start().await;
    noisy_cloud.service.lock().unwrap().reports = true;
    let noisy = Bench::with(noisy_cloud.auth_url());
    let deaf = Bench::new();
    for bench in [&noisy, &deaf] {
        bench.cluster(NO_LEVEL, PENDING);
        bench.configure(WATCHDOG);
        bench.node_is(true, true);
    }
    let (silent, loud, deaf) = tokio::join!(silent, noisy.fencer("off", more), deaf.fencer("off", more));
    assert_eq!(silent.code, 0, "{silent:?}");
    assert!(began.elapsed() >= Duration::from_secs(15));
    let line = bench.requests()[0].proof.clone().unwrap();
    assert!(line.contains(" watchdog ") && line.contains("its watchdog of 5 s"), "{line}");
    assert!(cloud.service.lock().unwrap().forced_down);
    assert!(loud.code == 1 && loud.err.contains("while the watchdog was waited for"), "{loud:?}");
    assert!(deaf.code == 1 && deaf.err.contains("its watchdog proves nothing"), "{deaf:?}");
    assert!(noisy.requests().is_empty() && noisy_cloud.service.lock().unwrap().changes.is_empty());
}

#[tokio::test]
async fn a_watchdog_shows_nothing_of_a_node_that_the_cluster_has_not_lost() {
    let cloud = Cloud::start().await;
    let with = |crm_mon: &str| {
        let bench = Bench::with(cloud.auth_url());
        bench.cluster(NO_LEVEL, PENDING);
        bench.configure(WATCHDOG);
        bench.node_is(false, false);
        let nodes = bench.path("nodes.xml").display().to_string();
        bench.crm_mon(&crm_mon.replace("NODES", &nodes));
        bench
    };
    let online = "sed 's/online=\"false\"/online=\"true\"/' NODES";
    let cases = [
        (online.to_owned(), "its watchdog proves nothing: the cluster has node c1 online"),
        (
            "echo no connection >&2; exit 102".into(),
            "its watchdog proves nothing: crm_mon failed: no connection",
        ),
        ("sed 's/c1/c2/' NODES".into(), "its watchdog proves nothing: the cluster has no node c1"),
        // It comes back meanwhile.
        (
            format!("if [ -e NODES.seen ]; then {online}; else touch NODES.seen; cat NODES; fi"),
            "its watchdog proves nothing: the cluster has node c1 online",
        ),
    ];
    let benches: Vec<_> = cases.iter().map(|(script, _)| with(script)).collect();
    let [one, two, three, four] = benches.as_slice() else { panic!("four cases") };
    let more = "power_timeout=90\n";
    let (one, two, three, four) = tokio::join!(
        one.fencer("off", more),
        two.fencer("off", more),
        three.fencer("off", more),
        four.fencer("off", more)
    );
    for (ended, (_, says)) in [one, two, three, four].iter().zip(&cases) {
        assert!(ended.code == 1 && ended.err.contains(says), "{says}: {ended:?}");
    }
    for bench in &benches {
        assert!(bench.requests().is_empty() && bench.told().is_empty());
    }
    assert!(cloud.service.lock().unwrap().changes.is_empty());
}

#[tokio::test]
async fn the_password_is_told_to_nobody() {
    let bench = Bench::new();
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    let ended = bench.fence("off", "verbose_level=3\n").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("password is in the cluster's configuration"));
    assert!(!format!("{ended:?}{}", bench.told()).contains(bench::PASSWORD));
    for request in bench.requests() {
        assert!(!serde_json::to_string(&request).unwrap().contains(bench::PASSWORD));
    }
}

#[tokio::test]
async fn wrong_parameters_are_one_clear_line() {
    let bench = Bench::new();
    for (text, part) in [
        ("action=diag\n", "there is no action \"diag\""),
        ("action=off\n", "needs plug"),
        ("action=monitor\npower_timeout=soon\n", "power_timeout is \"soon\""),
        ("action=monitor\nconfig=/no/such/file\n", "/no/such/file is missing"),
    ] {
        let ended = bench.agent(text).await;
        assert_eq!(ended.code, 1, "{text}: {ended:?}");
        assert_eq!(ended.err.lines().filter(|line| line.contains("ERROR")).count(), 1, "{ended:?}");
        assert!(ended.err.contains(part), "{text}: {ended:?}");
    }
    let metadata = bench.agent("action=metadata\n").await;
    assert!(
        metadata.code == 0 && metadata.out.starts_with("<?xml") && metadata.err.is_empty(),
        "{metadata:?}"
    );
}

#[tokio::test]
async fn ways_to_a_proof_that_have_no_time_are_told_before_they_are_needed() {
    let bench = Bench::new();
    bench.configure(&format!("[fence]\nkdump_wait_seconds = 60\n{WATCHDOG}"));
    let says = async |more: &str, what: &str| {
        let ended = bench.fence("validate-all", more).await;
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.err.contains(what)
    };
    assert!(says("power_timeout=19\n", "do not fit into power_timeout (19 s)").await);
    assert!(!says("power_timeout=120\n", "power_timeout").await);
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    assert!(!says("power_timeout=19\n", "power_timeout").await, "hosts with devices need no watchdog");
    bench.add_to_map("kdump = [\"192.0.2.1\"]\n");
    assert!(says("power_timeout=19\n", "crash kernel is not waited for").await);
    assert!(!says("power_timeout=120\n", "power_timeout").await);
}

#[tokio::test]
async fn the_resource_agent_starts_watches_and_stops_the_engine() {
    let bench = Bench::new();
    assert_eq!(bench.resource("meta-data").await.code, 0);
    assert_eq!(bench.resource("monitor").await.code, 7);
    let started = bench.resource("start").await;
    assert_eq!(started.code, 0, "{started:?}");
    // It waits for the cloud, which is no reason to restart it.
    assert_eq!(bench.resource("monitor").await.code, 0);
    assert_eq!(bench.resource("start").await.code, 0);
    let status = bench.nova_ha(&["status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status.out).unwrap();
    assert!(status["engine"]["pid"].as_u64().is_some_and(|pid| pid > 1), "{status}");
    let stopped = bench.resource("stop").await;
    assert_eq!(stopped.code, 0, "{stopped:?}");
    assert_eq!(bench.resource("monitor").await.code, 7);
    assert_eq!(bench.resource("stop").await.code, 0);
    assert_eq!(bench.resource("promote").await.code, 3);
}

#[tokio::test]
async fn the_operators_switches() {
    let bench = Bench::new();
    assert_eq!(bench.nova_ha(&["freeze", "--reason", "network works"]).await.code, 0);
    let status = bench.nova_ha(&["status"]).await;
    assert!(status.out.contains("frozen: network works ("), "{status:?}");
    assert_eq!(bench.nova_ha(&["thaw"]).await.out, "thawed\n");
    assert_eq!(bench.nova_ha(&["thaw"]).await.out, "it was not frozen\n");
    assert_eq!(bench.nova_ha(&["return", "c1", "--power-on"]).await.code, 0);
    assert!(bench.requests()[0].power_on && bench.requests()[0].wish == Wish::Return);
    let report = bench.nova_ha(&["report", "--last"]).await;
    assert!(report.code == 1 && report.err.contains("has no incident"), "{report:?}");
    let valid = bench.nova_ha(&["validate", "--offline"]).await;
    assert!(valid.out.contains("names     no name stands for two"), "{valid:?}");
}

/// Whether nothing waits but for the host's return.
fn is_moved(bench: &Bench) -> bool {
    bench.requests().iter().all(|request| request.wish == Wish::Return)
}

/// Waits for it; the machine may be busy.
pub(crate) async fn until(what: &str, bench: &Bench, cloud: &Cloud, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < end, "{what}\n{}\n{:?}", bench.log(), cloud.service.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn from_fence_to_back_in_service() {
    let cloud = Cloud::start().await;
    let bench = Bench::with(cloud.auth_url());
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    let ended = bench.fence("off", "").await;
    assert!(ended.code == 0 && !ended.err.contains("does not know yet"), "{ended:?}");
    {
        let service = cloud.service.lock().unwrap();
        assert!(
            service.forced_down && service.disabled.as_ref().unwrap().starts_with("nova-ha: off "),
            "{service:?}"
        );
        assert_eq!(service.changes.len(), 1, "one call does both");
    }
    let requests = bench.requests();
    assert_eq!(requests[0].marked, Marked::Done);
    // The engine takes it up, finds nothing to move, and waits for nova-compute.
    let started = bench.resource("start").await;
    assert_eq!(started.code, 0, "{started:?}");
    until("the request ends", &bench, &cloud, || is_moved(&bench)).await;
    until("the attribute says so", &bench, &cloud, || bench.attribute("evacuate").as_deref() == Some("no"))
        .await;
    assert!(cloud.service.lock().unwrap().forced_down);
    let report = bench.nova_ha(&["report", "--last"]).await;
    assert!(report.code == 0, "{report:?}");
    let all = bench.nova_ha(&["report"]).await;
    assert!(all.out.contains("c1: complete: 0 moved"), "{all:?}");
    let page = bench.nova_ha(&["report", "--format", "html", &requests[0].id.to_string()]).await;
    assert!(page.out.starts_with("<!DOCTYPE html>") && page.out.contains("proven off"), "{page:?}");
    // It starts while the host is still forced down.
    cloud.service.lock().unwrap().reports = true;
    until("the host is back", &bench, &cloud, || {
        let service = cloud.service.lock().unwrap();
        !service.forced_down && service.disabled.is_none()
    })
    .await;
    until("the wish for its return ends", &bench, &cloud, || bench.requests().is_empty()).await;
    let service = cloud.service.lock().unwrap();
    let order: Vec<_> = service.changes.iter().skip(1).map(ToString::to_string).collect();
    assert_eq!(order, [r#"{"forced_down":false}"#, r#"{"status":"enabled"}"#]);
    assert!(!bench.log().contains(bench::PASSWORD));
}

/// A request that has no proof, as `fence_compute` leaves it.
fn without_proof(cloud: &Cloud) -> Bench {
    let bench = Bench::with(cloud.auth_url());
    bench.set("evacuate", "yes");
    bench
}

#[tokio::test]
async fn a_request_without_proof_is_proven_by_the_power_device() {
    let cloud = Cloud::start().await;
    let bench = without_proof(&cloud);
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    assert_eq!(bench.resource("start").await.code, 0);
    until("it is said why not", &bench, &cloud, || bench.log().contains("does not read off")).await;
    assert!(cloud.service.lock().unwrap().changes.is_empty() && !bench.path("fence_device.off").exists());
    std::fs::write(bench.path("fence_device.off"), "").unwrap();
    until("it is evacuated", &bench, &cloud, || bench.attribute("evacuate").as_deref() == Some("no")).await;
    let report = bench.nova_ha(&["report", "--last"]).await;
    assert!(report.out.contains("read off 2 times"), "{report:?}");
    assert!(cloud.service.lock().unwrap().forced_down);
}

#[tokio::test]
async fn a_request_without_proof_is_proven_by_pacemakers_history() {
    let cloud = Cloud::start().await;
    let bench = without_proof(&cloud);
    // Nova has heard of it in 2020 for the last time.
    let fenced =
        |at: &str| PENDING.replace("status=\"pending\"", &format!("status=\"success\" completed=\"{at}\""));
    bench.cluster(LEVEL, &fenced("2020-11-30 09:59:59Z"));
    assert_eq!(bench.resource("start").await.code, 0);
    until("it is said why not", &bench, &cloud, || bench.log().contains("it has come back since")).await;
    bench.cluster(&LEVEL.replace("fence_ipmilan", "fence_scsi"), &fenced("2020-11-30 10:00:01Z"));
    until("it is said why not", &bench, &cloud, || bench.log().contains("perhaps with the level bmc,nova"))
        .await;
    assert!(cloud.service.lock().unwrap().changes.is_empty(), "nothing was begun");
    bench.cluster(LEVEL, &fenced("2020-11-30 10:00:01Z"));
    until("it is evacuated", &bench, &cloud, || bench.attribute("evacuate").as_deref() == Some("no")).await;
    let report = bench.nova_ha(&["report", "--last"]).await;
    assert!(report.out.contains("Pacemaker's fencer did off"), "{report:?}");
    assert!(cloud.service.lock().unwrap().forced_down);
}

#[tokio::test]
async fn what_would_be_done_and_whether_there_is_room() {
    const ID: &str = "5a0c5c45-1c29-4d5f-8c9e-0d8a3f7a7b10";
    let cloud = Cloud::start().await;
    let bench = Bench::with(cloud.auth_url());
    let room = bench.nova_ha(&["capacity"]).await;
    assert!(room.code == 0 && room.out.starts_with("yes: any one host of 1 can be lost"), "{room:?}");
    cloud.service.lock().unwrap().servers = vec![cloud::server(ID, "web")];
    let room = bench.nova_ha(&["capacity", "--any", "1", "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&room.out).unwrap();
    assert_eq!((room.code, told["verdict"].as_str()), (1, Some("no")), "{room:?}");
    assert_eq!((&told["lost"][0]["unplaced"][0], &told["lost"][0]["short"]), (&ID.into(), &true.into()));

    let plan = bench.nova_ha(&["plan", "c1"]).await;
    assert!(plan.code == 0 && plan.out.contains("1 servers would be moved, 0 would stay"), "{plan:?}");
    assert!(plan.out.contains(ID) && plan.out.contains("web"), "{plan:?}");
    let plan = bench.nova_ha(&["plan", "c1", "--json"]).await;
    let told: serde_json::Value = serde_json::from_str(&plan.out).unwrap();
    assert_eq!((&told["moves"][0]["name"], &told["left_out"]), (&"web".into(), &serde_json::json!([])));
    let plan = bench.nova_ha(&["plan", "c11"]).await;
    assert!(plan.code == 1 && plan.err.contains("c11") && plan.err.contains("c1?"), "{plan:?}");
    let service = cloud.service.lock().unwrap();
    assert!(service.changes.is_empty() && service.unknown.is_empty(), "{service:?}");
}

#[tokio::test]
async fn an_operator_asks_for_an_evacuation() {
    let cloud = Cloud::start().await;
    let bench = Bench::with(cloud.auth_url());
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    let word = ["evacuate", "c1", "--operator-confirms-off", "Ann Lee"];
    let asked = bench.nova_ha(&["evacuate", "c1"]).await;
    assert!(
        asked.code == 1 && asked.err.contains("nothing proves to this controller that c1 is off"),
        "{asked:?}"
    );
    let asked = bench.nova_ha(&word).await;
    assert!(asked.code == 1 && asked.err.contains("says that it is on"), "{asked:?}");
    std::fs::write(bench.path("fence_device.off"), "").unwrap();
    cloud.service.lock().unwrap().reports = true;
    let asked = bench.nova_ha(&word).await;
    assert!(asked.code == 1 && asked.err.contains("still reports to Nova"), "{asked:?}");
    cloud.service.lock().unwrap().reports = false;
    let asked = bench.nova_ha(&["evacuate", "c11", "--operator-confirms-off", "Ann Lee"]).await;
    assert!(asked.code == 1 && asked.err.contains("c11"), "{asked:?}");
    let asked = bench.nova_ha(&["evacuate", "c1", "--operator-confirms-off", "17"]).await;
    assert!(asked.code == 1 && asked.err.contains("nobody's name"), "{asked:?}");
    let asked = bench.nova_ha(&["go-ahead", "c1"]).await;
    assert!(asked.code == 1 && asked.err.contains("nobody has asked"), "{asked:?}");
    assert!(bench.requests().is_empty() && bench.told().is_empty());

    let asked = bench.nova_ha(&word).await;
    assert!(asked.code == 0 && asked.err.contains("no engine answers"), "{asked:?}");
    assert!(asked.out.contains("Ann Lee"), "{asked:?}");
    let id = bench.requests()[0].id;
    assert!(bench.told().contains("-n evacuate -N c1 -U yes"), "{}", bench.told());
    // It waits while the host is in maintenance.
    assert_eq!(bench.nova_ha(&["maintenance", "on", "c1", "--reason", "new disks"]).await.code, 0);
    assert_eq!(bench.resource("start").await.code, 0);
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let status = bench.nova_ha(&["status"]).await;
        assert!(status.out.contains("maintenance: c1: new disks ("), "{status:?}");
        let all = bench.nova_ha(&["explain", "c1"]).await;
        if all.out.contains("took up c1") {
            break;
        }
        assert!(Instant::now() < end, "{status:?}\n{}", bench.log());
    }
    let asked = bench.nova_ha(&["go-ahead", "c1"]).await;
    assert_eq!(asked.code, 0, "{asked:?}\n{}", bench.log());
    assert!(bench.nova_ha(&["status"]).await.out.contains("go-ahead: c1: "));
    assert!(cloud.service.lock().unwrap().changes.is_empty(), "nothing was begun");
    let over = bench.nova_ha(&["maintenance", "off", "c1"]).await;
    assert_eq!(over.out, "c1 is not in maintenance any more\n");
    // The proof is known by now, and the request is the same.
    let ended = bench.nova_ha(&["evacuate", "c1", "--wait", "--timeout", "100"]).await;
    assert!(ended.code == 0 && ended.out.contains(&format!("incident {id}")), "{ended:?}");
    let report = bench.nova_ha(&["report"]).await;
    assert!(report.out.contains("c1: complete: 0 moved"), "{report:?}");
    let status = bench.nova_ha(&["status"]).await;
    assert!(!status.out.contains("go-ahead") && !status.out.contains("maintenance"), "{status:?}");
}
