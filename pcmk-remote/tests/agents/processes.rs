//! OCF agents and init scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pcmk_proto::types::{ExecStatus, OcfRc};
use pcmk_remote::agent::Outcome;
use pcmk_remote::host::HostEvent;
use pcmk_remote::sys;

use crate::rig::{Rig, behave, call, data, dies, is_dead, put_down, written};

/// Signals 32 and 33 are the C library's own; it ignores them in what it spawns.
const C_LIBRARY: u64 = 0b11 << 31;

fn lines(outcome: &Outcome) -> Vec<&str> {
    outcome.output.as_deref().unwrap_or_default().lines().collect()
}

fn codes(outcome: &Outcome) -> (ExecStatus, OcfRc) {
    (outcome.status, outcome.rc)
}

#[tokio::test]
async fn environment_is_complete() {
    let mut rig = Rig::with(|settings| {
        settings.base_env.push(("HA_LOGFACILITY".into(), "daemon".into()));
        settings.base_env.push(("OCF_RESKEY_ip".into(), "overridden".into()));
    });
    let params = [
        ("do", "env"),
        ("ip", "10.0.0.1"),
        ("CRM_meta_on_node", "compute1"),
        ("crm_feature_set", "3.16.1"),
        ("OCF_CHECK_LEVEL", "10"),
        ("multi", "two words"),
    ];
    let outcome = rig.run(call("ocf", "Behave", "monitor", &params)).await;
    assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc::OK));
    let env = lines(&outcome);
    let path = format!("PATH={}", std::env::var("PATH").expect("set"));
    for expected in [
        "OCF_ROOT=/usr/lib/ocf",
        "OCF_RA_VERSION_MAJOR=1",
        "OCF_RA_VERSION_MINOR=1",
        "OCF_RESOURCE_INSTANCE=rsc:0",
        "OCF_RESOURCE_TYPE=Behave",
        "OCF_RESOURCE_PROVIDER=test",
        "OCF_EXIT_REASON_PREFIX=ocf-exit-reason:",
        "OCF_RESKEY_ip=10.0.0.1",
        "OCF_RESKEY_CRM_meta_on_node=compute1",
        "OCF_RESKEY_crm_feature_set=3.16.1",
        "OCF_RESKEY_multi=two words",
        "OCF_CHECK_LEVEL=10",
        "HA_LOGFACILITY=daemon",
        &path,
    ] {
        assert!(env.contains(&expected), "{expected} in {env:#?}");
    }
    assert!(!env.iter().any(|line| line.starts_with("NOTIFY_SOCKET=")));
    assert_eq!(env.iter().filter(|line| line.starts_with("OCF_RESKEY_ip=")).count(), 1);
}

#[tokio::test]
async fn action_directory_and_process_group() {
    let mut rig = Rig::new();
    let op = rig.start(behave("place"));
    let HostEvent::Spawned { pid, .. } = rig.event().await else { panic!("spawned first") };
    let outcome = rig.finish(op).await;
    let here = std::env::current_dir().expect("there is one");
    let pid = pid.to_string();
    assert_eq!(lines(&outcome), ["start", here.to_str().expect("text"), &pid, &pid]);
}

#[tokio::test]
async fn signals_and_umask_are_ordinary() {
    sys::reset_signals().expect("own signals");
    let mut rig = Rig::new();
    let outcome = rig.run(behave("status")).await;
    let field = |text: &str, name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
    };
    let agents = outcome.output.expect("printed");
    for mask in ["SigBlk:", "SigIgn:", "SigCgt:"] {
        let set = u64::from_str_radix(&field(&agents, mask).expect("there"), 16).expect("mask");
        assert_eq!(set & !C_LIBRARY, 0, "{mask}");
    }
    let ours = fs::read_to_string("/proc/self/status").expect("proc");
    assert_eq!(field(&agents, "Umask:"), field(&ours, "Umask:"));
}

#[tokio::test]
async fn no_descriptor_is_inherited() {
    let (reader, writer) = nix::unistd::pipe().expect("pipe without close-on-exec");
    sys::close_on_exec_from(3).expect("own descriptors");
    let mut rig = Rig::new();
    let outcome = rig.run(behave("descriptors")).await;
    assert_eq!(lines(&outcome), ["0", "1", "2"]);
    drop((reader, writer));
}

#[tokio::test]
async fn standard_input_is_empty() {
    let outcome = Rig::new().run(behave("stdin")).await;
    assert_eq!((codes(&outcome), outcome.output), ((ExecStatus::Done, OcfRc::OK), None));
}

#[tokio::test]
async fn last_reason_and_standard_error_are_reported() {
    let outcome = Rig::new().run(behave("reasons")).await;
    assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc(1)));
    assert_eq!(outcome.exit_reason.as_deref(), Some("last of all"));
    assert_eq!(lines(&outcome).first(), Some(&"some noise"));
    assert_eq!(lines(&outcome).last(), Some(&"the end"));
}

#[tokio::test]
async fn standard_output_is_reported_if_there_is_no_other() {
    let outcome = Rig::new().run(behave("stdout")).await;
    assert_eq!(outcome.output.as_deref(), Some("on standard output\n"));
    assert_eq!(outcome.exit_reason, None);
}

#[tokio::test]
async fn codes_are_mapped_and_kept_raw() {
    let mut rig = Rig::new();
    for (code, rc) in [("0", 0), ("7", 7), ("9", 9), ("190", 190), ("10", 1), ("193", 1), ("255", 1)] {
        let outcome = rig.run(call("ocf", "Behave", "monitor", &[("do", "exit"), ("code", code)])).await;
        assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc(rc)));
        assert_eq!(outcome.raw_rc.to_string(), code);
    }
}

#[tokio::test]
async fn daemonised_grandchild_does_not_delay_the_result() {
    let outcome = Rig::new().run(behave("daemonise")).await;
    assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc::OK));
    let grandchild = lines(&outcome)[0].parse().expect("process id");
    assert!(!is_dead(grandchild), "it is left alone");
    put_down(grandchild);
}

#[tokio::test]
async fn closed_outputs_do_not_end_an_agent_early() {
    let outcome = Rig::new().run(behave("closed")).await;
    assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc(3)));
}

#[tokio::test]
async fn kill_takes_the_group_though_term_is_ignored() {
    let mut rig = Rig::new();
    let file = rig.dir.path().join("pid");
    let mut call = behave("stubborn");
    call.params.push(("file".into(), file.to_str().expect("text").into()));
    let op = rig.start(call);
    let grandchild = written(&file).await.trim().parse().expect("process id");
    rig.host.kill(op);
    let outcome = rig.finish(op).await;
    assert_eq!(codes(&outcome), (ExecStatus::Error, OcfRc(1)));
    assert_eq!(outcome.exit_reason.as_deref(), Some("Resource agent interrupted by Killed signal"));
    dies(grandchild).await;
    // Nothing is there any more; must not matter.
    rig.host.kill(op);
}

#[tokio::test]
async fn group_is_spared_on_request() {
    let mut rig = Rig::new();
    let file = rig.dir.path().join("pid");
    let mut call = behave("stubborn");
    call.leave_group = true;
    call.params.push(("file".into(), file.to_str().expect("text").into()));
    let op = rig.start(call);
    let grandchild = written(&file).await.trim().parse().expect("process id");
    rig.host.kill(op);
    let outcome = rig.finish(op).await;
    assert_eq!(codes(&outcome), (ExecStatus::Error, OcfRc(1)));
    assert!(!is_dead(grandchild));
    put_down(grandchild);
}

#[tokio::test]
async fn kill_right_after_start_ends_it_once() {
    let mut rig = Rig::new();
    for _ in 0..50 {
        let file = rig.dir.path().join("pid");
        let mut call = behave("stubborn");
        call.params.push(("file".into(), file.to_str().expect("text").into()));
        let op = rig.start(call);
        rig.host.kill(op);
        let outcome = rig.finish(op).await;
        assert!(matches!(outcome.status, ExecStatus::Cancelled | ExecStatus::Error), "{outcome:?}");
    }
}

#[tokio::test]
async fn flood_is_read_and_mostly_dropped() {
    let limit = 100_000;
    let before = peak_memory_kib();
    let mut rig = Rig::with(|settings| settings.output_limit = limit);
    let outcome = rig.run(behave("flood")).await;
    let grown = peak_memory_kib() - before;
    assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc(1)));
    assert_eq!(outcome.output.map(|output| output.len()), Some(limit));
    assert_eq!(outcome.exit_reason.as_deref(), Some("after the flood"));
    assert!(grown < 20_000, "memory grew by {grown} KiB");
}

fn peak_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("there");
    line.trim().trim_end_matches(" kB").parse().expect("number")
}

#[tokio::test]
async fn binary_becomes_text_up_to_a_nul() {
    let outcome = Rig::new().run(behave("binary")).await;
    assert_eq!(outcome.output.as_deref(), Some("a\u{fffd}\u{fffd}\tb\n"));
}

#[tokio::test]
async fn death_by_signal_is_told_apart() {
    let mut rig = Rig::new();
    for (signal, name) in [("KILL", "Killed"), ("SEGV", "Segmentation fault"), ("TERM", "Terminated")] {
        let outcome = rig.run(call("ocf", "Behave", "start", &[("do", "die"), ("signal", signal)])).await;
        assert_eq!(codes(&outcome), (ExecStatus::Error, OcfRc(1)));
        let expected = format!("Resource agent interrupted by {name} signal");
        assert_eq!(outcome.exit_reason, Some(expected));
    }
}

#[tokio::test]
async fn missing_agents_are_not_installed() {
    let mut rig = Rig::new();
    let outcome = rig.run(call("ocf", "Missing", "start", &[])).await;
    assert_eq!(codes(&outcome), (ExecStatus::NotInstalled, OcfRc::NOT_INSTALLED));
    assert_eq!(outcome.exit_reason.as_deref(), Some("Missing: No such file or directory"));

    let mut other_provider = call("ocf", "Behave", "start", &[]);
    other_provider.agent.provider = Some("nobody".into());
    let outcome = rig.run(other_provider).await;
    assert_eq!(codes(&outcome), (ExecStatus::NotInstalled, OcfRc::NOT_INSTALLED));
}

#[tokio::test]
async fn what_cannot_be_executed_has_the_systems_words() {
    let mut rig = Rig::new();
    let provider = rig.dir.path().join("ocf/test");
    fs::create_dir_all(provider.join("Directory")).expect("created");
    fs::write(provider.join("NoExecBit"), "#!/bin/sh\nexit 0\n").expect("written");
    fs::write(provider.join("NoInterpreter"), "#!/no/such/shell\n").expect("written");
    fs::set_permissions(provider.join("NoInterpreter"), fs::Permissions::from_mode(0o755)).expect("mode");
    for (kind, rc, words) in [
        ("NoExecBit", 4, "Permission denied"),
        ("Directory", 4, "Permission denied"),
        ("NoInterpreter", 5, "No such file or directory"),
    ] {
        let outcome = rig.run(call("ocf", kind, "start", &[])).await;
        assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc(rc)), "{kind}");
        let expected = format!("{}: {words}", provider.join(kind).display());
        assert_eq!(outcome.exit_reason, Some(expected));
    }
}

#[tokio::test]
async fn script_without_interpreter_line_is_run_by_the_shell() {
    let outcome = Rig::new().run(call("ocf", "NoShebang", "monitor", &[])).await;
    assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc::OK));
    assert_eq!(outcome.output.as_deref(), Some("run by the shell: monitor\n"));
}

#[tokio::test]
async fn secrets_reach_the_agent() {
    let mut rig = Rig::new();
    let dir = rig.dir.path().join("secrets/rsc:0");
    fs::create_dir_all(&dir).expect("created");
    fs::write(dir.join("password"), "geheim\n").expect("written");
    fs::write(dir.join("password.sign"), "e8636ea013e682faf61f56ce1cb1ab5c\n").expect("written");
    let outcome = rig.run(call("ocf", "Behave", "start", &[("do", "env"), ("password", "lrm://")])).await;
    assert!(lines(&outcome).contains(&"OCF_RESKEY_password=geheim"), "{outcome:?}");
}

#[tokio::test]
async fn without_secrets_only_a_stop_goes_on() {
    let mut rig = Rig::new();
    let params = [("do", "env"), ("password", "lrm://")];
    let outcome = rig.run(call("ocf", "Behave", "start", &params)).await;
    assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc::INVALID_PARAM));
    assert_eq!(outcome.exit_reason.as_deref(), Some("Unable to load CIB secrets"));
    let outcome = rig.run(call("ocf", "Behave", "stop", &params)).await;
    assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc::OK));
    assert!(lines(&outcome).contains(&"OCF_RESKEY_password=lrm://"));
}

#[tokio::test]
async fn init_scripts() {
    let mut rig = Rig::new();
    let outcome = rig.run(call("lsb", "script", "monitor", &[])).await;
    assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc::NOT_RUNNING));
    assert_eq!((outcome.raw_rc, outcome.output.as_deref()), (3, Some("status\n")));
    let outcome = rig.run(call("lsb", "script", "start", &[])).await;
    assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc::OK));
    let absolute = data().join("init.d/script");
    let outcome = rig.run(call("lsb", absolute.to_str().expect("text"), "stop", &[])).await;
    assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc(1)));
    let outcome = rig.run(call("lsb", "missing", "monitor", &[])).await;
    assert_eq!(codes(&outcome), (ExecStatus::NotInstalled, OcfRc::NOT_INSTALLED));
    let expected = format!("{}: No such file or directory", data().join("init.d/missing").display());
    assert_eq!(outcome.exit_reason, Some(expected));
}

#[tokio::test]
async fn answers_without_a_process() {
    let mut rig = Rig::new();
    let outcome = rig.run(call("stonith", "fence_x", "monitor", &[])).await;
    assert_eq!(codes(&outcome), (ExecStatus::Error, OcfRc::NOT_RUNNING));
    let outcome = rig.run(call("nagios", "check_x", "monitor", &[])).await;
    assert_eq!(codes(&outcome), (ExecStatus::NotInstalled, OcfRc::NOT_INSTALLED));
    let outcome = rig.run(call("ocf", "", "monitor", &[])).await;
    assert_eq!(codes(&outcome), (ExecStatus::ErrorFatal, OcfRc::UNKNOWN_ERROR));
}

#[tokio::test]
async fn many_at_a_time() {
    let mut rig = Rig::new();
    for _ in 0..200 {
        rig.start(behave("stdout"));
    }
    let mut finished = 0;
    while finished < 200 {
        if let HostEvent::Finished { outcome, .. } = rig.event().await {
            assert_eq!(codes(&outcome), (ExecStatus::Done, OcfRc::OK));
            finished += 1;
        }
    }
}
