"""onnxruntime, the outside referee: runs the model file itself. Optional; absent means "not run here"."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labc.check import Verdict
from labc.ir.core import Array

WHAT = "onnxruntime = reference"


def referee(path: Path, x: Array, scores: Array, notes: tuple[str, ...], batch: int = 256) -> Verdict:
    """Scores of the file in onnxruntime against the reference's `scores`, for inputs `x`.

    A file in labc's own spelling (no `notes`) must agree bit for bit. For another spelling the normal form is the definition,
    and how far onnxruntime agrees with it is measured and told; fewer than nine classes in ten alike is a failure.
    """
    try:
        import onnxruntime
    except ImportError:
        return Verdict(WHAT, "not run here", "onnxruntime is not installed; pip install 'labc[referee]'")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        (entry,) = session.get_inputs()
        fixed = entry.shape[0] if isinstance(entry.shape[0], int) else 0
        pieces = [x[i : i + (fixed or batch)] for i in range(0, len(x), fixed or batch)]
        if fixed and len(pieces[-1]) < fixed:
            pieces[-1] = np.concatenate([pieces[-1], np.zeros((fixed - len(pieces[-1]), *x.shape[1:]), x.dtype)])
        got = np.concatenate([session.run(None, {entry.name: piece})[0] for piece in pieces])[: len(x)]
    except Exception as error:  # onnxruntime raises many kinds; what it cannot run it cannot judge
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        return Verdict(WHAT, "not run here", f"onnxruntime does not run this file: {why}")
    version = onnxruntime.__version__
    got = got.reshape(len(x), -1)
    if got.dtype.kind in "iu":  # the file ends in ArgMax
        same = np.asarray(got.reshape(len(x)) == np.argmax(scores, axis=1))
        kind = "classes"
    else:
        same = (np.ascontiguousarray(got, np.float32).view(np.int32) == scores.view(np.int32)).reshape(len(x), -1).all(axis=1)
        kind = "scores bit for bit"
    if same.all():
        return Verdict(WHAT, "passed", f"{len(x)} inputs, {kind}, onnxruntime {version}")
    if notes:
        # No proof, but a net: where the normal form is read wrongly, classes are as good as random.
        agree = int((np.argmax(got, axis=1) == np.argmax(scores, axis=1)).sum()) if kind != "classes" else int(same.sum())
        told = f"measured: scores of {int(same.sum())} of {len(x)} inputs equal bit for bit, classes of {agree} ({'; '.join(notes)})"
        return Verdict(WHAT, "passed" if 10 * agree >= 9 * len(x) else "failed", told)
    first = int(np.argmin(same))
    return Verdict(WHAT, "failed", f"{int((~same).sum())} of {len(x)} inputs differ; first: input {first}, onnxruntime {version}")
