"""Small models of every form, with what the libraries say of a few rows.

    python3 -m venv ref && ref/bin/pip install lightgbm==4.7.0 xgboost==3.2.0 numpy pandas && ref/bin/python make.py

Writes `NAME.txt` or `NAME.json` and `NAME.ubj`, and `NAME.golden.json` beside them. All data is made up.
"""

import json
import math
import pathlib

import lightgbm as lgb
import numpy as np
import pandas as pd
import xgboost as xgb

HERE = pathlib.Path(__file__).parent
ROWS, KEPT = 1500, 16


def data(seed, levels=6, nan=0.0, zero=0.0):
    """Three numbers and two categories; y rises with some of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(ROWS, 5)).round(3)
    x[:, 2] = rng.exponential(size=ROWS).round(2)
    x[:, 3] = rng.integers(0, 4, ROWS)
    x[:, 4] = rng.integers(0, levels, ROWS)
    effect = rng.normal(size=levels)[x[:, 4].astype(int)] + rng.normal(size=4)[x[:, 3].astype(int)]
    z = x[:, 0] - 0.5 * x[:, 1] * x[:, 2] + effect + rng.normal(size=ROWS) * 0.3
    x[rng.random(x.shape) < nan] = np.nan
    x[rng.random(x.shape) < zero] = 0.0
    return x, z


def edges(x, integers):
    """The kept rows, then what stands at the edges of each rule."""
    rows = [list(row) for row in x[:KEPT]]
    base = list(x[0])
    for value in [math.nan, 0.0, -0.0, 1e-36, -1e-36, 1e-35, 1e-34, 1e30, -1e30]:
        rows += [[value] * 5] + [base[:i] + [value] + base[i + 1 :] for i in (0, 3, 4)]
    for value in integers:
        rows += [base[:3] + [value, value], base[:4] + [value]]
    return np.array(rows)


CODES = [-1, -0.5, 0.5, 2.7, 2.9999999999, 31, 32, 33, 62, 63, 64, 65, 127, 128, 499, 500, 511, 512, 1e6, 2.0**24, 2.0**31, 2.0**33]


def plain(array):
    """Nested lists with null for NaN, as JSON takes them."""
    if isinstance(array, (list, np.ndarray)):
        return [plain(item) for item in array]
    value = array.item() if hasattr(array, "item") else array
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def write(name, golden):
    text = json.dumps({key: plain(value) if key not in ("model", "words", "note") else value for key, value in golden.items()}, separators=(",", ":"))
    (HERE / f"{name}.golden.json").write_text(text + "\n")


def save(booster, path):
    """Without the training parameters that nobody reads, for size."""
    booster.save_model(path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith("[") or line.startswith(("[objective", "[categorical"))))


def lightgbm(name, x, y, params, rounds=6, whole=False, note="", **more):
    params = {"verbose": -1, "num_leaves": 6, "min_data_in_leaf": 5, "seed": 3, "num_threads": 1, **params}
    cats = more.pop("categorical_feature", [3, 4])
    booster = lgb.train(params, lgb.Dataset(x, y, categorical_feature=cats, params=params, **more), rounds)
    save(booster, HERE / f"{name}.txt")
    booster = lgb.Booster(model_file=HERE / f"{name}.txt")
    rows = edges(x, CODES) if whole else edges(x, [])[:28]
    rows = np.vstack([rows, [[math.inf] * 5, [-math.inf] * 5]])
    write(name, {
        "model": [f"{name}.txt"], "library": "lightgbm", "note": note, "inputs": rows,
        "raw": booster.predict(rows, raw_score=True), "pred": booster.predict(rows),
        "leaf": booster.predict(rows, pred_leaf=True),
        "pred_first5": booster.predict(rows[:50], num_iteration=5),
        "pred_start1_n3": booster.predict(rows[:50], start_iteration=1, num_iteration=3),
        "raw_start3_n4": booster.predict(rows[:50], start_iteration=3, num_iteration=3, raw_score=True),
    })


def xgboost(name, x, y, params, rounds=4, note="", integers=None, ends=("json",)):
    types = params.pop("types", None)
    params = {"max_depth": 3, "seed": 3, "nthread": 1, "tree_method": "hist", **params}
    if params.get("booster") == "gblinear":
        del params["max_depth"], params["tree_method"]
    matrix = lambda rows: xgb.DMatrix(rows, feature_types=types, enable_categorical=types is not None)
    train = matrix(x)
    train.set_label(y)
    booster = xgb.train(params, train, rounds)
    for end in ends:
        booster.save_model(HERE / f"{name}.{end}")
    booster = xgb.Booster(model_file=HERE / f"{name}.{ends[0]}")
    rows = edges(x, integers or [])
    if integers is None and name != "xgb_nan":
        rows = rows[:28]
    if types is not None:  # The library refuses negative categories when it reads rows.
        rows = rows[np.all((np.nan_to_num(rows[:, 3:]) >= 0) & (np.nan_to_num(rows[:, 3:]) < 2**24), axis=1)]
    golden = {
        "model": [f"{name}.{end}" for end in ends], "library": "xgboost", "note": note, "inputs": rows,
        "raw": booster.predict(matrix(rows), output_margin=True), "pred": booster.predict(matrix(rows)),
    }
    if params.get("booster") != "gblinear":
        golden["leaf"] = booster.predict(matrix(rows), pred_leaf=True)
        golden["pred_first5"] = booster.predict(matrix(rows[:50]), iteration_range=(0, min(5, rounds)))
    write(name, golden)


def main():
    x, z = data(1)
    win, positive = (z > 0).astype(float), np.exp(z / 3)
    thirds = np.digitize(z, np.quantile(z, [1 / 3, 2 / 3]))
    lightgbm("lgb_rf", x, win, {"objective": "binary", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7})
    lightgbm("lgb_dart", x, win, {"objective": "binary", "boosting": "dart", "drop_rate": 0.5})
    lightgbm("lgb_linear", x, z, {"objective": "regression", "linear_tree": True})
    lightgbm("lgb_linear_nan", data(2, nan=0.1)[0], z, {"objective": "regression", "linear_tree": True}, whole=True)
    lightgbm("lgb_sqrt", x, z, {"objective": "regression", "reg_sqrt": True})
    for objective in ["gamma", "tweedie", "poisson"]:
        lightgbm(f"lgb_{objective}", x, positive, {"objective": objective}, rounds=3)
    for objective in ["regression_l1", "huber", "fair", "quantile", "mape"]:
        lightgbm(f"lgb_{objective}", x, z, {"objective": objective}, rounds=3)
    lightgbm("lgb_cross_entropy", x, 1 / (1 + np.exp(-z)), {"objective": "cross_entropy"}, rounds=3)
    lightgbm("lgb_ova", x, thirds, {"objective": "multiclassova", "num_class": 3, "sigmoid": 1.5}, rounds=3)
    lightgbm("lgb_rf_multi", x, thirds, {"objective": "multiclass", "num_class": 3, "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.7}, rounds=3)
    xn, zn = data(3, nan=0.15, zero=0.2)
    wn = (zn > 0).astype(float)
    lightgbm("lgb_nan", xn, wn, {"objective": "binary"}, whole=True)
    lightgbm("lgb_zero", xn, wn, {"objective": "binary", "zero_as_missing": True}, whole=True)
    lightgbm("lgb_no_missing", xn, wn, {"objective": "binary", "use_missing": False}, whole=True)
    xl, zl = data(4, levels=500)
    lightgbm("lgb_levels", xl, (zl > 0).astype(float), {"objective": "binary", "max_cat_threshold": 300, "min_data_per_group": 1, "cat_smooth": 0.1, "max_bin": 600}, whole=True)
    lightgbm("lgb_custom", x, z, {"objective": lambda pred, train: (pred - train.get_label(), np.ones_like(pred))}, note="identity")
    pandas(x, win)
    boosted(x, z, win, positive, thirds)


def pandas(x, win):
    """Categories in an order that is not the alphabet's; rows with their codes, and the words beside."""
    sizes, kinds = ["200+", "1-10", "51-200", "11-50"], ["web", "event", "phone", "mail", "fair", "other"]
    frame = pd.DataFrame(x[:, :3], columns=["a", "b", "c"])
    frame.insert(1, "size", pd.Categorical([sizes[int(i)] for i in x[:, 3]], categories=sizes))
    frame["kind"] = pd.Categorical([kinds[int(i)] for i in x[:, 4]], categories=kinds)
    params = {"objective": "binary", "verbose": -1, "num_leaves": 7, "min_data_in_leaf": 5, "num_threads": 1}
    save(lgb.train(params, lgb.Dataset(frame, win), 5), HERE / "lgb_pandas.txt")
    booster = lgb.Booster(model_file=HERE / "lgb_pandas.txt")
    rows = frame[:20]
    codes = rows.copy()
    codes["size"], codes["kind"] = rows["size"].cat.codes, rows["kind"].cat.codes
    write("lgb_pandas", {
        "model": ["lgb_pandas.txt"], "library": "lightgbm", "words": {"1": sizes, "4": kinds}, "inputs": codes.to_numpy(float),
        "raw": booster.predict(rows, raw_score=True), "pred": booster.predict(rows), "leaf": booster.predict(rows, pred_leaf=True),
    })


def boosted(x, z, win, positive, thirds):
    logistic = {"objective": "binary:logistic"}
    xgboost("xgb_dart", x, win, {**logistic, "booster": "dart", "rate_drop": 0.4, "one_drop": 1})
    xgboost("xgb_dart_multi", x, thirds, {"objective": "multi:softprob", "num_class": 3, "booster": "dart", "rate_drop": 0.4, "max_depth": 2}, rounds=5)
    xgboost("xgb_linear", x, win, {**logistic, "booster": "gblinear"})
    xgboost("xgb_linear_multi", x, thirds, {"objective": "multi:softprob", "num_class": 3, "booster": "gblinear"}, ends=("json", "ubj"))
    xgboost("xgb_logitraw", x, win, {"objective": "binary:logitraw"})
    xgboost("xgb_reg_logistic", x, 1 / (1 + np.exp(-z)), {"objective": "reg:logistic"})
    xgboost("xgb_gamma", x, positive, {"objective": "reg:gamma"})
    xgboost("xgb_tweedie", x, positive, {"objective": "reg:tweedie"})
    xn, zn = data(3, nan=0.15, zero=0.2)
    xgboost("xgb_nan", xn, (zn > 0).astype(float), logistic, ends=("json", "ubj"))
    kinds = {"types": ["q", "q", "q", "c", "c"]}
    codes = [0.5, 2.7, 5.9999999999, 6, 31, 32, 33, 62, 63, 64, 65, 127, 128, 499, 500, 511, 512, 1e6]
    xgboost("xgb_cat_onehot", x, win, {**logistic, **kinds, "max_cat_to_onehot": 10}, integers=codes)
    xgboost("xgb_cat", x, win, {**logistic, **kinds, "max_cat_to_onehot": 1}, integers=codes)
    xgboost("xgb_cat_nan", np.where(np.isfinite(xn), xn, np.nan), (zn > 0).astype(float), {**logistic, **kinds, "max_cat_to_onehot": 1}, integers=codes)
    xl, zl = data(4, levels=500)
    xgboost("xgb_cat_levels", xl, (zl > 0).astype(float), {**logistic, **kinds, "max_cat_to_onehot": 1, "max_cat_threshold": 300, "max_bin": 600}, integers=codes, ends=("json", "ubj"))


if __name__ == "__main__":
    main()
