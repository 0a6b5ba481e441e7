//! Text packed with bzip2, as some releases of Pacemaker send it.

use std::io::Write as _;

/// Unpacks at most what was promised; memory grows with the output.
pub(crate) fn unpack(packed: &[u8], expected: usize) -> Result<Vec<u8>, &'static str> {
    let mut engine = bzip2::Decompress::new(false);
    let consumed = |engine: &bzip2::Decompress| usize::try_from(engine.total_in()).unwrap_or(usize::MAX);
    let mut text = Vec::new();
    loop {
        // One byte of room beyond what is promised shows a payload that is longer.
        let room = expected.saturating_add(1).saturating_sub(text.len()).min(UNPACK_STEP);
        text.reserve(room);
        let before = (consumed(&engine), text.len());
        let rest = packed.get(before.0..).unwrap_or_default();
        let status = engine.decompress_vec(rest, &mut text).map_err(|_| "not bzip2, or damaged")?;
        if text.len() > expected {
            return Err("it is longer");
        }
        if status == bzip2::Status::StreamEnd {
            break;
        }
        if (consumed(&engine), text.len()) == before {
            return Err("it ends too early");
        }
    }
    if consumed(&engine) != packed.len() {
        return Err("something follows it");
    }
    if text.len() != expected {
        return Err("it is shorter");
    }
    Ok(text)
}

/// Packs pieces into one block, and says so if that fails, which it cannot in memory.
pub(crate) fn pack(pieces: &[&[u8]], level: u32) -> Result<Vec<u8>, &'static str> {
    let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(level));
    for piece in pieces {
        writer.write_all(piece).map_err(|_| "write")?;
    }
    writer.finish().map_err(|_| "finish")
}

/// Most output to make room for at once.
const UNPACK_STEP: usize = 64 << 10;
