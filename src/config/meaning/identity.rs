//! Identity: where the addresses stand that tell a lead.

use super::{features, masking};
use crate::config::{
    findings::{Findings, KeyPath},
    raw::RawIdentity,
    settings::{Identity, Mask},
};

/// The pointers of the file, and those of the presets where it says nothing.
#[derive(Default)]
pub(super) struct IdentitySource {
    email: Pointers,
    phone: Pointers,
}

/// Pointers to one kind of address, each with the place it stands at.
#[derive(Default)]
struct Pointers {
    all: Vec<(KeyPath, String)>,
    /// They are the file's, and so the presets' are not taken.
    of_file: bool,
}

impl IdentitySource {
    /// What the file says.
    pub(super) fn new(raw: &RawIdentity) -> Self {
        let at = KeyPath::default().key("identity");
        let of_file = |key, raw: &Option<Vec<String>>| {
            let pointers = raw.iter().flatten().enumerate();
            let all = pointers.map(|(index, text)| (at.key(key).item(index), text.clone())).collect();
            Pointers { all, of_file: raw.is_some() }
        };
        Self { email: of_file("email", &raw.email), phone: of_file("phone", &raw.phone) }
    }

    /// Adds a preset that stands at `path`.
    pub(super) fn add(&mut self, preset: RawIdentity, path: &KeyPath) {
        for (pointers, raw) in [(&mut self.email, preset.email), (&mut self.phone, preset.phone)] {
            if !pointers.of_file {
                pointers.all.extend(raw.into_iter().flatten().map(|text| (path.clone(), text)));
            }
        }
    }
}

/// What is wrong with the file's pointers is told. A preset's that `secrets.mask` hides is left out: whoever hides it may not
/// know that it is there.
pub(super) fn identity(source: &IdentitySource, masks: &[Mask], findings: &mut Findings) -> Identity {
    let mut pointers = |pointers: &Pointers| {
        let read = |(path, text): &(KeyPath, String)| match pointers.of_file {
            true => features::pointer(text, path, masks, findings),
            false => {
                let pointer = features::pointer(text, path, &[], findings)?;
                let hides = |mask: &Mask| masking::hides_relative(mask, &pointer);
                (!masks.iter().any(hides)).then_some(pointer)
            }
        };
        pointers.all.iter().filter_map(read).collect()
    };
    Identity { email: pointers(&source.email), phone: pointers(&source.phone) }
}
