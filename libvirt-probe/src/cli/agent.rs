//! An action of a resource agent.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

use super::Exit;
use super::apart::{self, Claim};
use crate::agents::{Action, Kind, Outcome, program};
use crate::aside;

/// For an earlier one that is about to end.
const PATIENCE: Duration = Duration::from_millis(500);

/// Runs it. What may hang on a disk does so in a process that is not waited for.
pub(super) fn run(kind: &str, action: &str, arguments: &[OsString]) -> ExitCode {
    let Some(kind) = Kind::named(kind) else {
        let names = Kind::ALL.map(Kind::name).join(", ");
        let _ = writeln!(io::stderr(), "libvirt-probe: there is no agent {kind}: {names}");
        return ExitCode::from(Outcome::NOT_INSTALLED);
    };
    let looks = matches!(Action::named(action), Some(Action::Start | Action::Monitor));
    if kind != Kind::ComputeHealth || !looks {
        return ExitCode::from(program::main(kind, action, std::env::vars_os(), None));
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "ocf-exit-reason:cannot start: {error}");
            return ExitCode::from(Outcome::ERROR);
        }
    };
    if !apart::is_other() {
        return match runtime.block_on(apart::run(arguments)) {
            Ok(Exit(code)) => ExitCode::from(code),
            Err(failure) => {
                let _ = writeln!(io::stderr(), "ocf-exit-reason:{failure}");
                ExitCode::from(Outcome::ERROR)
            }
        };
    }
    // Each resource by itself: they may be about different disks.
    let resource = std::env::var_os("OCF_RESOURCE_INSTANCE");
    let claimed = runtime.block_on(async { apart::claim(&resource, Instant::now() + PATIENCE).await });
    drop(runtime);
    let (guard, held) = match claimed {
        Claim::Granted(guard) => (Some(guard), None),
        Claim::Held { pid } => (None, Some(pid)),
    };
    let code = program::main(kind, action, std::env::vars_os(), held.as_deref());
    if let Some(guard) = guard.filter(|_| !aside::is_busy()) {
        guard.release();
    }
    apart::done(Exit(code));
    ExitCode::from(code)
}
