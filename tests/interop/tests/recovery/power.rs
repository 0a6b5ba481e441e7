//! Boards whose power switches are real.

use pcmk_interop::cloud::Cloud;
use pcmk_interop::cloud::boards::BOARD;
use pcmk_interop::daemon::tool;
use pcmk_interop::run;
use pcmk_interop::wait::{self, secs};
use pcmk_interop::{Result, fail};

/// `nova-ha power` switches a host off and on, and says what is so.
pub(crate) fn switches(cloud: &Cloud) -> Result<()> {
    cloud.start_boards()?;
    let (user, password) = BOARD;
    let file = cloud.private_file("board-password", password)?;
    let board = cloud.board("compute1")?.to_string();
    let power = |verb: &str| {
        let mut command = run::command(&["env"]);
        command.arg(tool("nova-ha")?).args(["power", verb, "--driver", "ipmi", "--address", &board]);
        command.args(["--user", user, "--password-file"]).arg(&file);
        run::run(command, "", secs(60))
    };
    let steps =
        [("status", 0, true), ("off", 0, false), ("status", 2, false), ("off", 0, false), ("on", 0, true)];
    for (verb, code, on) in steps {
        let output = power(verb)?;
        if output.code() != code || cloud.board_is_on("compute1")? != on {
            return fail(format!("{verb}: {} {}{}", output.code(), output.stdout, output.stderr));
        }
        if !on && cloud.compute_runs("compute1")? {
            return fail(format!("{verb}: nova-compute runs on"));
        }
    }
    wait::until(secs(30), "nova-compute to run again", || Ok(cloud.compute_runs("compute1")?.then_some(())))
}
