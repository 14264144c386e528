"""The command line as a user meets it: help, JSON, exit codes, one line per error."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zoo
from here import not_run_here

from labc import errors
from labc.cli import main
from labc.emulator import unicorn
from labc.target import TARGETS

COMMANDS = ("train", "inspect", "build", "check", "bench", "boards", "targets", "packages", "doctor")


def test_the_top_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^    {command} ", text, re.MULTILINE) for command in COMMANDS)
    assert "examples:" in text
    assert "exit codes:" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_has_examples_that_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    from labc.arguments import parser

    with pytest.raises(SystemExit):
        main([command, "--help"])
    examples = re.findall(r"^  labc (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert examples
    for example in examples:
        arguments = parser().parse_args(example.split("   ")[0].split())
        assert arguments.command == command


def test_help_is_quick() -> None:
    """Under 0.2 s; the best of several, because this machine may be busy."""
    best = 9.0
    for _ in range(8):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "labc.cli", "--help"], check=True, capture_output=True)
        best = min(best, time.perf_counter() - start)
    assert best < 0.2


def test_build_says_something_quickly(digits_like: Path, tmp_path: Path) -> None:
    best = 9.0
    for _ in range(3):
        start = time.perf_counter()
        command = [sys.executable, "-m", "labc.cli", "build", str(digits_like), "-o", str(tmp_path / "out")]
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as run:
            assert run.stderr is not None
            assert run.stderr.readline().startswith("labc: reading ")
            best = min(best, time.perf_counter() - start)
            run.stderr.read()
        assert run.returncode == 0
    assert best < 0.5


def out_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_inspect(digits_like: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = out_of(capsys, "inspect", str(digits_like))
    assert code == errors.OK
    for word in ("fc1", "u8[64]", "48 x 64", "yes", "can be built"):
        assert word in out
    code, out, err = out_of(capsys, "inspect", str(digits_like), "--json")
    told = json.loads(out)
    assert err == ""
    assert told["can_be_built"] is True
    dense = [row for row in told["layers"] if row["kind"] == "dense"]
    assert [row["macs"] for row in dense] == [64 * 48, 48 * 33, 33 * 10]
    assert [row["packed_bytes"] for row in dense] == [4 * 48 * 2, 4 * 33 * 2, 4 * 10 * 2]


def test_inspect_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    w = zoo.Writer()
    x = w.op("Cast", ["input"], "bytes", to=1)
    weights = np.ones((4, 3), np.float32)
    weights[:, 1] = [0.5, -0.25, 0.125, 1]
    x = w.op("MatMul", [x, w.const("w1", weights)], "fc1")
    x = w.op("Relu", [x], "relu1")
    w.op("MatMul", [x, w.const("w2", np.ones((3, 2), np.float32))], "fc2")
    path = zoo.save(w.model(4, 2), tmp_path / "float.onnx")
    code, out, _ = out_of(capsys, "inspect", str(path))
    assert code == errors.OK
    assert "fc1: float weights are not two values ±a per output channel: channel 1 holds 4 values with magnitudes from 0.125 to 1" in out
    assert "fc2: weights are ±a, but its input relu1 is float32" in out
    assert "cannot be built  fc1: float weights" in out
    assert out_of(capsys, "build", str(path), "-o", str(tmp_path / "no"))[0] == errors.BAD_INPUT
    assert not (tmp_path / "no").exists()


def test_build_and_check(digits_like: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = out_of(capsys, "build", str(digits_like), "--target", "arm", "-o", str(tmp_path / "arm"), "--name", "eye")
    assert code == errors.OK
    assert "lib/libeye.a" in out
    assert err.startswith("labc: reading")
    code, out, _ = out_of(capsys, "build", str(digits_like), "-o", str(tmp_path / "host"), "--json")
    assert json.loads(out)["target"] == "host"
    np.save(tmp_path / "x.npy", np.zeros((7, 64), np.uint8))
    saved = tmp_path / "check.json"
    code, out, _ = out_of(
        capsys, "check", str(digits_like), "--samples", "30", "--inputs", str(tmp_path / "x.npy"), "--time", "--save", str(saved)
    )
    assert code == errors.OK
    assert "37 inputs, scores bit for bit" in out
    assert "ns per inference" in out
    told = json.loads(saved.read_text())
    assert told["counts"] == {"passed": 6, "failed": 0, "not run here": 0}
    assert told["size"]["float32"] == 4 * (64 * 48 + 48 * 33 + 33 * 10 + 2 * (48 + 33 + 10))
    assert 0 < told["timing"]["low_ns"] <= told["timing"]["median_ns"] <= told["timing"]["high_ns"]
    code, out, _ = out_of(capsys, "check", str(digits_like), "--target", "arm", "--samples", "5", "--json")
    told = json.loads(out)
    assert told["chip"]["flash"] > told["size"]["packed"]


def test_the_default_place_is_named_after_model_and_target(digits_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["build", str(digits_like)]) == errors.OK
    assert (tmp_path / "net-host" / "include" / "net.h").is_file()


def test_a_failed_check_has_its_own_code(digits_like: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from labc.check import model as proof

    monkeypatch.setattr(proof, "thresholds", lambda stages, machine, tick: proof.Verdict("thresholds", "failed", "planted"))
    code, out, _ = out_of(capsys, "check", str(digits_like), "--samples", "5")
    assert code == errors.FAILED
    assert "planted" in out


def test_targets_and_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = out_of(capsys, "targets")
    assert code == errors.OK
    assert "host" in out
    assert "Cortex-M4" in out
    code, out, _ = out_of(capsys, "targets", "--json")
    assert {row["target"] for row in json.loads(out)} == set(TARGETS)
    code, out, _ = out_of(capsys, "doctor", "--json")
    tools = {row["tool"]: row for row in json.loads(out)["tools"]}
    assert tools["zig"]["found"] is True
    assert all(row["remedy"] for row in tools.values())


def test_doctor_says_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that is here and will not do is not mended by installing it, but where nothing else makes the code."""
    from labc import doctor

    monkeypatch.setattr(doctor.toolchain, "survey", lambda wanted: [("clang" if wanted.name == "arm" else "avr-gcc", "will not do")])
    monkeypatch.setattr(doctor.target, "TARGETS", {name: TARGETS[name] for name in ("arm", "avr")})
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/bin/{name}")
    told = {row["purpose"]: row["remedy"] for row in doctor.data(doctor.survey())}
    assert told["compiler for arm"] == "pip install 'labc[cross]'"
    assert told["compiler for avr"] == "apt install gcc-avr avr-libc"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build", "no.onnx"], "no.onnx: No such file"),
        (["build", "MODEL", "--target", "armm"], "target 'armm': not known; did you mean 'arm'"),
        (["build", "MODEL", "--name", "3d"], "name '3d': not a C identifier"),
        (["build", "MODEL", "--name", "while"], "name 'while': is taken"),
        (["check", "MODEL", "--target", "arm", "--time"], "--time: arm is not this machine"),
        (["check", "MODEL", "--inputs", "no.npy"], "no.npy: No such file"),
        (["check", "MODEL", "--inputs", "huge.npy"], "huge.npy: not a plain .npy array"),
        (["check", "MODEL", "--inputs", "deep.npy"], "deep.npy: not a plain .npy array"),
        (["check", "MODEL", "--seed", "-1"], "seed -1: is negative"),
        (["inspect", "no.onnx"], "no.onnx: No such file"),
        (["train", "mnist-mlp", "--data", "no-such-folder", "--out", "run"], "no-such-folder"),
    ],
)
def test_errors_are_one_line_and_code_2(
    arguments: list[str],
    message: str,
    digits_like: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, header in (("huge", "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000, 64)}"), ("deep", "[" * 3000)):
        Path(f"{name}.npy").write_bytes(b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode())
    code, out, err = out_of(capsys, *[str(digits_like) if a == "MODEL" else a for a in arguments])
    assert code == errors.BAD_INPUT
    assert message in err
    assert "Traceback" not in err
    assert out == ""
    assert err.strip().splitlines()[-1].startswith("labc: ")


@pytest.mark.parametrize("arguments", [["check", "m.onnx", "--samples", "0"], ["check", "m.onnx", "--samples", "x"], ["nothing"], []])
def test_usage_errors_are_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "usage: labc" in capsys.readouterr().err


def test_no_compiler_is_code_3(
    digits_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from labc import toolchain

    monkeypatch.setattr(toolchain, "_inspect", lambda name, target: "hidden for this test")
    code, _, err = out_of(capsys, "build", str(digits_like), "-o", str(tmp_path / "out"))
    assert code == errors.NOT_HERE
    assert "no compiler works here" in err
    assert "pip install 'labc[cross]'" in err
    assert not (tmp_path / "out").exists()


def test_ctrl_c_is_code_130(digits_like: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from labc import trial

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trial, "check", interrupted)
    code, _, err = out_of(capsys, "check", str(digits_like))
    assert code == errors.INTERRUPTED
    assert err.endswith("labc: interrupted\n")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), "check: No space left on device; fix"),
        (ConnectionResetError(104, "Connection reset by peer"), "check: Connection reset by peer; fix"),
        (OSError("a library's own words"), "check: a library's own words; fix"),
        (TimeoutError(), "check: TimeoutError; fix"),
        (PermissionError(13, "Permission denied", "/a/file"), "/a/file: Permission denied; fix"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    error: OSError, told: str, digits_like: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line begins with the file, or with the command if the error names none."""
    from labc import trial

    def refused(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(trial, "check", refused)
    code, _, err = out_of(capsys, "check", str(digits_like))
    assert code == errors.BAD_INPUT
    assert err.splitlines()[-1] == f"labc: {told} that and run it again"


def test_an_error_while_showing_is_not_the_outputs(
    digits_like: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from labc import report

    def shown(*_: object) -> None:
        raise OSError(5, "Input/output error", "/a/file")

    monkeypatch.setattr(report, "show_layers", shown)
    code, _, err = out_of(capsys, "inspect", str(digits_like))
    assert code == errors.BAD_INPUT
    assert err.splitlines()[-1].startswith("labc: /a/file: Input/output error")


def test_a_reader_that_leaves_is_no_error(digits_like: Path) -> None:
    if os.name != "posix" or shutil.which("sh") is None:
        not_run_here("pipe to a reader that leaves", "no sh")
        return
    run = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m labc.cli inspect {digits_like} | true"], check=False, capture_output=True, text=True
    )
    assert "Traceback" not in run.stderr


def test_what_cannot_be_saved_is_shown_all_the_same(digits_like: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = out_of(capsys, "check", str(digits_like), "--samples", "3", "--save", str(tmp_path / "none" / "x.json"))
    assert code == errors.BAD_INPUT
    assert "passed" in out
    assert "x.json: cannot be written" in err


def test_what_stands_in_brackets_is_shown(
    digits_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """rich takes [cross] for markup: a remedy without it would send people to the wrong package."""
    from labc import toolchain

    path = tmp_path / "net[bold].onnx"
    shutil.copy(digits_like, path)
    assert str(path) in out_of(capsys, "inspect", str(path))[1].replace("\n", "")
    monkeypatch.setattr(unicorn, "available", lambda: "hidden; pip install 'labc[cross]'")
    assert "'labc[cross]'" in out_of(capsys, "check", str(digits_like), "--target", "arm", "--samples", "3")[1]
    assert "'labc[cross]'" in out_of(capsys, "targets")[1]
    monkeypatch.setattr(toolchain, "_inspect", lambda name, target: "hidden [for] this test")
    out = out_of(capsys, "doctor")[1]
    assert "'labc[cross]'" in out
    assert "[for]" in out


@pytest.mark.skipif(os.name != "posix", reason="not run here: shells and /dev (needs no tool)")
@pytest.mark.parametrize(
    ("arguments", "redirected", "code", "told"),
    [
        ("inspect MODEL", ">&-", 0, ""),
        ("check MODEL --samples 5", ">&- 2>&-", 0, ""),
        ("inspect MODEL", "> /dev/full", 2, "standard output: cannot be written (No space left on device)"),
        ("inspect MODEL --json", "> /dev/full", 2, "standard output: cannot be written (No space left on device)"),
        ("inspect MODEL", "2>&-", 0, "can be built"),
        ("build no.onnx --json", "2>&-", 2, ""),
        ("build MODEL -o out --json > out.json", "2> /dev/full", 0, ""),
    ],
)
def test_outputs_that_take_nothing(arguments: str, redirected: str, code: int, told: str, digits_like: Path, tmp_path: Path) -> None:
    if "/dev/full" in redirected and not Path("/dev/full").exists():
        not_run_here("a full disk", "no /dev/full")
        return
    command = f"{sys.executable} -m labc.cli {arguments.replace('MODEL', str(digits_like))} {redirected}"
    run = subprocess.run(["sh", "-c", command], check=False, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == code, run.stderr
    assert told in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert "Exception ignored" not in run.stderr
    assert told or run.stdout == ""


def test_names_that_the_output_cannot_spell(digits_like: Path, tmp_path: Path) -> None:
    shutil.copy(digits_like, tmp_path / "größe.onnx")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    for more in ([], ["--json"]):
        command = [sys.executable, "-m", "labc.cli", "inspect", "größe.onnx", *more]
        run = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["model"] == "größe.onnx"


def test_inspect_counts_what_the_library_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sign without an affine before it costs a threshold per channel all the same."""
    w = zoo.Writer()
    w.body = True
    rng = np.random.default_rng(0)
    x = w.op("Cast", ["input"], "bytes", to=1)
    x = w.op("MatMul", [x, w.const("w1", rng.choice(np.float32([-1, 1]), (20, 12)))], "fc1")
    x = w.op("BipolarQuant", [x, w.const("one", np.float32(1))], "sign1", domain=zoo.QONNX)
    w.op("MatMul", [x, w.const("w2", rng.choice(np.float32([-1, 1]), (12, 3)))], "fc2")
    for model in (w.model(20, 3), zoo.own(zoo.random_layers(rng, [20, 33, 5, 3], method="lab"))):
        path = zoo.save(model, tmp_path / "net.onnx")
        told = json.loads(out_of(capsys, "inspect", str(path), "--json")[1])
        plain = ("--target", "x86-64", "--levels", "scalar")  # other kernels' layouts fill up rows and columns
        built = json.loads(out_of(capsys, "build", str(path), *plain, "-o", str(tmp_path / "out"), "--json")[1])
        assert sum(row["packed_bytes"] for row in told["layers"]) == built["constants"]["bytes"]


def test_data_that_is_not_used_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "train",
        "digits-mlp",
        "--method",
        "fp",
        "--epochs",
        "1",
        "--width",
        "8",
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(arguments) == errors.OK
    assert "digits-mlp brings its own data: --data is not used" in capsys.readouterr().err
    assert (tmp_path / "run" / "digits.onnx").is_file()
