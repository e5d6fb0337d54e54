"""A search of ours beside LightGBM tuned by Optuna, on the same rows, in one run.

    python3 -m venv .venv && .venv/bin/pip install lightgbm optuna scikit-learn pandas
    cargo build --release
    .venv/bin/python benches/reference/lightgbm_search.py train.csv valid.csv \
        --target y --id row_id --drop duration --seeds 3 --leadwire target/release/leadwire

Each trial stops early by the validation AUC, which also chooses the trial: both figures flatter alike. Prints the best AUC for
each seed of the search, and the CPU seconds.
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time

import lightgbm as lgb
import optuna
from lightgbm_early_stopping import read
from sklearn.metrics import roc_auc_score


def drawn(trial: optuna.Trial) -> dict[str, float]:
    """The space that is searched."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 4, 128, log=True),
        "min_child_samples": trial.suggest_int("min_child_samples", 5, 200, log=True),
        "lambda_l2": trial.suggest_float("lambda_l2", 1e-3, 100.0, log=True),
        "feature_fraction": trial.suggest_float("feature_fraction", 0.3, 1.0),
        "bagging_fraction": trial.suggest_float("bagging_fraction", 0.4, 1.0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("valid")
    parser.add_argument("--target", default="y")
    parser.add_argument("--id", default="row_id")
    parser.add_argument("--drop", default="duration")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--leadwire", help="the released program")
    parser.add_argument("--kinds", default="trees,best", help="what Leadwire searches, with so many trials for each family")
    options = parser.parse_args()
    (rows, labels), (judged, truth) = read(options)
    fixed = {"objective": "binary", "metric": "auc", "bagging_freq": 1, "num_threads": 1, "verbosity": -1}

    def objective(trial: optuna.Trial) -> float:
        parameters = fixed | drawn(trial) | {"seed": trial.number, "feature_pre_filter": False}
        train = lgb.Dataset(rows, labels, params={"feature_pre_filter": False})
        valid = lgb.Dataset(judged, truth, reference=train)
        model = lgb.train(parameters, train, 1_000, [valid], callbacks=[lgb.early_stopping(50, verbose=False)])
        return roc_auc_score(truth, model.predict(judged))

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for seed in range(options.seeds):
        start = time.process_time()
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        study.optimize(objective, n_trials=options.trials)
        spent = time.process_time() - start
        best = study.best_trial
        print(f"seed {seed}: AUC {best.value:.4f} in trial {best.number} of {options.trials}, {spent:.0f} CPU s")
        print(f"  {best.params}")
        if options.leadwire:
            for kind in options.kinds.split(","):
                ours(options, seed, kind)


def ours(options: argparse.Namespace, seed: int, kind: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [options.leadwire, "train", "--json", "--data", options.train, "--valid", options.valid]
        command += ["--target", options.target, "--id", options.id, "--drop", options.drop, "--out", f"{folder}/lead"]
        command += ["--kind", kind, "--trials", str(options.trials), "--seed", str(seed)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report = json.loads(run.stdout)
    search, auc = report["search"], report["metrics"]["auc"]
    told = f"{report['network']}, AUC {auc:.4f} in trial {search['best']} of its {search['trials']}"
    print(f"seed {seed}: leadwire --kind {kind}: {told}, {search['compared']} in all, {spent:.0f} CPU s")
    print(f"  {search['settings']}")


if __name__ == "__main__":
    main()
