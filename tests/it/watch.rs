//! Models on disk change under a running process: each way files are really replaced, seen through inotify alone.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use leadwire::registry::{Live, Refusal, RefusalKind, Registry, Watch};
use tempfile::TempDir;

use crate::support::wait;

/// So long that no test passes by polling.
const NEVER: Duration = Duration::from_secs(3600);

/// A version is its weights; the manifest says what they must be.
fn load(folder: &Path) -> Result<String, std::io::Error> {
    let promised = fs::read_to_string(folder.join("manifest.json"))?;
    let weights = fs::read_to_string(folder.join("weights"))?;
    match promised == weights {
        true => Ok(weights),
        false => Err(std::io::Error::other("digest differs")),
    }
}

/// A directory of models under watch.
struct Bench {
    root: TempDir,
    live: Live<String>,
    refusals: Arc<Mutex<Vec<Refusal>>>,
    looks: Arc<AtomicUsize>,
    _watch: Watch,
}

impl Bench {
    /// Starts with what `set_up` has put into the folder of models.
    fn start(poll: Duration, set_up: impl FnOnce(&Path)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let models = root.path().join("models");
        fs::create_dir_all(models.join("lead")).unwrap();
        fs::create_dir(root.path().join("config")).unwrap();
        set_up(&models);
        let mut registry = Registry::new(&models, load);
        let live = registry.live();
        let refusals = Arc::new(Mutex::new(registry.look()));
        let looks = Arc::new(AtomicUsize::new(0));
        let (log, count) = (Arc::clone(&refusals), Arc::clone(&looks));
        let config = root.path().join("config/leadwire.yaml");
        let watch = Watch::start(
            &models,
            move || vec![config.clone()],
            poll,
            move || {
                log.lock().unwrap().extend(registry.look());
                count.fetch_add(1, Ordering::SeqCst);
            },
        );
        let bench = Self { root, live, refusals, looks, _watch: watch.unwrap() };
        // Before the first look the directories are not watched, and a test could change them too early.
        wait("the first look", || bench.looks.load(Ordering::SeqCst) > 0);
        bench
    }

    fn lead(&self) -> PathBuf {
        self.root.path().join("models/lead")
    }

    fn champion(&self) -> Option<String> {
        self.live.model("lead").map(|served| String::clone(&served.champion))
    }

    fn serves(&self, expected: &str) {
        wait(expected, || self.champion().as_deref() == Some(expected));
    }

    fn refuses(&self, kind: RefusalKind, part: &str) {
        let seen = || self.refusals.lock().unwrap().clone();
        let is_told = |refusal: &Refusal| refusal.kind == kind && refusal.to_string().contains(part);
        wait(part, || seen().iter().any(is_told));
    }

    /// Waits until the watcher has looked once more.
    fn looks_again(&self) {
        let before = self.looks.load(Ordering::SeqCst);
        fs::write(self.lead().join("touched"), before.to_string()).unwrap();
        wait("another look", || self.looks.load(Ordering::SeqCst) > before);
    }
}

/// A whole version, written beside and renamed in.
fn publish(model: &Path, version: &str, weights: &str) {
    let beside = model.join(format!("{version}.tmp"));
    fs::create_dir_all(&beside).unwrap();
    fs::write(beside.join("weights"), weights).unwrap();
    fs::write(beside.join("manifest.json"), weights).unwrap();
    fs::rename(beside, model.join(version)).unwrap();
}

fn deploy(model: &Path, text: &str) {
    let beside = model.join(".deployment.json");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, model.join("deployment.json")).unwrap();
}

#[test]
fn a_version_renamed_in_serves_and_a_deployment_moves_the_slots() {
    let bench = Bench::start(NEVER, |models| publish(&models.join("lead"), "1", "one"));
    bench.serves("one");
    publish(&bench.lead(), "2", "two");
    bench.serves("two");
    deploy(&bench.lead(), r#"{"champion":"1","challenger":{"version":"2","percent":10}}"#);
    bench.serves("one");
    let served = bench.live.model("lead").unwrap();
    assert_eq!(served.challenger.as_deref().map(String::as_str), Some("two"));
    assert_eq!(*bench.refusals.lock().unwrap(), []);
}

#[test]
fn a_deployment_written_in_place_is_read() {
    let bench = Bench::start(NEVER, |models| {
        publish(&models.join("lead"), "1", "one");
        publish(&models.join("lead"), "2", "two");
        fs::write(models.join("lead/deployment.json"), r#"{"champion":"1"}"#).unwrap();
    });
    bench.serves("one");
    fs::write(bench.lead().join("deployment.json"), r#"{"champion":"2"}"#).unwrap();
    bench.serves("two");
    fs::write(bench.lead().join("deployment.json"), r#"{"champion":"1"}"#).unwrap();
    bench.serves("one");
}

#[test]
fn a_manifest_written_in_place_is_loaded_once_it_is_true() {
    let bench = Bench::start(NEVER, |models| publish(&models.join("lead"), "1", "one"));
    fs::write(bench.lead().join("1/manifest.json"), "uno").unwrap();
    bench.refuses(RefusalKind::Version, "lead/1: digest differs");
    bench.serves("one");
    fs::write(bench.lead().join("1/weights"), "uno").unwrap();
    bench.serves("uno");
}

#[test]
fn a_half_written_folder_waits_until_it_is_whole() {
    let bench = Bench::start(NEVER, |models| publish(&models.join("lead"), "1", "one"));
    let two = bench.lead().join("2");
    fs::create_dir(&two).unwrap();
    bench.refuses(RefusalKind::Version, "manifest.json");
    fs::write(two.join("manifest.json"), "two").unwrap();
    bench.refuses(RefusalKind::Version, "lead/2: No such file");
    fs::write(two.join("weights"), "tw").unwrap();
    bench.refuses(RefusalKind::Version, "lead/2: digest differs");
    bench.serves("one");
    fs::write(two.join("weights"), "two").unwrap();
    bench.serves("two");
}

#[test]
fn a_refusal_is_told_once() {
    let bench = Bench::start(NEVER, |models| publish(&models.join("lead"), "1", "one"));
    deploy(&bench.lead(), "{");
    bench.refuses(RefusalKind::Deployment, "deployment.json is not a deployment");
    bench.looks_again();
    bench.looks_again();
    assert_eq!(bench.refusals.lock().unwrap().len(), 1);
    bench.serves("one");
    // Once it is whole and breaks again, that is news.
    deploy(&bench.lead(), r#"{"champion":"1"}"#);
    bench.looks_again();
    deploy(&bench.lead(), "{");
    wait("a second refusal", || bench.refusals.lock().unwrap().len() == 2);
}

#[test]
fn a_version_that_is_deleted_serves_from_memory_and_may_come_back() {
    let bench = Bench::start(NEVER, |models| {
        publish(&models.join("lead"), "1", "one");
        publish(&models.join("lead"), "2", "two");
    });
    fs::remove_dir_all(bench.lead().join("2")).unwrap();
    bench.refuses(RefusalKind::Gone, "lead/2");
    bench.serves("two");
    publish(&bench.lead(), "2", "zwei");
    bench.serves("zwei");
}

#[test]
fn the_way_back_to_the_champion_before_needs_no_file() {
    let bench = Bench::start(NEVER, |models| {
        publish(&models.join("lead"), "1", "one");
        publish(&models.join("lead"), "2", "two");
        fs::write(models.join("lead/deployment.json"), r#"{"champion":"2","previous":"1"}"#).unwrap();
    });
    bench.serves("two");
    assert_eq!(bench.live.model("lead").unwrap().previous.as_deref().map(String::as_str), Some("one"));
    fs::remove_dir_all(bench.lead().join("1")).unwrap();
    bench.refuses(RefusalKind::Gone, "lead/1");
    deploy(&bench.lead(), r#"{"champion":"1","previous":"2"}"#);
    bench.serves("one");
    // One that is broken takes nothing from the champion.
    deploy(&bench.lead(), r#"{"champion":"1","previous":"9"}"#);
    bench.refuses(RefusalKind::Version, "lead/9");
    bench.serves("one");
    assert!(bench.live.model("lead").unwrap().previous.is_none());
}

#[test]
fn a_deployment_that_is_deleted_leaves_the_slots_and_may_come_back() {
    let bench = Bench::start(NEVER, |models| {
        publish(&models.join("lead"), "1", "one");
        publish(&models.join("lead"), "2", "two");
        fs::write(models.join("lead/deployment.json"), r#"{"champion":"1"}"#).unwrap();
    });
    fs::remove_file(bench.lead().join("deployment.json")).unwrap();
    bench.refuses(RefusalKind::Gone, "no deployment any more");
    bench.serves("one");
    deploy(&bench.lead(), r#"{"champion":"2"}"#);
    bench.serves("two");
}

#[test]
fn a_champion_that_cannot_be_loaded_leaves_the_old_one() {
    let bench = Bench::start(NEVER, |models| publish(&models.join("lead"), "1", "one"));
    deploy(&bench.lead(), r#"{"champion":"7"}"#);
    bench.refuses(RefusalKind::Version, "lead/7: cannot read");
    bench.serves("one");
    publish(&bench.lead(), "7", "seven");
    bench.serves("seven");
}

/// What the kubelet does: a new dated folder, a new link beside, and one rename.
fn swap_config_map(mount: &Path, generation: usize, weights: &str) {
    let dated = format!("..2026_01_0{generation}");
    fs::create_dir(mount.join(&dated)).unwrap();
    for file in ["manifest.json", "weights"] {
        fs::write(mount.join(&dated).join(file), weights).unwrap();
        if generation == 1 {
            symlink(format!("..data/{file}"), mount.join(file)).unwrap();
        }
    }
    symlink(&dated, mount.join("..data_tmp")).unwrap();
    fs::rename(mount.join("..data_tmp"), mount.join("..data")).unwrap();
    if generation > 1 {
        fs::remove_dir_all(mount.join(format!("..2026_01_0{}", generation - 1))).unwrap();
    }
}

#[test]
fn a_config_map_swaps_the_first_time_and_the_second() {
    let bench = Bench::start(NEVER, |models| {
        fs::create_dir(models.join("lead/1")).unwrap();
        swap_config_map(&models.join("lead/1"), 1, "one");
    });
    bench.serves("one");
    for (generation, weights) in [(2, "two"), (3, "three"), (4, "four")] {
        swap_config_map(&bench.lead().join("1"), generation, weights);
        bench.serves(weights);
    }
}

#[test]
fn a_deployment_in_a_config_map_swaps_too() {
    let swap = |lead: &Path, generation: usize, champion: &str| {
        let dated = format!("..2026_02_0{generation}");
        fs::create_dir(lead.join(&dated)).unwrap();
        fs::write(lead.join(&dated).join("deployment.json"), format!(r#"{{"champion":"{champion}"}}"#))
            .unwrap();
        symlink(&dated, lead.join("..data_tmp")).unwrap();
        fs::rename(lead.join("..data_tmp"), lead.join("..data")).unwrap();
    };
    let bench = Bench::start(NEVER, |models| {
        let lead = models.join("lead");
        publish(&lead, "1", "one");
        publish(&lead, "2", "two");
        symlink("..data/deployment.json", lead.join("deployment.json")).unwrap();
        swap(&lead, 1, "1");
    });
    bench.serves("one");
    swap(&bench.lead(), 2, "2");
    bench.serves("two");
    swap(&bench.lead(), 3, "1");
    bench.serves("one");
}

#[test]
fn a_new_model_serves() {
    let bench = Bench::start(NEVER, |models| publish(&models.join("lead"), "1", "one"));
    let other = bench.root.path().join("models/other");
    fs::create_dir(&other).unwrap();
    publish(&other, "1", "other");
    wait("the other model", || bench.live.model("other").is_some());
}

#[test]
fn a_model_folder_that_is_replaced_is_watched_again() {
    let bench = Bench::start(NEVER, |models| publish(&models.join("lead"), "1", "one"));
    let (lead, old) = (bench.lead(), bench.root.path().join("old"));
    fs::rename(&lead, &old).unwrap();
    fs::create_dir(&lead).unwrap();
    publish(&lead, "2", "two");
    bench.serves("two");
    publish(&lead, "3", "three");
    bench.serves("three");
}

#[test]
fn the_directory_of_models_itself_replaced_is_found_by_the_poll() {
    let bench = Bench::start(Duration::from_millis(100), |models| publish(&models.join("lead"), "1", "one"));
    let models = bench.root.path().join("models");
    for (version, weights) in [("2", "two"), ("3", "three")] {
        fs::rename(&models, bench.root.path().join(format!("old{version}"))).unwrap();
        fs::create_dir_all(models.join("lead")).unwrap();
        publish(&bench.lead(), version, weights);
        bench.serves(weights);
    }
}

#[test]
fn the_configuration_is_watched_by_its_directory() {
    let bench = Bench::start(NEVER, |_| {});
    for text in ["a", "b"] {
        let before = bench.looks.load(Ordering::SeqCst);
        let config = bench.root.path().join("config");
        fs::write(config.join("next"), text).unwrap();
        fs::rename(config.join("next"), config.join("leadwire.yaml")).unwrap();
        wait("a look", || bench.looks.load(Ordering::SeqCst) > before);
    }
}
