//! The sidecar's own files and ports fail, and traffic goes on.

use std::{
    fs::{create_dir, remove_dir_all, remove_file, write},
    path::Path,
};

use leadwire::leadlog::Store;

use crate::support::{CONFIG, CREATE, LEAD, Running, Upstream, copy_folder, created, shipped_model, wait};

const ID: &str = "00Q8d0000000000001";

/// What is in the lead log's way, and how that ends.
type Obstacle = (&'static str, fn(&Path), fn(&Path));

const OBSTACLES: [Obstacle; 4] = [
    (
        "a file in the directory's place",
        |state| write(state, "").unwrap(),
        |state| remove_file(state).unwrap(),
    ),
    (
        "a directory in the file's place",
        |state| std::fs::create_dir_all(state.join(Store::FILE)).unwrap(),
        |state| remove_dir_all(state).unwrap(),
    ),
    (
        "a later schema",
        |state| {
            create_dir(state).unwrap();
            let log = rusqlite::Connection::open(state.join(Store::FILE)).unwrap();
            log.pragma_update(None, "user_version", 99).unwrap();
        },
        |state| remove_file(state.join(Store::FILE)).unwrap(),
    ),
    (
        "no database",
        |state| {
            create_dir(state).unwrap();
            write(state.join(Store::FILE), "noise".repeat(2_000)).unwrap();
        },
        |state| {
            let aside = state.join("leads.sqlite.corrupt-1");
            wait("the file to be set aside", || aside.exists());
            assert_eq!(std::fs::read_to_string(aside).unwrap(), "noise".repeat(2_000));
        },
    ),
];

#[test]
fn a_lead_log_that_cannot_be_opened_keeps_no_lead_from_its_score() {
    for (what, block, clear) in OBSTACLES {
        let upstream = Upstream::start(|_| created(ID));
        let sidecar = Running::with(upstream.address, CONFIG, |models| {
            copy_folder(&shipped_model(), &models.join("lead/1"));
            block(&models.with_file_name("state"));
        });
        let reply = sidecar.post(CREATE, LEAD);
        assert_eq!((reply.status(), reply.header("leadwire")), (201, Some("scored")), "{what}");
        assert!(sidecar.admin("/ready").contains("true"), "{what}");
        let state = sidecar.folder.path().join("state");
        clear(&state);
        let scores = || Store::open_read_only(&state).and_then(|store| store.scores_of(ID));
        wait(what, || scores().is_ok_and(|scores| scores.len() == 1));
        assert_eq!(sidecar.metric("leadwire_leadlog_dropped_total"), 0.0, "{what}");
    }
}
