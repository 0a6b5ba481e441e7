//! The XML dialect: what is read, what is refused, what is written.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[expect(unreachable_pub, reason = "shared with the fuzz target")]
mod second_opinion;

use pcmk_proto::limits::Limits;
use pcmk_proto::xml::{Element, Node, WriteXml, XmlError, text};
use proptest::prelude::*;

fn read(document: &str) -> Result<Element, XmlError> {
    Element::parse(document.as_bytes(), &Limits::default())
}

fn value(raw: &str) -> String {
    read(&format!("<a v=\"{raw}\"/>")).unwrap().attr("v").unwrap().to_owned()
}

fn written(value: &str) -> String {
    let mut element = Element::new("a");
    element.set("v", value);
    let text = element.to_xml();
    text.strip_prefix("<a v=\"").and_then(|t| t.strip_suffix("\"/>")).unwrap().to_owned()
}

fn attributes(count: usize) -> String {
    (0..count).map(|number| [" a", &number.to_string(), "=''"].concat()).collect()
}

fn limits(depth: usize, attributes: usize, elements: usize) -> Limits {
    Limits { depth, attributes, elements, ..Limits::default() }
}

#[test]
fn attribute_values_are_resolved_and_normalised() {
    for (raw, expected) in [
        ("a b", "a b"),
        ("a\nb\tc\rd\r\ne", "a b c d e"),
        ("a&#10;b&#x0A;c&#x9;d&#13;e", "a\nb\nc\td\re"),
        ("&lt;&gt;&amp;&quot;&apos;'", "<>&\"''"),
        ("&#233;&#x1F600;é", "é😀é"),
        ("&amp;lt;", "&lt;"),
        ("&#00065;", "A"),
        ("a>b", "a>b"),
    ] {
        assert_eq!(value(raw), expected, "{raw:?}");
    }
}

#[test]
fn text_comments_and_instructions() {
    let tree = read(
        "\u{FEFF}<?xml version='1.0' encoding=\"utf-8\" standalone='yes'?>\n<!-- c --><?pi x?>\n\
         <a>x&#65;\r\n<!-- - -->y<?pi?> z<![CDATA[<&]]]]><![CDATA[]]><b/>&amp;</a >\n<!--e-->\n",
    );
    let text = |text: &str| Node::Text(text.into());
    let expected = [
        text("xA\ny z"),
        Node::CData("<&]]".into()),
        Node::CData(String::new()),
        Node::Element(Element::new("b")),
        text("&"),
    ];
    assert_eq!(tree.unwrap().children, expected);
    // roxmltree keeps the carriage return here; libxml2 and expat do as we do.
    assert_eq!(read("<a>\r\r&lt;\r</a>").unwrap().children, [text("\n\n<\n")]);
}

#[test]
fn malformed_documents_are_refused() {
    for document in [
        "",
        " ",
        "x",
        "<a>",
        "<a",
        "</a>",
        "<a></b>",
        "<a/><a/>",
        "<a/>x",
        "<a/>&amp;",
        "<a/><![CDATA[x]]>",
        "x<a/>",
        "<a/></a>",
        "<a><b></a></b>",
        "<>",
        "< a/>",
        "<a/ >",
        "<1a/>",
        "<a 1b='x'/>",
        "<a b/>",
        "<a b=x/>",
        "<a b='x'c='y'/>",
        "<a b='x/>",
        "<a b=\"<\"/>",
        "<a b='&'/>",
        "<a b='&;'/>",
        "<a b='&nbsp;'/>",
        "<a b='&#;'/>",
        "<a b='&#x;'/>",
        "<a b='&#X41;'/>",
        "<a b='&#+65;'/>",
        "<a b='&#0;'/>",
        "<a b='&#x8;'/>",
        "<a b='&#xD800;'/>",
        "<a b='&#xFFFE;'/>",
        "<a b='&#x110000;'/>",
        "<a b='&#99999999999;'/>",
        "<a b='&lt'/>",
        "<a b='1' b='1'/>",
        "<a>&nbsp;</a>",
        "<a>&</a>",
        "<a>&lt</a>",
        "<a>]]></a>",
        "<a><![CDATA[</a>",
        "<a><!-- -- --></a>",
        "<a><!-- ---></a>",
        "<a><!x></a>",
        "<a><?xml version='1.0'?></a>",
        "<a><?XML?></a>",
        "<a><??></a>",
        " <?xml version='1.0'?><a/>",
        "<?xml?><a/>",
        "<?xml encoding='utf-8'?><a/>",
        "<?xml version='1.0' encoding='utf-16'?><a/>",
        "<?xml version='2.0'?><a/>",
        "<a>\u{0}</a>",
        "<a b='\u{1}'/>",
        "<a>\u{FFFF}</a>",
        "<a\u{2028}b='x'/>",
        "<a b='x' \u{A0}/>",
    ] {
        let error = read(document).unwrap_err();
        assert!(!error.to_string().is_empty());
        assert!(!matches!(error, XmlError::TooDeep { .. }), "{document:?}: {error}");
    }
    let not_utf8 = Element::parse(b"<a b='\xE9'/>", &Limits::default());
    assert_eq!(not_utf8, Err(XmlError::NotUtf8 { at: 6 }));
}

#[test]
fn document_types_are_refused_before_they_do_anything() {
    let mut bomb = String::from("<!DOCTYPE a [<!ENTITY e0 'ha'>");
    for level in 1..100 {
        let below = level - 1;
        bomb.push_str(
            &["<!ENTITY e", &level.to_string(), " '", &format!("&e{below};").repeat(2), "'>"].concat(),
        );
    }
    bomb += "]><a>&e99;</a>";
    assert_eq!(read(&bomb), Err(XmlError::DocType { at: 0 }));
    let external = "<?xml version='1.0'?><!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>";
    assert_eq!(read(external), Err(XmlError::DocType { at: 21 }));
}

#[test]
fn depth_is_limited_exactly_and_refused_at_the_limit() {
    let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
    for (depth, fits) in [(9, true), (10, true), (11, false)] {
        let result = Element::parse(nested(depth).as_bytes(), &limits(10, 9, 99));
        assert_eq!(result.is_ok(), fits, "{depth}");
    }
    // A million levels: refused where the limit is passed, the rest is not looked at.
    let bomb = "<a>".repeat(1_000_000);
    assert_eq!(read(&bomb), Err(XmlError::TooDeep { at: 256 * 3, limit: 256 }));
    let unlimited = limits(usize::MAX, 9, 9_999_999);
    assert_eq!(
        Element::parse(bomb.as_bytes(), &unlimited),
        Err(XmlError::TooDeep { at: 1024 * 3, limit: 1024 }),
        "never deeper than recursion could bear"
    );
}

#[test]
fn attributes_are_limited_exactly() {
    let element = |count: usize| format!("<a{}/>", attributes(count));
    for (count, fits) in [(99, true), (100, true), (101, false)] {
        let result = Element::parse(element(count).as_bytes(), &limits(9, 100, 999));
        assert_eq!(result.is_ok(), fits, "{count}");
    }
    let error = XmlError::TooManyAttributes { at: 0, limit: 4096 };
    assert_eq!(read(&element(100_000)), Err(error));

    let many = format!("<a>{}</a>", "<b c='' d=''/>".repeat(10));
    assert_eq!(
        Element::parse(many.as_bytes(), &limits(9, 9, 9)),
        Err(XmlError::TooManyElements { at: 3 + 14 * 8, limit: 9 })
    );
    let dense = format!("<a>{}</a>", "<b c='' d='' e=''/>".repeat(8));
    assert_eq!(
        Element::parse(dense.as_bytes(), &limits(9, 9, 9)),
        Err(XmlError::TooManyAttributes { at: 3 + 19 * 6, limit: 18 }),
        "in all elements together"
    );
}

#[test]
fn elements_and_cdata_sections_are_limited_exactly() {
    for piece in ["<b/>", "<b></b>", "<![CDATA[]]>"] {
        for (count, fits) in [(98, true), (99, true), (100, false)] {
            let document = format!("<a>{}</a>", piece.repeat(count));
            let result = Element::parse(document.as_bytes(), &limits(9, 9, 100));
            assert_eq!(result.is_ok(), fits, "{count} {piece}");
        }
    }
}

#[test]
fn one_name_many_times_is_found_without_comparing_all_pairs() {
    let duplicate = XmlError::DuplicateAttribute { at: 0, name: "a3999".into() };
    assert_eq!(read(&format!("<a{} a3999=''/>", attributes(4000))), Err(duplicate));
    assert!(read("<a B='' b=''/>").is_ok(), "case matters");
}

#[test]
fn errors_do_not_repeat_what_a_peer_sent_at_length() {
    let long = "x".repeat(1_000_000);
    for document in [
        format!("<a {long}='1' {long}='2'/>"),
        format!("<a b='&{long};'/>"),
        format!("<a></{long}>"),
        format!("<{long}>"),
        format!("<1{long}/>"),
    ] {
        let error = read(&document).unwrap_err().to_string();
        assert!(error.len() < 400, "{error}");
    }
}

#[test]
fn values_are_escaped_as_pacemaker_does() {
    for (value, expected) in [
        ("plain", "plain"),
        ("<>&\"'", "&lt;&gt;&amp;&quot;'"),
        ("out line1\nout\ttab\r\n", "out line1&#x0A;out&#x09;tab&#x0D;&#x0A;"),
        ("\u{7F}é€😀", "&#x7F;é€😀"),
        ("\u{0}\u{7}\u{1B}[1m\u{FFFE}\u{FEFF}ﬀ", "\u{FFFD}\u{FFFD}\u{FFFD}[1m\u{FFFD}\u{FEFF}ﬀ"),
    ] {
        assert_eq!(written(value), expected);
    }
    let mut element = Element::new("a");
    element.children.push(Node::Text("<\n\t\r\"'>\u{1}".into()));
    element.children.push(Node::CData("a]]>b\rc]".into()));
    assert_eq!(
        element.to_xml(),
        "<a>&lt;\n\t&#x0D;\"'&gt;\u{FFFD}<![CDATA[a]]]]><![CDATA[>b]]>&#x0D;<![CDATA[c]]]></a>"
    );
}

#[test]
fn impossible_names_and_duplicates_are_not_written() {
    let mut element = Element::new("a b");
    for name in ["", "1a", "a b", "a/b", "a=\"x\" c", "ok", "ok", "é"] {
        element.attributes.push((name.into(), "v".into()));
    }
    assert_eq!(element.to_xml(), "<invalid-name ok=\"v\" é=\"v\"/>");
}

#[test]
fn a_deep_tree_made_by_hand_is_written_and_dropped() {
    let mut tree = Element::new("a");
    for _ in 0..200_000 {
        let mut outer = Element::new("a");
        outer.push_child(tree);
        tree = outer;
    }
    assert_eq!(tree.to_xml().len(), 200_000 * 7 + 4);
}

#[test]
fn elements_are_easy_to_work_with() {
    let mut tree = read("<a x='1'>t<b/><c y='2'/><c/></a>").unwrap();
    assert_eq!((tree.attr("x"), tree.attr("X")), (Some("1"), None));
    assert_eq!(tree.first_child_element().unwrap().name, "b");
    assert_eq!(tree.child("c").unwrap().attr("y"), Some("2"));
    tree.set("x", "3").set("z", "4");
    assert_eq!(tree.take_child("c").unwrap().attr("y"), Some("2"));
    assert_eq!(tree.take_first_child_element().unwrap().name, "b");
    assert_eq!(tree.to_xml(), "<a x=\"3\" z=\"4\">t<c/></a>");
}

#[test]
fn output_of_programs_becomes_text() {
    assert_eq!(text::sanitize(b"ok\r\n\tdone", 100), "ok\r\n\tdone");
    assert_eq!(
        text::sanitize(b"a\x00\x07\xFF\xC3b\xED\xA0\x80", 100),
        "a\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}b\u{FFFD}\u{FFFD}\u{FFFD}"
    );
    for cap in 0..8 {
        let cut = text::sanitize("ééé\u{1}".as_bytes(), cap);
        assert_eq!(cut, "é".repeat((cap / 2).min(3)), "{cap}");
    }
    assert_eq!(text::sanitize(&vec![0xFF; 1_000_000], 1000).len(), 999);
    assert_eq!(text::sanitize("x".repeat(1_000_000).as_bytes(), 1000).len(), 1000);
}

#[test]
fn what_looks_like_a_namespace_is_an_attribute() {
    let document = "<a xmlns=\"u:1\" b:xmlns=\"u:2\" c=\"3\"/>";
    let ours = read(document).unwrap();
    let values = ["xmlns", "b:xmlns", "c"].map(|name| ours.attr(name));
    assert_eq!(values, [Some("u:1"), Some("u:2"), Some("3")]);
    assert_eq!(ours.to_xml(), document);
    assert_eq!(
        second_opinion::compare(
            "<a b:xmlns=\"u:2\" c=\"3\"/>",
            &read("<a b:xmlns=\"u:2\" c=\"3\"/>").unwrap()
        ),
        Some(Ok(()))
    );
}

fn any_text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        "[a-z]{0,8}",
        "[ <>&\"'\n\r\t\\]\\[;#x]{0,8}",
        "\\PC{0,5}",
        Just("\u{0}\u{1F}\u{FFFE}é\u{10FFFF}".to_owned()),
    ]
    .boxed()
}

fn any_element() -> impl Strategy<Value = Element> {
    let name = "[a-zA-Z_é][a-zA-Z0-9_.é-]{0,6}";
    let attributes = prop::collection::vec((name, any_text()), 0..5);
    let leaf = (name, attributes)
        .prop_map(|(name, attributes)| {
            let mut element = Element::new(name);
            for (name, value) in attributes {
                element.set(name, value);
            }
            element
        })
        .boxed();
    leaf.clone().prop_recursive(5, 40, 5, move |inner| {
        let node = prop_oneof![
            inner.prop_map(Node::Element),
            any_text().prop_map(Node::Text),
            any_text().prop_map(Node::CData),
        ];
        (leaf.clone(), prop::collection::vec(node, 0..5)).prop_map(|(mut element, children)| {
            element.children = children;
            element
        })
    })
}

proptest! {
    #[test]
    fn what_is_written_can_be_read_by_anyone(element in any_element()) {
        let document = element.to_xml();
        let ours = read(&document).unwrap();
        prop_assert_eq!(ours.to_xml(), document.as_str(), "reading and writing changes nothing");
        prop_assert_eq!(second_opinion::compare(&document, &ours), Some(Ok(())));
        // Values come back as they were, but for characters that XML cannot carry.
        for ((name, value), (read_name, read_value)) in element.attributes.iter().zip(&ours.attributes) {
            prop_assert_eq!(name, read_name);
            let legal: String =
                value.chars().map(|c| if text::is_char(c) { c } else { '\u{FFFD}' }).collect();
            prop_assert_eq!(&legal, read_value);
        }
    }

    #[test]
    fn damaged_documents_are_read_alike_or_refused(
        element in any_element(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), "[<>&;\"'/!?a =\\]-]?"), 1..4),
    ) {
        let mut document: Vec<char> = element.to_xml().chars().collect();
        for (place, piece) in damage {
            let at = place.index(document.len());
            document.splice(at..=at, piece.chars());
            if document.is_empty() {
                break;
            }
        }
        let document: String = document.into_iter().collect();
        if let Ok(ours) = read(&document) {
            prop_assert_eq!(read(&ours.to_xml()).unwrap(), ours.clone());
            if let Some(verdict) = second_opinion::compare(&document, &ours) {
                prop_assert_eq!(verdict, Ok(()));
            }
        }
    }
}
