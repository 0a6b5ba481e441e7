//! Writing documents.

use std::fmt::{Display, Write as _};

use super::{Element, Node, text};

/// Anything that can be written as one element.
pub trait WriteXml {
    /// Appends it to a document.
    fn write_xml(&self, out: &mut String);

    /// It alone as a document.
    fn to_xml(&self) -> String {
        let mut out = String::with_capacity(512);
        self.write_xml(&mut out);
        out
    }
}

impl WriteXml for Element {
    fn write_xml(&self, out: &mut String) {
        Writer::new(out).element(self);
    }
}

/// Where a message goes: to text, or to a tree.
pub(crate) trait Sink {
    /// Begins an element inside the current one.
    fn open(&mut self, name: &str);
    /// Adds an attribute to the element just begun.
    fn attr(&mut self, name: &str, value: &str);
    /// Ends the current element, which has this name.
    fn close(&mut self, name: &str);
    /// Adds a finished element.
    fn element(&mut self, element: &Element);

    /// Adds an attribute that is a number.
    fn number(&mut self, name: &str, value: impl Display) {
        self.attr(name, &value.to_string());
    }

    /// Adds an attribute if there is a value.
    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.attr(name, value);
        }
    }
}

/// Writes a document piece by piece.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    out: &'a mut String,
    /// The start tag of the current element still lacks its end.
    in_tag: bool,
}

impl<'a> Writer<'a> {
    /// Appends to a string.
    pub(crate) fn new(out: &'a mut String) -> Self {
        Self { out, in_tag: false }
    }

    fn end_tag(&mut self) {
        if std::mem::take(&mut self.in_tag) {
            self.out.push('>');
        }
    }

    fn attributes(&mut self, element: &Element) {
        let mut names = Names::new(element.attributes.len());
        for (name, value) in &element.attributes {
            if names.is_new(name) {
                self.attr(name, value);
            }
        }
    }

    /// What a section cannot hold goes between two sections.
    fn cdata(&mut self, content: &str) {
        self.end_tag();
        self.out.push_str("<![CDATA[");
        let mut brackets = 0;
        for char in content.chars() {
            match char {
                '\r' => self.out.push_str("]]>&#x0D;<![CDATA["),
                '>' if brackets >= 2 => self.out.push_str("]]><![CDATA[>"),
                _ if text::is_char(char) => self.out.push(char),
                _ => self.out.push(char::REPLACEMENT_CHARACTER),
            }
            brackets = if char == ']' { brackets + 1 } else { 0 };
        }
        self.out.push_str("]]>");
    }
}

impl Sink for Writer<'_> {
    fn open(&mut self, name: &str) {
        self.end_tag();
        self.out.push('<');
        push_name(self.out, name);
        self.in_tag = true;
    }

    fn attr(&mut self, name: &str, value: &str) {
        // A name that XML does not allow would spoil the whole message.
        if !text::is_name(name) {
            return;
        }
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        escape(self.out, value, true);
        self.out.push('"');
    }

    fn close(&mut self, name: &str) {
        if std::mem::take(&mut self.in_tag) {
            self.out.push_str("/>");
        } else {
            self.out.push_str("</");
            push_name(self.out, name);
            self.out.push('>');
        }
    }

    fn element(&mut self, element: &Element) {
        // A stack of our own: depth is the peer's choice.
        let mut open = vec![(element, element.children.iter())];
        self.open(&element.name);
        self.attributes(element);
        while let Some((current, children)) = open.last_mut() {
            match children.next() {
                Some(Node::Element(child)) => {
                    self.open(&child.name);
                    self.attributes(child);
                    open.push((child, child.children.iter()));
                }
                Some(Node::Text(content)) => {
                    if !content.is_empty() {
                        self.end_tag();
                        escape(self.out, content, false);
                    }
                }
                Some(Node::CData(content)) => self.cdata(content),
                None => {
                    let name = &current.name;
                    self.close(name);
                    open.pop();
                }
            }
        }
    }

    fn number(&mut self, name: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.out, " {name}=\"{value}\"");
    }
}

/// Builds a tree piece by piece.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    open: Vec<Element>,
    done: Element,
}

impl Builder {
    /// The tree, once its root is closed.
    pub(crate) fn finish(self) -> Element {
        self.done
    }

    fn add(&mut self, element: Element) {
        match self.open.last_mut() {
            Some(parent) => parent.children.push(Node::Element(element)),
            None => self.done = element,
        }
    }
}

impl Sink for Builder {
    fn open(&mut self, name: &str) {
        self.open.push(Element::new(name));
    }

    fn attr(&mut self, name: &str, value: &str) {
        if let Some(element) = self.open.last_mut() {
            element.attributes.push((name.to_owned(), value.to_owned()));
        }
    }

    fn close(&mut self, _name: &str) {
        if let Some(element) = self.open.pop() {
            self.add(element);
        }
    }

    fn element(&mut self, element: &Element) {
        self.add(element.clone());
    }
}

/// Names that were already used, without quadratic work on long lists.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    few: Vec<&'a str>,
    many: std::collections::HashSet<&'a str>,
}

impl<'a> Names<'a> {
    pub(crate) fn new(expected: usize) -> Self {
        Self { few: Vec::with_capacity(expected.min(FEW)), many: std::collections::HashSet::new() }
    }

    /// Takes note of a name; false if it was there.
    pub(crate) fn is_new(&mut self, name: &'a str) -> bool {
        if self.few.contains(&name) {
            return false;
        }
        if self.few.len() < FEW {
            self.few.push(name);
            return true;
        }
        self.many.insert(name)
    }
}

fn push_name(out: &mut String, name: &str) {
    if text::is_name(name) {
        out.push_str(name);
    } else {
        // Only a mistake of ours can get here, and the document must stay one.
        out.push_str("invalid-name");
    }
}

fn escape(out: &mut String, text: &str, attribute: bool) {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| is_special(byte, attribute)) {
        let (plain, special) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = special.chars();
        match chars.next() {
            Some('<') => out.push_str("&lt;"),
            Some('>') => out.push_str("&gt;"),
            Some('&') => out.push_str("&amp;"),
            Some('"') => out.push_str("&quot;"),
            Some(char) if !text::is_char(char) => out.push(char::REPLACEMENT_CHARACTER),
            Some(char) if char.is_ascii() => {
                let _ = write!(out, "&#x{:02X};", u32::from(char));
            }
            Some(char) => out.push(char),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
}

/// Bytes that need a second look. U+FFFE and U+FFFF begin with 0xEF.
fn is_special(byte: u8, attribute: bool) -> bool {
    match byte {
        b'"' | b'\n' | b'\t' => attribute,
        b'<' | b'>' | b'&' | 0..=0x1F | 0x7F | 0xEF => true,
        _ => false,
    }
}

const FEW: usize = 16;
