"""The tree model our networks are measured against: LightGBM with early stopping, on the rows `leadwire train` gets.

    python3 -m venv /tmp/ref && /tmp/ref/bin/pip install lightgbm scikit-learn pandas
    /tmp/ref/bin/python benches/reference/lightgbm_early_stopping.py train.csv valid.csv \
        --target y --id row_id --drop duration

Prints the AUC on the validation file for each seed, and the CPU seconds. The validation rows choose the round, as they
choose the epoch of a network: both figures flatter alike.
"""

import argparse
import time

import lightgbm as lgb
import pandas as pd
from sklearn.metrics import roc_auc_score

PARAMETERS = {
    "objective": "binary",
    "metric": "auc",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_child_samples": 20,
    "feature_fraction": 0.8,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "num_threads": 1,
    "deterministic": True,
    "verbosity": -1,
}


def read(options: argparse.Namespace) -> list[tuple[pd.DataFrame, pd.Series]]:
    """Features and labels of the training and the validation file; words have a code each, those of training only."""
    drop = [options.target, options.id, *options.drop.split(",")]
    train, valid = pd.read_csv(options.train, keep_default_na=False), pd.read_csv(options.valid, keep_default_na=False)
    names = [name for name in train.columns if name not in drop]
    for name in names:
        if not pd.api.types.is_numeric_dtype(train[name]):
            words = sorted(set(train[name]))
            for rows in (train, valid):
                rows[name] = pd.Categorical(rows[name], categories=words)
    return [(rows[names], (rows[options.target] == "yes").astype(int)) for rows in (train, valid)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("valid")
    parser.add_argument("--target", default="y")
    parser.add_argument("--id", default="row_id")
    parser.add_argument("--drop", default="duration")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--metric", default="auc", choices=["auc", "binary_logloss"], help="what stops it")
    parser.add_argument("--rate", type=float, default=PARAMETERS["learning_rate"])
    parser.add_argument("--whole", action="store_true", help="every row and feature in every round")
    options = parser.parse_args()
    parameters = {**PARAMETERS, "metric": options.metric, "learning_rate": options.rate}
    if options.whole:
        parameters |= {"feature_fraction": 1.0, "bagging_fraction": 1.0, "bagging_freq": 0}

    (rows, labels), (judged, truth) = read(options)

    aucs = []
    for seed in range(1, options.seeds + 1):
        started = time.process_time()
        data = lgb.Dataset(rows, labels)
        booster = lgb.train(
            {**parameters, "seed": seed},
            data,
            num_boost_round=2000,
            valid_sets=[lgb.Dataset(judged, truth, reference=data)],
            callbacks=[lgb.early_stopping(100, verbose=False)],
        )
        auc = roc_auc_score(truth, booster.predict(judged))
        aucs.append(auc)
        cpu = time.process_time() - started
        print(f"seed {seed}: auc {auc:.4f}, {booster.best_iteration} rounds, {cpu:.1f} CPU s")
    print(f"mean {sum(aucs) / len(aucs):.4f}, min {min(aucs):.4f}, max {max(aucs):.4f}")


if __name__ == "__main__":
    main()
