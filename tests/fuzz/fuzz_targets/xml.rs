//! What is read can be written and read again, by us and by roxmltree, and likewise as a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pcmk_proto::limits::Limits;
use pcmk_proto::lrmd::{Message, Request};
use pcmk_proto::xml::{Element, Node, WriteXml};

#[path = "../../../pcmk-remote/proto/tests/second_opinion/mod.rs"]
mod second_opinion;

fuzz_target!(|data: &[u8]| {
    let Ok(tree) = Element::parse(data, &LIMITS) else { return };
    check_limits(&tree);
    if let Some(verdict) = std::str::from_utf8(data).ok().and_then(|d| second_opinion::compare(d, &tree)) {
        assert_eq!(verdict, Ok(()), "roxmltree reads it differently");
    }
    let written = tree.to_xml();
    assert_eq!(read(&written), tree, "{written}");
    if let Some(verdict) = second_opinion::compare(&written, &tree) {
        assert_eq!(verdict, Ok(()), "roxmltree reads what we wrote differently: {written}");
    }

    // The first reading may put things in order, after that nothing changes.
    if let Ok(request) = Request::from_element(&tree) {
        assert_eq!(Request::parse(tree.clone()).as_ref(), Ok(&request));
        let second = Request::parse(read(&request.to_xml())).expect("we wrote it");
        assert_eq!(request.to_element(), read(&request.to_xml()));
        assert_eq!(Request::parse(read(&second.to_xml())), Ok(second));
    }
    if let Ok(message) = Message::from_element(&tree) {
        let second = Message::from_element(&read(&message.to_xml())).expect("we wrote it");
        assert_eq!(message.to_element(), read(&message.to_xml()));
        assert_eq!(Message::from_element(&read(&second.to_xml())), Ok(second));
    }
});

fn read(document: &str) -> Element {
    Element::parse(document.as_bytes(), &Limits::default()).expect("what we write is well formed")
}

/// Counts without recursion, as the reader must have done.
fn check_limits(root: &Element) {
    let mut elements = 0;
    let mut waiting = vec![(root, 1)];
    while let Some((element, depth)) = waiting.pop() {
        elements += 1;
        assert!(depth <= LIMITS.depth && element.attributes.len() <= LIMITS.attributes);
        waiting.extend(element.children.iter().filter_map(|node| match node {
            Node::Element(child) => Some((child, depth + 1)),
            Node::Text(_) | Node::CData(_) => None,
        }));
    }
    assert!(elements <= LIMITS.elements);
}

const LIMITS: Limits = Limits { message: 1 << 16, depth: 16, attributes: 64, elements: 200 };
