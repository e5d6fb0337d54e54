//! XML: elements become members, by their names without namespaces; attributes are left out.
//!
//! An element that occurs several times is an array, one that holds only text is text, and `xsi:nil="true"` is null. A
//! document type is refused, and with it every entity but the five that XML itself defines.

use quick_xml::{
    Reader,
    events::{BytesDecl, BytesRef, BytesStart, Event},
};

use super::Out;
use crate::lead::Skip;

/// Elements within elements. XML-RPC takes three for each level of its values.
const MAX_DEPTH: usize = 300;
/// Elements of one body; what is kept of each takes more memory than the shortest one does in the body.
const MAX_ELEMENTS: usize = 100_000;

/// The document as `{"Root":…}`.
pub(super) fn write(body: &str, out: &mut Out<'_>) -> Result<(), Skip> {
    let tree = Tree::parse(body)?;
    let root = tree.root()?;
    out.open('{');
    out.key(&root.name);
    tree.value(root, out);
    out.close('}');
    Ok(())
}

/// A document's elements in the order in which they start.
#[derive(Debug, Default)]
pub(super) struct Tree {
    elements: Vec<Element>,
}

/// One element.
#[derive(Debug, Default)]
pub(super) struct Element {
    /// Without its namespace.
    pub(super) name: Box<str>,
    /// The text in it, that of its children left out.
    pub(super) text: String,
    nil: bool,
    first_child: Option<u32>,
    last_child: Option<u32>,
    next: Option<u32>,
}

impl Tree {
    /// Reads a document.
    pub(super) fn parse(text: &str) -> Result<Self, Skip> {
        if text.bytes().any(|byte| byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')) {
            return Err(Skip::Parse);
        }
        let mut reader = Reader::from_str(text);
        let mut tree = Self::default();
        let mut open = Vec::new();
        loop {
            match reader.read_event().map_err(|_| Skip::Parse)? {
                Event::Start(tag) => tree.enter(&tag, &mut open)?,
                Event::Empty(tag) => {
                    tree.enter(&tag, &mut open)?;
                    open.pop();
                }
                Event::End(_) => _ = open.pop(),
                Event::Text(text) => tree.add(&open, &text.xml10_content())?,
                Event::CData(text) => tree.add(&open, &text.xml10_content())?,
                Event::GeneralRef(name) => {
                    tree.add(&open, referred(&name)?.encode_utf8(&mut [0; 4]))?;
                }
                Event::Decl(declared) => is_utf8(&declared, text)?,
                Event::DocType(_) => return Err(Skip::Parse),
                Event::Comment(_) | Event::PI(_) => {}
                Event::Eof if open.is_empty() => return Ok(tree),
                Event::Eof => return Err(Skip::Parse),
            }
        }
    }

    /// The outermost element.
    pub(super) fn root(&self) -> Result<&Element, Skip> {
        self.elements.first().ok_or(Skip::Parse)
    }

    /// The elements right inside another.
    pub(super) fn children<'t>(&'t self, of: &Element) -> impl Iterator<Item = &'t Element> {
        let at = |index: Option<u32>| self.elements.get(index? as usize);
        std::iter::successors(at(of.first_child), move |child| at(child.next))
    }

    /// The only child that is called `name`.
    pub(super) fn child(&self, of: &Element, name: &str) -> Result<&Element, Skip> {
        let mut named = self.children(of).filter(|child| *child.name == *name);
        match (named.next(), named.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(Skip::Parse),
        }
    }

    fn enter(&mut self, tag: &BytesStart<'_>, open: &mut Vec<u32>) -> Result<(), Skip> {
        let index = u32::try_from(self.elements.len()).map_err(|_| Skip::Parse)?;
        let is_second_root = open.is_empty() && index > 0;
        if is_second_root || open.len() == MAX_DEPTH || self.elements.len() == MAX_ELEMENTS {
            return Err(Skip::Parse);
        }
        let name = tag.local_name().as_ref().into();
        self.elements.push(Element { name, nil: is_nil(tag), ..Element::default() });
        if let Some(parent) = open.last().and_then(|parent| self.elements.get_mut(*parent as usize)) {
            let before = parent.last_child.replace(index);
            match before.and_then(|before| self.elements.get_mut(before as usize)) {
                Some(before) => before.next = Some(index),
                None => parent_first(&mut self.elements, open.last(), index),
            }
        }
        open.push(index);
        Ok(())
    }

    fn add(&mut self, open: &[u32], text: &str) -> Result<(), Skip> {
        match open.last().and_then(|element| self.elements.get_mut(*element as usize)) {
            Some(element) => element.text.push_str(text),
            None if text.trim_ascii().is_empty() => {}
            None => return Err(Skip::Parse),
        }
        Ok(())
    }

    fn value(&self, element: &Element, out: &mut Out<'_>) {
        if element.nil {
            return out.raw("null");
        }
        if element.first_child.is_none() {
            return out.string(&element.text);
        }
        let mut children: Vec<&Element> = self.children(element).collect();
        // Stable: those of one name stay in their order.
        children.sort_by(|a, b| a.name.cmp(&b.name));
        out.open('{');
        for same in children.chunk_by(|a, b| a.name == b.name) {
            let Some(first) = same.first() else { continue };
            out.key(&first.name);
            if same.len() > 1 {
                out.open('[');
            }
            for child in same {
                self.value(child, out);
            }
            if same.len() > 1 {
                out.close(']');
            }
        }
        out.close('}');
    }
}

fn parent_first(elements: &mut [Element], parent: Option<&u32>, child: u32) {
    if let Some(parent) = parent.and_then(|parent| elements.get_mut(*parent as usize)) {
        parent.first_child = Some(child);
    }
}

fn is_nil(tag: &BytesStart<'_>) -> bool {
    let mut attributes = tag.attributes();
    // Looking for doubles takes a comparison of each with each.
    attributes.with_checks(false).flatten().any(|attribute| {
        let is_nil: &str = attribute.key.local_name().into_inner();
        is_nil == "nil" && matches!(&*attribute.value, "true" | "1")
    })
}

/// What `&name;` or `&#1234;` stands for.
fn referred(name: &BytesRef<'_>) -> Result<char, Skip> {
    if let Some(char) = name.resolve_char_ref().map_err(|_| Skip::Parse)? {
        let is_allowed = char >= ' ' || matches!(char, '\t' | '\n' | '\r');
        return if is_allowed { Ok(char) } else { Err(Skip::Parse) };
    }
    match &**name {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err(Skip::Parse),
    }
}

/// Whether text that was read as UTF-8 is what its sender wrote.
fn is_utf8(declared: &BytesDecl<'_>, text: &str) -> Result<(), Skip> {
    match declared.encoding() {
        Some(Ok(name)) if name.eq_ignore_ascii_case("utf-8") || text.is_ascii() => Ok(()),
        None => Ok(()),
        _ => Err(Skip::Parse),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Mode, made};
    use super::*;

    #[test]
    fn elements_are_members() {
        for (body, expected) in [
            ("<a/>", Ok(r#"{"a":""}"#)),
            (" <a> x </a>\n", Ok(r#"{"a":" x "}"#)),
            ("<?xml version='1.0' encoding='UTF-8'?><!-- c --><a><b>1</b></a>", Ok(r#"{"a":{"b":"1"}}"#)),
            ("<s:a xmlns:s='u'><s:b>1</s:b><c/><b>2</b></s:a>", Ok(r#"{"a":{"b":["1","2"],"c":""}}"#)),
            ("<a><b xsi:nil='true'/><c nil='false'>x</c></a>", Ok(r#"{"a":{"b":null,"c":"x"}}"#)),
            ("<a>1 &lt; 2 &amp; &#233;&#x1F600;&quot;&apos;&gt;</a>", Ok(r#"{"a":"1 < 2 & é😀\"'>"}"#)),
            ("<a><![CDATA[<&amp;>]]>x</a>", Ok(r#"{"a":"<&amp;>x"}"#)),
            ("<a>mixed<b>1</b></a>", Ok(r#"{"a":{"b":"1"}}"#)),
            ("\u{feff}<a>é</a>", Ok(r#"{"a":"é"}"#)),
            ("<?xml version='1.0' encoding='ISO-8859-1'?><a>x</a>", Ok(r#"{"a":"x"}"#)),
            ("<?xml version='1.0' encoding='ISO-8859-1'?><a>é</a>", Err(Skip::Parse)),
            ("<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", Err(Skip::Parse)),
            ("<a>&b;</a>", Err(Skip::Parse)),
            ("<a>&#0;</a>", Err(Skip::Parse)),
            ("<a>\0</a>", Err(Skip::Parse)),
            ("<a>&#xD800;</a>", Err(Skip::Parse)),
            ("<a><b></a></b>", Err(Skip::Parse)),
            ("<a><b>", Err(Skip::Parse)),
            ("<a/><b/>", Err(Skip::Parse)),
            ("<a/>x", Err(Skip::Parse)),
            ("</a>", Err(Skip::Parse)),
            ("<a", Err(Skip::Parse)),
            ("", Err(Skip::Parse)),
            ("text", Err(Skip::Parse)),
        ] {
            let made = made(Mode::Xml, None, body);
            assert_eq!(made.as_deref().map_err(|skip| *skip), expected, "{body:?}");
        }
    }

    #[test]
    fn what_is_deep_or_many_is_refused() {
        let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
        assert!(made(Mode::Xml, None, &nested(100)).is_ok());
        assert_eq!(made(Mode::Xml, None, &nested(10_000)), Err(Skip::Parse));
        assert!(made(Mode::Xml, None, &format!("<r>{}</r>", "<a/>".repeat(90_000))).is_ok());
        assert_eq!(made(Mode::Xml, None, &format!("<r>{}</r>", "<a/>".repeat(200_000))), Err(Skip::Parse));
        assert!(made(Mode::Xml, None, &format!("<r {}/>", "a='1' ".repeat(50_000))).is_ok());
    }
}
