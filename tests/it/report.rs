//! What became of the leads: asked of a sidecar at work, and from the command line beside it.

use std::{
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value as Json, json};

use crate::support::{CREATE, LEAD, Running, Upstream, created, wait};

fn report(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leadwire")).arg("report").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_sidecar_and_the_command_line_tell_the_same() {
    let next = AtomicU32::new(0);
    let upstream = Upstream::start(move |_| created(&format!("00Q{}", next.fetch_add(1, Ordering::Relaxed))));
    let sidecar = Running::start(upstream.address);
    (0..3).for_each(|_| assert_eq!(sidecar.post(CREATE, LEAD).status(), 201));
    let asked = |query: &str| -> Json {
        serde_json::from_str(&sidecar.admin(&format!("/api/report{query}"))).unwrap()
    };
    wait("the leads to be counted", || asked("?by=version")["models"][0]["provisional"]["leads"] == 3);
    let told = asked("?model=lead&since=7d");
    let lead = &told["models"][0];
    assert_eq!(
        (&told["uncounted"], &lead["matured"], &lead["versions"][0]["version"]),
        (&json!(0), &Json::Null, &json!("1"))
    );
    assert_eq!(asked("?model=other")["models"], json!([]));
    assert_eq!(
        asked("?since=2020-01-01&until=2020-01-31")["models"][0]["notices"],
        json!(["No lead was scored in these days."])
    );
    for wrong in ["?since=yesterday", "?until=1"] {
        assert_eq!(
            asked(wrong)["error"],
            "a day is written as 2026-08-24, or as 90d for 90 days ago",
            "{wrong}"
        );
    }

    let file = sidecar.folder.path().join("leadwire.yaml");
    let file = file.to_str().unwrap();
    let printed = report(&["-c", file, "--json", "--since", "7d"]);
    assert!(printed.status.success(), "{}", text(&printed.stderr));
    let printed: Json = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(printed, asked("?since=7d"));
    let page = sidecar.folder.path().join("report.html");
    let printed = report(&["-c", file, "--html", page.to_str().unwrap()]);
    assert_eq!(text(&printed.stdout).trim_end(), page.to_str().unwrap());
    assert!(std::fs::read_to_string(page).unwrap().contains("Model lead"));
}

#[test]
fn what_is_wrong_is_said_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().to_str().unwrap();
    for (arguments, code, said) in [
        (&["--state", state][..], 1, "no lead log there"),
        (
            &["--state", state, "--since", "soon"],
            2,
            "a day is written as 2026-08-24, or as 90d for 90 days ago",
        ),
        (&["--state", state, "--json", "--html", "x"], 2, "cannot be used with"),
        (&["-c", "missing.yaml"], 2, "missing.yaml"),
    ] {
        let output = report(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(text(&output.stderr).contains(said), "{arguments:?}: {}", text(&output.stderr));
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");
}
