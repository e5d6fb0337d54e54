"""Five vendor SDKs, unchanged, talk to a stand-in CRM, first directly and then through Leadwire.

What every call returns must be the same but for the score that the presets write into answers, and the lead log must hold
the leads that the CRM accepted. Installs the SDKs from their registries into a cache outside the repository.

    python3 tests/sdk/run.py
"""

import difflib
import json
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

# The members that the three presets write into answers.
SCORES = {"Lead_Score__c", "lead_score", "x_lead_score"}

# By the first word of the route. Salesforce (lead) and HubSpot, in each of two languages: one create, one update of the lead
# that was created, and two of a batch. Odoo: one create, two in one call, one write. What the CRM refuses has no row.
SCORED = {"lead": 2 * (1 + 1 + 2), "hubspot": 2 * (1 + 1 + 2), "odoo": 1 + 2 + 1}
# Where answers hold a record: Salesforce's reads; HubSpot's create, update, read and two of a batch; each in two languages.
SHOWN = 2 * (1 + 5)
# Odoo's action_set_won.
WON = {"odoo": 1}


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
    return [json.loads(run.stdout) for run in told]


def without_scores(told):
    """What a call returned, and how many scores were in it."""
    if isinstance(told, dict):
        kept = {name: without_scores(value) for name, value in told.items() if name not in SCORES}
        scores = len(told) - len(kept) + sum(count for _, count in kept.values())
        return {name: value for name, (value, _) in kept.items()}, scores
    if isinstance(told, list):
        kept = [without_scores(value) for value in told]
        return [value for value, _ in kept], sum(count for _, count in kept)
    return told, 0


def count(log, table, where="1"):
    """Rows by the first word of their route."""
    rows = log.execute(f"SELECT substr(route, 1, instr(route, '.') - 1), count(*) FROM {table} WHERE {where} GROUP BY 1")
    return dict(rows.fetchall())


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
        scored, won = count(log, "scores"), count(log, "outcomes", "won")
        log.close()
        leaks = [str(file) for file in state.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
    through, shown = without_scores(through)
    if direct != through:
        lines = [json.dumps(told, indent=1).splitlines() for told in (direct, through)]
        sys.exit("the SDKs saw a difference:\n" + "\n".join(difflib.unified_diff(*lines, "direct", "through", lineterm="")))
    for what, found, expected in [("scores", scored, SCORED), ("won", won, WON), ("scores in answers", shown, SHOWN)]:
        if found != expected:
            sys.exit(f"{what}: {found}, expected {expected}")
    if leaks:
        sys.exit(f"a password was written to {leaks}")
    calls = sum(isinstance(entry, list) for told in direct for entry in told)
    print(f"simple-salesforce, hubspot-api-client, odoorpc, jsforce, @hubspot/api-client: {calls} calls, no difference but the score")
    print(f"scores in the lead log: {scored}, in answers: {shown}")


if __name__ == "__main__":
    main()
