"""Spoken digits: recordings from folders and archives, every way they can be wrong, and the log-mel front end."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from labc.errors import LabcError
from labc.train.data import logmel, recordings, speech, spoken_digits


def wav(samples: np.ndarray, channels: int = 1, width: int = 2, rate: int = 8000) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def tone(frequency: float, amplitude: float = 8000, samples: int = 4000) -> np.ndarray:
    wave_: np.ndarray = np.rint(amplitude * np.sin(2 * np.pi * frequency / 8000 * np.arange(samples))).astype(np.int16)
    return wave_


def spoken(indices: int = 20) -> dict[str, bytes]:
    """Every digit a tone of its own, said by two speakers."""
    return {
        f"{digit}_{speaker}_{index}.wav": wav(tone(300 + 300 * digit, 1000 + 100 * index, 3000 + 50 * index))
        for digit in range(10)
        for speaker in ("anna", "ben")
        for index in range(indices)
    }


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def write_tar(path: Path, files: dict[str, bytes], *members: tarfile.TarInfo, top: str = "recordings/") -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        folder = tarfile.TarInfo("recordings")
        folder.type = tarfile.DIRTYPE
        for member in (folder, *members):
            archive.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_the_same_from_a_folder_and_archives(tmp_path: Path) -> None:
    files = spoken()
    folder = write_folder(tmp_path / "recordings", {**files, "README.md": b"hello", "._0_anna_0.wav": b"Apple's"})
    (folder / "more").mkdir()
    data = spoken_digits(folder)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [200, 100, 100]
    assert data.train.images.shape == (200, 32, 64)
    assert data.train.images.dtype == torch.uint8
    assert torch.bincount(data.test.labels).tolist() == [10] * 10
    backwards = dict(reversed(files.items()))
    for name in ("a.tar", "a.tar.gz", "a.tgz"):
        again = spoken_digits(write_tar(tmp_path / name, backwards))
        for part, same in ((data.train, again.train), (data.validation, again.validation), (data.test, again.test)):
            assert torch.equal(part.images, same.images)
            assert torch.equal(part.labels, same.labels)


def test_recordings_are_ordered(tmp_path: Path) -> None:
    names = ["1_ben_2.wav", "1_ben_10.wav", "1_anna_3.wav", "0_ben_0.wav"]
    found = recordings(write_folder(tmp_path / "r", {name: wav(tone(400)) for name in names}))
    assert [(r.digit, r.speaker, r.index) for r in found] == [(0, "ben", 0), (1, "anna", 3), (1, "ben", 2), (1, "ben", 10)]
    assert np.array_equal(found[0].samples, tone(400))


GOOD = wav(tone(500))


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("0_anna.wav", GOOD, "0_anna.wav: not called <digit>_<speaker>_<index>.wav"),
        ("10_anna_0.wav", GOOD, "10_anna_0.wav: not called"),
        ("0_anna_0.wav", b"", "not a whole WAV file"),
        ("0_anna_0.wav", b"RIFF\x10\0\0\0WAVEfmt ", "not a whole WAV file"),
        ("0_anna_0.wav", b"OggS" + GOOD, "not a whole WAV file"),
        ("0_anna_0.wav", GOOD[:-5], "announces 4000 samples and holds 399"),
        ("0_anna_0.wav", GOOD[:40] + struct.pack("<I", 2**32 - 2) + GOOD[44:], "announces 2147483647 samples"),
        ("0_anna_0.wav", wav(tone(500)[:0]), "announces 0 samples"),
        ("0_anna_0.wav", wav(tone(500), channels=2), r"2 channel\(s\), 16 bits, 8000 Hz; convert"),
        ("0_anna_0.wav", wav(tone(500), width=1), r"1 channel\(s\), 8 bits"),
        ("0_anna_0.wav", wav(tone(500), rate=16000), "16000 Hz"),
        ("0_anna_0.wav", wav(tone(500, samples=160_000)), "more than 320000 bytes"),
    ],
)
def test_damaged_recordings(tmp_path: Path, name: str, content: bytes, text: str) -> None:
    for source in (write_folder(tmp_path / "folder", {name: content}), write_tar(tmp_path / "a.tar.gz", {name: content})):
        with pytest.raises(LabcError, match=text):
            recordings(source)


def _cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda p: p.unlink(), "no such file or folder"),
        (lambda p: p.write_bytes(b""), "not a whole .tar.gz archive"),
        (lambda p: p.write_bytes(b"<html>" * 1000), "not a whole .tar.gz archive"),
        (lambda p: p.write_bytes(gzip.compress(b"<html>" * 1000)), "not a whole .tar.gz archive"),
        (lambda p: _cut(p, 3000), "not a whole .tar.gz archive"),
        (lambda p: p.write_bytes(p.read_bytes()[:-8] + bytes(8)), "not a whole .tar.gz archive"),
        (lambda p: write_tar(p, {}), "no recording <digit>_<speaker>_<index>.wav"),
        (lambda p: write_tar(p, spoken(5)), "none of them for training"),
        (lambda p: write_tar(p, {k: v for k, v in spoken(12).items() if not k.endswith("_7.wav")}, *[_link("0_anna_7.wav")] * 2), None),
    ],
)
def test_damaged_archives(tmp_path: Path, damage: Callable[[Path], object], text: str | None) -> None:
    path = write_tar(tmp_path / "a.tar.gz", spoken(12))
    damage(path)
    if text is None:
        assert len(spoken_digits(path).validation) == 80  # links are no recordings
        return
    with pytest.raises(LabcError, match=text):
        spoken_digits(path)


def _link(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return member


def test_paths_in_an_archive_mean_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = recordings(write_tar(tmp_path / "a.tar", {"0_anna_0.wav": GOOD}, top="../../etc/"))
    assert len(found) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_a_recording_that_is_there_twice(tmp_path: Path) -> None:
    files = {"a/0_anna_0.wav": GOOD, "b/0_anna_0.wav": GOOD}
    with pytest.raises(LabcError, match=r"a.tar: 0_anna_0.wav: 0_anna_0.wav is there twice"):
        recordings(write_tar(tmp_path / "a.tar", files))


def test_archives_are_read_within_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "_MOST_UNPACKED", 2**20)
    path = write_tar(tmp_path / "a.tar.gz", {"0_anna_0.wav": GOOD, "zeros.bin": bytes(2**21), "1_anna_0.wav": GOOD})
    with pytest.raises(LabcError, match="more than 1 MiB unpacked"):
        recordings(path)
    header = bytearray(tarfile.TarInfo("././@LongLink").tobuf(tarfile.GNU_FORMAT))  # a name of 8 GB, so it says
    header[124:136], header[156:157] = b"77777777777\0", b"L"
    checksum = sum(header[:148]) + 8 * 32 + sum(header[156:512])
    header[148:156] = b"%06o\0 " % checksum
    path.write_bytes(gzip.compress(bytes(header) + bytes(2**21)))
    with pytest.raises(LabcError, match=r"more than 1 MiB unpacked|not a whole"):
        recordings(path)
    monkeypatch.setattr(speech, "_MOST_FILES", 5)
    for source in (write_folder(tmp_path / "f", spoken(1)), write_tar(tmp_path / "b.tar", spoken(1))):
        with pytest.raises(LabcError, match="more than 5 recordings"):
            recordings(source)


def test_the_bank() -> None:
    bank = logmel.bank()
    assert bank.shape == (32, 129)
    assert ((bank > 0).sum(1) >= 1).all()
    assert bank.max() <= 1
    # Triangles that overlap by half: between the first and the last centre, they sum to 1.
    inside = slice(int(bank[0].argmax()) + 1, int(bank[-1].argmax()))
    assert np.allclose(bank.sum(0)[inside], 1)
    assert bank[:, 0].max() == 0  # no direct current


def test_levels() -> None:
    levels = logmel.levels(logmel.fitted(tone(1000, 32767, 9000)))
    assert levels.shape == (32, 64)
    assert levels.dtype == np.uint8
    band = int(levels[:, 30].argmax())
    assert logmel.bank()[band, 32] > 0.5  # bin 32 is 1000 Hz
    assert 230 <= levels[band, 30] <= 250
    softer = logmel.levels(logmel.fitted(tone(1000, 32767 / 2, 9000)))
    assert levels[band, 30] - softer[band, 30] == 16  # half the amplitude, a quarter of the power: two octaves
    assert (levels[:, 1:-1] == levels[:, 1:2]).all()  # a steady tone; a frame is 16 of its periods
    assert not logmel.levels(np.zeros(logmel.SAMPLES, np.int16)).any()


def test_levels_are_the_definition_s() -> None:
    samples = np.random.default_rng(0).integers(-3000, 3000, logmel.SAMPLES).astype(np.int16)
    got = logmel.levels(samples)
    for frame in (0, 17, 63):
        part = [float(samples[128 * frame + i]) * (0.5 - 0.5 * np.cos(2 * np.pi * i / 256)) for i in range(256)]
        turn = np.exp(-2j * np.pi * np.outer(np.arange(129), np.arange(256)) / 256)
        power = np.abs(turn @ np.array(part)) ** 2
        for band in (0, 9, 31):
            level = 8 * (np.log2(max(float(power @ logmel.bank()[band]), 1)) - 12)
            assert abs(int(got[band, frame]) - min(255, max(0, level))) < 0.51


@pytest.mark.parametrize("count", [1, 2, 8319, 8320, 8321, 9001])
def test_fitted(count: int) -> None:
    samples = np.arange(1, count + 1).astype(np.int16)
    fitted = logmel.fitted(samples)
    assert len(fitted) == logmel.SAMPLES
    kept = fitted[fitted > 0]
    assert len(kept) == min(count, logmel.SAMPLES)
    assert (np.diff(kept) == 1).all()
    before, after = int((fitted != 0).argmax()), int((fitted[::-1] != 0).argmax())
    assert abs(before - after) <= 1
    assert abs((kept[0] - 1) - (count - kept[-1])) <= 1
