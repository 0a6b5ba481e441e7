//! `validate-config` and `decode`.

use pcmk_proto::frame::{ByteOrder, encode_as};

use super::support::*;

#[test]
fn settings_are_checked_with_file_and_line() {
    own_network();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("key"), [7; 4096]).unwrap();
    let mode = |mode| {
        std::fs::set_permissions(path("key"), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    let check = |text: String| {
        std::fs::write(path("settings"), text).unwrap();
        let said = ctl(&["validate-config", "--file", &path("settings")]);
        (said.code, said.out)
    };

    mode(0o640);
    let good = format!("PCMK_authkey_location={}\nPCMK_logfile=none\n", path("key"));
    let (code, said) = check(good.clone());
    assert_eq!(code, 0, "{said}");

    mode(0o644);
    let bad = format!(
        "{good}export PCMK_debug=yes\nPCMK_remote_prot=1\nPCMK_remote_port=70000\nPCMK_remote_address=192.0.2.1\n\
         PCMK_cert_file=/nonexistent\nPCMK_remote_policy_file={}\n",
        path("policy")
    );
    std::fs::write(path("policy"), "[peers]\nadresses = []\n").unwrap();
    let (code, said) = check(bad);
    assert_eq!(code, 1, "{said}");
    let settings = path("settings");
    for line in [
        format!("error    {settings}:3: ignored: this is no shell script, write PCMK_debug="),
        format!(
            "warning  {settings}:4: Ignoring PCMK_remote_prot: no such setting; is PCMK_remote_port meant?"
        ),
        format!("warning  {settings}:5: Using port 3121"),
        format!("error    {settings}:6: 192.0.2.1:3121 is no address of this node"),
        format!("error    {}: everybody on this node has access to it", path("key")),
        format!("warning  {settings}:7: TLS certificates are not used"),
        format!("error    {}: the daemon does not start with this policy", path("policy")),
    ] {
        assert!(said.contains(&line), "no '{line}' in:\n{said}");
    }
    assert!(said.contains("adresses"), "{said}");
}

#[test]
fn a_port_that_is_taken_is_told_but_not_when_it_is_the_daemons() {
    let daemon = Daemon::start();
    let settings = daemon.dir.path().join("settings");
    let key = daemon.dir.path().join("key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let text = format!(
        "PCMK_authkey_location={}\nPCMK_remote_address=127.0.0.1\nPCMK_logfile=none\n",
        key.display()
    );
    std::fs::write(&settings, text).unwrap();
    let file = settings.display().to_string();
    let running = ctl(&["validate-config", "--file", &file]);
    assert!(running.code == 0 && running.out.contains("pacemaker-remoted is running"), "{running:?}");
}

#[test]
fn recordings_become_xml() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("recording");
    let path = file.display().to_string();
    std::fs::write(&file, encode_as(ByteOrder::Little, 9, "<lrmd_notify").unwrap().to_vec()).unwrap();
    let said = ctl(&["decode", &path]);
    assert!(said.code == 65 && said.out.contains("message 9 holds no proper XML"), "{said:?}");
    let message = encode_as(ByteOrder::Big, 9, "<lrmd_notify a=\"1\"><b/></lrmd_notify>").unwrap().to_vec();
    std::fs::write(&file, &message).unwrap();
    let said = ctl(&["decode", &path]);
    let expected = "# offset 0, message 9, big-endian\n<lrmd_notify a=\"1\">\n  <b/>\n</lrmd_notify>\n";
    assert_eq!((said.code, said.out.as_str()), (0, expected), "{said:?}");
    let json = ctl(&["--json", "decode", &path]);
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((value["remote"]["id"].as_u64(), value["offset"].as_u64()), (Some(9), Some(0)), "{value}");

    std::fs::write(&file, [&b"xx"[..], &message, &message[..60]].concat()).unwrap();
    let said = ctl(&["decode", "--format", "raw", &path]);
    assert!(said.code == 65 && said.out.contains("2 bytes: not a message"), "{said:?}");
    assert!(said.out.contains("message 9") && said.out.contains("ends in the middle"), "{said:?}");
    assert_eq!(ctl(&["decode", "/nonexistent"]).code, 65);
}
