//! The recorded traffic of sixteen vendor SDKs, played again: the client sends the recorded request, the upstream answers
//! with the recorded response.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use crate::{
    goldens, scoring,
    support::{Message, Running, Upstream},
};

/// What stands between a request and its answer in the files.
pub const SEPARATOR: &[u8] = b"\r\n=====RESPONSE=====\r\n";

/// One recorded exchange.
pub struct Capture {
    /// `zoho_python/002-POST-Leads`
    pub name: String,
    /// The request's bytes.
    pub request: Vec<u8>,
    /// The response's bytes.
    pub response: Vec<u8>,
}

impl Capture {
    /// All of them, in order; `None` where the recordings are absent.
    pub fn all() -> Option<Vec<Self>> {
        let root = goldens::path("captures/crm")?;
        let entries = |folder: &Path| {
            let mut paths: Vec<_> =
                std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            paths
        };
        let folders = entries(&root).into_iter().filter(|path| path.is_dir());
        let files = folders.flat_map(|folder| entries(&folder.join("client")));
        let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "http"));
        Some(files.map(|file| Self::read(&file)).collect())
    }

    fn read(file: &Path) -> Self {
        let bytes = std::fs::read(file).unwrap();
        let at = bytes.windows(SEPARATOR.len()).position(|window| window == SEPARATOR).unwrap();
        let client = file.parent().and_then(Path::parent).and_then(Path::file_name).unwrap();
        let name = Path::new(client).join(file.file_stem().unwrap()).display().to_string();
        Self { name, request: bytes[..at].to_vec(), response: bytes[at + SEPARATOR.len()..].to_vec() }
    }

    fn sent(&self) -> Message {
        Message::parse(&self.request, false)
    }

    fn answered(&self) -> Message {
        Message::parse(&self.response, self.request.starts_with(b"HEAD "))
    }
}

/// A CRM that gives each request the answer it is told beforehand.
pub struct Stage {
    pub upstream: Upstream,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Stage {
    pub fn new() -> Self {
        let answer = Arc::<Mutex<Vec<u8>>>::default();
        let told = answer.clone();
        Self { upstream: Upstream::start(move |_| told.lock().unwrap().clone()), answer }
    }

    /// Sends a capture's request: what reached the CRM, and what came back.
    pub fn play(&self, sidecar: &Running, capture: &Capture) -> (Message, Message) {
        self.answer.lock().unwrap().clone_from(&capture.response);
        let mut client = sidecar.client();
        client.send(&capture.request);
        let mut reply = client.receive();
        while (100..200).contains(&reply.status()) {
            reply = client.receive();
        }
        (self.upstream.requests().pop().unwrap(), reply)
    }
}

#[test]
fn every_capture_passes_unharmed_where_no_route_is_configured() {
    let Some(captures) = Capture::all() else { return };
    assert!(captures.len() >= 110, "{} captures", captures.len());
    let stage = Stage::new();
    let sidecar = scoring::start(&stage.upstream, "  []");
    for capture in &captures {
        let (request, reply) = stage.play(&sidecar, capture);
        same(&request, &capture.sent(), &capture.name);
        same(&reply, &capture.answered(), &capture.name);
    }
}

/// Every byte but what belongs to one connection.
fn same(got: &Message, expected: &Message, name: &str) {
    assert_eq!(got.start, expected.start, "{name}");
    assert_eq!(got.end_to_end(), expected.end_to_end(), "{name}");
    assert!(got.body == expected.body && got.trailers == expected.trailers, "{name}: the body");
}
