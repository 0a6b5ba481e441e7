//! Reading documents. quick-xml finds the tags; what is inside them is read here, more strictly.

use std::fmt;

use quick_xml::Reader;
use quick_xml::events::Event;
use thiserror::Error;

use super::write::Names;
use super::{Element, Node, text};
use crate::limits::Limits;

/// Why a document was refused. `at` is a position in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum XmlError {
    /// Bytes that are no text.
    #[error("XML is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// Position.
        at: usize,
    },
    /// A character that XML 1.0 excludes.
    #[error("XML has the illegal character U+{code:04X} at byte {at}")]
    IllegalCharacter {
        /// Position.
        at: usize,
        /// The character's number.
        code: u32,
    },
    /// Not well formed.
    #[error("XML is malformed near byte {at}: {what}")]
    Malformed {
        /// Position of the tag or text concerned.
        at: usize,
        /// What is wrong.
        what: String,
    },
    /// A document type: peers never send one, attackers do.
    #[error("XML has a document type declaration at byte {at}, which is refused")]
    DocType {
        /// Position.
        at: usize,
    },
    /// A reference to an entity that nobody declared.
    #[error("XML refers to the unknown entity {name:?} near byte {at}")]
    UnknownEntity {
        /// Position of the tag or text concerned.
        at: usize,
        /// What stands between `&` and `;`.
        name: String,
    },
    /// The same attribute twice.
    #[error("XML has the attribute {name:?} twice in the element at byte {at}")]
    DuplicateAttribute {
        /// Position of the element.
        at: usize,
        /// Its name.
        name: String,
    },
    /// Elements inside elements inside elements.
    #[error("XML is nested deeper than {limit} elements at byte {at}")]
    TooDeep {
        /// Position.
        at: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many attributes on one element or in all.
    #[error("XML has more than {limit} attributes at byte {at}")]
    TooManyAttributes {
        /// Position of the element.
        at: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many elements.
    #[error("XML has more than {limit} elements at byte {at}")]
    TooManyElements {
        /// Position.
        at: usize,
        /// The limit.
        limit: usize,
    },
    /// Nothing in it.
    #[error("XML has no root element")]
    NoRoot,
}

pub(super) fn document(document: &[u8], limits: &Limits) -> Result<Element, XmlError> {
    let text = std::str::from_utf8(document).map_err(|e| XmlError::NotUtf8 { at: e.valid_up_to() })?;
    check_characters(text)?;
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_comments = true;
    let mut tree = Tree::new(limits);
    loop {
        tree.at = position(reader.buffer_position());
        match reader.read_event() {
            Ok(Event::Start(tag)) => tree.start(&tag)?,
            Ok(Event::Empty(tag)) => {
                tree.start(&tag)?;
                tree.end()?;
            }
            Ok(Event::End(_)) => tree.end()?,
            Ok(Event::Text(text)) => tree.text(&text)?,
            Ok(Event::GeneralRef(name)) => tree.reference(&name)?,
            Ok(Event::CData(content)) => tree.cdata(&content)?,
            Ok(Event::Comment(_)) => {}
            Ok(Event::PI(content)) => tree.instruction(&content)?,
            Ok(Event::Decl(content)) => tree.declaration(&content)?,
            Ok(Event::DocType(_)) => return Err(XmlError::DocType { at: tree.at }),
            Ok(Event::Eof) => return tree.finish(),
            Err(error) => return Err(tree.malformed(error)),
        }
        tree.anything_read = true;
    }
}

/// The tree so far.
struct Tree<'a> {
    limits: &'a Limits,
    /// Elements that wait for their end tag.
    open: Vec<Element>,
    root: Option<Element>,
    /// Elements and CDATA sections so far.
    nodes: usize,
    attributes: usize,
    /// Where the current piece begins.
    at: usize,
    anything_read: bool,
}

impl<'a> Tree<'a> {
    fn new(limits: &'a Limits) -> Self {
        Self { limits, open: Vec::new(), root: None, nodes: 0, attributes: 0, at: 0, anything_read: false }
    }

    fn start(&mut self, tag: &str) -> Result<(), XmlError> {
        if self.open.is_empty() && self.root.is_some() {
            return Err(self.malformed("a second root element"));
        }
        let depth = self.limits.depth.min(MAX_DEPTH);
        if self.open.len() >= depth {
            return Err(XmlError::TooDeep { at: self.at, limit: depth });
        }
        self.count_node()?;
        let name_end = tag.find(is_space).unwrap_or(tag.len());
        let (name, attributes) = tag.split_at(name_end);
        self.check_name(name)?;
        let mut element = Element::new(name);
        element.attributes = self.read_attributes(attributes)?;
        self.open.push(element);
        Ok(())
    }

    fn end(&mut self) -> Result<(), XmlError> {
        let Some(mut element) = self.open.pop() else {
            return Err(self.malformed("an end tag without a start tag"));
        };
        element.children.shrink_to_fit();
        match self.open.last_mut() {
            Some(parent) => parent.children.push(Node::Element(element)),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, content: &str) -> Result<(), XmlError> {
        if content.contains("]]>") {
            return Err(self.malformed("]]> in text"));
        }
        if self.open.is_empty() {
            let blank = content.chars().all(is_space);
            return if blank { Ok(()) } else { Err(self.malformed("text outside the root element")) };
        }
        self.append(&normalise_lines(content));
        Ok(())
    }

    fn reference(&mut self, name: &str) -> Result<(), XmlError> {
        if self.open.is_empty() {
            return Err(self.malformed("a reference outside the root element"));
        }
        let char = resolve(name, self.at)?;
        self.append(char.encode_utf8(&mut [0; 4]));
        Ok(())
    }

    fn cdata(&mut self, content: &str) -> Result<(), XmlError> {
        self.count_node()?;
        let content = normalise_lines(content).into_owned();
        match self.open.last_mut() {
            Some(parent) => parent.children.push(Node::CData(content)),
            None => return Err(self.malformed("CDATA outside the root element")),
        }
        Ok(())
    }

    fn instruction(&mut self, content: &str) -> Result<(), XmlError> {
        let target = content.split(is_space).next().unwrap_or_default();
        self.check_name(target)?;
        if target.eq_ignore_ascii_case("xml") {
            return Err(self.malformed("an XML declaration that is not at the beginning"));
        }
        Ok(())
    }

    fn declaration(&mut self, content: &str) -> Result<(), XmlError> {
        if self.anything_read {
            return Err(self.malformed("an XML declaration that is not at the beginning"));
        }
        let attributes = self.read_attributes(content.strip_prefix("xml").unwrap_or_default())?;
        let mut expected = ["version", "encoding", "standalone"].iter();
        let in_order = attributes.iter().all(|(name, _)| expected.any(|known| known == name));
        let version = attributes.first().is_some_and(|(name, v)| name == "version" && v.starts_with("1."));
        let encoding = attributes
            .iter()
            .all(|(n, v)| n != "encoding" || ["utf-8", "us-ascii"].iter().any(|e| v.eq_ignore_ascii_case(e)));
        if in_order && version && encoding { Ok(()) } else { Err(self.malformed("its declaration")) }
    }

    fn finish(self) -> Result<Element, XmlError> {
        if let Some(element) = self.open.last() {
            return Err(self.malformed(format_args!("<{}> is not closed", excerpt(&element.name))));
        }
        self.root.ok_or(XmlError::NoRoot)
    }

    /// Reads what follows the name in a tag.
    fn read_attributes(&mut self, mut rest: &str) -> Result<Vec<(String, String)>, XmlError> {
        let mut attributes = Vec::new();
        let mut names = Names::new(0);
        loop {
            let next = rest.trim_start_matches(is_space);
            if next.is_empty() {
                return Ok(attributes);
            }
            if next.len() == rest.len() {
                return Err(self.malformed("no white space before an attribute"));
            }
            let limit = self.limits.attributes;
            if attributes.len() >= limit {
                return Err(XmlError::TooManyAttributes { at: self.at, limit });
            }
            let limit = self.limits.elements.saturating_mul(ATTRIBUTES_PER_ELEMENT);
            if self.attributes >= limit {
                return Err(XmlError::TooManyAttributes { at: self.at, limit });
            }
            self.attributes += 1;

            let Some((name, value)) = next.split_once('=') else {
                return Err(self.malformed("an attribute without a value"));
            };
            let name = name.trim_end_matches(is_space);
            self.check_name(name)?;
            let value = value.trim_start_matches(is_space);
            let quoted = match value.chars().next() {
                Some(quote @ ('"' | '\'')) => value.get(1..).and_then(|v| v.split_once(quote)),
                _ => None,
            };
            let Some((value, after)) = quoted else {
                return Err(self.malformed("an attribute value without quotes"));
            };
            if !names.is_new(name) {
                return Err(XmlError::DuplicateAttribute { at: self.at, name: excerpt(name) });
            }
            attributes.push((name.to_owned(), self.read_value(value)?));
            rest = after;
        }
    }

    /// Resolves references; a literal line end or tab is a space.
    fn read_value(&self, raw: &str) -> Result<String, XmlError> {
        let mut value = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some(at) = rest.find(['&', '<', '\t', '\n', '\r']) {
            let (plain, special) = rest.split_at(at);
            value.push_str(plain);
            if let Some(reference) = special.strip_prefix('&') {
                let Some((name, after)) = reference.split_once(';') else {
                    return Err(self.malformed("& without ;"));
                };
                value.push(resolve(name, self.at)?);
                rest = after;
            } else if special.starts_with('<') {
                return Err(self.malformed("< in an attribute value"));
            } else {
                value.push(' ');
                let width = if special.starts_with("\r\n") { 2 } else { 1 };
                rest = special.get(width..).unwrap_or_default();
            }
        }
        value.push_str(rest);
        Ok(value)
    }

    /// Adds to the text at the end of the current element.
    fn append(&mut self, content: &str) {
        let Some(parent) = self.open.last_mut() else { return };
        match parent.children.last_mut() {
            Some(Node::Text(text)) => text.push_str(content),
            _ if content.is_empty() => {}
            _ => parent.children.push(Node::Text(content.to_owned())),
        }
    }

    fn count_node(&mut self) -> Result<(), XmlError> {
        let limit = self.limits.elements;
        if self.nodes >= limit {
            return Err(XmlError::TooManyElements { at: self.at, limit });
        }
        self.nodes += 1;
        Ok(())
    }

    fn check_name(&self, name: &str) -> Result<(), XmlError> {
        if text::is_name(name) {
            Ok(())
        } else {
            Err(self.malformed(format_args!("{:?} is not a name", excerpt(name))))
        }
    }

    fn malformed(&self, what: impl fmt::Display) -> XmlError {
        XmlError::Malformed { at: self.at, what: excerpt(&what.to_string()) }
    }
}

fn check_characters(text: &str) -> Result<(), XmlError> {
    // Only these bytes can begin an illegal character; most documents have none of them.
    let suspect = |byte: u8| byte == 0xEF || (byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r'));
    if text.bytes().any(suspect) {
        for (at, char) in text.char_indices() {
            if !text::is_char(char) {
                return Err(XmlError::IllegalCharacter { at, code: char.into() });
            }
        }
    }
    Ok(())
}

/// The character that a reference stands for.
fn resolve(name: &str, at: usize) -> Result<char, XmlError> {
    let number = match name {
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "amp" => return Ok('&'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => name.strip_prefix('#'),
    };
    let digits = number.map(|number| match number.strip_prefix('x') {
        Some(hex) => (hex, 16),
        None => (number, 10),
    });
    // from_str_radix would take a sign.
    let code = digits
        .filter(|(digits, radix)| digits.chars().all(|digit| digit.is_digit(*radix)))
        .and_then(|(digits, radix)| u32::from_str_radix(digits, radix).ok());
    match (number, code) {
        (Some(_), Some(code)) => char::from_u32(code)
            .filter(|char| text::is_char(*char))
            .ok_or(XmlError::IllegalCharacter { at, code }),
        _ => Err(XmlError::UnknownEntity { at, name: excerpt(name) }),
    }
}

/// Every form of line end becomes a newline.
fn normalise_lines(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\r') { text.replace("\r\n", "\n").replace('\r', "\n").into() } else { text.into() }
}

fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n' | '\r')
}

/// The beginning of something that goes into an error.
fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT).collect()
}

fn position(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

const EXCERPT: usize = 100;
/// Deepest nesting whatever the limits say: trees are compared and copied by recursion.
const MAX_DEPTH: usize = 1024;
/// In all documents known, elements have far fewer attributes on average.
const ATTRIBUTES_PER_ELEMENT: usize = 2;
