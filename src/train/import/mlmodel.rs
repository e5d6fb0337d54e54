//! MLflow's model folder: `MLmodel` says which file is the model and what its columns are.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::{config, registry, train::TrainError};

/// The file that makes a folder an MLflow model.
const MLMODEL: &str = "MLmodel";

/// Longest `MLmodel` in bytes.
const MAX_MLMODEL: u64 = 1 << 20;

/// What the model is called where `MLmodel` does not say, or only says in which folder it is.
const NAMES: [&str; 5] = ["model.lgb", "model.ubj", "model.xgb", "model.json", "model.txt"];

/// A column as the signature has it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Input {
    /// Empty in the signature of a tensor.
    pub(super) name: String,
    /// `long`, `double`, `string`, `boolean`, ...
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    flavors: Flavors,
    signature: Option<Signature>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Flavors {
    lightgbm: Option<Flavor>,
    xgboost: Option<Flavor>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Flavor {
    data: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Signature {
    /// JSON in a text.
    inputs: Option<String>,
}

/// The model file of an MLflow folder, and its columns where all of them have names.
pub(super) fn read(folder: &Path) -> Result<(PathBuf, Vec<Input>), TrainError> {
    let path = folder.join(MLMODEL);
    let refuse = |reason: String| TrainError::data(&path, reason);
    let bytes = registry::read(folder, MLMODEL, MAX_MLMODEL).map_err(|reason| refuse(reason.to_string()))?;
    let text = str::from_utf8(&bytes).map_err(|_| refuse("not UTF-8".into()))?;
    let json = config::yaml(text).map_err(|problem| refuse(problem.to_string()))?;
    let document: Document = serde_path_to_error::deserialize(json)
        .map_err(|error| refuse(format!("{}: {}", error.path(), error.inner())))?;
    let Flavors { lightgbm, xgboost } = document.flavors;
    let Some(flavor) = lightgbm.or(xgboost) else {
        return Err(refuse("flavors: neither lightgbm nor xgboost".into()));
    };
    let file = find(folder, flavor.data.as_deref()).map_err(refuse)?;
    let inputs = document.signature.and_then(|signature| signature.inputs);
    let inputs: Option<Vec<Input>> = inputs
        .map(|json| serde_json::from_str(&json))
        .transpose()
        .map_err(|error| refuse(format!("signature.inputs: {error}")))?;
    let named = inputs.filter(|inputs| inputs.iter().all(|input| !input.name.is_empty()));
    Ok((file, named.unwrap_or_default()))
}

/// The file that `data` names, or the first of the usual names in the folder it names, in the model's or in `data/`.
fn find(folder: &Path, data: Option<&str>) -> Result<PathBuf, String> {
    let wrong = |reason: &str| Err(format!("flavors: data {reason}"));
    let named = data.map(Path::new);
    if named.is_some_and(|path| !path.components().all(|part| matches!(part, Component::Normal(_)))) {
        return wrong("leaves the folder");
    }
    let named = named.map(|path| folder.join(path));
    let folders = match &named {
        Some(path) if path.is_dir() => vec![path.clone()],
        Some(_) => Vec::new(),
        None => vec![folder.to_owned(), folder.join("data")],
    };
    let usual = folders.iter().flat_map(|folder| NAMES.map(|name| folder.join(name)));
    let Some(found) = named.into_iter().chain(usual).find(|path| path.is_file()) else {
        return wrong("names no file that is there");
    };
    // A link may lead out of the folder too.
    match (found.canonicalize(), folder.canonicalize()) {
        (Ok(real), Ok(root)) if real.starts_with(&root) => Ok(found),
        _ => wrong("leaves the folder"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SIGNATURE: &str = r#"signature:
  inputs: '[{"type": "long", "name": "age", "required": true}, {"type": "string",
    "name": "job", "required": true}]'
"#;

    fn folder(mlmodel: &str, files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MLMODEL), mlmodel).unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        for file in files {
            fs::write(folder.path().join(file), "tree").unwrap();
        }
        folder
    }

    #[test]
    fn the_model_is_found_where_mlflow_puts_it() {
        let check = |mlmodel: &str, files: &[&str], expected: &str| {
            let folder = folder(mlmodel, files);
            let (file, _) = read(folder.path()).unwrap();
            assert_eq!(file, folder.path().join(expected), "{mlmodel}");
        };
        check("flavors: {lightgbm: {data: model.lgb}}", &["model.lgb", "model.ubj"], "model.lgb");
        check("flavors: {xgboost: {data: data/model.xgb}}", &["data/model.xgb"], "data/model.xgb");
        check("flavors: {xgboost: {data: data}}", &["data/model.json", "model.ubj"], "data/model.json");
        check("flavors: {xgboost: {model_format: ubj}}", &["model.ubj"], "model.ubj");
        check("flavors: {lightgbm: {}, python_function: {data: x}}", &["data/model.lgb"], "data/model.lgb");
    }

    #[test]
    fn columns_come_from_the_signature_where_all_have_names() {
        let columns = |signature: &str| {
            let folder = folder(&format!("flavors: {{lightgbm: {{}}}}\n{signature}"), &["model.lgb"]);
            let inputs = read(folder.path()).unwrap().1;
            inputs.into_iter().map(|input| format!("{} {}", input.name, input.kind)).collect::<Vec<_>>()
        };
        assert_eq!(columns(SIGNATURE), ["age long", "job string"]);
        assert_eq!(columns("signature: {inputs: '[{\"type\": \"tensor\"}]'}\n"), [""; 0]);
        assert_eq!(columns("signature: {inputs: null}\n"), [""; 0]);
        assert_eq!(columns(""), [""; 0]);
    }

    #[test]
    fn a_folder_that_is_no_model_of_trees_is_refused() {
        let check = |mlmodel: &str, expected: &str| {
            let folder = folder(mlmodel, &["model.lgb"]);
            #[cfg(unix)]
            std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).unwrap();
            let error = read(folder.path()).unwrap_err().to_string();
            assert!(error.contains("MLmodel: ") && error.contains(expected), "{error}");
        };
        check("flavors: {sklearn: {}}", "neither lightgbm nor xgboost");
        check("flavors: [1]", "flavors");
        check("flavors: {lightgbm: {data: ../model.lgb}}", "leaves the folder");
        check("flavors: {lightgbm: {data: /etc/hostname}}", "leaves the folder");
        #[cfg(unix)]
        check("flavors: {lightgbm: {data: link}}", "leaves the folder");
        check("flavors: {lightgbm: {data: model.pkl}}", "names no file that is there");
        check("flavors: {lightgbm: {}}\nsignature: {inputs: '{'}", "signature.inputs");
        check("a: [", "not YAML");
        check(&format!("# {}", "x".repeat(MAX_MLMODEL as usize)), "larger than");
        let empty = tempfile::tempdir().unwrap();
        assert!(read(empty.path()).unwrap_err().to_string().contains("MLmodel: "));
    }
}
