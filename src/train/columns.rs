//! What a person says of columns: which are categories whatever they look like, how people call them, and which are never
//! shown.

use clap::Args;

use crate::score::{FeatureSpec, Schema};

/// A column's name in one line, whatever it is.
pub(super) fn shown(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Options on columns, the same for training and importing.
#[derive(Clone, Debug, Default, Args)]
pub struct ColumnOptions {
    /// Columns whose numbers are codes of categories.
    #[arg(long, value_name = "COLUMN,COLUMN", value_delimiter = ',')]
    pub category: Vec<String>,
    /// What reasons call a column; may be given several times.
    #[arg(long, value_name = "COLUMN=TEXT", value_parser = label)]
    pub label: Vec<(String, String)>,
    /// Columns that are protected attributes, or stand in for one: never shown as a reason.
    #[arg(long, value_name = "COLUMN,COLUMN", value_delimiter = ',')]
    pub protected: Vec<String>,
}

impl ColumnOptions {
    /// Sets labels and what is protected; the error names a column that is no feature.
    pub(super) fn apply(&self, schema: &mut Schema) -> Result<(), String> {
        for (name, text) in &self.label {
            feature(schema, "--label", name)?.label = Some(text.clone());
        }
        for name in &self.protected {
            feature(schema, "--protected", name)?.protected = true;
        }
        Ok(())
    }
}

fn feature<'s>(schema: &'s mut Schema, option: &str, name: &str) -> Result<&'s mut FeatureSpec, String> {
    let found = schema.features.iter_mut().find(|feature| feature.name == name);
    found.ok_or_else(|| format!("{option}: column `{name}` is no feature"))
}

/// `age=Age in years`
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((column, text)) if !column.is_empty() && !text.is_empty() => Ok((column.into(), text.into())),
        _ => Err("expected COLUMN=TEXT".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Encoding;

    #[test]
    fn labels_and_protected_columns_are_set_by_name() {
        let feature = |name: &str| FeatureSpec::new(name, false, Encoding::Boolean { imputation: false });
        let mut schema = Schema { features: vec![feature("age"), feature("vip")] };
        let told = |text: &str| vec![label(text).unwrap()];
        let options = ColumnOptions {
            label: told("age=Age = years"),
            protected: vec!["vip".into()],
            ..Default::default()
        };
        options.apply(&mut schema).unwrap();
        let [age, vip] = schema.features.as_slice() else { panic!("two features") };
        assert_eq!((age.label(), age.protected, vip.protected), ("Age = years".to_owned(), false, true));
        let refused = |options: ColumnOptions, expected: &str| {
            let error = options.apply(&mut schema.clone()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        refused(ColumnOptions { label: told("job=Job"), ..Default::default() }, "--label: column `job`");
        refused(ColumnOptions { protected: vec!["job".into()], ..Default::default() }, "--protected: column");
        for wrong in ["age", "=Age", "age="] {
            assert!(label(wrong).is_err());
        }
    }
}
