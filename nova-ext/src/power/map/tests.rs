use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use super::*;

struct Written {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn written(text: &str) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("power.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    Written { _folder: folder, path }
}

fn load(text: &str) -> Result<Map, MapError> {
    Map::load(&written(text).path)
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

const TWO: &str = r#"
[host."compute-1"]
driver = "ipmi"
address = "192.0.2.1"
user = "fencer"
password = "hunter2"
kdump = ["198.51.100.1"]

[host."compute-2"]
driver = "redfish"
address = "192.0.2.2:8443"
user = "fencer"
password = "hunter2"
insecure = true
"#;

#[test]
fn each_host_has_its_device() {
    let map = load(TWO).unwrap();
    assert_eq!(map.device(&host("compute-1")).unwrap().name(), "ipmi 192.0.2.1");
    assert_eq!(map.own_device(&host("compute-2")).unwrap().name(), "redfish 192.0.2.2:8443");
    let unknown = map.device(&host("compute-3")).map(|_| ()).unwrap_err().to_string();
    assert!(
        unknown.contains("has no host compute-3") && unknown.contains("compute-1, compute-2"),
        "{unknown}"
    );
    assert!(!format!("{map:?}").contains("hunter2"));
    let message = [0x40, 0x2A, 0x30, 0x1B, 1, 0, 0, 0];
    let spoke = |host: &HostName| {
        let senders = map.kdump_senders(host, host);
        senders.proof("198.51.100.1".parse().unwrap(), &message, crate::stamp::Stamp::now())
    };
    assert_eq!(spoke(&host("compute-1")).unwrap().host(), &host("compute-1"));
    assert_eq!(spoke(&host("compute-2")), None);
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let written = written(TWO);
    fs::set_permissions(&written.path, Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Map::load(&written.path), Err(MapError::File(SecretError::Open(..)))));
}

#[test]
fn what_is_ambiguous_is_refused() {
    let same =
        TWO.replace("redfish", "ipmi").replace("192.0.2.2:8443", "192.0.2.1").replace("insecure = true", "");
    let error = load(&same).unwrap_err().to_string();
    assert!(error.contains("compute-1 and compute-2 both have the device ipmi 192.0.2.1"), "{error}");
    let twice = TWO.to_owned() + &TWO.replace("192", "10");
    assert!(matches!(load(&twice), Err(MapError::Syntax(..))));
    let case = TWO.replace("compute-2", "Compute-1");
    assert!(matches!(load(&case), Err(MapError::Ambiguous { .. })));
    let systems = |one: &str, other: &str| {
        let of = |name: &str, more: &str| {
            format!(
                "[host.{name}]\ndriver = \"redfish\"\naddress = \"bmc:443\"\nuser = \"u\"\npassword = \"p\"\n{more}\n"
            )
        };
        load(&(of("a", one) + &of("b", other).replace(":443", "")))
    };
    assert!(systems("system = \"1\"", "system = \"2\"").is_ok());
    for (one, other) in
        [("", "system = \"2\""), ("system = \"1\"", ""), ("", ""), ("system = \"1\"", "system = \"1\"")]
    {
        assert!(matches!(systems(one, other), Err(MapError::Ambiguous { .. })), "{one} {other}");
    }
    let kdump = TWO.to_owned() + "kdump = [\"198.51.100.1\"]";
    assert!(load(&kdump).unwrap_err().to_string().contains("kdump address 198.51.100.1"));
}

#[test]
fn one_board_under_two_drivers_is_one_board() {
    let of = |host: &str, driver: &str, address: &str, more: &str| {
        let agent =
            if driver.starts_with("fence_") { format!("agent = \"{driver}\"\n") } else { String::new() };
        let driver = if agent.is_empty() { driver } else { "agent" };
        format!(
            "[host.{host}]\ndriver = \"{driver}\"\n{agent}address = \"{address}\"\nuser = \"u\"\npassword = \"p\"\n{more}\n"
        )
    };
    for (one, other) in [
        (("ipmi", "bmc-1"), ("redfish", "BMC-1.")),
        (("ipmi", "192.0.2.1:623"), ("redfish", "192.0.2.1:443")),
        (("ipmi", "2001:db8::1"), ("redfish", "[2001:DB8:0::1]")),
        (("ipmi", "127.0.0.1:9001"), ("redfish", "127.0.0.1:9001")),
        (("fence_ipmilan", "192.0.2.1"), ("redfish", "192.0.2.1")),
        (("fence_ipmilan", "192.0.2.1"), ("fence_redfish", "192.0.2.1")),
    ] {
        let text = |more: &str| of("a", one.0, one.1, more) + &of("b", other.0, other.1, more);
        let error = load(&text("")).unwrap_err().to_string();
        assert!(
            error.contains("a and b both have the device at") && error.contains("by different drivers"),
            "{error}"
        );
        // Whoever says so can read it, and cannot switch one of them alone.
        let map = load(&text("shared = true")).unwrap();
        assert!(matches!(map.own_device(&host("a")), Err(MapError::Shared { others, .. }) if others == "b"));
        let half = of("a", one.0, one.1, "shared = true") + &of("b", other.0, other.1, "");
        assert!(matches!(load(&half), Err(MapError::Ambiguous { .. })), "{half}");
    }
    // Simulated boards share an address.
    for (one, other) in [
        (("ipmi", "127.0.0.1:9001"), ("redfish", "127.0.0.1:9002")),
        (("ipmi", "127.0.0.1"), ("redfish", "127.0.0.1:8443")),
        (("ipmi", "127.0.0.1"), ("ipmi", "127.0.0.1:9001")),
        (("ipmi", "192.0.2.1"), ("redfish", "192.0.2.11")),
    ] {
        let text = of("a", one.0, one.1, "") + &of("b", other.0, other.1, "");
        assert!(load(&text).is_ok(), "{text}");
    }
    // Outlets of one switch, whatever speaks to it.
    let outlet = |name: &str, agent: &str, plug: u8| {
        of(name, agent, "pdu", &format!("parameters = {{ plug = \"{plug}\" }}"))
    };
    assert!(load(&(outlet("a", "fence_apc", 1) + &outlet("b", "fence_apc_snmp", 2))).is_ok());
    assert!(load(&(outlet("a", "fence_apc", 1) + &of("b", "ipmi", "pdu", ""))).is_err());
    // The third is held against both.
    let third = of("a", "ipmi", "x", "shared = true")
        + &of("b", "ipmi", "y", "")
        + &of("c", "redfish", "y", "shared = true");
    assert!(matches!(load(&third), Err(MapError::Ambiguous { .. })));
}

#[test]
fn one_device_that_is_written_in_two_ways_is_one_device() {
    let of = |host: &str, entry: &str| format!("[host.{host}]\npassword = \"p\"\n{entry}\n");
    let ipmi = |address: &str| format!("driver = \"ipmi\"\naddress = \"{address}\"");
    let redfish = |address: &str, system: &str| {
        format!("driver = \"redfish\"\nuser = \"u\"\naddress = \"{address}\"\nsystem = \"{system}\"")
    };
    let agent = |name: &str, parameters: &str| {
        format!("driver = \"agent\"\nagent = \"{name}\"\nparameters = {{ {parameters} }}")
    };
    for (one, other, device) in [
        (redfish("bmc", "1"), redfish("bmc", "/redfish/v1/Systems/1"), "redfish bmc system 1"),
        (redfish("bmc", "/redfish/v1/Systems/1/"), redfish("BMC.", "1"), "redfish bmc system 1"),
        (ipmi("bmc-1"), ipmi("BMC-1."), "ipmi bmc-1"),
        (ipmi("2001:db8::1"), ipmi("[2001:DB8:0::0:1]:623"), "ipmi 2001:db8::1"),
        (ipmi("[2001:db8::1]:9001"), ipmi("[2001:DB8:0::1]:9001"), "ipmi [2001:db8::1]:9001"),
        (ipmi("192.0.2.1"), ipmi("::ffff:192.0.2.1"), "ipmi 192.0.2.1"),
        (
            agent("fence_apc", "ip = \"pdu\", plug = \"7\""),
            agent("fence_apc", "ip = \"pdu\", port = \"7\""),
            "agent pdu outlet 7",
        ),
        (
            agent("fence_apc", "ip = \"pdu\", plug = \"7\""),
            agent("fence_apc_snmp", "ipaddr = \"PDU.\", plug = \"7\""),
            "agent pdu outlet 7",
        ),
        (
            agent("fence_virt", "port = \"vm\""),
            agent("/usr/sbin/fence_virt", "port = \"vm\""),
            "agent fence_virt vm",
        ),
        (
            agent("fence_idrac", "ip = \"bmc\""),
            agent("/usr/sbin/fence_idrac", "ip = \"bmc.\""),
            "agent fence_idrac bmc",
        ),
    ] {
        let text = of("a", &one) + &of("b", &other);
        let error = load(&text).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(&format!("a and b both have the device {device}.")), "{text}\n{error}");
    }
    for (one, other) in [
        (redfish("bmc", "/redfish/v1/Systems/1"), redfish("bmc", "/redfish/v1/Systems/11")),
        (ipmi("[2001:db8::1]:9001"), ipmi("[2001:db8::1]:9002")),
        (agent("fence_apc", "ip = \"pdu\", plug = \"7\""), agent("fence_apc", "ip = \"pdu\", port = \"8\"")),
        // What has no address is told apart by its agent.
        (agent("fence_virt", "port = \"7\""), agent("fence_aws", "port = \"7\"")),
        (agent("/opt/a/fence_x", ""), agent("/opt/b/fence_x", "")),
    ] {
        let text = of("a", &one) + &of("b", &other);
        assert!(load(&text).is_ok(), "{text}");
    }
}

fn listed(nova: &str, node: &str, power: Option<&str>) -> crate::config::Host {
    crate::config::Host { nova: host(nova), node: node.parse().unwrap(), power: power.map(str::to_owned) }
}

#[test]
fn a_host_is_found_by_the_name_of_its_node() {
    let map = load(TWO).unwrap();
    let names = Names::new(&[
        listed("c1.example.org", "compute-1", None),
        listed("c2.example.org", "c2", Some("compute-2")),
    ])
    .unwrap();
    let (one, two) = (host("c1.example.org"), host("c2.example.org"));
    assert_eq!(
        (map.name(&names, &one), map.name(&names, &two)),
        (Some(host("compute-1")), Some(host("compute-2")))
    );
    assert_eq!(map.name(&names, &host("c3")), None);
    assert_eq!(map.own_device_of(&names, &one).unwrap().name(), "ipmi 192.0.2.1");
    assert_eq!(map.device_of(&names, &two).unwrap().name(), "redfish 192.0.2.2:8443");
    // What it proves, it proves of the host that Nova knows.
    let message = [0x40, 0x2A, 0x30, 0x1B, 1, 0, 0, 0];
    let spoke = map.kdump_senders(&host("compute-1"), &one).proof(
        "198.51.100.1".parse().unwrap(),
        &message,
        crate::stamp::Stamp::now(),
    );
    assert_eq!(spoke.unwrap().host(), &one);
    let nova = [one, two].into();
    assert!(map.validate(Some((&names, &nova))).iter().all(|finding| finding.severity != Severity::Error));
}

#[test]
fn a_host_has_no_device_that_the_configuration_gives_to_another() {
    let map = load(TWO).unwrap();
    let names = Names::new(&[
        listed("c1", "n1", Some("compute-2")),
        listed("c2", "compute-2", None),
        listed("compute-1", "n3", Some("bmc-3")),
        listed("c4", "compute-1", None),
    ])
    .unwrap();
    let why = |name: &str| map.own_device_of(&names, &host(name)).map(|_| ()).unwrap_err().to_string();
    assert_eq!(map.name(&names, &host("c1")), Some(host("compute-2")));
    // By its node, and by its name.
    for taken in ["c2", "compute-2"] {
        assert_eq!(map.name(&names, &host(taken)), None);
    }
    assert!(why("compute-2").contains("that is not the device of compute-2"), "{}", why("compute-2"));
    assert!(why("c2").contains("has no host c2"), "{}", why("c2"));
    // What the configuration says is missing: nothing else will do.
    assert_eq!(map.name(&names, &host("compute-1")), None);
    assert!(why("compute-1").contains("has no host bmc-3"), "{}", why("compute-1"));
    // Nobody else's then.
    assert_eq!(map.name(&names, &host("c4")), Some(host("compute-1")));
}

#[test]
fn an_agent_that_switches_no_power_is_no_device() {
    let map = load("[host.a]\ndriver = \"agent\"\nagent = \"fence_mpath\"\n").unwrap();
    let found = map.validate(None);
    assert!(found[0].severity == Severity::Error && found[0].text.contains("switches no power"), "{found:?}");
    assert!(map.own_device(&host("a")).is_err());
}

#[test]
fn a_shared_device_can_be_read_and_not_switched() {
    let one = |name: &str| {
        format!(
            "[host.\"{name}\"]\ndriver = \"ipmi\"\naddress = \"192.0.2.1\"\npassword = \"p\"\nshared = true\n"
        )
    };
    let map = load(&(one("a") + &one("b"))).unwrap();
    assert!(map.device(&host("a")).is_ok());
    assert!(matches!(map.own_device(&host("a")), Err(MapError::Shared { others, .. }) if others == "b"));
    assert!(map.validate(None).iter().all(|finding| finding.severity == Severity::Error));
}

#[test]
fn mistakes_are_named_and_passwords_are_not() {
    for (from, to, says) in [
        ("user = \"fencer\"", "usr = \"fencer\"", "unknown field `usr`"),
        ("driver = \"ipmi\"", "driver = \"ipmo\"", "unknown variant `ipmo`"),
        ("password = \"hunter2\"", "password = hunter2", "line 6"),
    ] {
        let error = load(&TWO.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
    }
    for (from, to, says) in [
        ("password = \"hunter2\"", "", "neither password_file nor password is set"),
        ("user = \"fencer\"", "system = \"1\"", "system is for the driver redfish"),
        ("user = \"fencer\"", "cipher = \"1\"", "cipher is one of"),
        ("user = \"fencer\"", "user = \"a-name-of-17-char\"", "up to 16 bytes"),
        ("hunter2", "a password of over 20", "up to 20 bytes"),
        ("address = \"192.0.2.1\"", "address = \"192.0.2.1:1\"\nport = 2", "port says 2"),
        ("user = \"fencer\"", "password_file = \"/nowhere\"", "both set"),
    ] {
        let map = load(&TWO.replacen(from, to, 1)).unwrap();
        let error = map.device(&host("compute-1")).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("compute-1"), "{says}: {error}");
    }
}

#[test]
fn validation_says_what_is_missing() {
    let map = load(TWO).unwrap();
    let nova = [host("compute-1"), host("compute-3")].into();
    let found = map.validate(Some((&Names::default(), &nova)));
    let of = |name: &str| found.iter().filter(|finding| finding.host == host(name)).collect::<Vec<_>>();
    assert_eq!(of("compute-1")[0].severity, Severity::Ok);
    assert_eq!(
        of("compute-2").iter().map(|one| one.severity).collect::<Vec<_>>(),
        [Severity::Warning, Severity::Error]
    );
    assert!(of("compute-3")[0].text.contains("no power device"));
}

#[tokio::test]
async fn a_device_that_nobody_answers_for_is_found() {
    // Bound and silent, so that the port is nobody else's.
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let text =
        TWO.replace("\"192.0.2.1\"", &format!("\"{address}\"")).replace("192.0.2.2:8443", "127.0.0.1:1");
    let map = load(&text).unwrap();
    let pace = Pace { within: Duration::from_millis(300), at_once: 8 };
    let found = map.validate_live(None, pace, pace).await;
    assert!(found[0].text.contains("does not answer"), "{found:?}");
    assert!(found[1].text.contains("cannot be reached"), "{found:?}");
    assert!(found.iter().all(|finding| finding.severity == Severity::Error));
}

#[tokio::test]
async fn agents_are_asked_at_their_own_pace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fence_slow");
    let lock = folder.path().join("lock").display().to_string();
    // Says so if another one runs at the same time.
    let script = format!(
        "#!/bin/sh\ncat >/dev/null\nmkdir {lock} || exit 1\nsleep 0.3\nrmdir {lock}\necho Status: OFF\nexit 2\n"
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    let of = |name: &str| {
        let path = path.display();
        format!(
            "[host.{name}]\ndriver = \"agent\"\nagent = \"{path}\"\nparameters = {{ plug = \"{name}\" }}\n"
        )
    };
    let silent = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let board = format!(
        "[host.z]\ndriver = \"ipmi\"\naddress = \"{}\"\npassword = \"p\"\n",
        silent.local_addr().unwrap()
    );
    let map = load(&(of("a") + &of("b") + &of("c") + &board)).unwrap();
    let boards = Pace { within: Duration::from_millis(50), at_once: 8 };
    let found = map.validate_live(None, boards, Pace { within: Duration::from_secs(20), at_once: 1 }).await;
    for of in &found[..3] {
        assert!(of.severity == Severity::Ok && of.text == "it reads off", "{found:?}");
    }
    assert!(found[3].text.contains("does not answer"), "{found:?}");
}
