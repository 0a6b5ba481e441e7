//! Which processes are nova-compute. Looked for only when it is not known; may block, so it runs aside.

use std::collections::{HashSet, VecDeque};
use std::path::Path;

use crate::sys::proc::{Roots, State, read, read_text};

/// Descendants that are looked at.
const DESCENDANTS: usize = 256;
/// The kernel cuts names of programs after so many bytes.
const NAME: usize = 15;

/// The process that runs the program: the given one, or the first of its descendants or of its control group
/// that does. A unit's main process may be the monitor of a container.
pub(super) fn within(roots: &Roots, main: u32, group: Option<&str>, program: &str) -> Option<u32> {
    let mut queue = VecDeque::from([main]);
    queue.extend(group.and_then(|group| roots.members(group).ok()).unwrap_or_default());
    let mut seen = HashSet::new();
    while let Some(pid) = queue.pop_front() {
        if seen.len() >= DESCENDANTS || !seen.insert(pid) {
            continue;
        }
        if runs(roots, pid, program) {
            return Some(pid);
        }
        queue.extend(roots.children(pid));
    }
    None
}

/// The oldest process that runs the program.
pub(super) fn anywhere(roots: &Roots, program: &str) -> Option<u32> {
    let all = roots.processes().ok()?;
    let running = all.filter(|&pid| runs(roots, pid, program));
    running.filter_map(|pid| Some((roots.stat(pid).ok()?.started, pid))).min().map(|(_, pid)| pid)
}

/// Why a file does not lead to a process.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoProcess {
    /// The file is the problem.
    #[error("{0}")]
    File(String),
    /// The process that it names is not there.
    #[error("{file} names process {pid}, which is not there")]
    Gone { file: String, pid: u32 },
}

/// The process that a file names, if it is there.
pub(super) fn by_file(roots: &Roots, file: &Path) -> Result<u32, NoProcess> {
    let shown = file.display();
    let text =
        read_text(file).map_err(|error| NoProcess::File(format!("{shown} cannot be read: {error}")))?;
    let pid = text.trim().parse();
    let pid =
        pid.map_err(|_| NoProcess::File(format!("{shown} does not contain the number of a process")))?;
    match roots.stat(pid) {
        Ok(stat) if stat.state != State::Dead => Ok(pid),
        _ => Err(NoProcess::Gone { file: shown.to_string(), pid }),
    }
}

/// Whether a process runs a program, also as a script (`python3 /usr/bin/nova-compute`) or under a title of
/// its own (`nova-compute: worker`).
pub(super) fn runs(roots: &Roots, pid: u32, program: &str) -> bool {
    let Ok(stat) = roots.stat(pid) else { return false };
    if stat.state == State::Dead {
        return false;
    }
    let cut = program.as_bytes().get(..NAME).unwrap_or(program.as_bytes());
    if stat.name.as_bytes() == cut {
        return true;
    }
    // Others are not looked at: it waits if the process changes its memory map and does not get on with it.
    if !stat.name.starts_with("python") {
        return false;
    }
    read(&roots.of(pid, "cmdline")).is_ok_and(|line| is_named(&line, program))
}

fn is_named(line: &[u8], program: &str) -> bool {
    line.split(|&byte| byte == 0).take(3).any(|word| {
        let name = word.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let rest = name.strip_prefix(program.as_bytes());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b":"))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn process(roots: &Roots, pid: u32, name: &str, line: &str, children: &str) {
        let dir = roots.proc.join(pid.to_string());
        let thread = dir.join("task").join(pid.to_string());
        fs::create_dir_all(&thread).unwrap();
        let stat = format!("{pid} ({name}) S 1 1 1 0 -1 4 9 8 7 6 1 1 33 44 20 0 3 0 {pid} 1 2 3\n");
        fs::write(dir.join("stat"), stat).unwrap();
        fs::write(dir.join("cmdline"), line.replace(' ', "\0")).unwrap();
        fs::write(thread.join("children"), children).unwrap();
    }

    fn tree() -> (tempfile::TempDir, Roots) {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().join("proc"), sys: dir.path().join("sys") };
        (dir, roots)
    }

    #[test]
    fn it_is_found_in_a_container() {
        let (_dir, roots) = tree();
        process(&roots, 10, "conmon", "/usr/bin/conmon", "11 12");
        process(&roots, 11, "dumb-init", "dumb-init", "13");
        process(&roots, 12, "python3", "/usr/bin/python3 /usr/bin/privsep-helper --x /etc/nova-compute", "");
        process(&roots, 13, "python3.9", "/usr/bin/python3.9 /usr/bin/nova-compute --config-file x", "");
        assert_eq!(within(&roots, 10, None, "nova-compute"), Some(13));
        assert_eq!(within(&roots, 12, None, "nova-compute"), None);
        assert_eq!(anywhere(&roots, "nova-compute"), Some(13));
    }

    #[test]
    fn it_is_found_in_a_control_group_and_by_its_name() {
        let (_dir, roots) = tree();
        process(&roots, 20, "sudo", "sudo", "");
        process(&roots, 21, "nova-compute", "whatever", "");
        fs::create_dir_all(roots.group("/system.slice/x.service", "")).unwrap();
        fs::write(roots.group("/system.slice/x.service", "cgroup.procs"), "20\n21\n").unwrap();
        assert_eq!(within(&roots, 20, Some("/system.slice/x.service"), "nova-compute"), Some(21));
        assert_eq!(within(&roots, 20, None, "nova-compute"), None);
    }

    #[test]
    fn titles_count_and_arguments_do_not() {
        assert!(is_named(b"nova-compute: worker(0)\0\0\0", "nova-compute"));
        assert!(is_named(b"/usr/bin/python3\0-s\0/usr/bin/nova-compute\0", "nova-compute"));
        for other in
            [&b"vi\0/etc/nova/nova-compute.conf"[..], b"nova-compute-x", b"", b"a\0b\0c\0nova-compute"]
        {
            assert!(!is_named(other, "nova-compute"));
        }
        // vi nova-compute is not looked at, it is no Python.
        let (_dir, roots) = tree();
        process(&roots, 30, "vi", "vi nova-compute", "");
        assert_eq!(anywhere(&roots, "nova-compute"), None);
    }

    #[test]
    fn a_loop_of_children_ends() {
        let (_dir, roots) = tree();
        process(&roots, 10, "a", "a", "11");
        process(&roots, 11, "b", "b", "10 11");
        assert_eq!(within(&roots, 10, None, "nova-compute"), None);
    }

    #[test]
    fn a_pid_file_is_believed_if_the_process_is_there() {
        let (dir, roots) = tree();
        process(&roots, 10, "a", "a", "");
        let file = dir.path().join("pid");
        assert!(
            by_file(&roots, &file)
                .unwrap_err()
                .to_string()
                .ends_with("cannot be read: No such file or directory (os error 2)")
        );
        for (text, found) in [(" 10\n", true), ("11", false), ("x", false), ("", false)] {
            fs::write(&file, text).unwrap();
            assert_eq!(by_file(&roots, &file).is_ok(), found, "{text}");
        }
    }
}
