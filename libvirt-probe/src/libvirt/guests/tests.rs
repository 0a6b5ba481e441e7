use super::*;

const ROUND: Duration = Duration::from_secs(20);

fn domain(number: u8, id: i32) -> Name {
    Name { name: format!("instance-{number:02}"), uuid: [number; 16], id }
}

fn sleeper(folder: &Path, name: &str) -> std::process::Child {
    // Its name in /proc is that of the program: a link that begins as QEMU does.
    let program = folder.join("qemu-for-test");
    if !program.exists() {
        std::os::unix::fs::symlink("/usr/bin/sleep", &program).unwrap();
    }
    let child = std::process::Command::new(program).arg("1000").spawn().unwrap();
    std::fs::write(folder.join(format!("{name}.pid")), child.id().to_string()).unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    // Until it is the program, it has our name.
    let start = Instant::now();
    while !Process::find(pid).unwrap().1.name.starts_with("qemu") {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
    child
}

fn signal(child: &std::process::Child, signal: nix::sys::signal::Signal, state: char) {
    let pid = i32::try_from(child.id()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
    let start = Instant::now();
    while Process::find(pid).unwrap().1.letter != state {
        assert!(start.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
}

#[test]
fn a_stopped_qemu_is_named_until_it_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let folders = [folder.path().to_path_buf()];
    let mut child = sleeper(folder.path(), "instance-01");
    let mut guests = Guests::default();
    let start = Instant::now();
    guests.update(&[domain(1, 1), domain(2, 2)]);
    guests.look(&folders, start, ROUND);
    assert_eq!((guests.processes(), guests.troubles(start, ROUND)), (1, vec![]));
    signal(&child, nix::sys::signal::Signal::SIGSTOP, 'T');
    // Its turn comes within the round.
    guests.look(&folders, start + ROUND, ROUND);
    let troubles = guests.troubles(start, ROUND);
    let pid = i32::try_from(child.id()).unwrap();
    assert_eq!(troubles, [("instance-01".into(), Trouble::Process(Guest { pid, state: 'T' }))]);
    assert!(troubles[0].1.text("instance-01").contains("instance-01"));
    signal(&child, nix::sys::signal::Signal::SIGCONT, 'S');
    // In trouble, it is looked at each time.
    guests.look(&folders, start + ROUND, ROUND);
    assert_eq!(guests.troubles(start, ROUND), []);
    child.kill().unwrap();
    child.wait().unwrap();
    guests.look(&folders, start + 2 * ROUND, ROUND);
    assert_eq!(guests.processes(), 0);
}

#[test]
fn another_program_with_the_number_is_no_guest() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("instance-01.pid"), std::process::id().to_string()).unwrap();
    let mut guests = Guests::default();
    guests.update(&[domain(1, 1)]);
    guests.look(&[folder.path().into()], Instant::now(), ROUND);
    assert_eq!(guests.processes(), 0);
    assert_eq!(find(folder.path(), "../../etc/x"), None);
}

#[test]
fn monitors_are_asked_in_turn() {
    let mut guests = Guests::default();
    let states: Vec<_> = (0..10).map(|number| domain(number, 1)).collect();
    guests.update(&states);
    let mut asked: Vec<String> = (0..4).flat_map(|_| guests.monitors(3)).map(|domain| domain.name).collect();
    assert_eq!(asked.len(), 12);
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), 10);
}

#[test]
fn an_occupied_monitor_is_named_when_it_lasts_and_asked_each_time() {
    let mut guests = Guests::default();
    let now = Instant::now();
    let states: Vec<_> = (0..10).map(|number| domain(number, 1)).collect();
    guests.update(&states);
    let stuck = states[4].clone();
    let control = |state, since| Some(Control { state, details: 0, since });
    guests.told(&stuck, control(2, 5_000), now);
    assert_eq!(guests.troubles(now, ROUND), []);
    for _ in 0..3 {
        assert!(guests.monitors(2).contains(&stuck));
    }
    guests.told(&stuck, control(2, 20_000), now);
    assert_eq!(guests.troubles(now, ROUND), [("instance-04".into(), Trouble::Occupied(20_000))]);
    assert_eq!(guests.troubles(now + STALE * 2, ROUND), []);
    // A job may take its time.
    guests.told(&stuck, control(1, 900_000), now);
    assert_eq!(guests.troubles(now, ROUND), []);
    guests.told(&stuck, Some(Control { state: 3, details: 2, since: 1 }), now);
    assert_eq!(guests.troubles(now, ROUND), [("instance-04".into(), Trouble::Broken)]);
    // Started anew, it begins from nothing.
    guests.update(&[domain(4, 2)]);
    assert_eq!((guests.len(), guests.troubles(now, ROUND)), (1, vec![]));
    assert_eq!((guests.turn.len(), guests.monitors.len()), (1, 1));
}
