//! What is wrong with a configuration is said in one clear line, and never taken for a success.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use pcmk_interop::cloud::credentials::Login;
use pcmk_interop::cloud::ours::Ours;
use pcmk_interop::cloud::{Cloud, READER};
use pcmk_interop::error::Context;
use pcmk_interop::run::Output;
use pcmk_interop::wait::secs;
use pcmk_interop::{Result, fail};

use super::incident::{HOST, controller};

/// The longest line that anybody reads.
const LONGEST: usize = 400;

/// Log-ins that cannot work: what is wrong, and words of which one is said.
fn bad_logins(cloud: &Cloud) -> [(&'static str, Login<'static>, &'static [&'static str]); 4] {
    let good = cloud.login();
    let nowhere = SocketAddr::new(good.keystone.ip(), 1);
    [
        ("wrong password", Login { user: ("admin", "wrong"), ..good.clone() }, &["refused with 401"]),
        ("no such user", Login { user: ("nobody", "wrong"), ..good.clone() }, &["refused with 401"]),
        ("role too small", Login { user: READER, ..good.clone() }, &["403", "not enough"]),
        ("Keystone is not there", Login { keystone: nowhere, ..good }, &["refused"]),
    ]
}

/// The fence agent, with one thing wrong at a time.
pub(crate) fn fence_agent(cloud: &Cloud) -> Result<()> {
    for (name, login, said) in bad_logins(cloud) {
        let ours = controller(cloud, "config")?;
        ours.login(cloud, &login)?;
        // Nova's word, as there is no device of ours for the host.
        fails(name, &ours, "status", HOST, "power=no\n", said)?;
        // Hosts are fenced without Nova: the cluster is told, and goes on.
        let output = ours.fence_nova("monitor", "", "")?;
        one_line(name, &output, 0, "WARNING: Nova cannot be told", said)?;
    }
    let ours = controller(cloud, "config")?;
    fails("a host that Nova does not know", &ours, "off", "compute9", "", &["no compute host compute9"])?;
    let open = |file: &str| fs::set_permissions(ours.dir().join(file), fs::Permissions::from_mode(0o644));
    open("cloud.toml")?;
    fails("credentials that others can read", &ours, "monitor", "", "", &["cloud.toml has mode 0644"])?;
    ours.login(cloud, &cloud.login())?;
    open("power.toml")?;
    fails("a map that others can read", &ours, "off", HOST, "", &["power.toml has mode 0644"])?;
    let boards = cloud.board_map()?;
    ours.write("power.toml", &boards.replace("of-the-board", "wrong"))?;
    fails(
        "a wrong password of the board",
        &ours,
        "off",
        HOST,
        "",
        &["the password of user \"admin\" is wrong"],
    )?;
    let small = boards.replace("driver = \"ipmi\"", "driver = \"ipmi\"\nprivlvl = \"user\"");
    ours.write("power.toml", &small)?;
    fails("a small role at the board", &ours, "off", HOST, "", &["privilege level"])?;
    ours.use_boards(cloud)?;
    let twice =
        "[[host]]\nnova = \"compute1\"\nnode = \"n1\"\n[[host]]\nnova = \"compute2\"\nnode = \"n1\"\n";
    ours.add_to_configuration(twice)?;
    fails(
        "a node that is two hosts",
        &ours,
        "off",
        HOST,
        "",
        &["node n1 stands for both compute1 and compute2"],
    )?;
    ours.write("nova-ha.toml", "[fense]\n")?;
    fails("a table that does not exist", &ours, "off", HOST, "", &["line 1", "fense"])?;
    if !cloud.compute_runs(HOST)?
        || cloud.compute_service(HOST)?.pointer("/forced_down") != Some(&false.into())
    {
        return fail("a host was taken down all the same");
    }
    Ok(())
}

/// The agent fails, and its one error has one of these words in it.
fn fails(name: &str, ours: &Ours, action: &str, host: &str, more: &str, said: &[&str]) -> Result<()> {
    let output = ours.fence_nova(action, host, more).context(name)?;
    one_line(name, &output, 1, "ERROR: ", said)
}

/// It ends so, and says this in exactly one line, with one of these words in it.
fn one_line(name: &str, output: &Output, code: i32, begins: &str, said: &[&str]) -> Result<()> {
    let lines: Vec<_> = output.stderr.lines().filter(|line| line.contains(begins)).collect();
    let clear = |line: &&&str| line.len() < LONGEST && said.iter().any(|word| line.contains(word));
    if output.code() == code && lines.len() == 1 && lines.iter().any(|line| clear(&line)) {
        return Ok(());
    }
    fail(format!("{name}: exit code {}, said: {}", output.code(), output.stderr))
}

/// `nova-ha`, with one thing wrong at a time; `validate` finds all of it before it matters.
pub(crate) fn nova_ha(cloud: &Cloud) -> Result<()> {
    let ours = controller(cloud, "config")?;
    let output = ours.nova_ha(&["validate"])?;
    if output.code() != 0 {
        return fail(format!("what is right: {}{}", output.stdout, output.stderr));
    }
    for (name, login, said) in bad_logins(cloud) {
        ours.login(cloud, &login)?;
        let output = ours.nova_ha(&["validate"])?;
        let found = |line: &str| line.starts_with("FAIL") && said.iter().any(|word| line.contains(word));
        if output.code() != 1 || !output.stdout.lines().any(found) {
            return fail(format!("validate, {name}: {}: {}", output.code(), output.stdout));
        }
        one_line(name, &ours.nova_ha(&["plan", HOST])?, 1, "nova-ha: ", said)?;
    }
    ours.login(cloud, &cloud.login())?;
    one_line("no such host", &ours.nova_ha(&["plan", "compute9"])?, 1, "nova-ha: ", &["\"compute9\""])?;
    one_line(
        "no proof",
        &ours.nova_ha(&["evacuate", HOST])?,
        1,
        "nova-ha: ",
        &["nothing proves to this controller that compute1 is off"],
    )?;
    one_line(
        "a word against the board",
        &ours.nova_ha(&["evacuate", HOST, "--operator-confirms-off", "Ann Lee"])?,
        1,
        "nova-ha: ",
        &["says that it is on"],
    )?;
    for (name, bad) in [("no mode", ""), ("a mode that does not exist", "mode = \"some\"\n")] {
        ours.write("policy.toml", bad)?;
        let engine = ours.start_engine()?;
        if engine.wait_end(secs(30))? != 1 || !engine.log().contains("policy.toml") {
            return fail(format!("{name}: the engine says: {}", engine.log()));
        }
    }
    Ok(())
}
