//! The package of the recovery, on controllers.

use std::fs::OpenOptions;
use std::io::Write as _;

use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, Suite, World, fail};

use super::machine::{Files, Machine, newer, same};

const STATE: &str = "/var/lib/pcmk-remote/nova-ha";
/// What keeps the engine where no cluster does.
const ENGINE: &str = "nova-ha-engine.service";
/// A cloud that nobody answers for: the engine waits for it.
const CLOUD: &str =
    "auth_url = \"http://127.0.0.1:9/v3\"\nusername = \"u\"\npassword = \"p\"\nproject_name = \"admin\"\n";

/// Whose processes may tell it events.
const EVENTS: &str = "[events]\nsocket = \"/run/pcmk-remote/nova-events.sock\"\nusers = [\"nobody\"]\n";
const CONNECT: &str = "import socket; s = socket.socket(socket.AF_UNIX); \
                       s.connect('/run/pcmk-remote/nova-events.sock'); print('there')";

/// Who owns what, and who may read it.
const OWNERS: &str = "\
/etc/pcmk-remote directory root:root 755
/etc/pcmk-remote/nova-ha.d directory root:root 755
/etc/pcmk-remote/nova-ha.d/before-force-down directory root:root 755
/etc/pcmk-remote/nova-ha.d/after-force-down directory root:root 755
/etc/pcmk-remote/nova-ha.d/server-done directory root:root 755
/etc/pcmk-remote/nova-ha.d/server-failed directory root:root 755
/etc/pcmk-remote/nova-ha.d/end directory root:root 755
/etc/pcmk-remote/nova-ha.d/return directory root:root 755
/etc/pcmk-remote/nova-ha.toml regular file root:root 644
/etc/pcmk-remote/nova-policy.toml regular file root:root 644
/etc/pcmk-remote/power.toml regular file root:root 600
/usr/bin/nova-ha regular file root:root 755
/usr/sbin/fence_nova regular file root:root 755
/usr/lib/ocf/resource.d/pcmk-remote/nova-evacuate regular file root:root 755
/usr/lib/systemd/system/nova-ha-engine.service regular file root:root 644
/run/pcmk-remote directory root:root 755
/var/lib/pcmk-remote directory root:root 755
/var/lib/pcmk-remote/nova-ha directory root:root 700
";

/// Everything is where it belongs and belongs to whom it should.
pub(crate) fn is_installed(machine: &Machine) -> Result<()> {
    let files: Vec<_> = OWNERS.lines().filter_map(|line| line.split(' ').next()).collect();
    same("owners and modes", OWNERS, &machine.owners(&files)?)
}

/// Pacemaker finds and understands both agents; without a configuration they say what is missing.
pub(crate) fn on_a_controller(world: &World, suite: Suite, files: &Files) -> Result<()> {
    let machine = Machine::controller(world, suite)?;
    let node = &machine.node;
    machine.install(&files.recovery_deb)?;
    is_installed(&machine)?;
    let wants = node.exec(&["dpkg-query", "-W", "-f=${Depends}", "nova-ha"])?;
    if let Some(wrong) = ["python", "pacemaker", "fence"].iter().find(|it| wants.contains(**it)) {
        return fail(format!("it cannot be without {wrong}: {wants}"));
    }

    let installed = node.exec(&["stonith_admin", "--list-installed"])?;
    if !installed.split_whitespace().any(|agent| agent == "fence_nova") {
        return fail(format!("Pacemaker does not find fence_nova: {installed}"));
    }
    let metadata = node.exec(&["stonith_admin", "--metadata", "--agent", "fence_nova"])?;
    for part in ["name=\"fence_nova\"", "name=\"plug\"", "name=\"off\"", "automatic=\"1\""] {
        if !metadata.contains(part) {
            return fail(format!("fence_nova's metadata lack {part}: {metadata}"));
        }
    }
    let agents = node.exec(&["crm_resource", "--list-agents", "ocf:pcmk-remote"])?;
    if !agents.split_whitespace().any(|agent| agent == "nova-evacuate") {
        return fail(format!("Pacemaker does not find nova-evacuate: {agents}"));
    }
    let metadata = node.exec(&["crm_resource", "--show-metadata", "ocf:pcmk-remote:nova-evacuate"])?;
    for part in ["name=\"nova-evacuate\"", "name=\"start\"", "name=\"monitor\""] {
        if !metadata.contains(part) {
            return fail(format!("nova-evacuate's metadata lack {part}: {metadata}"));
        }
    }
    node.exec_with(
        &["xmllint", "--noout", "--relaxng", "/usr/share/resource-agents/metadata.rng", "-"],
        &metadata,
    )?;

    let said = node.run(&["fence_nova", "-o", "off", "-n", "compute-1"])?;
    if said.code() != 1 || said.stderr.trim().is_empty() {
        return fail(format!("without a configuration: {}: {}{}", said.code(), said.stdout, said.stderr));
    }
    // The samples are settings, as they are and with a host in them.
    node.exec(&["nova-ha", "power", "list"])?;
    node.sh("printf '[host.\"compute-1\"]\\ndriver = \"ipmi\"\\n' >>/etc/pcmk-remote/power.toml")?;
    let said = node.run(&["nova-ha", "power", "list"])?;
    let said = format!("{}{}", said.stdout, said.stderr);
    if said.contains("compute-1") { Ok(()) } else { fail(format!("the map's host is not listed: {said}")) }
}

/// Without a cluster the unit keeps the engine: off until the administrator enables it, left alone by a new release, gone
/// with the package.
pub(crate) fn without_a_cluster(world: &World, suite: Suite, files: &Files) -> Result<()> {
    let machine = Machine::controller(world, suite)?;
    let node = &machine.node;
    machine.install(&files.recovery_deb)?;
    let ask = |question: &str| -> Result<String> {
        Ok(node.run(&["systemctl", question, ENGINE])?.stdout.trim().to_owned())
    };
    node.exec(&["systemctl", "preset", ENGINE])?;
    same("the unit", "disabled inactive", &format!("{} {}", ask("is-enabled")?, ask("is-active")?))?;

    node.exec_with(&["sh", "-c", "umask 077; cat >/etc/pcmk-remote/cloud.toml"], CLOUD)?;
    node.sh("echo 'mode = \"all\"' >/etc/pcmk-remote/nova-policy.toml")?;
    node.exec_with(&["sh", "-c", "cat >>/etc/pcmk-remote/nova-ha.toml"], EVENTS)?;
    // What makes the folder at boot may not have run.
    node.exec(&["rm", "-rf", "/run/pcmk-remote"])?;
    node.exec(&["systemctl", "enable", "--now", ENGINE])?;
    let answers = |what: &str| {
        wait::until(secs(40), what, || {
            let said = node.run(&["nova-ha", "status"])?.stdout;
            let process = said.lines().next().and_then(|line| line.strip_prefix("engine: process "));
            Ok(process.and_then(|rest| rest.split(',').next()).map(str::to_owned))
        })
    };
    let first = answers("the engine to answer")?;
    // Nova's user finds the socket, whatever the unit's umask. (It is served once the cloud answers.)
    let found = node.exec(&["setpriv", "--reuid", "nobody", "--clear-groups", "python3", "-c", CONNECT])?;
    same("the socket for another user", "there", found.trim())?;
    node.exec(&["kill", "-KILL", &first])?;
    let second = answers("another engine after the first was killed")?;
    if first == second {
        return fail(format!("engine {first} answers after it was killed"));
    }

    let said = machine.run(&["dpkg", "--install", &machine.bring(&files.recovery_deb)?])?;
    if !format!("{}{}", said.stdout, said.stderr).contains("systemctl restart nova-ha-engine") {
        return fail(format!("nothing was said about the running engine: {}{}", said.stdout, said.stderr));
    }
    same("the engine after a reinstallation", &second, &answers("the engine to be left alone")?)?;
    machine.apt(&["remove", "nova-ha"])?;
    same("engines after the removal", "[]", &format!("{:?}", node.pids_of("nova-ha")?))?;
    machine.apt(&["purge", "nova-ha"])?;
    let link = format!("/etc/systemd/system/multi-user.target.wants/{ENGINE}");
    node.exec(&["test", "!", "-L", &link]).map(drop)
}

/// A new release leaves what was changed, and brings what was not.
pub(crate) fn upgrade(world: &World, suite: Suite, files: &Files) -> Result<()> {
    let machine = Machine::controller(world, suite)?;
    let node = &machine.node;
    machine.install(&files.recovery_deb)?;
    node.sh("echo '# edited' | tee -a /etc/pcmk-remote/nova-ha.toml >>/etc/pcmk-remote/power.toml")?;
    node.sh(&format!("echo precious >{STATE}/kept && chmod 600 {STATE}/kept"))?;
    let name = format!("recovery-{}", suite.name());
    let newer = newer(world, &files.recovery_deb, &name, |tree| {
        for file in ["nova-ha.toml", "power.toml", "nova-policy.toml"] {
            let mut file = OpenOptions::new().append(true).open(tree.join("etc/pcmk-remote").join(file))?;
            file.write_all(b"# newer\n")?;
        }
        Ok(())
    })?;
    let newer = machine.bring(&newer)?;
    machine.apt(&[
        "-o",
        "Dpkg::Options::=--force-confdef",
        "-o",
        "Dpkg::Options::=--force-confold",
        "install",
        &newer,
    ])?;
    is_installed(&machine)?;
    let last = "tail -q -n 1 /etc/pcmk-remote/nova-ha.toml /etc/pcmk-remote/power.toml /etc/pcmk-remote/nova-policy.toml";
    same("last lines", "# edited\n# edited\n# newer\n", &node.sh(last)?)?;
    same("state", "precious", node.exec(&["cat", &format!("{STATE}/kept")])?.trim())?;
    // What dpkg lays beside the map is as private as the map.
    let beside = node.sh("stat -c %a /etc/pcmk-remote/power.toml.dpkg-dist")?;
    same("mode of the sample beside the map", "600", beside.trim())
}

/// After the removal only configuration and state are left, and after the purge nothing. What others have beside it
/// stays.
pub(crate) fn remove_and_purge(world: &World, suite: Suite, files: &Files) -> Result<()> {
    let machine = Machine::controller(world, suite)?;
    let node = &machine.node;
    machine.install(&files.probe_deb)?;
    machine.install(&files.recovery_deb)?;
    node.sh(&format!("echo x >{STATE}/journal && echo x >/etc/pcmk-remote/nova-ha.key"))?;
    machine.apt(&["remove", "nova-ha"])?;
    let traces = "find / -xdev \\( -iname '*nova-ha*' -o -name 'fence_nova*' -o -name '*nova-evacuate*' \\) \
                  -not -path '/proc/*' -not -path '/var/tmp/*' -not -path '/rig/*' -not -path '/var/cache/*' \
                  -not -path '/var/lib/dpkg/*' | sort";
    let left = "/etc/logrotate.d/nova-ha\n/etc/needrestart/conf.d/nova-ha.conf\n/etc/pcmk-remote/nova-ha.key\n/etc/pcmk-remote/nova-ha.toml\n\
                /var/lib/pcmk-remote/nova-ha\n";
    let seen = node.sh(traces)?;
    let seen: Vec<_> = seen.lines().filter(|line| !line.contains("nova-ha.d")).collect();
    same("after the removal", left.trim_end(), &seen.join("\n"))?;
    node.exec(&["test", "-x", "/usr/lib/ocf/resource.d/pcmk-remote/libvirt"])?;
    machine.apt(&["purge", "nova-ha"])?;
    // The key is the operator's, not the package's.
    same("after the purge", "/etc/pcmk-remote/nova-ha.key\n", &node.sh(traces)?)?;
    node.exec(&["test", "!", "-e", "/var/lib/pcmk-remote"])?;
    node.exec(&["test", "!", "-e", "/etc/pcmk-remote/power.toml"])?;
    Ok(())
}
