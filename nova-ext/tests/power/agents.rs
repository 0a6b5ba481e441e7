//! The driver for fence agents, with agents of our own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nova_ext::power::{self, Device as _, FenceAgent, FenceAgentSettings, PowerError, PowerState};
use nova_ext::secret::Secret;

/// An agent whose machine is a file.
fn agent(folder: &Path, more: &str) -> FenceAgent {
    let path = folder.join("fence_toy");
    let script = format!(
        "#!/bin/sh\nD={}\nwhile read -r line; do echo \"$line\" >>$D/heard; case $line in action=*) A=${{line#action=}};; esac; done\n\
         {more}\ncase $A in status) exit $(cat $D/state);; off) echo 2 >$D/state;; on) echo 0 >$D/state;; esac\n",
        folder.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.join("state"), "0").unwrap();
    FenceAgent::new(FenceAgentSettings {
        agent: path,
        parameters: [("ip".to_owned(), "192.0.2.1".to_owned())].into(),
        password: Some(Secret::new("hunter2".into())),
    })
    .unwrap()
}

#[tokio::test]
async fn an_agent_is_believed_when_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let mut device = agent(folder.path(), "");
    let host = "compute-1".parse().unwrap();
    let proof = power::confirm_off(&mut device, &host, Duration::from_secs(20)).await.unwrap();
    assert!(proof.to_string().contains("fence_toy 192.0.2.1 read off 2 times"), "{proof}");
    let heard = fs::read_to_string(folder.path().join("heard")).unwrap();
    assert!(heard.starts_with("action=status\nip=192.0.2.1\npassword=hunter2\naction=off\n"), "{heard}");
    assert_eq!(power::cycle(&mut device, Duration::from_secs(20)).await.unwrap().state, PowerState::On);
}

#[tokio::test]
async fn an_agent_that_lies_or_fails_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let host = "compute-1".parse().unwrap();
    let mut lies = agent(folder.path(), "[ $A = off ] && exit 0");
    let error = power::confirm_off(&mut lies, &host, Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(error, PowerError::NotReached { .. }), "{error}");
    let mut fails = agent(folder.path(), "echo 'Failed: Unable to obtain correct plug status' >&2; exit 1");
    let error = power::confirm_off(&mut fails, &host, Duration::from_secs(2)).await.unwrap_err();
    assert!(
        error.to_string().contains("correct plug status (exit code 1)")
            || error.to_string().contains("exit code 1: Failed"),
        "{error}"
    );
}

#[tokio::test]
async fn a_slow_agent_has_half_of_the_time_for_each_step() {
    let folder = tempfile::tempdir().unwrap();
    let host = "compute-1".parse().unwrap();
    // Longer than other devices get, and more than one attempt of it would fit in the time otherwise.
    let mut slow = agent(folder.path(), "[ $A = off ] && sleep 11");
    let proof = power::confirm_off(&mut slow, &host, Duration::from_secs(60)).await.unwrap();
    assert!(proof.to_string().contains("read off 2 times"), "{proof}");
    let (brief, long) = (Duration::from_secs(12), Duration::from_secs(120));
    for within in [slow.answers_within(brief), slow.reads_within(brief)] {
        assert_eq!(within, Duration::from_secs(10));
    }
    for within in [slow.answers_within(long), slow.reads_within(long)] {
        assert_eq!(within, Duration::from_secs(60));
    }
}

#[tokio::test]
async fn an_exit_code_that_only_looks_like_off_is_none() {
    let folder = tempfile::tempdir().unwrap();
    for (script, off) in [
        ("echo 'Status: OFF'; exit 2", true),
        ("echo 'Status: OFF'; echo 'a warning' >&2; exit 2", true),
        ("exit 2", true),
        ("echo 'the plug is Off'; exit 2", true),
        ("echo 'Status: ON'; exit 2", false),
        ("echo 'usage: fence_toy [options]'; exit 2", false),
        ("echo 'Status: ON, was OFF'; exit 2", false),
        ("echo \"/usr/bin/python3: can't open file 'x'\" >&2; exit 2", false),
        ("if", false),
    ] {
        let mut device = agent(folder.path(), script);
        let read = power::status(&mut device, Duration::from_secs(20)).await;
        match read {
            Ok(outcome) => assert!(off && outcome.state == PowerState::Off, "{script}: {outcome:?}"),
            Err(error) => {
                assert!(!off && matches!(error, PowerError::Garbled { .. }), "{script}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn an_agent_that_hangs_is_killed_with_all_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let mut hangs = agent(folder.path(), "sleep 300 & echo $! >$D/child; yes | head -c 10000000; wait");
    let started = Instant::now();
    let error = power::status(&mut hangs, Duration::from_secs(2)).await.unwrap_err();
    assert!(matches!(error, PowerError::Silent { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
    let child = fs::read_to_string(folder.path().join("child")).unwrap();
    let gone = || {
        // Gone, or not yet reaped by whoever has inherited it.
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        stat.map_or(true, |stat| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')))
    };
    while !gone() {
        assert!(started.elapsed() < Duration::from_secs(10), "process {child} is left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn what_cannot_be_an_agent_is_refused() {
    let settings = |agent: &str, parameter: &str, value: &str| FenceAgentSettings {
        agent: agent.into(),
        parameters: [(parameter.to_owned(), value.to_owned())].into(),
        password: None,
    };
    let folder = tempfile::tempdir().unwrap();
    let (real, linked) = (folder.path().join("fence_kdump"), folder.path().join("fence_harmless"));
    fs::write(&real, "").unwrap();
    std::os::unix::fs::symlink(&real, &linked).unwrap();
    let linked = linked.display().to_string();
    for (agent, parameter, value, says) in [
        ("rm", "ip", "x", "cannot be a fence agent"),
        ("../fence_x", "ip", "x", "cannot be a fence agent"),
        ("fence_that_nobody_has", "ip", "x", "install"),
        ("fence_scsi", "ip", "x", "fence_scsi switches no power"),
        ("/usr/local/sbin/fence_heuristics_ping", "ip", "x", "switches no power"),
        (&linked, "ip", "x", "fence_kdump switches no power"),
        ("/bin/sh", "ip", "x\naction=on", "cannot be a parameter"),
        ("/bin/sh", "action", "on", "not for you to set"),
    ] {
        let error = FenceAgent::new(settings(agent, parameter, value)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
