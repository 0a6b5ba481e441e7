//! The XML dialect of the protocol: a small tree, a strict reader and a writer.

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
