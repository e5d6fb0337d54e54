"""Optuna loads the journal of a search, and sees the trials that the report tells of.

    python3 -m venv .venv && .venv/bin/pip install optuna
    cargo build && .venv/bin/python tests/optuna/load.py
"""

import json
import os
import random
import subprocess
import tempfile
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
TRIALS = 14


def leads(file: Path) -> None:
    draw = random.Random(1)
    rows = ["budget,size,channel,won"]
    for _ in range(1_500):
        budget, size, channel = draw.randrange(100), draw.randrange(100), draw.choice(["web", "phone", "fair"])
        won = budget + size * (channel == "web") + draw.randrange(120) > 130
        rows.append(f"{budget},{size},{channel},{int(won)}")
    file.write_text("\n".join(rows))


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder, "leads.csv"), Path(folder, "lead")
        leads(data)
        command = [TARGET / "debug/leadwire", "train", "--data", data, "--target", "won", "--out", out]
        run = subprocess.run([*command, "--kind", "trees", "--trials", str(TRIALS), "--json"], check=True, stdout=subprocess.PIPE)
        told = json.loads(run.stdout)["search"]
        journal = JournalStorage(JournalFileBackend(str(out / "1/study.log")))
        study = optuna.load_study(study_name=told["study"], storage=journal)
        states = [trial.state.name for trial in study.trials]
        assert len(states) == told["trials"] == TRIALS, states
        assert states.count("COMPLETE") == told["complete"] and states.count("PRUNED") == told["pruned"], states
        best = study.best_trial
        assert best.number == told["best"] and best.params == told["settings"], (best, told)
        assert study.direction.name == "MAXIMIZE" and all(trial.intermediate_values for trial in study.trials)
        # Optuna may go on where we stopped.
        study.optimize(lambda trial: trial.suggest_float("rate", 0.01, 0.3, log=True), 1)
        print(f"optuna {optuna.__version__}: {len(states)} trials, best {best.number} with {best.value:.4f}")


if __name__ == "__main__":
    main()
