//! Compares our reading of a document with roxmltree's. Also used by the fuzz target.

use pcmk_proto::xml::{Element, Node};

/// Reads a document with roxmltree and says in what it differs from our tree.
///
/// `None` if it does not accept the document: it knows namespaces, which the protocol does not have. Nor
/// has it a say about carriage returns around references, some of which it keeps, against XML 1.0, 2.11.
pub fn compare(document: &str, ours: &Element) -> Option<Result<(), String>> {
    if document.contains('\r') && document.contains('&') {
        return None;
    }
    let theirs = roxmltree::Document::parse(document).ok()?;
    Some(same(ours, theirs.root_element()))
}

/// Text and elements in order; how text was written (CDATA, references) does not matter.
#[derive(Debug)]
enum Part<E> {
    Text(String),
    Element(E),
}

fn same(ours: &Element, theirs: roxmltree::Node<'_, '_>) -> Result<(), String> {
    let local = ours.name.rsplit(':').next().unwrap_or_default();
    if local != theirs.tag_name().name() {
        return Err(format!("element {:?} is {:?}", ours.name, theirs.tag_name()));
    }
    // Declarations of namespaces are no attributes for roxmltree, and it takes `any:xmlns` for one, too.
    let declared = |name: &str| name == "xmlns" || name.starts_with("xmlns:") || name.ends_with(":xmlns");
    let our_attributes: Vec<(&str, &str)> = ours
        .attributes
        .iter()
        .filter(|(name, _)| !declared(name))
        .map(|(name, value)| (name.rsplit(':').next().unwrap_or_default(), value.as_str()))
        .collect();
    let their_attributes: Vec<(&str, &str)> =
        theirs.attributes().map(|attribute| (attribute.name(), attribute.value())).collect();
    if our_attributes != their_attributes {
        return Err(format!("attributes {our_attributes:?} are {their_attributes:?}"));
    }

    let our_parts = join(ours.children.iter().map(|node| match node {
        Node::Element(element) => Part::Element(element),
        Node::Text(text) | Node::CData(text) => Part::Text(text.clone()),
    }));
    let their_parts = join(theirs.children().filter_map(|node| {
        if node.is_element() {
            Some(Part::Element(node))
        } else if node.is_text() {
            Some(Part::Text(node.text().unwrap_or_default().to_owned()))
        } else {
            None
        }
    }));
    if our_parts.len() != their_parts.len() {
        return Err(format!("children {our_parts:?} are {their_parts:?}"));
    }
    for parts in our_parts.iter().zip(&their_parts) {
        match parts {
            (Part::Text(ours), Part::Text(theirs)) if ours == theirs => {}
            (Part::Element(ours), Part::Element(theirs)) => same(ours, *theirs)?,
            (ours, theirs) => return Err(format!("{ours:?} is {theirs:?}")),
        }
    }
    Ok(())
}

fn join<E>(parts: impl Iterator<Item = Part<E>>) -> Vec<Part<E>> {
    let mut joined: Vec<Part<E>> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (_, Part::Text(text)) if text.is_empty() => {}
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
            (_, part) => joined.push(part),
        }
    }
    joined
}
