//! What each step asks, for `explain`.

use crate::verdict::{Step, Subject};

/// The question of a step.
pub(super) fn question(subject: Subject, step: Step) -> &'static str {
    match (subject, step) {
        (_, Step::Socket) => "Is there a socket of libvirt, and does somebody listen?",
        (_, Step::Connect) => "Does the daemon accept a connection and open the driver?",
        (_, Step::EventLoop) => "Does the daemon's event loop answer a ping?",
        (_, Step::Call) => "Is a cheap call (the version) answered?",
        (_, Step::Workers) => {
            "Do the workers that do the real work answer (states of all domains in one call)?"
        }
        (_, Step::Domains) => "Do the monitors of the domains answer, and do their QEMU processes run?",
        (Subject::Libvirt, Step::Storage) => "Is any domain paused by an I/O error?",
        (_, Step::Storage) => "Can the instances' path be written to?",
        (_, Step::Process) => "Is the process there, and does it run?",
        (_, Step::Bus) => "Does it read what the message bus sends?",
        (_, Step::Api) => "Has Nova heard of the service lately?",
        (_, Step::Unit) => "Are the units active, and not restarted again and again?",
        (_, Step::Root) => "Can the root file system be written to?",
        (_, Step::Clock) => "Does the clock go without jumps?",
        (_, Step::Memory) => "Is memory left?",
        (_, Step::Pressure) => "Do tasks get CPU, memory and disks without waiting most of the time?",
        (_, Step::Panic) => "Would the kernel end, and not hang, in a panic?",
    }
}

/// The steps that would have come after this one.
pub(super) fn after(subject: Subject, last: Option<Step>) -> &'static [Step] {
    let usual = usual(subject);
    let taken = usual.iter().position(|step| Some(*step) == last).map_or(usual.len(), |place| place + 1);
    usual.get(taken..).unwrap_or_default()
}

fn usual(subject: Subject) -> &'static [Step] {
    match subject {
        Subject::Libvirt => &[
            Step::Socket,
            Step::Connect,
            Step::EventLoop,
            Step::Call,
            Step::Workers,
            Step::Domains,
            Step::Storage,
        ],
        // Nova is asked only by what can ask it.
        Subject::NovaCompute => &[Step::Process, Step::Bus],
        // The others do not end with a failure.
        Subject::Services | Subject::Host => &[],
    }
}
