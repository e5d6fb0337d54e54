"""Five vendor SDKs, unchanged, talk to a stand-in CRM, first directly and then through Leadwire.

What every call returns must be the same, and the lead log must hold the leads that the CRM accepted. Installs the SDKs
from their registries into a cache outside the repository.

    python3 tests/sdk/run.py
"""

import difflib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import venv
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "leadwire-sdk"
SECRET = "secret-of-odoo"

# Creates, collections and batches of both languages; updates of leads that were seen before.
EXPECTED = {"salesforce": 8, "hubspot": 8, "odoo": 4}


def install():
    python = CACHE / "venv/bin/python"
    if not python.exists():
        venv.create(CACHE / "venv", with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", HERE / "requirements.txt"], check=True)
    modules = CACHE / "node"
    modules.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "package.json", modules)
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=modules, check=True)
    return python, modules


def build():
    subprocess.run(["cargo", "build", "--quiet", "--locked"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug/leadwire"


@contextmanager
def crm():
    """A fresh CRM, so that both runs get the same ids."""
    process = subprocess.Popen([sys.executable, "crm.py"], cwd=HERE, stdout=subprocess.PIPE, text=True)
    try:
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def sidecar(binary, upstream, state):
    """Leadwire in front of a CRM; what it logs is in `state`."""
    log = state / "leadwire.log"
    names = {"UPSTREAM": f"http://{upstream}", "MODELS": ROOT / "models", "STATE": state / "state"}
    env = os.environ | {f"LEADWIRE_{name}": str(value) for name, value in names.items()} | {"LEADWIRE_LOG": "debug"}
    command = [binary, "run", "-c", HERE / "leadwire.yaml", "--workers", "1", "--log", "json"]
    with log.open("w") as out:
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        listen = None
        while listen is None:
            line = process.stdout.readline()
            if not line:
                sys.exit(f"leadwire ended: {log.read_text()}")
            out.write(line)
            out.flush()
            listen = re.search(r'"listen":"([^"]+)"', line)
        try:
            yield listen[1]
        finally:
            process.send_signal(signal.SIGTERM)
            out.write(process.communicate()[0])


def flows(python, modules, address):
    env = os.environ | {"SDK_MODULES": str(modules)}
    commands = [[python, "flows.py", address], ["node", "flows.mjs", address]]
    told = [subprocess.run(command, cwd=HERE, env=env, check=True, capture_output=True, text=True) for command in commands]
    return "".join(run.stdout for run in told)


def main():
    python, modules = install()
    binary = build()
    with crm() as upstream:
        direct = flows(python, modules, upstream)
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        with crm() as upstream, sidecar(binary, upstream, state) as address:
            through = flows(python, modules, address)
        log = sqlite3.connect(state / "state/leads.sqlite")
        rows = log.execute("SELECT substr(route, 1, instr(route, '.') - 1), count(*) FROM scores GROUP BY 1")
        scored = dict(rows.fetchall())
        log.close()
        leaks = [str(file) for file in state.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
    if direct != through:
        lines = difflib.unified_diff(direct.splitlines(), through.splitlines(), "direct", "through", lineterm="")
        sys.exit("the SDKs saw a difference:\n" + "\n".join(lines))
    if scored != EXPECTED:
        sys.exit(f"scores in the lead log: {scored}, expected {EXPECTED}")
    if leaks:
        sys.exit(f"a password was written to {leaks}")
    calls = direct.count("\n [")
    print(f"simple-salesforce, hubspot-api-client, odoorpc, jsforce, @hubspot/api-client: {calls} calls, no difference")
    print(f"scores in the lead log: {scored}")


if __name__ == "__main__":
    main()
