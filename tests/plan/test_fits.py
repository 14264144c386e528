"""What does not fit the flash or the RAM is told by how much, and which layer to shrink."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zoo_images
from limits import just_met

import labc
from labc.errors import LabcError
from labc.plan.select import CODE_BYTES, STACK_BYTES


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 x 16 pixels, 64 channels between two convolutions: 2,048 bytes each side, 4,608 bytes of weights in the second."""
    net = zoo_images.Images(np.random.default_rng(0), (1, 16, 16))
    slide = zoo_images.Slide((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    x = net.sign(net.affine(net.conv(net.input, 64, slide)))
    x = net.sign(net.affine(net.conv(x, 64, slide)))
    path = tmp_path_factory.mktemp("fits") / "net.onnx"
    path.write_bytes(net.model(net.scores(net.flatten(net.global_sum(x)))).SerializeToString())
    return path


def test_what_fits_to_the_last_byte_is_built(model: Path, tmp_path: Path) -> None:
    """And with one byte less of flash it is not."""
    flash = just_met("flash", lambda flash: labc.compile(model, "arm", out=tmp_path / "out", flash=flash, ram=8192), 65536)
    with pytest.raises(LabcError, match=rf"^flash \(arm\): {flash:,} of {flash - 1:,} bytes, 1 too many; sign6 takes 4,\d\d\d of it"):
        labc.compile(model, "arm", out=tmp_path / "less", flash=flash - 1, ram=8192)
    assert not (tmp_path / "less").exists()


def test_too_little_ram_names_the_layer_and_what_is_alive(model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        LabcError,
        match=r"sign6: the arena takes 4,\d\d\d bytes, \d,\d\d\d more than the 3,000 bytes of RAM; at this layer are alive "
        r"sign3 2,048 \+ sign\d 2,048.*; make it narrower, or pool before it",
    ):
        labc.compile(model, "arm", out=tmp_path / "out", ram=3000)
    assert not (tmp_path / "out").exists()


def test_too_little_flash_names_the_largest_layer(model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        LabcError, match=r"sign6: the constants take 7,\d\d\d bytes, 3,\d\d\d more than the 4,096 bytes of flash, and this layer 4,\d\d\d"
    ):
        labc.compile(model, "arm", out=tmp_path / "out", flash=4096)


def test_the_page_names_what_the_plan_leaves() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert f"leaves less\nthan {STACK_BYTES} bytes of the RAM" in page
    assert f"leave less than {CODE_BYTES >> 10} KiB of the flash" in page
