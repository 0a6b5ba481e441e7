//! Later releases of our package, its removal, and the check that it brings.

use pcmk_interop::{Result, Suite, World, fail};

use super::machine::{Files, Machine, UNIT};

/// An upgrade leaves the running daemon alone and says how to use the new one.
pub(crate) fn leaves_daemon_alone(world: &World, suite: Suite, files: &Files) -> Result<()> {
    let machine = Machine::start(world, suite)?;
    let node = &machine.node;
    let pid = || node.exec(&["systemctl", "show", "--value", "-p", "MainPID", UNIT]);
    node.exec(&["systemctl", "enable", "--now", UNIT])?;
    machine.install(&files.deb)?;
    machine.expect_unit("installed", ["enabled", "active"])?;
    node.sh("echo '# edited' >>/etc/needrestart/conf.d/pcmk-remote.conf")?;
    node.exec(&["systemctl", "disable", UNIT])?;
    let before = pid()?;

    let newer = files.newer_deb(world, &format!("upgrade-{}", suite.name()))?;
    let said = machine.install(&newer)?;
    if pid()? != before {
        return fail("the daemon was restarted");
    }
    if !said.stdout.contains("the running daemon was left alone") {
        return fail(format!("nothing was said about the running daemon: {}{}", said.stdout, said.stderr));
    }
    machine.expect_unit("upgraded", ["disabled", "active"])?;
    node.exec(&["grep", "-q", "# edited", "/etc/needrestart/conf.d/pcmk-remote.conf"])?;
    let (code, said) = machine.check()?;
    if code != 0 || !said.contains("the daemon that runs is not the installed one") {
        return fail(format!("the check ended with {code}: {said}"));
    }
    node.exec(&["systemctl", "restart", UNIT])?;
    machine.expect_program(true)?;

    let before = pid()?;
    machine.apt(&["install", "--reinstall", &machine.bring(&newer)?])?;
    if pid()? != before {
        return fail("the daemon was restarted by a reinstallation");
    }
    machine.apt(&["install", "--allow-downgrades", &machine.bring(&files.deb)?])?;
    if pid()? != before {
        return fail("the daemon was restarted by a downgrade");
    }
    Ok(())
}

/// After removal nothing runs, after purge nothing of ours is left, and the key and logs are.
pub(crate) fn remove_and_purge(world: &World, suite: Suite, files: &Files) -> Result<()> {
    let machine = Machine::start(world, suite)?;
    let node = &machine.node;
    machine.install(&files.deb)?;
    node.exec(&["systemctl", "enable", "--now", UNIT])?;
    machine.apt(&["purge", "pacemaker-remote"])?;
    machine.apt(&["remove", "pcmk-remote", "pacemaker-cli-utils"])?;
    if !node.pids_of("pacemaker-remoted")?.is_empty() {
        return fail("the daemon still runs after the removal");
    }
    let left = node.run(&["systemctl", "cat", UNIT])?;
    if left.status.success() {
        return fail(format!("the unit is still there: {}", left.stdout));
    }
    // Installed again, it is as it was.
    machine.install(&files.deb)?;
    machine.expect_unit("installed again", ["enabled", "active"])?;
    machine.apt(&["purge", "pcmk-remote"])?;
    let traces = "find / -xdev \\( -iname '*pcmk-remote*' -o -iname '*pacemaker?remote*' \\) \
                  -not -path '/proc/*' -not -path '/var/tmp/*' -not -path '/rig/*' -not -path '/var/cache/*' \
                  -not -path '/var/lib/pacemaker/*' -not -path '/run/*'";
    let left = node.sh(traces)?;
    if !left.trim().is_empty() {
        return fail(format!("after the purge there is still: {left}"));
    }
    node.exec(&["test", "-s", "/etc/pacemaker/authkey"])?;
    node.exec(&["test", "-d", "/var/log/pacemaker"])?;
    Ok(())
}

/// What is broken, how, and what the check says about it.
const BROKEN: &[(&str, &str)] = &[
    ("chmod 644 /etc/pacemaker/authkey", "FAIL  /etc/pacemaker/authkey can be read by everybody"),
    ("rm /etc/pacemaker/authkey", "FAIL  there is no key"),
    (
        "echo PCMK_authkey_location=/nowhere >>/etc/default/pacemaker",
        "FAIL  /etc/default/pacemaker:3: PCMK_authkey_location",
    ),
    ("echo PCMK_remote_port=4000 >>/etc/default/pacemaker", "FAIL  nothing listens on TCP port 4000"),
    ("echo 'PCMK_remote_port=\"x\"' >>/etc/default/pacemaker", "FAIL  PCMK_remote_port is 'x'"),
    ("echo 'nonsense = 1' >/etc/pcmk-remote/policy.toml", "FAIL  /etc/pcmk-remote/policy.toml"),
    ("sed -i /^hacluster:/d /etc/passwd", "FAIL  there is no user hacluster"),
    ("sed -i /^haclient:/d /etc/group", "FAIL  there is no group haclient"),
    ("chmod 755 /var/log/pacemaker", "WARN  /var/log/pacemaker is 'hacluster:haclient 755'"),
    ("systemctl stop pacemaker_remote", "FAIL  pacemaker_remote.service is not running"),
    ("systemctl mask pacemaker_remote 2>&1", "FAIL  pacemaker_remote.service is masked"),
    (
        "mkdir -p /etc/systemd/system/pacemaker_remote.service.d && cd /etc/systemd/system/pacemaker_remote.service.d && \
         printf '[Service]\\nPrivateTmp=yes\\n' >x.conf && systemctl daemon-reload",
        "WARN  PrivateTmp is set",
    ),
    (
        "mkdir -p /etc/systemd/system/pacemaker_remote.service.d && cd /etc/systemd/system/pacemaker_remote.service.d && \
         printf '[Service]\\nKillMode=mixed\\n' >x.conf && systemctl daemon-reload",
        "FAIL  KillMode of pacemaker_remote.service is not 'process'",
    ),
    (
        "printf '[Service]\\nExecStart=/bin/sleep inf\\n' >/run/systemd/system/pacemaker.service && \
         systemctl daemon-reload && systemctl start pacemaker",
        "FAIL  pacemaker.service is enabled or runs",
    ),
];

/// Undoes all of them, given what was saved before.
const MEND: &str = r"
rm -rf /etc/pcmk-remote/policy.toml /run/systemd/system/pacemaker.service /etc/systemd/system/pacemaker_remote.service.d
tar -C / -xpf /root/etc.tar
chmod 770 /var/log/pacemaker
systemctl stop pacemaker 2>/dev/null
set -e
systemctl unmask pacemaker_remote 2>/dev/null
systemctl daemon-reload
systemctl enable pacemaker_remote 2>/dev/null
systemctl start pacemaker_remote
";

/// The post-install check finds each of these, and nothing on the machine before.
pub(crate) fn check_says_what_is_wrong(world: &World, suite: Suite, files: &Files) -> Result<()> {
    let machine = Machine::start(world, suite)?;
    let node = &machine.node;
    node.exec(&["systemctl", "enable", "--now", UNIT])?;
    machine.install(&files.deb)?;
    let saved = "tar -cpf /root/etc.tar /etc/default/pacemaker /etc/pacemaker /etc/passwd /etc/group";
    node.sh(saved)?;
    for (broken, wanted) in BROKEN {
        let (code, said) = machine.check()?;
        if code != 0 || said.contains("WARN") {
            return fail(format!("before `{broken}` the check ended with {code}: {said}"));
        }
        node.sh(broken)?;
        let (code, said) = machine.check()?;
        if !said.contains(wanted) || (code == 1) != wanted.starts_with("FAIL") {
            return fail(format!("after `{broken}` the check ended with {code}: {said}"));
        }
        node.sh(MEND)?;
    }
    Ok(())
}
