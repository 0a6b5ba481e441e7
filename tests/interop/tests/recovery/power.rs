//! Boards whose power switches are real.

use pcmk_interop::cloud::boards::BOARD;
use pcmk_interop::cloud::ours::Ours;
use pcmk_interop::cloud::servers::Wish;
use pcmk_interop::cloud::{Cloud, calls};
use pcmk_interop::daemon::tool;
use pcmk_interop::error::Context;
use pcmk_interop::run;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

/// The host whose power is switched.
const HOST: &str = "compute1";

/// `nova-ha power` switches a host off and on, and says what is so.
pub(crate) fn switches(cloud: &Cloud) -> Result<()> {
    cloud.start_boards()?;
    let (user, password) = BOARD;
    let file = cloud.private_file("board-password", password)?;
    let board = cloud.board(HOST)?.to_string();
    let power = |verb: &str| {
        let mut command = run::command(&["env"]);
        command.arg(tool("nova-ha")?).args(["power", verb, "--driver", "ipmi", "--address", &board]);
        command.args(["--user", user, "--password-file"]).arg(&file);
        run::run(command, "", secs(60))
    };
    let steps =
        [("status", 0, true), ("off", 0, false), ("status", 2, false), ("off", 0, false), ("on", 0, true)];
    let mut before = String::new();
    for (verb, code, on) in steps {
        let output = power(verb)?;
        if output.code() != code || cloud.board_is_on(HOST)? != on {
            return fail(format!("{verb}: {} {}{}", output.code(), output.stdout, output.stderr));
        }
        if !on && cloud.compute_runs(HOST)? {
            return fail(format!("{verb}: nova-compute runs on"));
        }
        if !on {
            before = cloud.reports(HOST)?;
        }
    }
    // Right after its death Nova still takes it for up, and a server that it is given while it starts is lost.
    wait::until(secs(60), "nova-compute to report again", || {
        Ok((cloud.compute_runs(HOST)? && cloud.reports(HOST)? != before).then_some(()))
    })
}

/// `fence_nova` by a board that speaks Redfish and takes its time: nothing counts but what it reads, twice; a host that is
/// off already is fenced; its servers move, each once; and it comes back by the same board.
pub(crate) fn redfish(cloud: &Cloud) -> Result<()> {
    let (at, authority) = cloud.start_redfish(HOST)?;
    let ours = Ours::new(cloud, "redfish")?;
    let (user, password) = BOARD;
    let entry = |password: &str, authority: &str| {
        format!(
            "[host.\"{HOST}\"]\ndriver = \"redfish\"\naddress = \"{at}\"\nuser = \"{user}\"\n\
             password = \"{password}\"\n{authority}\n"
        )
    };
    let authority = format!("ca_file = \"{}\"", authority.display());
    let before = cloud.times_switched_off(HOST)?;
    let rows = [
        ("a certificate that nobody vouches for", entry(password, ""), "certificate"),
        ("a wrong password", entry("wrong", &authority), "password"),
    ];
    for (name, map, said) in rows {
        ours.write("power.toml", &map)?;
        let output = ours.fence_nova("off", HOST, "").context(name)?;
        if output.code() != 1 || !output.stderr.contains(said) || cloud.times_switched_off(HOST)? != before {
            return fail(format!("{name}: exit code {}: {}", output.code(), output.stderr));
        }
    }
    ours.write("power.toml", &entry(password, &authority))?;
    let servers = cloud.boot(&Wish::new("guest", HOST, 3))?;
    let mark = cloud.mark()?;
    for name in ["off", "off again"] {
        let output = ours.fence_nova("off", HOST, "")?;
        let orders = cloud.times_switched_off(HOST)? - before;
        let down = !cloud.board_is_on(HOST)? && !cloud.compute_runs(HOST)?;
        if output.code() != 0 || orders != 1 || !down {
            return fail(format!("{name}: exit code {}, {orders} orders: {}", output.code(), output.stderr));
        }
    }
    let known = ours.told(&["status"])?;
    if !known.contains(&format!("redfish {at} read off 2 times")) {
        return fail(format!("no proof of its being off: {known}"));
    }
    let engine = ours.engine()?;
    wait::until(secs(120), "all servers to run elsewhere", || {
        engine.check()?;
        let well = cloud
            .servers()?
            .into_iter()
            .filter(|server| server.status == "ACTIVE" && server.host != HOST && server.task.is_none());
        Ok((well.count() == servers.len()).then_some(()))
    })?;
    let accepted = calls::accepted(&cloud.calls(&mark)?);
    if accepted.len() != servers.len() || accepted.values().any(|count| *count != 1) {
        return fail(format!("not each was requested once: {accepted:?}"));
    }
    // While the second request is under way, the engine is asked for the power.
    let output = ours.fence_nova("on", HOST, "")?;
    if output.code() != 0 {
        return fail(format!("on: exit code {}: {}", output.code(), output.stderr));
    }
    wait::until(secs(180), "the host to be back in service", || {
        let service = cloud.compute_service(HOST)?;
        let is = |name: &str, value: &str| service.pointer(name).is_some_and(|it| it == value);
        let back = is("/state", "up") && is("/status", "enabled") && cloud.board_is_on(HOST)?;
        if back { Ok(Some(())) } else { fail(format!("{service}; the engine: {}", engine.log())) }
    })
}
