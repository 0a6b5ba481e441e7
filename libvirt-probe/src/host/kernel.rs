//! The kernel: whether it ends in a panic or hangs, and whether it has had an accident already.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Panic;
use crate::sys::proc::{Roots, read_text};
use crate::verdict::{Finding, Health, Step};

/// Bits of `/proc/sys/kernel/tainted`.
const OOPS: u64 = 1 << 7;
const MACHINE_CHECK: u64 = 1 << 4;

/// What is set; what cannot be read is not said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Facts {
    /// Seconds until it restarts after a panic; 0 never, below 0 at once.
    panic: Option<i64>,
    panic_on_oops: Option<i64>,
    hung_task_panic: Option<i64>,
    crash_kernel: Option<i64>,
    tainted: Option<i64>,
}

pub(super) fn look(settings: &Panic, roots: &Roots) -> Finding {
    let begun = Instant::now();
    let number = |path: &Path| read_text(path).ok()?.trim().parse().ok();
    let setting = |name| number(&roots.proc.join("sys/kernel").join(name));
    let kernel = Facts {
        panic: setting("panic"),
        panic_on_oops: setting("panic_on_oops"),
        hung_task_panic: setting("hung_task_panic"),
        crash_kernel: number(&roots.sys.join("kernel/kexec_crash_loaded")),
        tainted: setting("tainted"),
    };
    Finding { elapsed: begun.elapsed(), ..kernel.judge(settings) }
}

impl Facts {
    fn judge(self, settings: &Panic) -> Finding {
        let degraded = |reason: &str| Finding::new(Step::Panic, Health::Degraded, reason, Duration::ZERO);
        let tainted = self.tainted.and_then(|bits| u64::try_from(bits).ok()).unwrap_or(0);
        let finding = if tainted & OOPS != 0 {
            degraded("the kernel has had an accident (oops) and goes on")
                .advise("dmesg tells which; move the guests away and restart the host")
        } else if tainted & MACHINE_CHECK != 0 {
            degraded("the processor has reported a hardware error")
                .advise("see dmesg, rasdaemon or the BMC's log; move the guests away")
        } else if settings.must_end && self.would_hang() {
            degraded("in a panic the host would hang until it is fenced")
                .advise("sysctl kernel.panic=10, or load a crash kernel (kdump)")
        } else {
            Finding::ok(Step::Panic, Duration::ZERO)
        };
        let all = [
            ("panic", self.panic),
            ("panic_on_oops", self.panic_on_oops),
            ("hung_task_panic", self.hung_task_panic),
            ("crash_kernel", self.crash_kernel),
        ];
        let known = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
        known.fold(finding, |finding, (name, value)| finding.with(name, value))
    }

    fn would_hang(self) -> bool {
        self.panic == Some(0) && self.crash_kernel.unwrap_or(0) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Panic = Panic { on: true, must_end: true };

    #[test]
    fn a_kernel_that_would_hang_is_told_only_if_wanted() {
        let hangs = Facts { panic: Some(0), crash_kernel: Some(0), ..Facts::default() };
        assert_eq!(hangs.judge(&Panic::default()).health, Health::Ok);
        assert_eq!(hangs.judge(&STRICT).health, Health::Degraded);
        for kernel in [
            Facts { panic: Some(10), ..hangs },
            Facts { panic: Some(-1), ..hangs },
            Facts { crash_kernel: Some(1), ..hangs },
            Facts::default(),
        ] {
            assert_eq!(kernel.judge(&STRICT).health, Health::Ok, "{kernel:?}");
        }
    }

    #[test]
    fn an_accident_is_told() {
        let tainted =
            |bits| Facts { tainted: Some(bits), ..Facts::default() }.judge(&Panic::default()).health;
        // 12289: proprietary, out of tree, unsigned modules
        assert_eq!([tainted(0), tainted(12_289), tainted(-1)], [Health::Ok; 3]);
        assert_eq!([tainted(128), tainted(16), tainted(640)], [Health::Degraded; 3]);
    }

    #[test]
    fn this_kernel_is_read() {
        let finding = look(&Panic::default(), &Roots::default());
        assert!(finding.evidence.iter().any(|evidence| evidence.name == "panic"), "{finding:?}");
        let nowhere = Roots { proc: "/nonexistent".into(), sys: "/nonexistent".into() };
        assert_eq!(look(&STRICT, &nowhere).evidence, []);
    }
}
