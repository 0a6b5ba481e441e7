//! The terminal: a screen of its own while it lasts, and everything as before afterwards.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::libc::O_NONBLOCK;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

/// Another screen, no cursor.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
/// The cursor, the screen from before.
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
/// For a terminal that does not say.
const SIZE: (usize, usize) = (80, 24);

/// The screen, as long as it is not dropped.
pub(super) struct Terminal {
    keys: Option<Keys>,
}

/// A keyboard that tells each key at once and shows none.
struct Keys {
    tty: Receiver,
    before: Termios,
}

impl Terminal {
    /// Takes the screen; `None` if the output is no terminal.
    pub(super) fn take() -> Option<Self> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let keys = Keys::take();
        // Should the program end by a bug, the terminal is not its victim.
        let before = keys.as_ref().map(|keys| keys.before.clone());
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave(before.as_ref());
            hook(panic);
        }));
        write(ENTER);
        Some(Self { keys })
    }

    /// Columns and lines.
    pub(super) fn size() -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            _ => SIZE,
        }
    }

    /// Shows these lines and nothing else.
    pub(super) fn show(lines: &[String]) {
        write(&format!("\u{1b}[H{}\u{1b}[K\u{1b}[J", lines.join("\u{1b}[K\r\n")));
    }

    /// Waits for a key; for ever if there is no keyboard.
    pub(super) async fn key(&mut self) -> u8 {
        let Some(keys) = &mut self.keys else { return std::future::pending().await };
        match keys.tty.read_u8().await {
            Ok(key) => key,
            // A terminal that is gone is told by its signal.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        leave(self.keys.as_ref().map(|keys| &keys.before));
        drop(std::panic::take_hook());
    }
}

impl Keys {
    fn take() -> Option<Self> {
        // Opened anew: what is set for standard input would be set for the shell as well.
        let tty = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open("/dev/tty").ok()?;
        let before = tcgetattr(&tty).ok()?;
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        modes.special_codes[SpecialCodeIndex::VMIN] = 1;
        modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        let changed = tcsetattr(&tty, OptionalActions::Now, &modes);
        let tty = Receiver::from_file_unchecked(tty).ok()?;
        changed.is_ok().then_some(Self { tty, before })
    }
}

fn leave(before: Option<&Termios>) {
    write(LEAVE);
    if let (Some(before), Ok(tty)) = (before, OpenOptions::new().read(true).open("/dev/tty")) {
        let _ = tcsetattr(tty, OptionalActions::Now, before);
    }
}

/// A terminal that is gone is told by its signal.
fn write(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
