//! A CRM that breaks in every way, and files that change meanwhile: nothing is altered, nothing is lost. The long run of the
//! same is `benches/soak.rs`.

use std::{fs, sync::atomic::Ordering::Relaxed, thread};

use crate::support::{
    Running,
    chaos::{Crm, Disturber, Fault, Script, Tally, config, run},
    copy_folder, shipped_model, wait, write_version,
};

#[test]
fn whatever_breaks_no_byte_is_altered_and_no_request_is_lost() {
    let script = Script { seed: 7, count: 3_000, largest: 512 << 10, silent: 1_000 };
    let crm = Crm::start(script);
    let sidecar = Running::with(crm.address, &config(), |models| {
        copy_folder(&shipped_model(), &models.join("lead/1"));
        write_version(models, "2");
        // The lead log has no place at first.
        fs::write(models.with_file_name("state"), "").unwrap();
    });
    let folder = sidecar.folder.path().to_owned();
    let disturber = Disturber { folder: folder.clone(), upstream: crm.address, admin: sidecar.admin };
    let tally: &Tally = &crm.tally;
    thread::scope(|scope| {
        scope.spawn(|| run(script, sidecar.listen, tally, 16));
        for step in 0..16 {
            let milestone = script.count * step / 16;
            wait("more requests", || tally.done.load(Relaxed) >= milestone);
            disturber.step(step);
            if step == 8 {
                fs::remove_file(folder.join("state")).unwrap();
            }
        }
    });
    let wrong = tally.verdict();
    assert!(wrong.is_empty(), "{}\n{}", tally.report(), wrong.join("\n"));
    let missing: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| !tally.has_played(*fault)).collect();
    assert!(missing.is_empty() && tally.has_injected(), "not played: {missing:?}");
    let (store, _folder) = sidecar.stop();
    assert!(store.score_count().unwrap() > 0, "the lead log has found its place");
}
