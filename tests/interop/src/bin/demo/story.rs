//! What is told, with the time since the beginning.

use std::time::{Duration, Instant};

use pcmk_interop::wait::secs;

/// The story that is told.
pub(crate) struct Story {
    began: Instant,
}

impl Story {
    /// It begins now.
    pub(crate) fn begin() -> Self {
        Self { began: Instant::now() }
    }

    /// What comes next.
    pub(crate) fn chapter(&self, title: &str) {
        println!("\n[{:6.1} s] {title}", self.began.elapsed().as_secs_f32());
    }

    /// What has happened.
    pub(crate) fn say(&self, what: &str) {
        println!("[{:6.1} s]   {what}", self.began.elapsed().as_secs_f32());
    }
}

/// Shows what a program has printed.
pub(crate) fn show(text: &str) {
    for line in text.lines() {
        println!("              {line}");
    }
}

/// A span for people.
pub(crate) fn short(time: Duration) -> String {
    if time < secs(1) { format!("{} ms", time.as_millis()) } else { format!("{:.1} s", time.as_secs_f32()) }
}
