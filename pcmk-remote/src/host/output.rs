//! What a program wrote: kept up to a limit, read to the end all the same.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::errno::Errno;
use pcmk_proto::xml::text::sanitize;
use tokio::io::{AsyncRead, ReadBuf};

/// Read at once. On the stack while reading, so that a waiting program costs nothing.
const CHUNK: usize = 16 << 10;
/// What a pipe can hold at most with the usual system settings.
const PIPE_MAX: usize = 1 << 20;
/// Of what exceeds the limit the end is kept: the reason for a failure is there.
const TAIL: usize = 4 << 10;

/// One of a program's outputs.
#[derive(Debug)]
pub(super) struct Output<P> {
    pipe: Option<P>,
    captured: Captured,
}

/// What was kept of an output.
#[derive(Debug, Default)]
pub(super) struct Captured {
    limit: usize,
    head: Vec<u8>,
    tail: Vec<u8>,
    /// Bytes not in `head`.
    pub(super) dropped: u64,
}

impl<P: AsyncRead + AsFd + Unpin> Output<P> {
    pub(super) fn new(pipe: Option<P>, limit: usize) -> Self {
        Self { pipe, captured: Captured { limit, ..Captured::default() } }
    }

    /// Takes in what comes, until the other side has closed its end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(()) };
        let mut space = [const { MaybeUninit::<u8>::uninit() }; CHUNK];
        loop {
            let mut buffer = ReadBuf::uninit(&mut space);
            match Pin::new(&mut *pipe).poll_read(cx, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => self.captured.push(buffer.filled()),
                Poll::Ready(_) => {
                    self.pipe = None;
                    return Poll::Ready(());
                }
            }
        }
    }

    /// Takes what is in the pipe at this moment and closes it, whoever still holds the other end.
    pub(super) fn finish(mut self) -> Captured {
        if let Some(pipe) = &self.pipe {
            let mut space = [0; CHUNK];
            let mut left = PIPE_MAX;
            while left > 0 {
                match nix::unistd::read(pipe.as_fd(), &mut space) {
                    Ok(count) if count > 0 => {
                        self.captured.push(space.get(..count).unwrap_or_default());
                        left = left.saturating_sub(count);
                    }
                    Err(Errno::EINTR) => {}
                    Ok(_) | Err(_) => break,
                }
            }
        }
        self.captured
    }
}

impl Captured {
    fn push(&mut self, data: &[u8]) {
        let room = self.limit - self.head.len();
        let (kept, excess) = data.split_at(room.min(data.len()));
        self.head.extend_from_slice(kept);
        if excess.is_empty() {
            return;
        }
        self.dropped += excess.len() as u64;
        let excess = excess.get(excess.len().saturating_sub(TAIL)..).unwrap_or_default();
        let surplus = (self.tail.len() + excess.len()).saturating_sub(TAIL);
        self.tail.drain(..surplus);
        self.tail.extend_from_slice(excess);
    }

    /// The kept text up to its first NUL, as C strings have it.
    pub(super) fn text(&self) -> Option<String> {
        text(&self.head, self.limit)
    }

    /// The end of what did not fit.
    pub(super) fn tail(&self) -> Option<String> {
        text(&self.tail, usize::MAX)
    }
}

fn text(bytes: &[u8], cap: usize) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    (!text.is_empty()).then(|| sanitize(text, cap))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(limit: usize, pieces: &[&[u8]]) -> Captured {
        let mut captured = Captured { limit, ..Captured::default() };
        for piece in pieces {
            captured.push(piece);
        }
        captured
    }

    #[test]
    fn head_and_tail_are_kept() {
        let all: Vec<u8> = (0..30_000_u32).map(|n| b'a' + (n % 26) as u8).collect();
        for size in [1, 7, 4096, 30_000] {
            let pieces: Vec<&[u8]> = all.chunks(size).collect();
            let captured = captured(100, &pieces);
            assert_eq!(captured.head, all[..100]);
            assert_eq!(captured.tail, all[all.len() - TAIL..]);
            assert_eq!(captured.dropped, 29_900);
        }
    }

    #[test]
    fn nul_ends_the_text() {
        assert_eq!(captured(100, &[b"abc\0def"]).text().as_deref(), Some("abc"));
        assert_eq!(captured(100, &[b"\0def"]).text(), None);
        assert_eq!(captured(100, &[]).text(), None);
    }

    #[test]
    fn text_is_valid_whatever_was_printed() {
        assert_eq!(captured(100, &[b"a\xff\x01b"]).text().as_deref(), Some("a\u{fffd}\u{fffd}b"));
    }
}
