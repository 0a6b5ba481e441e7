//! Power by hand keeps the proofs true; names are the same everywhere.

use std::fs;

use crate::bench::Bench;
use crate::cloud::Cloud;

#[tokio::test]
async fn power_by_hand_is_as_good_a_proof_as_a_fencing() {
    let cloud = Cloud::start().await;
    let bench = Bench::with(cloud.auth_url());
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    bench.map("power.toml", "rack3-slot7");
    bench.configure("[[host]]\nnova = \"c1\"\nnode = \"n1\"\npower = \"rack3-slot7\"\n");
    let off = async || bench.nova_ha(&["status", "--json"]).await.out.contains("\"off\":[\"c1");
    // By any of its names, in the map of the configuration.
    for name in ["c1", "n1", "rack3-slot7"] {
        let ended = bench.nova_ha(&["power", "off", "--host", name, "--json"]).await;
        assert!(ended.code == 0 && ended.out.contains("\"host\":\"c1\""), "{name}: {ended:?}");
        assert!(off().await, "{name}");
        assert_eq!(bench.nova_ha(&["power", "status", "--host", name]).await.code, 2);
        assert!(off().await, "{name}");
        let ended = bench.nova_ha(&["power", "on", "--host", name]).await;
        assert!(ended.code == 0 && !off().await, "{name}: {ended:?}");
    }
    assert_eq!(bench.nova_ha(&["power", "off", "--host", "c1"]).await.code, 0);
    let asked = bench.nova_ha(&["evacuate", "c1"]).await;
    assert!(asked.code == 0 && bench.requests().len() == 1, "{asked:?}");
    // It is off for that.
    for action in ["on", "cycle"] {
        let ended = bench.nova_ha(&["power", action, "--host", "c1"]).await;
        assert!(ended.code == 1 && ended.err.contains("c1 is being evacuated"), "{action}: {ended:?}");
        assert!(off().await && bench.path("fence_device.off").exists(), "{action}");
    }
    assert_eq!(bench.nova_ha(&["power", "cycle", "--host", "c1", "--force"]).await.code, 0);
    assert!(!off().await);
    let ended = bench.nova_ha(&["power", "off", "--host", "c2"]).await;
    assert!(ended.code == 1 && ended.err.contains("c2"), "{ended:?}");

    // All of its names are one to validate as well.
    let valid = bench.nova_ha(&["validate"]).await;
    assert!(valid.out.contains("c1 (rack3-slot7 in the map): it reads on"), "{valid:?}");
    assert!(!valid.out.lines().any(|line| line.starts_with("FAIL  power")), "{valid:?}");
    bench.map("power.toml", "rack3-slot8");
    let valid = bench.nova_ha(&["validate"]).await;
    assert!(valid.out.contains("has no power device in the map"), "{valid:?}");
}

#[tokio::test]
async fn a_host_that_another_controller_evacuates_stays_off_and_all_hear_that_it_is_on() {
    let bench = Bench::new();
    // It comes on only if the other controllers know.
    let told = bench.path("attributes/fence-proof@c1");
    bench.device(
        "[ -e $0.off ]",
        "touch $0.off",
        &format!("grep -q '^on ' {} && rm -f $0.off", told.display()),
    );
    assert_eq!(bench.nova_ha(&["power", "off", "--host", "c1"]).await.code, 0);
    for asked in ["yes", "ctl2@1700000000"] {
        bench.set("evacuate", asked);
        let ended = bench.nova_ha(&["power", "on", "--host", "c1"]).await;
        assert!(ended.code == 1 && ended.err.contains("c1 is being evacuated"), "{asked}: {ended:?}");
        assert!(bench.path("fence_device.off").exists() && !told.exists(), "{asked}");
    }
    bench.set("evacuate", "no");
    let ended = bench.nova_ha(&["power", "on", "--host", "c1"]).await;
    assert!(ended.code == 0 && !bench.path("fence_device.off").exists(), "{ended:?}");
}

#[tokio::test]
async fn a_proof_that_cannot_be_ended_keeps_the_host_off() {
    let bench = Bench::new();
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    assert_eq!(bench.nova_ha(&["power", "off", "--host", "c1"]).await.code, 0);
    fs::remove_file(bench.path("state/proofs")).unwrap();
    fs::create_dir(bench.path("state/proofs")).unwrap();
    for action in ["on", "cycle"] {
        let ended = bench.nova_ha(&["power", action, "--host", "c1"]).await;
        assert!(ended.code == 1 && ended.err.contains("nothing was switched"), "{action}: {ended:?}");
    }
    assert!(bench.path("fence_device.off").exists());
    let ended = bench.nova_ha(&["power", "off", "--host", "c1", "--json"]).await;
    assert!(ended.code == 1 && ended.out.contains("could not be kept"), "{ended:?}");
}

#[tokio::test]
async fn a_proof_is_kept_although_the_queue_cannot_be_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new();
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    fs::create_dir(bench.path("state/queue")).unwrap();
    fs::set_permissions(bench.path("state/queue"), fs::Permissions::from_mode(0o777)).unwrap();
    let kept = || fs::read_to_string(bench.path("state/proofs")).unwrap_or_default();
    let ended = bench.fence("off", "").await;
    assert!(ended.code == 0 && ended.err.contains("the request is not on disk"), "{ended:?}");
    assert_eq!(kept().lines().count(), 1, "{}", kept());
    // Without the key the ledger is what others go by.
    fs::remove_file(bench.path("key")).unwrap();
    let ended = bench.fence("off", "").await;
    assert!(ended.code == 0 && kept().lines().count() == 2, "{ended:?} {}", kept());
    // Nothing has it.
    fs::remove_file(bench.path("state/proofs")).unwrap();
    fs::create_dir(bench.path("state/proofs")).unwrap();
    let ended = bench.fence("off", "").await;
    assert!(ended.code == 1 && ended.err.contains("the host is off, but its proof is nowhere"), "{ended:?}");
    // With the key, the cluster and Nova have it.
    fs::write(bench.path("key"), "k".repeat(44)).unwrap();
    fs::set_permissions(bench.path("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let ended = bench.fence("off", "").await;
    assert!(ended.code == 0 && ended.err.contains("the proof is not in the ledger"), "{ended:?}");
}

#[tokio::test]
async fn a_host_has_novas_name_on_a_controller_that_never_asked_before() {
    let cloud = Cloud::start().await;
    let bench = Bench::with(cloud.auth_url());
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    bench.map("power.toml", "c1.example.org");
    let ended = bench.fence("off", "port=c1.example.org\nnodename=c1.example.org\n").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(bench.requests().iter().map(|it| it.host.as_str()).collect::<Vec<_>>(), ["c1"]);
    assert!(cloud.service.lock().unwrap().forced_down);

    // Without Nova, what the map says.
    let bench = Bench::new();
    bench.device("[ -e $0.off ]", "touch $0.off", "rm -f $0.off");
    bench.map("power.toml", "c1.example.org");
    let ended = bench.fence("off", "").await;
    assert!(ended.code == 0 && ended.err.contains("taking c1.example.org"), "{ended:?}");
}
