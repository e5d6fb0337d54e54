"""`leadwire score` beside LightGBM's own batch prediction: one model, one table, one run.

    python3 -m venv /tmp/ref && /tmp/ref/bin/pip install lightgbm pandas
    /tmp/ref/bin/python benches/reference/batch.py train.csv --target y --id row_id --drop duration \
        --leadwire target/release/leadwire

Trains 100 trees of 31 leaves, writes them as a version, repeats the table to a million rows and scores it. CPU seconds
are those of all threads, from the system's accounts of processes, the least of three runs; rows per CPU second is what is
compared, wall-clock time stands beside it.

(a) Booster.predict over a matrix that is encoded and in memory: LightGBM's best case, on one thread and on all.
(b) pandas.read_csv, encoding and Booster.predict, from the same file `leadwire score` reads.
(c) `leadwire score`, from a CSV file to a CSV file: parsing, encoding, scoring, calibration and writing.

Our scoring stage alone, over the same encoded rows and beside (a) on one thread, is another program's:
`--save FOLDER`, then `LEADWIRE_BESIDE=FOLDER cargo bench --bench beside -- encoded`.
"""

import argparse
import hashlib
import json
import os
import pathlib
import resource
import subprocess
import tempfile
import time

import lightgbm as lgb
import numpy as np
import pandas as pd

RUNS = 3
PARAMETERS = {"objective": "binary", "num_leaves": 31, "verbosity": -1, "seed": 7, "deterministic": True}


class Encoder:
    """Numbers as they are, words as their place in the sorted training vocabulary, all others NaN."""

    def __init__(self, table: pd.DataFrame, names: list[str]):
        self.names = names
        self.words = {
            name: sorted(set(table[name])) for name in names if not pd.api.types.is_numeric_dtype(table[name])
        }

    def matrix(self, table: pd.DataFrame) -> np.ndarray:
        rows = np.empty((len(table), len(self.names)))
        for i, name in enumerate(self.names):
            if name in self.words:
                codes = pd.Categorical(table[name], categories=self.words[name]).codes
                rows[:, i] = np.where(codes < 0, np.nan, codes)
            else:
                rows[:, i] = table[name]
        return rows


def read(path: pathlib.Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False)


def manifest(encoder: Encoder, table: pd.DataFrame, model: bytes, scores: np.ndarray) -> dict:
    """What makes the model's file a version."""
    features, histograms, background = [], {}, {}
    for name in encoder.names:
        words = encoder.words.get(name)
        if words is None:
            column = table[name]
            median, mean, sd = float(column.median()), float(column.mean()), float(column.std())
            encoding = {"type": "number", "median": median, "mean": mean, "sd": sd}
            edges = [float(column.min()), float(column.max())]
            histograms[name] = {"type": "number", "edges": edges, "counts": [len(table)], "missing": 0}
            background[name] = {"type": "number", "median": median}
        else:
            encoding = {"type": "category", "vocabulary": words}
            counts = {word: int(count) for word, count in table[name].value_counts().items()}
            histograms[name] = {"type": "category", "counts": counts, "missing": 0}
            shares = {word: count / len(table) for word, count in counts.items()}
            background[name] = {"type": "category", "shares": shares}
        features.append({"name": name, "required": True, "encoding": encoding})
    plain = [{name: row[name] for name in encoder.names} for row in table.head(32).to_dict("records")]
    golden = [{"features": lead, "score": float(np.float32(score))} for lead, score in zip(plain, scores)]
    return {
        "format": 1, "model": "lead", "version": "1", "kind": "lightgbm",
        "files": {"model.txt": hashlib.sha256(model).hexdigest()},
        "schema": {"features": features},
        "calibration": {"method": "none"},
        "cutoffs": {"a": 0.5, "b": 0.25, "c": 0.1},
        "baseline": {
            "rows": len(table), "features": histograms,
            "score": {"type": "number", "edges": [0.0, 1.0], "counts": [len(table)], "missing": 0},
        },
        "background": background,
        "golden": golden,
        "metrics": {"auc": 0.5, "log_loss": 0.5, "brier": 0.5, "rows": 1, "positives": 1},
        "lineage": {
            "dataset": "reference", "digest": hashlib.sha256(b"").hexdigest(), "rows": len(table), "seed": 7,
            "target": "y", "dropped": [],
        },
    }


def repeated(source: pathlib.Path, path: pathlib.Path, rows: int) -> None:
    """The same table, over and over."""
    header, *lines = source.read_text().splitlines(keepends=True)
    whole, rest = divmod(rows, len(lines))
    with path.open("w") as file:
        file.write(header)
        for _ in range(whole):
            file.writelines(lines)
        file.writelines(lines[:rest])


def least(run) -> tuple[float, float, object]:
    """CPU and wall-clock seconds of this process, the least of some runs, and what the last one gave."""
    spent = []
    for _ in range(RUNS):
        cpu, wall = time.process_time(), time.perf_counter()
        result = run()
        spent.append((time.process_time() - cpu, time.perf_counter() - wall))
    return *min(spent), result


def leadwire(command: list[str]) -> tuple[float, float, int]:
    """CPU and wall-clock seconds of a child, the least of some runs, and the most memory it held, in KiB."""
    spent, memory = [], 0
    for _ in range(RUNS):
        before, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        child = subprocess.Popen(command, stderr=subprocess.PIPE)
        # The account of a process counts what its parent held when it was started; the kernel's high mark does not.
        while child.poll() is None:
            memory = max(memory, high_mark(child.pid))
            time.sleep(0.005)
        assert child.returncode == 0, child.stderr.read().decode()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        spent.append((cpu, time.perf_counter() - wall))
    return *min(spent), memory


def high_mark(pid: int) -> int:
    """The most memory a running process has held so far, in KiB."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)


def tell(what: str, rows: int, cpu: float, wall: float, more: str = "") -> float:
    rate = rows / cpu
    print(f"{what:58} {rate / 1e6:6.2f} M rows per CPU second, {cpu:5.2f} CPU s, {wall:5.2f} s{more}", flush=True)
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=pathlib.Path)
    parser.add_argument("--target", default="y")
    parser.add_argument("--id", default="row_id")
    parser.add_argument("--drop", default="duration")
    parser.add_argument("--leadwire", default="target/release/leadwire")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--save", type=pathlib.Path, help="folder for the model and encoded rows, for `beside`")
    options = parser.parse_args()

    table = read(options.table)
    dropped = [options.target, options.id, *options.drop.split(",")]
    encoder = Encoder(table, [name for name in table.columns if name not in dropped])
    rows, labels = encoder.matrix(table), (table[options.target] == "yes").astype(int)
    places = [i for i, name in enumerate(encoder.names) if name in encoder.words]
    data = lgb.Dataset(rows, labels, feature_name=encoder.names, categorical_feature=places)
    model = lgb.train(PARAMETERS, data, 100).model_to_string().encode()
    booster = lgb.Booster(model_str=model.decode())

    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        (options.save / "model.txt").write_bytes(model)
        (options.save / "leads.json").write_text(json.dumps(rows.tolist()))

    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        version = folder / "models" / "lead" / "1"
        version.mkdir(parents=True)
        (version / "model.txt").write_bytes(model)
        scores = booster.predict(rows[:32])
        (version / "manifest.json").write_text(json.dumps(manifest(encoder, table, model, scores)))
        large, small, out = folder / "large.csv", folder / "small.csv", folder / "out.csv"
        repeated(options.table, large, options.rows)
        repeated(options.table, small, options.rows // 10)

        def score(path: pathlib.Path) -> list[str]:
            command = [options.leadwire, "score", "--models", str(folder / "models"), "--model", "lead"]
            return [*command, "--input", str(path), "--output", str(out), "--json"]

        count = options.rows
        print(f"LightGBM {lgb.__version__}, {os.cpu_count()} cores, {count} rows, {large.stat().st_size / 1e6:.0f} MB")
        matrix = encoder.matrix(read(large))
        cpu, wall, expected = least(lambda: booster.predict(matrix, num_threads=1))
        best = tell("(a) Booster.predict, encoded rows, one thread", count, cpu, wall)
        cpu, wall, _ = least(lambda: booster.predict(matrix))
        tell("(a) the same, all threads", count, cpu, wall)
        cpu, wall, _ = least(lambda: booster.predict(encoder.matrix(read(large))))
        whole = tell("(b) pandas.read_csv, encoding, Booster.predict", count, cpu, wall)
        cpu, wall, few = leadwire(score(small))
        tell("(c) leadwire score, CSV to CSV, a tenth of the rows", count // 10, cpu, wall, f", {few / 1024:.0f} MiB")
        cpu, wall, many = leadwire(score(large))
        ours = tell("(c) leadwire score, CSV to CSV", count, cpu, wall, f", {many / 1024:.0f} MiB")
        got = read(out)["score"].to_numpy()
        off = np.abs(got - expected).max()
        assert len(got) == count and off < 1e-7, f"scores differ by up to {off}"
        print(f"(c) / (a) {ours / best:.2f}, (c) / (b) {ours / whole:.2f}; scores differ by at most {off:.1e}, f32 from f64")


if __name__ == "__main__":
    main()
