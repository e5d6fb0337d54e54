"""LightGBM on the bench's model and leads, on one thread: FOLDER has model.txt, leads.json and raw.json, our sums.

A row through the C API's fast path, called by ctypes; what calling anything by ctypes costs is measured and taken off.
"""

import ctypes
import json
import pathlib
import sys
import time

try:
    import lightgbm
    import numpy as np
except ImportError as error:
    print(f"LightGBM itself: skipped, {error}")
    sys.exit(0)

RAW = 1
F64 = 1


def best(run, count, rounds=15):
    """Seconds per lead of the fastest round."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        run()
        times.append((time.process_time() - start) / count)
    return min(times)


def main():
    folder = pathlib.Path(sys.argv[1])
    leads = np.array(json.loads((folder / "leads.json").read_text()), dtype=np.float64)
    ours = np.array(json.loads((folder / "raw.json").read_text()), dtype=np.float64)
    booster = lightgbm.Booster(model_file=folder / "model.txt")
    theirs = booster.predict(leads, raw_score=True, num_threads=1)
    assert np.array_equal(ours, theirs), f"sums differ by up to {np.abs(ours - theirs).max()}"

    lib, config = lightgbm.basic._LIB, ctypes.c_void_p()
    settings = ctypes.c_char_p(b"num_threads=1")
    failed = lib.LGBM_BoosterPredictForMatSingleRowFastInit(
        booster._handle, RAW, 0, -1, F64, ctypes.c_int32(leads.shape[1]), settings, ctypes.byref(config)
    )
    assert not failed
    length, out = ctypes.c_int64(), ctypes.c_double()
    length, result = ctypes.byref(length), ctypes.byref(out)
    rows = [ctypes.c_void_p(row.ctypes.data) for row in leads]
    fast, nothing = lib.LGBM_BoosterPredictForMatSingleRowFast, ctypes.CDLL(None).abs

    def each(call):
        for row in rows:
            call(config, row, length, result)

    zero = ctypes.c_int(0)

    def overhead():
        for row in rows:
            nothing(zero, row, length, result)

    row, call = best(lambda: each(fast), len(rows)), best(overhead, len(rows))
    batch = best(lambda: booster.predict(leads, raw_score=True, num_threads=1), len(leads))
    print(f"LightGBM {lightgbm.__version__}, CPU time, the same model, leads and sums:")
    print(f"  C API, single-row fast path: {(row - call) * 1e6:.2f} us a lead, without {call * 1e6:.2f} for the call")
    print(f"  Booster.predict, a batch of {len(leads)}: {batch * 1e6:.2f} us a lead, {1e-6 / batch:.2f} M a second")


main()
