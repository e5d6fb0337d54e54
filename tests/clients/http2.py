"""HTTP/2 clients that others wrote, unchanged, post leads to a stand-in CRM through Leadwire: every lead must come back scored.

nghttp, h2load (apt install nghttp2-client), curl and Node are used where they are installed, and named where they are not;
httpx is installed from its registry into a cache outside the repository.

    python3 tests/clients/http2.py
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "leadwire-clients"
HTTPX = "httpx[http2]==0.28.1"
PATH = "/services/data/v61.0/sobjects/Lead"
LEAD = {"LastName": "Doe", "Company": "Acme", "age__c": 41, "campaign__c": 1, "euribor3m__c": 1.2, "contact__c": "cellular"}

NODE = """
const http2 = require('node:http2');
const [url, path, file] = process.argv.slice(1);
const body = require('node:fs').readFileSync(file);
const client = http2.connect(url);
let open = 20;
for (let i = 0; i < 20; i++) {
  const stream = client.request({':method': 'POST', ':path': path, 'content-type': 'application/json'});
  stream.on('response', (headers) => console.log('leadwire:', headers['leadwire']));
  stream.on('data', () => {}).on('end', () => { if (--open === 0) client.close(); });
  stream.end(body);
}
"""

PYTHON = """
import sys, httpx
url, path, file = sys.argv[1:]
body = open(file, 'rb').read()
with httpx.Client(http1=False, http2=True) as client:
    for _ in range(20):
        reply = client.post(url + path, content=body, headers={'content-type': 'application/json'})
        print('leadwire:', reply.headers['leadwire'] if reply.http_version == 'HTTP/2' else reply.http_version)
"""


class Crm(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"id":"00Q1","success":true,"errors":[]}'
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def httpx():
    python = CACHE / "venv/bin/python"
    if not python.exists():
        venv.create(CACHE / "venv", with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "-q", HTTPX], check=True)
    return python


def clients(url, lead):
    """Each client's command, and how many of its answers must be scored."""
    post = ["-H", "content-type: application/json"]
    target = url + PATH
    return {
        "curl": (["curl", "-sS", "-i", "--http2-prior-knowledge", *post, "--data-binary", f"@{lead}", target], 1),
        "nghttp": (["nghttp", "-v", "-n", "--no-dep", *post, "-d", lead, "-m", "20", target], 20),
        "h2load": (["h2load", "-n", "2000", "-c", "4", "-m", "50", *post, "-d", lead, target], 2000),
        "node": (["node", "-e", NODE, url, PATH, lead], 20),
        "httpx": ([httpx(), "-c", PYTHON, url, PATH, lead], 20),
    }


def scored(name, text):
    if name == "h2load":
        return int(re.search(r"(\d+) 2xx", text)[1])
    return len(re.findall(r"leadwire: scored", text))


def main():
    subprocess.run(["cargo", "build", "--quiet", "--locked"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    # A hundred connections come at once.
    ThreadingHTTPServer.request_queue_size = 1024
    crm = ThreadingHTTPServer(("127.0.0.1", 0), Crm)
    threading.Thread(target=crm.serve_forever, daemon=True).start()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        lead = os.path.join(folder, "lead.json")
        Path(lead).write_text(json.dumps(LEAD))
        settings = {"UPSTREAM": f"http://127.0.0.1:{crm.server_port}", "LISTEN": "127.0.0.1:0", "ADMIN": "127.0.0.1:0", "STATE": folder}
        env = os.environ | {f"LEADWIRE_{key}": value for key, value in settings.items()}
        command = [target / "debug/leadwire", "run", "--log", "json"]
        sidecar = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
        try:
            ready = next(line for line in map(json.loads, sidecar.stderr) if "listen" in line)
            threading.Thread(target=sidecar.stderr.read, daemon=True).start()
            for name, (command, expected) in clients(f"http://{ready['listen']}", lead).items():
                if shutil.which(command[0]) is None:
                    print(f"{name}: not installed, not run")
                    continue
                run = subprocess.run(command, capture_output=True, text=True, timeout=120)
                found = scored(name, run.stdout)
                print(f"{name}: {found} of {expected} answered as they should")
                if found != expected:
                    wrong.append(f"{name}: {run.stdout[-2000:]}{run.stderr[-2000:]}")
        finally:
            sidecar.terminate()
            sidecar.wait()
    crm.shutdown()
    sys.exit("\n".join(wrong) or None)


if __name__ == "__main__":
    main()
