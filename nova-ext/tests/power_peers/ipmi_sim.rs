//! `ipmi_sim` of `OpenIPMI` as the board; its machine is a file, its chassis a script.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nova_ext::power::{self, FenceAgent, FenceAgentSettings, Ipmi, IpmiSettings, PowerError, PowerState};
use nova_ext::proof::FenceProof;
use nova_ext::secret::Secret;
use tokio::time::sleep;

use crate::proxy::{self, Fate};
use crate::{Running, peer, udp_port};

const TIME: Duration = Duration::from_secs(20);

/// Called by the simulator: `MC get|set|check|do NAME [VALUE]…`.
const CHASSIS: &str = r#"#!/bin/sh
D=$(dirname "$0"); verb=$2; shift 2
case $verb in
get) for what in "$@"; do case $what in power) echo "power:$(cat "$D/power")";; boot) echo boot:default;; *) echo "$what:0";; esac; done;;
set) while [ $# -gt 1 ]; do
        if [ "$1" = power ]; then
            echo "$2" >>"$D/orders"
            [ -e "$D/fails" ] && exit 1
            [ -e "$D/slow" ] && sleep "$(cat "$D/slow")"
            [ -e "$D/lies" ] || echo "$2" >"$D/power"
        fi
        shift 2
    done;;
esac
exit 0
"#;

struct Sim {
    folder: tempfile::TempDir,
    address: SocketAddr,
    running: Option<Running>,
}

impl Sim {
    async fn start() -> Self {
        Self::at("127.0.0.1").await
    }

    async fn at(host: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = udp_port();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("power"), "1").unwrap();
        fs::write(at("orders"), "").unwrap();
        fs::create_dir(at("state")).unwrap();
        fs::write(at("chassis"), CHASSIS).unwrap();
        fs::set_permissions(at("chassis"), Permissions::from_mode(0o755)).unwrap();
        let auths = "none md2 md5 straight";
        let lan = format!(
            "name \"board\"\nset_working_mc 0x20\n startlan 1\n  addr {host} {port}\n  priv_limit admin\n  allowed_auths_callback {auths}\n  \
             allowed_auths_user {auths}\n  allowed_auths_operator {auths}\n  allowed_auths_admin {auths}\n  \
             guid a123456789abcdefa123456789abcdef\n endlan\n chassis_control \"{} 0x20\"\n \
             user 1 true \"\" \"\" user 10 {auths}\n user 2 true \"fencer\" \"hunter2\" admin 10 {auths}\n \
             user 3 true \"oper\" \"hunter2\" operator 10 {auths}\n",
            at("chassis").display()
        );
        fs::write(at("lan.conf"), lan).unwrap();
        let commands = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\n\
                        sel_enable 0x20 1000 0x0a\nmc_enable 0x20\n";
        fs::write(at("commands"), commands).unwrap();
        let log = fs::File::create(at("log")).unwrap();
        let mut command = Command::new(peer("ipmi_sim"));
        command
            .arg("-c")
            .arg(at("lan.conf"))
            .arg("-f")
            .arg(at("commands"))
            .arg("-s")
            .arg(at("state"))
            .arg("-n");
        let running = Running::start(command.stdout(log.try_clone().unwrap()).stderr(Stdio::from(log)));
        let address =
            format!("{}:{port}", if host.contains(':') { format!("[{host}]") } else { host.into() });
        let sim = Self { folder, address: address.parse().unwrap(), running: Some(running) };
        let started = Instant::now();
        while power::status(&mut sim.device(), Duration::from_secs(2)).await.is_err() {
            assert!(started.elapsed() < TIME, "ipmi_sim does not start: {}", sim.read("log"));
            sleep(Duration::from_millis(50)).await;
        }
        sim
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn set(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn device(&self) -> Ipmi {
        self.behind(self.address)
    }

    fn behind(&self, address: SocketAddr) -> Ipmi {
        device(address, "fencer", "hunter2", "operator")
    }
}

fn device(address: SocketAddr, user: &str, password: &str, privlvl: &str) -> Ipmi {
    device_with(address, user, password, privlvl, None)
}

fn device_with(address: SocketAddr, user: &str, password: &str, privlvl: &str, cipher: Option<&str>) -> Ipmi {
    Ipmi::new(IpmiSettings {
        place: address.to_string().parse().unwrap(),
        user: user.into(),
        password: Secret::new(password.into()),
        kg_file: None,
        privlvl: Some(privlvl.into()),
        cipher: cipher.map(str::to_owned),
    })
    .unwrap()
}

async fn off(mut device: Ipmi, within: Duration) -> Result<FenceProof, PowerError> {
    power::confirm_off(&mut device, &"compute-1".parse().unwrap(), within).await
}

#[tokio::test]
async fn off_on_and_cycle() {
    for host in ["127.0.0.1", "::1"] {
        let sim = Sim::at(host).await;
        let started = Instant::now();
        let proof = off(sim.device(), TIME).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        assert_eq!((proof.host().as_str(), sim.read("power").trim()), ("compute-1", "0"));
        off(sim.device(), TIME).await.unwrap();
        assert_eq!(sim.read("orders"), "0\n", "already off needs no order");
        assert_eq!(power::confirm_on(&mut sim.device(), TIME).await.unwrap().state, PowerState::On);
        assert_eq!(power::cycle(&mut sim.device(), TIME).await.unwrap().state, PowerState::On);
        assert_eq!(sim.read("orders"), "0\n1\n0\n1\n");
    }
}

#[tokio::test]
async fn more_logins_than_it_has_sessions() {
    let sim = Sim::start().await;
    // It has 63, and frees what nobody closes after a minute.
    for _ in 0..150 {
        let mut quick = device_with(sim.address, "fencer", "hunter2", "operator", Some("3"));
        power::status(&mut quick, TIME).await.unwrap();
    }
    let wrong = || device_with(sim.address, "fencer", "wrong", "operator", Some("3"));
    for _ in 0..100 {
        assert!(matches!(power::status(&mut wrong(), TIME).await, Err(PowerError::Denied { .. })));
    }
    power::status(&mut sim.device(), TIME).await.unwrap();
}

#[tokio::test]
async fn what_it_refuses() {
    let sim = Sim::start().await;
    for (user, password, level, says) in [
        ("fencer", "wrong", "operator", "password"),
        ("nobody", "hunter2", "operator", "no user"),
        ("oper", "hunter2", "user", "privilege level does not allow"),
    ] {
        let error = off(device(sim.address, user, password, level), TIME).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert_eq!((sim.read("power").trim(), sim.read("orders").as_str()), ("1", ""));
}

#[tokio::test]
async fn one_that_lies_fails_or_is_slow() {
    let sim = Sim::start().await;
    sim.set("lies", "");
    assert!(matches!(off(sim.device(), Duration::from_secs(3)).await, Err(PowerError::NotReached { .. })));
    fs::remove_file(sim.folder.path().join("lies")).unwrap();
    sim.set("fails", "");
    assert!(matches!(off(sim.device(), Duration::from_secs(3)).await, Err(PowerError::NotReached { .. })));
    fs::remove_file(sim.folder.path().join("fails")).unwrap();
    sim.set("orders", "");
    // It does nothing else while it switches: the order must not be repeated.
    sim.set("slow", "3");
    off(sim.device(), TIME).await.unwrap();
    assert_eq!(sim.read("orders"), "0\n");
}

#[tokio::test]
async fn one_that_dies_in_the_middle() {
    let mut sim = Sim::start().await;
    sim.set("slow", "2");
    let behind = proxy::start(sim.address, Vec::new(), Fate::Arrives).await;
    for (device, within) in [(sim.device(), 6), (sim.behind(behind), 6)] {
        let attempt = tokio::spawn(off(device, Duration::from_secs(within)));
        let started = Instant::now();
        while sim.running.is_some() && sim.read("orders").is_empty() {
            assert!(started.elapsed() < TIME, "no order came");
            sleep(Duration::from_millis(10)).await;
        }
        sim.running = None;
        assert!(attempt.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn on_bad_lines() {
    let sim = Sim::start().await;
    let cases = [
        (vec![], Fate::Twice),
        (vec![], Fate::Late(700)),
        (vec![Fate::Late(1_500); 3], Fate::Arrives),
        ((0..40).map(|n| if n % 2 == 0 { Fate::Late(150) } else { Fate::Arrives }).collect(), Fate::Arrives),
        ((0..40).map(|n| if n % 3 == 2 { Fate::Lost } else { Fate::Arrives }).collect(), Fate::Arrives),
    ];
    let one_lost = (0..8).map(|number| {
        let mut fates = vec![Fate::Arrives; number];
        fates.push(Fate::Lost);
        (fates, Fate::Arrives)
    });
    for (fates, rest) in cases.into_iter().chain(one_lost) {
        sim.set("power", "1");
        sim.set("orders", "");
        let address = proxy::start(sim.address, fates.clone(), rest).await;
        off(sim.behind(address), TIME).await.unwrap_or_else(|error| panic!("{fates:?}, {rest:?}: {error}"));
        assert_eq!(
            (sim.read("orders").as_str(), sim.read("power").trim()),
            ("0\n", "0"),
            "{fates:?}, {rest:?}"
        );
    }
    let address = proxy::start(sim.address, Vec::new(), Fate::Lost).await;
    assert!(matches!(off(sim.behind(address), Duration::from_secs(3)).await, Err(PowerError::Silent { .. })));
}

#[tokio::test]
async fn through_fence_ipmilan() {
    let sim = Sim::start().await;
    peer("ipmitool");
    let mut agent = FenceAgent::new(FenceAgentSettings {
        agent: peer("fence_ipmilan"),
        parameters: [
            ("ip", sim.address.ip().to_string()),
            ("ipport", sim.address.port().to_string()),
            ("username", "fencer".into()),
            ("lanplus", "1".into()),
            ("cipher", "3".into()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        password: Some(Secret::new("hunter2".into())),
    })
    .unwrap();
    let host = "compute-1".parse().unwrap();
    power::confirm_off(&mut agent, &host, Duration::from_secs(60)).await.unwrap();
    assert_eq!(sim.read("power").trim(), "0");
}
