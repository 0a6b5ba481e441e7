//! The XML dialect of the protocol: a small tree, a strict reader and a writer.
//!
//! The reader takes one root element, no document type, no entities but the five predefined ones, and
//! keeps text and CDATA as they are: payloads of others pass through us unchanged. The writer sends what
//! Pacemaker 2.1.8 and later send: one line, attributes in order, control characters as references.

mod read;
pub mod text;
mod write;

pub use read::XmlError;
pub use write::WriteXml;
pub(crate) use write::{Builder, Names, Sink, Writer};

use crate::limits::Limits;

/// One element with its attributes and children, all in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// Tag.
    pub name: String,
    /// Attributes in document order, without duplicates.
    pub attributes: Vec<(String, String)>,
    /// Children in document order.
    pub children: Vec<Node>,
}

/// A child of an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Nested element.
    Element(Element),
    /// Character data.
    Text(String),
    /// A CDATA section, kept as such.
    CData(String),
}

impl Element {
    /// An empty element.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), attributes: Vec::new(), children: Vec::new() }
    }

    /// Reads one document.
    pub fn parse(document: &[u8], limits: &Limits) -> Result<Self, XmlError> {
        read::document(document, limits)
    }

    /// The value of an attribute.
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Sets an attribute; a new one comes last.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        match self.attributes.iter_mut().find(|(key, _)| *key == name) {
            Some((_, old)) => *old = value,
            None => self.attributes.push((name, value)),
        }
        self
    }

    /// Appends an element.
    pub fn push_child(&mut self, child: Self) -> &mut Self {
        self.children.push(Node::Element(child));
        self
    }

    /// The child elements in order.
    pub fn child_elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|node| match node {
            Node::Element(child) => Some(child),
            Node::Text(_) | Node::CData(_) => None,
        })
    }

    /// The first child that is an element, whatever its name.
    pub fn first_child_element(&self) -> Option<&Self> {
        self.child_elements().next()
    }

    /// The first child element with this name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.child_elements().find(|child| child.name == name)
    }

    /// Takes the first child element with this name out of the tree.
    pub fn take_child(&mut self, name: &str) -> Option<Self> {
        self.take_where(|child| child.name == name)
    }

    /// Takes the first child element out of the tree.
    pub fn take_first_child_element(&mut self) -> Option<Self> {
        self.take_where(|_| true)
    }

    fn take_where(&mut self, wanted: impl Fn(&Self) -> bool) -> Option<Self> {
        let at = self.children.iter().position(|node| match node {
            Node::Element(child) => wanted(child),
            Node::Text(_) | Node::CData(_) => false,
        })?;
        match self.children.remove(at) {
            Node::Element(child) => Some(child),
            Node::Text(_) | Node::CData(_) => None,
        }
    }
}

impl Drop for Element {
    /// Takes the tree apart from the top: a deep one must not use up the stack.
    fn drop(&mut self) {
        let mut waiting = std::mem::take(&mut self.children);
        while let Some(node) = waiting.pop() {
            if let Node::Element(mut child) = node {
                waiting.append(&mut child.children);
            }
        }
    }
}
