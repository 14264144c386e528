"""simavr, which listens on one fixed port: many at once, or a turn for each; and emulators that are lost are told, and leave nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread, Timer

import pytest
from here import not_run_here

from labc import process, toolchain
from labc import target as targets
from labc.cli import main
from labc.compiling import compile_objects
from labc.emulator import EmulatorLost, door, qemu
from labc.errors import FAILED, NOT_HERE, LabcError
from labc.image import image_files, link_image

CODE = """
int add(int a, int b);
int add(int a, int b) { return a + b; }
void hang(void);
void hang(void) { for (;;) { __asm__ volatile(""); } }
"""
PORT = qemu.SIMAVR.port
ROOT = Path(__file__).resolve().parents[1]
MACHINES = {"simavr": qemu.SIMAVR, "qemu-system-avr": qemu.MACHINES["atmega328p"], "qemu-system-arm": qemu.MACHINES["cortex-m55"]}
CPUS = {name: "cortex-m55" if name == "qemu-system-arm" else "atmega328p" for name in MACHINES}


def missing(name: str) -> str | None:
    """None if this emulator can be given an image here; else the reason why not."""
    machine = MACHINES[name]
    if shutil.which(machine.program) is None:
        return f"{machine.program} is not on PATH (Debian, Ubuntu: apt install {machine.package})"
    try:
        toolchain.find(where(CPUS[name]))
    except LabcError as error:
        return str(error)
    return qemu.available(CPUS[name])


def where(cpu: str) -> targets.Target:
    return targets.with_core(targets.TARGETS[targets.CORES[cpu].target], cpu)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The image of CODE for a core."""
    made: dict[str, Path] = {}

    def linked(cpu: str) -> Path:
        if cpu not in made:
            place, on = tmp_path_factory.mktemp(cpu), where(cpu)
            tools, (sources, script) = toolchain.find(on), image_files(on)
            (place / "code.c").write_text(CODE)
            objects = compile_objects(tools, on, [*sources, place / "code.c"], [], place)
            made[cpu] = link_image(tools, on, objects, script, place / "code.elf", keep=["add", "hang"])
        return made[cpu]

    return linked


def loaded(name: str, image: Callable[[str], Path]) -> qemu.Image:
    return qemu.Image(image(CPUS[name]), CPUS[name], machine=MACHINES[name])


def network() -> bool:
    """Whether a program may have a network of its own here."""
    with tempfile.TemporaryFile() as log:
        found = door.inside("true", [str(shutil.which("true"))], log)
        if found is not None:
            process.end(found[0])
            found[1].close()
    return found is not None


def alone(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command without simavrs of others around, if the system allows it a network of its own."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        isolated = [sys.executable, "-I", "-S", str(ROOT / "labc" / "tether.py"), str(os.getpid()), str(theirs.fileno())]
        wanted = [*(isolated if network() else []), *command]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        return subprocess.run(wanted, capture_output=True, text=True, timeout=120, check=False, env=env, pass_fds=[theirs.fileno()])


def test_a_program_outlives_the_thread_that_asked_for_it() -> None:
    started = []
    with tempfile.TemporaryFile() as log:
        thread = Thread(target=lambda: started.append(process.start("sleep", ["/bin/sleep", "60"], log)))
        thread.start()
        thread.join()
        time.sleep(0.3)
        assert started[0].poll() is None
        process.end(started[0])


def test_many_run_at_once(image: Callable[[str], Path]) -> None:
    """In one process, called in turns: with one port for all, the second would not even start."""
    if reason := missing("simavr"):
        not_run_here("many simavrs at once", reason)
        return
    if not network():
        not_run_here("many simavrs at once", "the system allows no network namespaces")
        return
    with contextlib.ExitStack() as ends:
        cores = [ends.enter_context(contextlib.closing(loaded("simavr", image))) for _ in range(3)]
        at = [core.alloc(4, 1) for core in cores]
        for i, core in enumerate(cores):
            core.write(at[i], bytes([i] * 4))
        for _ in range(2):
            assert [core.call("add", 100 * i, 7).result for i, core in enumerate(cores)] == [100 * i + 7 for i in range(3)]
        assert [core.read(at[i], 4) for i, core in enumerate(cores)] == [bytes([i] * 4) for i in range(3)]


ONE = """
import sys
from labc.emulator import door, qemu
door.inside = lambda place, command, log: None  # no network of its own
core = qemu.Image(open(sys.argv[1], "rb").read(), "atmega328p", machine=qemu.SIMAVR)
print(core.call("add", 20, int(sys.argv[2])).result, flush=True)
sys.stdin.read()
core.close()
again = qemu.Image(open(sys.argv[1], "rb").read(), "atmega328p", machine=qemu.SIMAVR)
print(again.call("add", 30, int(sys.argv[2])).result, flush=True)
"""
BOTH = """
import subprocess, sys
def start(number):
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", *sys.argv[1:3], number], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
first = start("1")
print("first", first.stdout.readline().strip())
second = start("2")
print("second", second.stderr.readline().strip(), flush=True)
first.stdin.close()
second.stdin.close()
print("first", first.stdout.readline().strip(), first.wait())
print("second", *second.stdout.read().split(), second.wait())
print(second.stderr.read(), end="")
"""


def test_two_processes_take_turns_at_one_port(image: Callable[[str], Path]) -> None:
    """If the system allows no networks: both give their answers, and the one that waits says so, once."""
    if reason := missing("simavr"):
        not_run_here("two simavrs at one port", reason)
        return
    done = alone(sys.executable, "-c", BOTH, ONE, str(image("atmega328p")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "first 21",
        f"second labc: waiting for simavr's port {PORT}, which another labc has (install qemu-system-misc, which needs no port)",
        "first 31 0",
        "second 22 32 0",
    ]


def test_the_second_of_a_process_at_one_port_is_refused(image: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for itself."""
    if reason := missing("simavr"):
        not_run_here("two simavrs in a process at one port", reason)
        return
    monkeypatch.setattr(door, "inside", lambda place, command, log: None)
    monkeypatch.setattr(door, "_here", {PORT})
    with pytest.raises(LabcError, match=f"port {PORT} serves one image at a time, and this process runs one") as caught:
        loaded("simavr", image)
    assert caught.value.code == NOT_HERE


def test_a_stranger_at_the_port_is_told(image: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := missing("simavr"):
        not_run_here("a port that another program has", reason)
        return
    monkeypatch.setattr(door, "inside", lambda place, command, log: None)
    monkeypatch.setattr(door, "_LEFT_S", 0.2)
    lock = door._locked(PORT)  # so that nobody's tests meet the stranger
    monkeypatch.setattr(door, "_locked", lambda port: os.dup(lock))
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # else there is one already
            stranger.bind(("127.0.0.1", PORT))
            stranger.listen()
        with pytest.raises(LabcError, match=rf"another program has port {PORT}, where simavr would listen \(Address .*; end it") as caught:
            loaded("simavr", image)
    os.close(lock)
    assert caught.value.code == NOT_HERE
    assert not door._here


@pytest.mark.parametrize("own", [True, False], ids=["own network", "one port"])
def test_a_simavr_that_does_not_start_says_why(own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("simavr") is None:
        not_run_here("a simavr that does not start", str(missing("simavr")))
        return
    if not own:
        monkeypatch.setattr(door, "inside", lambda place, command, log: None)
        monkeypatch.setattr(door, "_taken", lambda port: None)
    began = time.monotonic()
    with tempfile.TemporaryFile() as log, pytest.raises(LabcError, match=r"simavr: ended at its start \(.*none\.elf.*\)") as caught:
        door.Door("simavr", [str(shutil.which("simavr")), *qemu.SIMAVR.options, "/none.elf"], PORT, log)
    assert caught.value.code == NOT_HERE
    assert time.monotonic() - began < 10
    assert not door._here


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("when", ["in a call", "between calls"])
def test_a_killed_emulator_is_named(when: str, name: str, image: Callable[[str], Path]) -> None:
    if reason := missing(name):
        not_run_here(f"a killed {name}", reason)
        return
    with contextlib.closing(loaded(name, image)) as core:
        assert core.call("add", 1, 2).result == 3
        pid = core._debugger._process.pid
        if when == "in a call":
            Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
            function = "hang"
        else:
            os.kill(pid, signal.SIGKILL)
            function = "add"
        with pytest.raises(EmulatorLost, match=rf"^{function}: {name} was ended by signal 9 \(SIGKILL\) before it answered") as caught:
            core.call(function, 3, 4)
        assert caught.value.code == FAILED
        with pytest.raises(EmulatorLost, match=f"{name} has ended already"):
            core.read(core._heap, 1)


@pytest.mark.parametrize("name", ["simavr", "qemu-system-avr"])
def test_a_connection_that_breaks_in_a_build_is_not_the_folders_fault(
    name: str, digits_like: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if reason := missing(name):
        not_run_here(f"a killed {name} in a build", reason)
        return
    monkeypatch.setattr(qemu, "machine_of", lambda cpu: MACHINES[name])
    run = qemu.Image._run

    def killed(self: qemu.Image, symbol: str, seconds: float) -> None:
        if symbol == "net_run":
            os.kill(self._debugger._process.pid, signal.SIGKILL)
        run(self, symbol, seconds)

    monkeypatch.setattr(qemu.Image, "_run", killed)
    assert main(["build", str(digits_like), "--board", "arduino-uno", "-o", str(tmp_path / "out")]) == FAILED
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert re.fullmatch(rf"labc: net_run: {name} was ended by signal 9 \(SIGKILL\) before it answered(: .*)?; run it again", line)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


HANGING = """
import sys
from labc.emulator import door, qemu
if sys.argv[3] == "one port":
    door.inside = lambda place, command, log: None
machine = qemu.SIMAVR if sys.argv[2] == "simavr" else qemu.MACHINES["atmega328p"]
core = qemu.Image(open(sys.argv[1], "rb").read(), "atmega328p", machine=machine)
print(core._debugger._process.pid, flush=True)
core.call("hang")
"""
LEFT = """
import os, signal, subprocess, sys, time
how = getattr(signal, sys.argv[1])
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job is started with it ignored, and hands that on
labc = subprocess.Popen([sys.executable, "-c", *sys.argv[2:]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
pid = int(labc.stdout.readline())
time.sleep(0.3)
labc.send_signal(how)
labc.wait()
for _ in range(50):
    try:
        state = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        break
    if state == "Z":
        break
    time.sleep(0.1)
else:
    sys.exit(f"{pid} runs on")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it needs no tool: only Linux ends a program with its parent")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT"])
@pytest.mark.parametrize("name", ["simavr, own network", "simavr, one port", "qemu-system-avr"])
def test_nothing_runs_on_when_labc_is_ended(name: str, how: str, image: Callable[[str], Path]) -> None:
    program, _, port = name.partition(", ")
    if reason := missing(program):
        not_run_here(f"{name} when labc is ended", reason)
        return
    done = alone(sys.executable, "-c", LEFT, how, HANGING, str(image("atmega328p")), program, port)
    assert done.returncode == 0, done.stderr
