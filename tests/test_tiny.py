"""The whole line on the smallest network: first, and quick, so that a broken line is seen at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import zoo

import labc
from labc import reference
from labc.frontend.onnx import read


def test_from_file_to_library(tmp_path: Path) -> None:
    weights = np.array([[1, -1, 1], [-1, -1, 1]], np.int8)
    layers = [
        zoo.Layer(weights, np.float32([0.5, -1]), np.float32([-1, 3]), "sign"),
        zoo.Layer(np.array([[1, -1]], np.int8), np.float32([2]), np.float32([0.25]), "scores"),
    ]
    path = zoo.save(zoo.own(layers), tmp_path / "tiny.onnx")
    library = labc.load(labc.compile(path, "host", out=tmp_path / "tiny"))
    x = np.array([[0, 0, 0], [1, 2, 3], [255, 0, 9]], np.uint8)
    # By hand: sums (0, 0), (2, 0), (264, -246); affine (-1, 3), (0, 3), (131, 249); signs (-, +), (+, +), (+, +); scores 2(a - b) + ¼.
    np.testing.assert_array_equal(library(x), np.float32([[-3.75], [0.25], [0.25]]))
    np.testing.assert_array_equal(reference.run(read(path).graph, x)["fc2.affine"], library(x))
    assert library.self_test() == 0
    assert library.predict(x).tolist() == [0, 0, 0]
