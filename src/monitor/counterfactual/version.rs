//! Which version on disk is meant: a name among the models, or the path of a folder.

use std::path::Path;

use super::run::ReplayError;
use crate::registry::{Trust, Version, folders, is_name};

/// The version, and the model whose scores are read.
pub(super) fn find(
    models: &Path,
    trust: &Trust,
    with: &str,
    model: Option<&str>,
) -> Result<(Version, String), ReplayError> {
    if with.contains(['/', '\\']) {
        // Its own name and its model's stand in the path, however it was told.
        let folder = std::fs::canonicalize(with)
            .map_err(|source| ReplayError::Folder { path: with.into(), source })?;
        let version = Version::load_trusted(&folder, trust)?;
        let model = model.map_or_else(|| version.id.model.to_string(), str::to_owned);
        return Ok((version, model));
    }
    let model = match model {
        Some(model) => model.to_owned(),
        None => only(models, with)?,
    };
    if !is_name(&model) || !is_name(with) || !models.join(&model).join(with).is_dir() {
        let (models, what) = (models.to_owned(), format!("{model}/{with}"));
        return Err(ReplayError::Nothing { models, what });
    }
    Ok((Version::load_trusted(&models.join(&model).join(with), trust)?, model))
}

/// The only model that has a version of this name.
fn only(models: &Path, with: &str) -> Result<String, ReplayError> {
    let all = folders(models).map_err(|source| ReplayError::Folder { path: models.into(), source })?;
    let has = |model: &&std::sync::Arc<str>| is_name(with) && models.join(&***model).join(with).is_dir();
    let mut found: Vec<String> = all.iter().filter(has).map(ToString::to_string).collect();
    found.sort_unstable();
    match found.len() {
        0 => Err(ReplayError::Nothing { models: models.to_owned(), what: with.to_owned() }),
        1 => Ok(found.swap_remove(0)),
        _ => Err(ReplayError::Several { with: with.to_owned(), found: found.join(", ") }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::fixture;

    #[test]
    fn a_version_is_found_by_name_or_path() {
        let root = tempfile::tempdir().unwrap();
        let models = root.path().join("models");
        for (model, version) in [("lead", "1"), ("lead", "2"), ("deal", "2")] {
            fixture::write(&models, model, version, 0.5);
        }
        let elsewhere = fixture::write(root.path(), "lead", "9", 0.5);
        let elsewhere = elsewhere.to_str().unwrap();
        let check = |with: &str, model: Option<&str>, expected: Result<&str, &str>| match find(
            &models,
            &Trust::default(),
            with,
            model,
        ) {
            Ok((version, model)) => {
                assert_eq!(Ok(format!("{} on {model}", version.id).as_str()), expected);
            }
            Err(error) => {
                let error = error.to_string().replace(&*models.to_string_lossy(), "models");
                assert_eq!(Err(error.as_str()), expected, "{with} {model:?}");
            }
        };
        check("1", None, Ok("lead/1 on lead"));
        check("2", Some("deal"), Ok("deal/2 on deal"));
        check("2", None, Err("several models have a version \"2\" (deal, lead): name one with --model"));
        check("3", None, Err("no version \"3\" in models"));
        check("3", Some("lead"), Err("no version \"lead/3\" in models"));
        check("1", Some(".."), Err("no version \"../1\" in models"));
        check("..", None, Err("no version \"..\" in models"));
        check(elsewhere, None, Ok("lead/9 on lead"));
        check(&format!("{elsewhere}/../9"), Some("deal"), Ok("lead/9 on deal"));
        check("./nowhere", None, Err("cannot read ./nowhere"));
        std::fs::write(models.join("lead/1/manifest.json"), "{}").unwrap();
        assert!(matches!(find(&models, &Trust::default(), "1", None), Err(ReplayError::Version(_))));
    }
}
