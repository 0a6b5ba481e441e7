//! `watch`, into a pipe and on a terminal.

use std::fs::File;
use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::support::{Config, PATIENCE, command};
use crate::fake::{Behaviour, Fake};

fn watch(config: &Config, fake: &Fake, more: &[&str]) -> Command {
    let (config, socket) = (config.path(), fake.path().display().to_string());
    command(&[&["-c", &config, "watch", "--socket", &socket, "--interval", "100ms"], more].concat())
}

async fn ends(child: &mut Child) -> i32 {
    timeout(PATIENCE, child.wait()).await.expect("it ends").unwrap().code().unwrap_or(-1)
}

#[tokio::test]
async fn a_line_per_change() {
    let config = Config::new("");
    let mut fake = Fake::new(&[("web", 1, 1)]);
    let mut child = watch(&config, &fake, &[]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("a line").unwrap().unwrap();
        // Without the time.
        line.split_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(next().await, "libvirt ok");
    fake.set_domains(&[("web", 1, 1), ("db", 3, 5), ("mail", 1, 1)]);
    assert!(next().await.starts_with("libvirt ok -> degraded at storage: 1 of 3 domains is paused"));
    fake.set_domains(&[]);
    assert_eq!(next().await, "libvirt degraded -> ok");
    fake.crash();
    let line = next().await;
    assert!(line.starts_with("libvirt ok -> failed at connect: "), "{line}");
    fake.start();
    assert_eq!(next().await, "libvirt failed -> ok");
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(ends(&mut child).await, 0);
}

#[tokio::test]
async fn as_many_objects_as_were_asked_for() {
    let config = Config::new("");
    let fake = Fake::behaving(Behaviour::Refuses(1, 1));
    let said = super::support::finish(watch(&config, &fake, &["--json", "-n", "3"])).await;
    let objects: Vec<serde_json::Value> =
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 3);
    // A failure counts from the second one on.
    let verdicts: Vec<_> = objects.iter().map(|object| object["verdict"].as_str().unwrap()).collect();
    assert_eq!((said.code, &verdicts[..]), (2, &["degraded", "failed", "failed"][..]), "{said:?}");
}

/// What a terminal has been sent.
struct Screen {
    master: File,
    text: String,
}

impl Screen {
    /// Reads until this has come.
    fn wait_for(&mut self, wanted: &str) {
        let began = Instant::now();
        let mut bytes = [0; 4096];
        while !self.text.contains(wanted) {
            assert!(began.elapsed() < PATIENCE, "{wanted:?} does not come: {:?}", self.text);
            match self.master.read(&mut bytes) {
                Ok(count) => self.text.push_str(&String::from_utf8_lossy(&bytes[..count])),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                // The other side is closed for now.
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_as_before_afterwards() {
    let config = Config::new("");
    let fake = Fake::new(&[("web", 1, 1)]);
    for end in ["q", "INT", "TERM"] {
        let pty = openpty(None, None).unwrap();
        tcsetwinsize(&pty.slave, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let before = tcgetattr(&pty.slave).unwrap();
        assert!(before.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
        rustix::io::ioctl_fionbio(&pty.master, true).unwrap();
        let mut screen = Screen { master: File::from(pty.master), text: String::new() };
        let slave = || Stdio::from(pty.slave.try_clone().unwrap());
        let (file, socket) = (config.path(), fake.path().display().to_string());
        // setsid makes it the controlling terminal.
        let mut child = Command::new("setsid")
            .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_libvirt-probe")])
            .args(["-c", &file, "watch", "--socket", &socket, "-i", "100ms"])
            .stdin(slave())
            .stdout(slave())
            .stderr(slave())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        // The alternate screen, a history of at least three checks, the verdict.
        tokio::task::block_in_place(|| {
            for wanted in ["\u{1b}[?1049h", "q quits", "OK", "▁▁▁"] {
                screen.wait_for(wanted);
            }
        });
        let modes = tcgetattr(&pty.slave).unwrap().local_modes;
        assert!(!modes.intersects(LocalModes::ICANON | LocalModes::ECHO));
        match end {
            "q" => {
                use std::io::Write as _;
                screen.master.write_all(b"q").unwrap();
            }
            // As the terminal does it for Ctrl-C.
            "INT" => {
                use std::io::Write as _;
                screen.master.write_all(&[3]).unwrap();
            }
            _ => {
                // setsid has become it.
                let pid = i32::try_from(child.id().unwrap()).unwrap();
                kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
            }
        }
        tokio::task::block_in_place(|| screen.wait_for("\u{1b}[?25h\u{1b}[?1049l"));
        assert_eq!(ends(&mut child).await, 0, "{end}");
        let after = tcgetattr(&pty.slave).unwrap();
        assert_eq!(after.local_modes, before.local_modes, "{end}");
    }
}
