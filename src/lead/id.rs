//! The forms of a record's id.

/// An id, and the other form that Salesforce gives the same record: 15 characters, or those and three more that say which
/// of them are capitals.
pub fn id_forms(id: &str) -> Vec<String> {
    let mut forms = vec![id.to_owned()];
    if id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        match (id.len(), id.get(..15)) {
            (15, _) => forms.push(format!("{id}{}", capitals(id))),
            (18, Some(short)) if id.get(15..) == Some(&*capitals(short)) => forms.push(short.to_owned()),
            _ => {}
        }
    }
    forms
}

fn capitals(id: &str) -> String {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let digit = |five: &[u8]| {
        let bits = five.iter().enumerate().filter(|(_, byte)| byte.is_ascii_uppercase()).map(|(i, _)| 1 << i);
        DIGITS.get(bits.sum::<usize>()).map_or('A', |digit| char::from(*digit))
    };
    id.as_bytes().chunks(5).map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_id_are_one_lead() {
        let check = |id: &str, expected: &[&str]| assert_eq!(id_forms(id), expected);
        // The example of Salesforce's own help.
        check("001A0000006Vm9u", &["001A0000006Vm9u", "001A0000006Vm9uIAC"]);
        check("001A0000006Vm9uIAC", &["001A0000006Vm9uIAC", "001A0000006Vm9u"]);
        check("001A0000006Vm9uIAD", &["001A0000006Vm9uIAD"]);
        check("lead-0000000012", &["lead-0000000012"]);
        check("7", &["7"]);
        check("ééééééééé", &["ééééééééé"]);
    }
}
