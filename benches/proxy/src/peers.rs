//! The contenders: each a process with a configuration of its own in a temporary folder, two workers and a pool of kept
//! connections to the upstream. Nobody writes an access log.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context;

use super::{load::Client, usage::Tree, wire::Asked};

/// Longest start.
const START: Duration = Duration::from_secs(60);

/// The name of Leadwire's thread that writes the lead log.
pub const LEAD_LOG: &str = "leadlog";

/// The programs that can be had.
pub struct Programs {
    pub leadwire: PathBuf,
    /// Another build of it.
    pub beside: Option<PathBuf>,
    /// Where there is one.
    pub nginx: Option<PathBuf>,
    pub haproxy: Option<PathBuf>,
    pub envoy: Option<PathBuf>,
}

/// A running proxy; ends when it is dropped.
pub struct Contender {
    pub name: String,
    pub address: SocketAddr,
    /// What it is asked where leads are posted: the proxies that read nothing could be asked either.
    pub asked: Asked,
    admin: SocketAddr,
    child: Child,
}

impl Contender {
    /// The sum of a metric of Leadwire's over all labels that hold a text.
    pub fn metric(&self, name: &str, label: &str) -> anyhow::Result<f64> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let ours = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        Ok(ours.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    pub fn tree(&self) -> Tree {
        Tree(self.child.id())
    }

    /// Whether this is Leadwire, and scores.
    pub fn scores(&self) -> bool {
        self.asked == Asked::Lead
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        terminate(self.child.id());
        _ = self.child.wait();
    }
}

/// Asks a process to end.
pub fn terminate(process: u32) {
    // One that is gone already needs no signal.
    _ = Command::new("kill").args(["-TERM", &process.to_string()]).stderr(Stdio::null()).status();
}

/// Where configurations go, and whom they point to.
pub struct Place<'p> {
    pub folder: &'p Path,
    pub upstream: SocketAddr,
    /// Where Leadwire's metrics are.
    pub admin: SocketAddr,
}

impl Place<'_> {
    /// Starts all that can be had, in the order in which they are asked.
    pub fn start(&self, programs: &Programs) -> anyhow::Result<Vec<Contender>> {
        let mut contenders = Vec::new();
        let peers: [(&str, &Option<PathBuf>, Starter); 3] = [
            ("nginx", &programs.nginx, nginx),
            ("HAProxy", &programs.haproxy, haproxy),
            ("Envoy, router only", &programs.envoy, envoy),
        ];
        for (name, program, starter) in peers {
            if let Some(program) = program {
                contenders.push(self.contender(name.into(), Asked::Case, program, starter)?);
            }
        }
        for (build, program) in
            [("leadwire", Some(&programs.leadwire)), ("the other build", programs.beside.as_ref())]
        {
            if let Some(program) = program {
                let (passes, scores) = (format!("{build}, pass-through"), format!("{build}, score + inject"));
                let tries = format!("{scores}, with a shadow and a canary");
                contenders.push(self.contender(passes, Asked::Case, program, leadwire)?);
                contenders.push(self.contender(scores, Asked::Lead, program, leadwire)?);
                contenders.push(self.contender(tries, Asked::Lead, program, leadwire_on_trial)?);
                contenders.last().into_iter().try_for_each(both_arms)?;
            }
        }
        Ok(contenders)
    }

    fn contender(
        &self,
        name: String,
        asked: Asked,
        program: &Path,
        starter: Starter,
    ) -> anyhow::Result<Contender> {
        let folder = self.folder.join(name.replace([' ', ','], "-"));
        fs::create_dir_all(&folder)?;
        let (address, admin) = (free()?, free()?);
        let log = fs::File::create(folder.join("log"))?;
        let mut command =
            starter(program, &Place { folder: &folder, upstream: self.upstream, admin }, address)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let mut contender = Contender { name, address, asked, admin, child };
        ready(&mut contender).with_context(|| {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            format!("{} does not serve:\n{log}", contender.name)
        })?;
        Ok(contender)
    }
}

type Starter = fn(&Path, &Place<'_>, SocketAddr) -> anyhow::Result<Command>;

/// An address that nobody listens on.
pub fn free() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Waits until something listens.
pub fn listens(address: SocketAddr, child: &mut Child) -> anyhow::Result<()> {
    let start = Instant::now();
    // A client that meets nobody on a port that systems give to clients may meet itself.
    let met = || TcpStream::connect(address).and_then(|stream| stream.local_addr());
    while met().map_or(true, |client| client == address) {
        if let Some(status) = child.try_wait()? {
            anyhow::bail!("it ended: {status}");
        }
        anyhow::ensure!(start.elapsed() < START, "nothing listens after {START:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Fails unless it does what it is measured for: one that does not score would be cheap.
fn ready(contender: &mut Contender) -> anyhow::Result<()> {
    listens(contender.address, &mut contender.child)?;
    let answer = Client::connect(contender.address, contender.asked)?.ask()?.to_vec();
    check(&String::from_utf8_lossy(&answer), contender.scores())
}

/// Fails unless both arms of a trial answer: 64 leads that all go to one would be a miracle.
fn both_arms(contender: &Contender) -> anyhow::Result<()> {
    let mut client = Client::connect(contender.address, contender.asked)?;
    for _ in 0..64 {
        client.ask()?;
    }
    for version in ["1", "2"] {
        let scored = contender.metric("leadwire_score_count", &format!("version=\"{version}\""))?;
        anyhow::ensure!(scored > 0.0, "{}: version {version} answers no lead", contender.name);
    }
    Ok(())
}

/// An answer of one that scores holds two headers and a member of ours; any other holds none.
pub fn check(answer: &str, scores: bool) -> anyhow::Result<()> {
    for ours in ["x-lead-score: ", "x-lead-grade: ", "lead_score__c\":"] {
        let holds = answer.to_ascii_lowercase().contains(ours);
        anyhow::ensure!(
            holds == scores,
            "{ours:?} is {}in the answer:\n{answer}",
            if holds { "" } else { "not " }
        );
    }
    Ok(())
}

/// Writes a configuration and gives its path.
fn written(place: &Place<'_>, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let file = place.folder.join(name);
    fs::write(&file, text)?;
    Ok(file)
}

fn nginx(program: &Path, place: &Place<'_>, listen: SocketAddr) -> anyhow::Result<Command> {
    let Place { folder, upstream, .. } = place;
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {}/{kind};", folder.display()))
        .join(" ");
    let text = format!(
        "daemon off; worker_processes 2; pid {folder}/pid; error_log stderr crit; {user}
         events {{ worker_connections 8192; }}
         http {{
             access_log off; {temporary} keepalive_requests 1000000000;
             upstream crm {{ server {upstream}; keepalive 1024; keepalive_requests 1000000000; }}
             server {{
                 listen {listen} reuseport backlog=4096;
                 location / {{
                     proxy_pass http://crm; proxy_http_version 1.1; proxy_set_header Connection \"\";
                     proxy_set_header Host $host;
                 }}
             }}
         }}",
        folder = folder.display(),
        // Workers that root starts would otherwise be somebody who cannot write here.
        user = if is_root() { "user root root;" } else { "" },
    );
    let file = written(place, "nginx.conf", &text)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(file);
    Ok(command)
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

fn haproxy(program: &Path, place: &Place<'_>, listen: SocketAddr) -> anyhow::Result<Command> {
    let upstream = place.upstream;
    let text = format!(
        "global
    nbthread 2
    maxconn 8192
defaults
    mode http
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend crm
    bind {listen} shards by-thread backlog 4096
    default_backend crm
backend crm
    server crm {upstream} pool-max-conn 4096
"
    );
    let file = written(place, "haproxy.cfg", &text)?;
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(file);
    Ok(command)
}

fn envoy(program: &Path, place: &Place<'_>, listen: SocketAddr) -> anyhow::Result<Command> {
    let address = |address: SocketAddr| {
        let (ip, port) = (address.ip().to_string(), address.port());
        serde_json::json!({"socket_address": {"address": ip, "port_value": port}})
    };
    let typed = |name: &str| format!("type.googleapis.com/envoy.extensions.{name}");
    let limits =
        serde_json::json!({"max_connections": 8192, "max_pending_requests": 8192, "max_requests": 8192});
    let manager = serde_json::json!({
        "@type": typed("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "crm",
        "route_config": {"virtual_hosts": [
            {"name": "crm", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "crm"}}]}
        ]},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": typed("filters.http.router.v3.Router")}}
        ],
    });
    let config = serde_json::json!({"static_resources": {
        "listeners": [{"name": "crm", "address": address(listen), "filter_chains": [{"filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ]}]}],
        "clusters": [{
            "name": "crm", "type": "STATIC", "connect_timeout": "5s",
            "circuit_breakers": {"thresholds": [limits]},
            "load_assignment": {"cluster_name": "crm", "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": address(place.upstream)}}]}
            ]},
        }],
    }});
    let file = written(place, "envoy.json", &config.to_string())?;
    let mut command = Command::new(program);
    command.args(["--concurrency", "2", "--log-level", "error", "--disable-hot-restart", "-c"]).arg(file);
    Ok(command)
}

fn leadwire(program: &Path, place: &Place<'_>, listen: SocketAddr) -> anyhow::Result<Command> {
    Leadwire { workers: 2, deadline: "10ms", models: shipped()?, changes: &[] }
        .command(program, place, listen)
}

/// All leads of the bench have one address, and would go to one arm; nor is the canary to be moved on or back.
const ON_TRIAL: [(&str, &str); 2] = [("email: [/Email]", "email: [/None]"), ("act: true", "act: false")];

/// The same with three copies of the model: one serves, one is given half of the leads, and one shadows both.
fn leadwire_on_trial(program: &Path, place: &Place<'_>, listen: SocketAddr) -> anyhow::Result<Command> {
    let (models, version) = (place.folder.join("models"), shipped()?.join("lead/1"));
    let manifest = fs::read(version.join("manifest.json"))?;
    let manifest: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&manifest)?;
    for number in ["1", "2", "3"] {
        let folder = models.join("lead").join(number);
        fs::create_dir_all(&folder)?;
        for file in fs::read_dir(&version)? {
            let file = file?;
            fs::copy(file.path(), folder.join(file.file_name()))?;
        }
        let mut manifest = manifest.clone();
        manifest.insert("version".into(), number.into());
        fs::write(folder.join("manifest.json"), serde_json::to_string(&manifest)?)?;
    }
    let slots = serde_json::json!({
        "champion": "1", "challenger": {"version": "2", "percent": 50}, "shadows": ["3"],
    });
    fs::write(models.join("lead/deployment.json"), slots.to_string())?;
    Leadwire { workers: 2, deadline: "10ms", models, changes: &ON_TRIAL }.command(program, place, listen)
}

/// The models of the checkout.
pub fn shipped() -> anyhow::Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").canonicalize()?)
}

/// Leadwire with the shipped configuration; two headers and a member of the answer hold the score.
pub struct Leadwire {
    pub workers: usize,
    /// Past it a lead goes on unscored, which under a debugger it would.
    pub deadline: &'static str,
    pub models: PathBuf,
    /// What else of the shipped configuration is replaced by what.
    pub changes: &'static [(&'static str, &'static str)],
}

impl Leadwire {
    pub fn command(&self, program: &Path, place: &Place<'_>, listen: SocketAddr) -> anyhow::Result<Command> {
        let text = include_str!("../../../config/leadwire.yaml");
        let changes = [
            ("listen: 127.0.0.1:8080", format!("listen: {listen}")),
            ("upstream: http://127.0.0.1:8069", format!("upstream: http://{}", place.upstream)),
            ("admin: 127.0.0.1:9901", format!("admin: {}", place.admin)),
            ("models: models", format!("models: {}", self.models.display())),
            ("state: state", format!("state: {}", place.folder.join("state").display())),
            ("deadline: 10ms", format!("deadline: {}", self.deadline)),
            (", X-Lead-Model: model}", "}".into()),
        ];
        let mut text = text.to_owned();
        let more = self.changes.iter().map(|(from, to)| (*from, (*to).to_owned()));
        for (from, to) in changes.into_iter().chain(more) {
            anyhow::ensure!(text.contains(from), "the shipped configuration has no {from:?} any more");
            text = text.replacen(from, &to, 1);
        }
        let file = written(place, "leadwire.yaml", &text)?;
        let mut command = Command::new(program);
        command.args(["run", "--workers", &self.workers.to_string(), "-c"]).arg(file);
        command.env("LEADWIRE_LOG", "warn");
        Ok(command)
    }
}
