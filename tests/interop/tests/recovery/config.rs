//! What is wrong with a configuration is said in one clear line, and never taken for a success.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use pcmk_interop::cloud::credentials::Login;
use pcmk_interop::cloud::ours::Ours;
use pcmk_interop::cloud::{Cloud, READER};
use pcmk_interop::error::Context;
use pcmk_interop::{Result, fail};

/// What is wrong, the action, the host, the log-in, more parameters, and words of which one is in the error.
type Row<'a> = (&'a str, &'a str, &'a str, Login<'a>, &'a str, &'a [&'a str]);

/// The fence agent, with one thing wrong at a time.
pub(crate) fn fence_agent(cloud: &Cloud) -> Result<()> {
    cloud.start_boards()?;
    let nowhere: SocketAddr = SocketAddr::new(cloud.keystone().ip(), 1);
    let good = cloud.login();
    let rows: [Row<'_>; 5] = [
        (
            "wrong password",
            "monitor",
            "",
            Login { user: ("admin", "wrong"), ..good.clone() },
            "",
            &["401", "password"],
        ),
        (
            "no such user",
            "monitor",
            "",
            Login { user: ("nobody", "wrong"), ..good.clone() },
            "",
            &["401", "nobody"],
        ),
        (
            "role too small",
            "monitor",
            "",
            Login { user: READER, ..good.clone() },
            "",
            &["403", "role", "may not"],
        ),
        (
            "Keystone is not there",
            "monitor",
            "",
            Login { keystone: nowhere, ..good.clone() },
            "",
            &["refused"],
        ),
        ("a host that Nova does not know", "off", "compute9", good.clone(), "", &["compute9"]),
    ];
    for (name, action, host, login, more, said) in rows {
        let ours = Ours::new(cloud, "config")?;
        ours.use_boards(cloud)?;
        ours.login(cloud, &login)?;
        told(name, &ours, action, host, more, said)?;
    }
    let ours = Ours::new(cloud, "config")?;
    ours.use_boards(cloud)?;
    let open = |file: &str| fs::set_permissions(ours.dir().join(file), fs::Permissions::from_mode(0o644));
    open("cloud.toml")?;
    told("credentials that others can read", &ours, "monitor", "", "", &["cloud.toml"])?;
    ours.login(cloud, &good)?;
    open("power.toml")?;
    told("a map that others can read", &ours, "off", "compute1", "", &["power.toml"])?;
    ours.write("power.toml", &cloud.board_map()?.replace("of-the-board", "wrong"))?;
    told("a wrong password of the board", &ours, "off", "compute1", "", &["compute1"])?;
    ours.write(
        "power.toml",
        &cloud.board_map()?.replace("\"admin\"", "\"watcher\"").replace("of-the-board", "of-the-watch"),
    )?;
    told("a small role at the board", &ours, "off", "compute1", "", &["compute1"])?;
    if !cloud.compute_runs("compute1")?
        || cloud.compute_service("compute1")?.pointer("/forced_down") != Some(&false.into())
    {
        return fail("a host was taken down all the same");
    }
    Ok(())
}

/// The agent fails, and its last word has one of these words in it.
fn told(name: &str, ours: &Ours, action: &str, host: &str, more: &str, said: &[&str]) -> Result<()> {
    let output = ours.fence_nova(action, host, more).context(name)?;
    let words = output.stderr.trim();
    let clear = said.iter().any(|word| words.contains(word));
    if output.code() == 1 && clear && words.lines().count() == 1 && words.len() < 400 {
        return Ok(());
    }
    fail(format!("{name}: exit code {}, said: {words}", output.code()))
}
