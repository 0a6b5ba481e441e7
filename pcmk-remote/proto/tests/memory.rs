//! What a hostile peer can make us hold. Alone in its process, because it looks at the process' peak.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;

use pcmk_proto::frame::{Decoder, FrameError, encode};
use pcmk_proto::limits::Limits;
use pcmk_proto::xml::Element;

const MIB: usize = 1 << 20;

/// Most memory that this process ever used.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

/// How much `work` adds to the peak.
fn growth(work: impl FnOnce()) -> usize {
    let before = peak();
    work();
    peak() - before
}

/// A frame of a few kilobytes that unpacks to 6 MiB and promises `length` bytes.
fn bomb(packed: &[u8], length: u32) -> Vec<u8> {
    let mut frame = encode(1, "").unwrap().to_vec();
    frame.truncate(40);
    let size = u32::try_from(packed.len()).unwrap();
    for (at, value) in [(24, 40 + size), (32, size), (36, length)] {
        frame.splice(at..at + 4, value.to_ne_bytes());
    }
    frame.extend_from_slice(packed);
    frame
}

#[test]
fn bombs_are_refused_with_bounded_memory() {
    let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    let zeros = vec![0; MIB];
    for _ in 0..6 {
        writer.write_all(&zeros).unwrap();
    }
    let packed = writer.finish().unwrap();
    assert!(packed.len() < 1000);

    // A fifth of the real limits, for speed.
    let limits = Limits { message: 4 * MIB, elements: 100_000, ..Limits::default() };
    for length in [100, u32::try_from(limits.message).unwrap()] {
        let used = growth(|| {
            let mut decoder = Decoder::new(limits);
            decoder.push(&bomb(&packed, length));
            let error = decoder.next().unwrap_err();
            assert!(matches!(error, FrameError::Decompress { reason: "it is longer", .. }), "{error}");
        });
        assert!(used < 16 * MIB, "{used}");
    }

    // As many nodes and attributes as fit into the limits, in the densest form.
    let dense = format!("<a>{}</a>", "<b c='' d=''/>".repeat(limits.elements - 1));
    let used = growth(|| assert!(Element::parse(dense.as_bytes(), &limits).is_ok()));
    assert!(used < 48 * MIB, "{used}");
    let sparse = format!("<a>{}</a>", "<b/>".repeat((limits.message - 8) / 4));
    let used = growth(|| assert!(Element::parse(sparse.as_bytes(), &limits).is_err()));
    assert!(used < 16 * MIB, "{used}");
    let texts = format!("<a>{}</a>", "<![CDATA[]]>x".repeat((limits.message - 8) / 13));
    let used = growth(|| assert!(Element::parse(texts.as_bytes(), &limits).is_err()));
    assert!(used < 16 * MIB, "{used}");
}
