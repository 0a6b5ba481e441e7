//! `decode`: recorded messages as XML.

mod hex;
mod message;
mod pcap;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use pcmk_proto::xml::{Element, Node, WriteXml as _};
use serde::Serialize;

use super::args::{DecodeOptions, Format};
use super::table::clean;
use super::{Exit, Failure, print, print_json};
use message::What;

/// Largest input.
const MOST: u64 = 256 << 20;
/// What was found in one direction of one connection.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Found {
    /// `10.0.0.1:50000 > 10.0.0.2:3121`, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// Where in the stream it begins.
    offset: usize,
    #[serde(flatten)]
    what: What,
}

pub(super) fn run(options: &DecodeOptions, json: bool) -> Result<Exit, Failure> {
    let input = read(options.file.as_deref())?;
    let found = decode(&input, options.format)?;
    if found.is_empty() {
        return Err(Failure::new(Exit::Data, "there are no messages in this"));
    }
    for entry in &found {
        if json {
            print_json(entry)?;
        } else {
            print(shown(entry).as_bytes())?;
        }
    }
    let bad = found.iter().any(|entry| matches!(entry.what, What::Problem { .. }));
    Ok(if bad { Exit::Data } else { Exit::Ok })
}

fn read(path: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut input = Vec::new();
    let reading = match path {
        None => io::stdin().lock().take(MOST + 1).read_to_end(&mut input),
        Some(path) if path == Path::new("-") => io::stdin().lock().take(MOST + 1).read_to_end(&mut input),
        Some(path) => File::open(path).and_then(|file| file.take(MOST + 1).read_to_end(&mut input)),
    };
    let name = path.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    reading.map_err(|error| Failure::new(Exit::Data, format!("{name}: {error}")))?;
    if input.len() as u64 > MOST {
        return Err(Failure::new(Exit::Data, format!("{name}: larger than {} MiB", MOST >> 20)));
    }
    Ok(input)
}

fn decode(input: &[u8], format: Format) -> Result<Vec<Found>, Failure> {
    let wrong = |error: String| Failure::new(Exit::Data, error);
    match format {
        Format::Raw => Ok(stream(None, input)),
        Format::Hex => Ok(stream(None, &hex::parse(input).map_err(wrong)?)),
        Format::Pcap => captured(input),
        Format::Auto if pcap::is_one(input) => captured(input),
        Format::Auto => match hex::parse(input) {
            Ok(bytes) if !bytes.is_empty() => Ok(stream(None, &bytes)),
            _ => Ok(stream(None, input)),
        },
    }
}

fn captured(input: &[u8]) -> Result<Vec<Found>, Failure> {
    let flows = pcap::flows(input).map_err(|error| Failure::new(Exit::Data, error))?;
    Ok(flows.into_iter().flat_map(|flow| stream(Some(&flow.name), &flow.bytes)).collect())
}

/// Finds the messages in what one side sent.
fn stream(from: Option<&str>, bytes: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (used, what) = message::first(rest);
        found.push(Found { from: from.map(str::to_owned), offset: at, what });
        at = at.saturating_add(used.max(1));
    }
    found
}

fn shown(found: &Found) -> String {
    let mut text = String::new();
    let from = found.from.as_deref().map(|from| format!("{from}, ")).unwrap_or_default();
    let (about, xml) = match &found.what {
        What::Remote { id, byte_order, xml } => (format!("message {id}, {byte_order}-endian"), xml.as_str()),
        What::Ipc { id, flags, xml } => (format!("IPC message {id}, flags {flags:#x}"), xml.as_str()),
        What::Problem { bytes, reason } => (format!("{bytes} bytes: {reason}"), ""),
    };
    let _ = writeln!(text, "# {from}offset {}, {}", found.offset, clean(&about));
    for line in xml.lines() {
        let _ = writeln!(text, "{}", clean(line));
    }
    text
}

/// One element a line.
fn indented(document: &Element) -> String {
    let mut text = String::new();
    indent(document, 0, &mut text);
    text
}

fn indent(element: &Element, depth: usize, text: &mut String) {
    let margin = "  ".repeat(depth);
    let has_text = element.children.iter().any(|node| !matches!(node, Node::Element(_)));
    if element.children.is_empty() || has_text {
        // Space around text would change it.
        let _ = writeln!(text, "{margin}{}", element.to_xml());
        return;
    }
    let mut head = Element::new(element.name.as_str());
    head.attributes.clone_from(&element.attributes);
    let head = head.to_xml();
    let _ = writeln!(text, "{margin}{}>", head.trim_end_matches("/>"));
    for child in element.child_elements() {
        indent(child, depth.saturating_add(1), text);
    }
    let _ = writeln!(text, "{margin}</{}>", element.name);
}

#[cfg(test)]
#[allow(clippy::format_collect, reason = "tests")]
mod tests {
    use pcmk_proto::frame::{ByteOrder, encode_as};

    use super::*;

    fn message(order: ByteOrder, id: u64) -> Vec<u8> {
        encode_as(order, id, "<lrmd_command lrmd_op=\"x\"><lrmd_calldata a=\"1\"/></lrmd_command>")
            .unwrap()
            .to_vec()
    }

    fn told(found: &[Found]) -> Vec<String> {
        found
            .iter()
            .map(|found| match &found.what {
                What::Remote { id, byte_order, .. } => format!("{id} {byte_order}"),
                What::Ipc { id, .. } => format!("{id} local"),
                What::Problem { bytes, .. } => format!("{bytes} bytes"),
            })
            .collect()
    }

    #[test]
    fn messages_of_both_byte_orders_are_found_between_garbage() {
        let mut input = b"garbage".to_vec();
        input.extend(message(ByteOrder::Little, 1));
        input.extend(message(ByteOrder::Big, 2));
        input.extend(&message(ByteOrder::Little, 3)[..50]);
        let found = decode(&input, Format::Auto).unwrap();
        assert_eq!(told(&found), ["7 bytes", "1 little", "2 big", "50 bytes"]);
        let What::Remote { xml, .. } = &found[1].what else { panic!("{found:?}") };
        assert_eq!(xml, "<lrmd_command lrmd_op=\"x\">\n  <lrmd_calldata a=\"1\"/>\n</lrmd_command>\n");
    }

    #[test]
    fn hex_dumps_of_all_kinds_are_read() {
        let bytes = message(ByteOrder::Little, 7);
        let plain: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let lines = bytes.chunks(16).enumerate();
        let xxd: String = lines
            .clone()
            .map(|(n, chunk)| {
                let pairs: Vec<String> =
                    chunk.chunks(2).map(|pair| pair.iter().map(|b| format!("{b:02x}")).collect()).collect();
                format!("{:08x}: {}  {}\n", n * 16, pairs.join(" "), ".deadbeef.")
            })
            .collect();
        let hexdump: String = lines
            .map(|(n, chunk)| {
                let bytes: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
                format!("{:08x}  {}  |abcd|\n", n * 16, bytes.join(" "))
            })
            .collect();
        for dump in [plain, xxd, hexdump] {
            assert_eq!(told(&decode(dump.as_bytes(), Format::Auto).unwrap()), ["7 little"], "{dump}");
        }
    }

    #[test]
    fn encrypted_traffic_is_told_as_such() {
        let found = decode(&[0x16, 3, 1, 2, 0, 1], Format::Raw).unwrap();
        assert!(
            matches!(&found[0].what, What::Problem { reason, .. } if reason.contains("TLS")),
            "{found:?}"
        );
    }
}
