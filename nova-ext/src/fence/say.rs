//! What the agent says while it works: Pacemaker keeps its standard error in the log.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::stamp::Stamp;

/// Where messages go.
#[derive(Debug)]
pub(super) struct Say {
    quiet: bool,
    verbosity: u32,
    file: Option<File>,
}

impl Say {
    pub(super) fn new(quiet: bool, verbosity: u32) -> Self {
        Self { quiet, verbosity, file: None }
    }

    /// To a file too.
    pub(super) fn also_to(&mut self, path: &Path) -> io::Result<()> {
        let mut open = OpenOptions::new();
        open.append(true).create(true).mode(0o600).custom_flags(nix::libc::O_NONBLOCK);
        self.file = Some(open.open(path)?);
        Ok(())
    }

    pub(super) fn error(&mut self, text: impl Display) {
        self.line("ERROR", &text, true);
    }

    pub(super) fn warning(&mut self, text: impl Display) {
        self.line("WARNING", &text, true);
    }

    /// What is done, if more messages were asked for.
    pub(super) fn info(&mut self, text: impl Display) {
        self.line("INFO", &text, self.verbosity > 0);
    }

    fn line(&mut self, level: &str, text: &dyn Display, wanted: bool) {
        let text: String = text.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let line = format!("{} {level}: {text}\n", Stamp::now());
        // Nobody to tell if these fail.
        if wanted && !self.quiet {
            let _ = io::stderr().write_all(line.as_bytes());
        }
        if let Some(file) = &mut self.file {
            let _ = file.write_all(line.as_bytes());
        }
    }
}
