//! XML-RPC: a call is `{"method":…,"params":[…]}`, an answer `{"result":…}` or `{"fault":…}`.

use super::{
    Out,
    xml::{Element, Tree},
};
use crate::lead::Skip;

/// A call or an answer.
pub(super) fn write(body: &str, out: &mut Out<'_>) -> Result<(), Skip> {
    let tree = &Tree::parse(body)?;
    let root = tree.root()?;
    out.open('{');
    match &*root.name {
        "methodCall" => {
            out.member("method", tree.child(root, "methodName")?.text.trim());
            out.key("params");
            out.open('[');
            // A call without parameters may leave the element out.
            for params in tree.children(root).filter(|child| *child.name == *"params") {
                for param in tree.children(params) {
                    value(tree, tree.child(param, "value")?, out)?;
                }
            }
            out.close(']');
        }
        "methodResponse" => match tree.child(root, "fault") {
            Ok(fault) => {
                out.key("fault");
                value(tree, tree.child(fault, "value")?, out)?;
            }
            Err(_) => {
                let param = tree.child(tree.child(root, "params")?, "param")?;
                out.key("result");
                value(tree, tree.child(param, "value")?, out)?;
            }
        },
        _ => return Err(Skip::Content),
    }
    out.close('}');
    Ok(())
}

fn value(tree: &Tree, element: &Element, out: &mut Out<'_>) -> Result<(), Skip> {
    let mut types = tree.children(element);
    let Some(typed) = types.next() else {
        out.string(&element.text);
        return Ok(());
    };
    if types.next().is_some() {
        return Err(Skip::Parse);
    }
    match &*typed.name {
        "int" | "i1" | "i2" | "i4" | "i8" | "biginteger" => integer(typed.text.trim(), out),
        "double" | "float" | "bigdecimal" => decimal(typed.text.trim(), out),
        "boolean" => boolean(typed.text.trim(), out),
        "nil" => {
            out.raw("null");
            Ok(())
        }
        "array" => array(tree, tree.child(typed, "data")?, out),
        "struct" => members(tree, typed, out),
        // Text, dates and base64 are what they look like.
        _ => {
            out.string(&typed.text);
            Ok(())
        }
    }
}

fn integer(text: &str, out: &mut Out<'_>) -> Result<(), Skip> {
    let number: i128 = text.parse().map_err(|_| Skip::Parse)?;
    out.raw(&number.to_string());
    Ok(())
}

/// Digits stay as they are where JSON writes them so too.
fn decimal(text: &str, out: &mut Out<'_>) -> Result<(), Skip> {
    let number: f64 = text.parse().map_err(|_| Skip::Parse)?;
    match (serde_json::from_str::<f64>(text), number.is_finite()) {
        (Ok(_), _) => out.raw(text),
        (Err(_), true) => out.raw(&number.to_string()),
        // No number at all: whoever asks for it finds it missing.
        (Err(_), false) => out.raw("null"),
    }
    Ok(())
}

fn boolean(text: &str, out: &mut Out<'_>) -> Result<(), Skip> {
    match text {
        "1" | "true" => out.raw("true"),
        "0" | "false" => out.raw("false"),
        _ => return Err(Skip::Parse),
    }
    Ok(())
}

fn array(tree: &Tree, data: &Element, out: &mut Out<'_>) -> Result<(), Skip> {
    out.open('[');
    for item in tree.children(data) {
        value(tree, item, out)?;
    }
    out.close(']');
    Ok(())
}

fn members(tree: &Tree, typed: &Element, out: &mut Out<'_>) -> Result<(), Skip> {
    out.open('{');
    for member in tree.children(typed) {
        out.key(&tree.child(member, "name")?.text);
        value(tree, tree.child(member, "value")?, out)?;
    }
    out.close('}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Mode, made};
    use super::*;

    #[test]
    fn values_are_what_their_types_say() {
        for (value, expected) in [
            ("text", r#""text""#),
            ("", r#""""#),
            ("<string/>", r#""""#),
            ("<string> a &amp; b </string>", r#"" a & b ""#),
            ("<int> 12 </int>", "12"),
            ("<i4>-7</i4>", "-7"),
            ("<ex:i8>+007</ex:i8>", "7"),
            ("<double>12000.00</double>", "12000.00"),
            ("<double>-.5</double>", "-0.5"),
            ("<double>nan</double>", "null"),
            ("<ex:bigdecimal>1.10</ex:bigdecimal>", "1.10"),
            ("<boolean>1</boolean>", "true"),
            ("<boolean>0</boolean>", "false"),
            ("<nil/>", "null"),
            ("<dateTime.iso8601>20261122T08:05:17</dateTime.iso8601>", r#""20261122T08:05:17""#),
            ("<base64>AAEC</base64>", r#""AAEC""#),
            ("<array><data/></array>", "[]"),
            ("\n<array>\n<data>\n<value><int>1</int></value><value>x</value>\n</data></array>", r#"[1,"x"]"#),
            (
                "<struct><member><name>a</name><value><int>1</int></value></member>\
                 <member><name>a</name><value/></member></struct>",
                r#"{"a":1,"a":""}"#,
            ),
        ] {
            let call = format!(
                "<methodCall><methodName>m</methodName><params><param><value>{value}</value></param>\
                 </params></methodCall>"
            );
            let expected = format!(r#"{{"method":"m","params":[{expected}]}}"#);
            assert_eq!(made(Mode::XmlRpc, None, &call).as_deref(), Ok(&*expected), "{value}");
        }
    }

    #[test]
    fn calls_and_answers() {
        let fault = "<struct><member><name>faultCode</name><value><int>1</int></value></member></struct>";
        for (body, expected) in [
            ("<methodCall><methodName>m</methodName></methodCall>".to_owned(), Ok(r#"{"method":"m","params":[]}"#)),
            (
                "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><int>1102</int></value>\n</param>\n</params>\n</methodResponse>\n".to_owned(),
                Ok(r#"{"result":1102}"#),
            ),
            (
                format!("<methodResponse><fault><value>{fault}</value></fault></methodResponse>"),
                Ok(r#"{"fault":{"faultCode":1}}"#),
            ),
            ("<methodCall/>".to_owned(), Err(Skip::Parse)),
            ("<methodResponse/>".to_owned(), Err(Skip::Parse)),
            ("<Envelope/>".to_owned(), Err(Skip::Content)),
            ("<methodCall><methodName>m</methodName><params><param/></params></methodCall>".to_owned(), Err(Skip::Parse)),
        ] {
            let made = made(Mode::XmlRpc, None, &body);
            assert_eq!(made.as_deref().map_err(|skip| *skip), expected, "{body}");
        }
    }

    #[test]
    fn hostile_values_are_refused() {
        let answer = |value: &str| {
            let body = format!(
                "<methodResponse><params><param><value>{value}</value></param></params></methodResponse>"
            );
            made(Mode::XmlRpc, None, &body)
        };
        for value in [
            "<int>1.5</int>",
            "<int></int>",
            "<int>999999999999999999999999999999999999999999</int>",
            "<double>x</double>",
            "<boolean>yes</boolean>",
            "<array/>",
            "<struct><member/></struct>",
            "<int>1</int><int>2</int>",
        ] {
            assert_eq!(answer(value), Err(Skip::Parse), "{value}");
        }
        let nested =
            |depth: usize| "<array><data><value>".repeat(depth) + &"</value></data></array>".repeat(depth);
        assert!(answer(&nested(60)).is_ok());
        assert_eq!(answer(&nested(10_000)), Err(Skip::Parse));
    }
}
