//! A host that comes back, one of which nothing is evacuated, and what the controllers tell one another.

use std::time::{Duration, Instant};

use nova_ext::handover::{Wish, on_since};
use nova_ext::stamp::Stamp;

use crate::bench::Bench;
use crate::cloud::Cloud;
use crate::until;

fn off_and_on(bench: &Bench) {
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
}

#[tokio::test]
async fn a_host_stays_off_while_nobody_can_say_that_it_is_not_evacuated() {
    let mut bench = Bench::new();
    off_and_on(&bench);
    assert_eq!(bench.fence("off", "").await.code, 0);
    std::fs::remove_dir_all(bench.path("state/queue")).unwrap();
    for broken in ["echo no connection >&2; exit 102", "sleep 60"] {
        bench.cluster_that(broken);
        let begun = Instant::now();
        let ended = bench.fence("on", "").await;
        assert!(ended.code == 1 && ended.err.contains("being evacuated; it stays off"), "{ended:?}");
        assert!(bench.path("fence_device.off").exists() && begun.elapsed() < Duration::from_secs(30));
    }
    // Where there is no cluster the queue says it.
    let tool = std::path::Path::new("/usr/sbin/attrd_updater");
    assert!(
        !tool.exists(),
        "this machine may be in a cluster: try it on one without Pacemaker (apt-get remove pacemaker-cli-utils)"
    );
    bench.without_cluster();
    let ended = bench.fence("on", "").await;
    assert!(ended.code == 0 && !bench.path("fence_device.off").exists(), "{ended:?}");
    assert!(!ended.err.contains("controllers"), "{ended:?}");
}

#[tokio::test]
async fn a_queue_that_cannot_be_read_keeps_a_host_off() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    off_and_on(&bench);
    assert_eq!(bench.fence("off", "").await.code, 0);
    bench.set("evacuate", "no");
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(bench.path("state/queue"), open).unwrap();
    let ended = bench.fence("on", "").await;
    assert!(ended.code == 1 && ended.err.contains("the queue of requests cannot be read"), "{ended:?}");
    assert!(bench.path("fence_device.off").exists());
}

#[tokio::test]
async fn all_controllers_know_before_the_power_comes() {
    let bench = Bench::new();
    let on = format!("grep -q '^on ' {} && rm -f $0.off", bench.path("attributes/fence-proof@c1").display());
    bench.device("[ -e $0.off ]", "touch $0.off", &on);
    assert_eq!(bench.fence("off", "").await.code, 0);
    bench.set("evacuate", "no");
    let ended = bench.fence("on", "").await;
    assert!(ended.code == 0 && !bench.path("fence_device.off").exists(), "{ended:?}");
    // The wish for its return outlives the next monitor, and not the return.
    let returns = || bench.requests().iter().filter(|it| it.wish == Wish::Return).count();
    assert_eq!((bench.requests().len(), returns()), (2, 1));
    assert_eq!(bench.fence("monitor", "").await.code, 0);
    assert_eq!((bench.requests().len(), returns()), (1, 1));
    bench.set("fence-proof", &on_since(Stamp::now().after(Duration::from_secs(1))));
    assert_eq!(bench.fence("monitor", "").await.code, 0);
    assert!(bench.requests().is_empty());
}

#[tokio::test]
async fn a_host_that_is_switched_on_later_is_announced_or_not_done() {
    let bench = Bench::new();
    off_and_on(&bench);
    assert_eq!(bench.fence("off", "").await.code, 0);
    // It can be asked, and not be told.
    bench.cluster_that("case \"$*\" in *-U*) exit 1;; esac");
    let ended = bench.fence("on", "").await;
    assert!(ended.code == 1 && ended.err.contains("is to be powered on then"), "{ended:?}");
    assert!(bench.path("fence_device.off").exists());
}

#[tokio::test]
async fn disabled_brings_back_nothing() {
    let bench = Bench::new();
    off_and_on(&bench);
    let ended = bench.fence("on", "record_only=2\n").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(bench.requests().is_empty() && bench.told().is_empty() && !bench.path("state/proofs").exists());
}

#[tokio::test]
async fn nothing_is_evacuated_where_nothing_is_to_be() {
    let cloud = Cloud::start().await;
    let bench = Bench::with(cloud.auth_url());
    off_and_on(&bench);
    assert_eq!(bench.fence("off", "instance_filtering=no\n").await.code, 0);
    assert!(cloud.service.lock().unwrap().forced_down);
    assert_eq!(bench.attribute("evacuate").as_deref(), Some("no"));
    assert!(bench.attribute("fence-proof").is_some_and(|line| line.starts_with("nova-ha: off ")));
    assert!(!bench.told().contains("evacuate -N c1 -U yes"), "{}", bench.told());
    // Nothing is left for anybody.
    assert_eq!(bench.fence("monitor", "").await.code, 0);
    assert!(bench.requests().is_empty() && !bench.told().contains("-U yes"), "{}", bench.told());
}

#[tokio::test]
async fn another_controller_tells_nova_what_the_agent_could_not() {
    let cloud = Cloud::start().await;
    let bench = Bench::with(cloud.auth_url());
    off_and_on(&bench);
    // Nobody is there.
    let ended =
        bench.fence("off", "instance_filtering=no\nauth_url=http://127.0.0.1:1/v3\nnova_timeout=2\n").await;
    assert!(ended.code == 0 && ended.err.contains("the engine will tell it"), "{ended:?}");
    assert_eq!(bench.attribute("evacuate").as_deref(), Some("down"));
    // The cluster has forgotten, as it does with a node that is gone: the next monitor tells it.
    std::fs::remove_dir_all(bench.path("attributes")).unwrap();
    std::fs::create_dir(bench.path("attributes")).unwrap();
    assert_eq!(bench.fence("monitor", "").await.code, 0);
    assert_eq!(bench.attribute("evacuate").as_deref(), Some("down"));
    // On another controller there is neither this queue nor this ledger.
    std::fs::remove_dir_all(bench.path("state/queue")).unwrap();
    std::fs::remove_file(bench.path("state/proofs")).unwrap();
    assert_eq!(bench.resource("start").await.code, 0);
    until("the request ends", &bench, &cloud, || bench.attribute("evacuate").as_deref() == Some("no")).await;
    {
        let service = cloud.service.lock().unwrap();
        assert!(service.forced_down && service.disabled.is_some(), "{service:?}");
    }
    assert!(!bench.told().contains("-U yes"), "{}", bench.told());
    let all = bench.nova_ha(&["report"]).await;
    assert!(!all.out.contains("c1: complete"), "no incident: {all:?}");
}

#[tokio::test]
async fn a_host_that_was_switched_on_elsewhere_returns() {
    let cloud = Cloud::start().await;
    let bench = Bench::with(cloud.auth_url());
    bench.configure("[return]\nautomatic = false\n");
    off_and_on(&bench);
    assert_eq!(bench.fence("off", "").await.code, 0);
    assert_eq!(bench.resource("start").await.code, 0);
    until("the request ends", &bench, &cloud, || bench.requests().is_empty()).await;
    cloud.service.lock().unwrap().reports = true;
    // Nobody has asked for it.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(cloud.service.lock().unwrap().forced_down);
    bench.set("fence-proof", &on_since(Stamp::now()));
    until("the host is back", &bench, &cloud, || {
        let service = cloud.service.lock().unwrap();
        !service.forced_down && service.disabled.is_none()
    })
    .await;
    // Its return is the end of it.
    until("the engine tells the others", &bench, &cloud, || {
        bench.told().matches("fence-proof -N c1 -U on ").count() == 1
    })
    .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(bench.told().matches("fence-proof -N c1 -U on ").count(), 1, "{}", bench.told());
}

#[tokio::test]
async fn many_requests_do_not_hold_up_a_monitor() {
    let bench = Bench::new();
    off_and_on(&bench);
    assert_eq!(bench.fence("off", "").await.code, 0);
    let request = bench.requests().remove(0);
    let queue = nova_ext::handover::Queue::new(bench.path("state/queue"));
    for number in 2..20 {
        let mut other = request.clone();
        other.id = nova_ext::ids::IncidentId::new_random();
        other.node = format!("c{number}").parse().unwrap();
        other.host = format!("c{number}").parse().unwrap();
        queue.put(&other).unwrap();
    }
    bench.cluster_that("case \"$*\" in *-U*) sleep 0.7;; esac");
    let begun = Instant::now();
    let ended = bench.fence("monitor", "").await;
    assert!(ended.code == 0 && ended.err.contains("the next monitor goes on"), "{ended:?}");
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    let told = || bench.told().matches("-U yes").count();
    let before = told();
    assert_eq!(bench.fence("monitor", "").await.code, 0);
    assert!(before > 1 && told() > before, "{before} {}", told());
}
