//! The versions that serve.
//!
//! [`Registry`] belongs to whoever is told to look; [`Live`] is what everybody else reads from, without a lock. What
//! cannot be loaded is refused with a reason, and the version that served goes on serving.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    error::Error,
    fmt,
    fs::File,
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};

use super::{
    deployment::{Deployment, DeploymentError, folders, versions},
    version::{MANIFEST, MAX_MANIFEST},
};
use crate::lead::Slot;

/// Every model that serves, by name.
pub type Models<V> = BTreeMap<Arc<str>, Arc<Served<V>>>;

/// One model's versions in their slots.
#[derive(Debug)]
pub struct Served<V> {
    /// Answers by default.
    pub champion: Arc<V>,
    /// Answers `deployment.challenger`'s share of the leads.
    pub challenger: Option<Arc<V>>,
    /// Score along without answering.
    pub shadows: Vec<Arc<V>>,
    /// Was the champion before, and stays in memory: the way back reads no file.
    pub previous: Option<Arc<V>>,
    /// The slots by name, as they were asked for. A slot whose version was refused is empty above.
    pub deployment: Deployment,
}

/// What serves now. Cheap to clone; all clones see each swap.
#[derive(Debug)]
pub struct Live<V> {
    models: Arc<ArcSwap<Models<V>>>,
    /// Slots that files should say and cannot. Touched at looks and by orders, never by requests.
    unwritten: Arc<Mutex<BTreeMap<Arc<str>, Unwritten>>>,
}

/// Slots that could not be written down.
#[derive(Debug)]
struct Unwritten {
    wanted: Deployment,
    /// What the file said when that was so.
    instead_of: Option<Deployment>,
}

impl<V> Clone for Live<V> {
    fn clone(&self) -> Self {
        Self { models: Arc::clone(&self.models), unwritten: Arc::clone(&self.unwritten) }
    }
}

impl<V> Live<V> {
    /// One model's versions; `None` if the model does not serve.
    pub fn model(&self, name: &str) -> Option<Arc<Served<V>>> {
        self.models.load().get(name).cloned()
    }

    /// Has a model take these slots at the next look though its file cannot be written, until the file says something else
    /// than it does now: a version that must go does not wait for a disk.
    pub fn obey(&self, model: &str, wanted: Deployment) {
        let instead_of = self.model(model).map(|served| served.deployment.clone());
        self.lock().insert(model.into(), Unwritten { wanted, instead_of });
    }

    /// What a model is to serve, where its file says `found`.
    fn wanted(&self, model: &str, found: &Result<Option<Deployment>, DeploymentError>) -> Option<Deployment> {
        let mut unwritten = self.lock();
        let known = unwritten.get(model)?;
        if found.as_ref().is_ok_and(|found| *found != known.instead_of) {
            unwritten.remove(model);
            return None;
        }
        Some(known.wanted.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Unwritten>> {
        // Nothing in here panics half-way.
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that serves at this moment.
    pub fn models(&self) -> Arc<Models<V>> {
        self.models.load_full()
    }
}

/// Something on disk that does not serve, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The model; empty if it is the directory of all models.
    pub model: Arc<str>,
    /// The version, where it is about one.
    pub version: Option<Arc<str>>,
    /// What sort of thing went wrong.
    pub kind: RefusalKind,
    /// The file and what is wrong with it.
    pub reason: String,
}

/// `lead/3: models/lead/3/weights.safetensors: digest differs`
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model)?;
        if let Some(version) = &self.version {
            write!(f, "/{version}")?;
        }
        let colon = if self.model.is_empty() { "" } else { ": " };
        write!(f, "{colon}{}", self.reason)
    }
}

/// What sort of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalKind {
    /// The directory of models cannot be read.
    Models,
    /// `deployment.json` cannot be used.
    Deployment,
    /// A version cannot be loaded.
    Version,
    /// A folder or file that served is gone; it goes on serving from memory.
    Gone,
}

impl RefusalKind {
    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            RefusalKind::Models => "models",
            RefusalKind::Deployment => "deployment",
            RefusalKind::Version => "version",
            RefusalKind::Gone => "gone",
        }
    }
}

/// Reads a version's folder, or says why not.
type Load<V> = Box<dyn Fn(&Path) -> Result<V, String> + Send>;

/// Looks at the directory of models and decides what serves.
pub struct Registry<V> {
    folder: PathBuf,
    load: Load<V>,
    known: BTreeMap<Arc<str>, Known<V>>,
    live: Live<V>,
    told: BTreeSet<Refusal>,
}

impl<V> Registry<V> {
    /// Serves nothing until the first [`Registry::look`]. `load` reads one version's folder and checks all of it.
    pub fn new<E: Error>(folder: &Path, load: impl Fn(&Path) -> Result<V, E> + Send + 'static) -> Self {
        let load = move |folder: &Path| match catch_unwind(AssertUnwindSafe(|| load(folder))) {
            Ok(loaded) => loaded.map_err(|error| chain(&error)),
            Err(_) => Err("loading it panicked".to_owned()),
        };
        Self {
            folder: folder.to_owned(),
            load: Box::new(load),
            known: BTreeMap::new(),
            live: Live { models: Arc::new(ArcSwap::from_pointee(Models::new())), unwritten: Arc::default() },
            told: BTreeSet::new(),
        }
    }

    /// What others read from.
    pub fn live(&self) -> Live<V> {
        self.live.clone()
    }

    /// Everything that was refused at the last look.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.told.iter().cloned().collect()
    }

    /// Makes the next look load every version again, because what may be loaded has changed. One that is refused then
    /// goes on serving, as ever.
    pub fn reload(&mut self) {
        for (before, _) in self.known.values_mut().flat_map(|known| known.loaded.values_mut()) {
            // No manifest has this digest.
            *before = Hash::default();
        }
    }

    /// Looks at everything again, loads what changed and swaps it in. Returns what is refused now and was not, or
    /// for another reason, at the look before.
    pub fn look(&mut self) -> Vec<Refusal> {
        let mut refusals = BTreeSet::new();
        let found = folders(&self.folder).unwrap_or_else(|error| {
            let reason = format!("cannot read {}: {error}", self.folder.display());
            let (model, kind) = ("".into(), RefusalKind::Models);
            refusals.insert(Refusal { model, version: None, kind, reason });
            Vec::new()
        });
        for model in found {
            self.known.entry(model).or_insert_with(Known::new);
        }
        let mut changed = false;
        for (model, known) in &mut self.known {
            let mut look = Look {
                folder: self.folder.join(&**model),
                model,
                load: &self.load,
                live: Some(&self.live),
                refusals: &mut refusals,
            };
            changed |= known.look(&mut look);
        }
        if changed {
            let serving = self.known.iter();
            let serving =
                serving.filter_map(|(model, known)| Some((Arc::clone(model), known.served.clone()?)));
            self.live.models.store(Arc::new(serving.collect()));
        }
        let fresh = refusals.difference(&self.told).cloned().collect();
        self.told = refusals;
        fresh
    }
}

/// The version of one model that serves by default, found once and loaded by `load`: what its deployment says, or without
/// one the highest that may serve. Beside it whatever was refused on the way; without a version, all reasons why.
pub fn champion<V, E: Error>(
    models: &Path,
    model: &str,
    load: impl Fn(&Path) -> Result<V, E> + Send + 'static,
) -> Result<(Arc<V>, Vec<Refusal>), Vec<Refusal>> {
    let Registry { load, .. } = Registry::new(models, load);
    let (model, mut refusals) = (Arc::from(model), BTreeSet::new());
    let mut look = Look {
        folder: models.join(&*model),
        model: &model,
        load: &load,
        live: None,
        refusals: &mut refusals,
    };
    let served = Known::new().serve(&mut look);
    let refusals = refusals.into_iter().collect();
    match served {
        Some(served) => Ok((served.champion, refusals)),
        None => Err(refusals),
    }
}

/// One look at one model's folder.
struct Look<'a, V> {
    folder: PathBuf,
    model: &'a Arc<str>,
    load: &'a Load<V>,
    /// Where it is told what files cannot say.
    live: Option<&'a Live<V>>,
    refusals: &'a mut BTreeSet<Refusal>,
}

impl<V> Look<'_, V> {
    fn refuse(&mut self, version: Option<&Arc<str>>, kind: RefusalKind, reason: String) {
        let (model, version) = (Arc::clone(self.model), version.cloned());
        self.refusals.insert(Refusal { model, version, kind, reason });
    }
}

/// What is known of one model from earlier looks.
struct Known<V> {
    /// The last usable `deployment.json`.
    deployment: Option<Deployment>,
    /// Versions in memory, with their manifests' digests.
    loaded: HashMap<Arc<str>, (Hash, Arc<V>)>,
    served: Option<Arc<Served<V>>>,
}

type Hash = [u8; 32];

impl<V> Known<V> {
    fn new() -> Self {
        Self { deployment: None, loaded: HashMap::new(), served: None }
    }

    /// Whether another set of versions serves now.
    fn look(&mut self, look: &mut Look<'_, V>) -> bool {
        let Some(served) = self.serve(look) else { return false };
        let same = self.served.as_ref().is_some_and(|old| old.same(&served));
        if !same {
            let kept: Vec<_> = served.versions().map(Arc::as_ptr).collect();
            self.loaded.retain(|_, (_, version)| kept.contains(&Arc::as_ptr(version)));
            self.served = Some(Arc::new(served));
        }
        !same
    }

    /// What the disk asks for, as far as it can be had; `None` keeps what is.
    fn serve(&mut self, look: &mut Look<'_, V>) -> Option<Served<V>> {
        let found = Deployment::read(&look.folder);
        let unwritten = look.live.and_then(|live| live.wanted(look.model, &found));
        match unwritten.map_or(found, |wanted| Ok(Some(wanted))) {
            Ok(Some(deployment)) => self.deployment = Some(deployment),
            Ok(None) if self.deployment.is_some() => {
                let reason = format!("{} has no deployment any more; its slots stay", look.folder.display());
                look.refuse(None, RefusalKind::Gone, reason);
            }
            Ok(None) => return self.serve_highest(look),
            Err(error) => {
                look.refuse(None, RefusalKind::Deployment, chain(&error));
                // At the start there is nothing to keep, and guessing could revive a version that was rolled back.
                self.deployment.as_ref()?;
            }
        }
        let deployment = self.deployment.clone()?;
        let champion = self.version(&deployment.champion, look);
        let challenger = deployment.challenger.as_ref();
        let challenger = challenger.and_then(|challenger| self.version(&challenger.version, look));
        let shadows = deployment.shadows.iter().filter_map(|shadow| self.version(shadow, look)).collect();
        let previous = deployment.previous.as_ref().filter(|previous| !deployment.serves(previous));
        let previous = previous.and_then(|previous| self.version(previous, look));
        Some(Served { champion: champion?, challenger, shadows, previous, deployment })
    }

    /// Without a deployment the highest version serves. One that is broken leaves the place to the next below; the one
    /// that serves keeps it even when its folder is gone.
    fn serve_highest(&mut self, look: &mut Look<'_, V>) -> Option<Served<V>> {
        let current = self.served.as_ref().map(|served| &served.deployment.champion);
        let found = versions(&look.folder, current);
        found.into_iter().find_map(|name| {
            let champion = self.version(&name, look)?;
            Some(Served::of(name, champion))
        })
    }

    /// The version from memory, or from disk if its manifest is another one than before.
    fn version(&mut self, name: &Arc<str>, look: &mut Look<'_, V>) -> Option<Arc<V>> {
        let folder = look.folder.join(&**name);
        let manifest = folder.join(MANIFEST);
        let old = self.loaded.get(name);
        let refused = match (digest(&manifest), old) {
            (Ok(digest), Some((before, version))) if digest == *before => return Some(Arc::clone(version)),
            (Ok(digest), _) => match (look.load)(&folder) {
                Ok(version) => {
                    let version = Arc::new(version);
                    self.loaded.insert(Arc::clone(name), (digest, Arc::clone(&version)));
                    return Some(version);
                }
                Err(reason) => (RefusalKind::Version, reason),
            },
            (Err(error), Some(_)) if error.kind() == io::ErrorKind::NotFound => {
                (RefusalKind::Gone, format!("{} is gone; it serves from memory", manifest.display()))
            }
            (Err(error), _) => (RefusalKind::Version, format!("cannot read {}: {error}", manifest.display())),
        };
        let old = old.map(|(_, version)| Arc::clone(version));
        look.refuse(Some(name), refused.0, refused.1);
        old
    }
}

impl<V> Served<V> {
    /// Only a champion.
    pub fn of(name: Arc<str>, champion: Arc<V>) -> Self {
        let (shadows, deployment) = (Vec::new(), Deployment::of(name));
        Self { champion, challenger: None, shadows, previous: None, deployment }
    }

    /// Every version in a slot, the champion first.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, &Arc<V>)> {
        let champion = [(Slot::Champion, &self.champion)].into_iter();
        let challenger = self.challenger.iter().map(|version| (Slot::Challenger, version));
        let shadows = self.shadows.iter().map(|version| (Slot::Shadow, version));
        let previous = self.previous.iter().map(|version| (Slot::Previous, version));
        champion.chain(challenger).chain(shadows).chain(previous)
    }

    fn versions(&self) -> impl Iterator<Item = &Arc<V>> {
        self.slots().map(|(_, version)| version)
    }

    fn same(&self, other: &Self) -> bool {
        let pointers = |served: &Self| served.versions().map(Arc::as_ptr).collect::<Vec<_>>();
        self.deployment == other.deployment && pointers(self) == pointers(other)
    }
}

/// The digest of a manifest, which stands for a whole version, since it holds the digest of every other file.
fn digest(file: &Path) -> io::Result<Hash> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_MANIFEST).read_to_end(&mut bytes)?;
    Ok(Sha256::digest(&bytes).into())
}

/// The error and all its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        told = format!("{told}: {error}");
        cause = error.source();
    }
    told
}
