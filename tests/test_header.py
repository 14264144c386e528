"""The generated header: its documentation is complete, and every function can be called without a macro, from C, Rust and Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import cffi
import numpy as np
import pytest
from here import not_run_here

import labc
from labc import toolchain
from labc.compiling import compile_objects, link_program, shared_name
from labc.errors import LabcError
from labc.target import TARGETS

HOST = TARGETS["host"]
_RUST = {"uint8_t": "u8", "int8_t": "i8", "uint32_t": "u32", "int": "i32", "float": "f32", "void": "core::ffi::c_void", "char": "i8"}


def declarations(header: Path) -> list[str]:
    """The header's functions as the preprocessor leaves them: what a compiler sees, and a binding generator."""
    tools = toolchain.find(HOST)
    done = subprocess.run([*tools.cc, "-E", "-P", str(header)], check=True, capture_output=True, text=True)
    flat = " ".join(done.stdout.split())
    return [f"{found};" for found in re.findall(rf"(?:const )?\w+ \*?{header.stem}_\w+\([^)]*\)(?=;)", flat)]


def rust(declaration: str) -> str:
    """A declaration as bindgen writes it: arrays of parameters are pointers."""
    found = re.fullmatch(r"(\w+) (\w+)\((.*)\);", declaration)
    assert found is not None, declaration
    parameters = []
    for parameter in found[3].split(", ") if found[3] != "void" else []:
        part = re.fullmatch(r"(const )?(\w+) (\*)?(\w+)(\[\d+\])?", parameter)
        assert part is not None, declaration
        parameters.append(f"{part[4]}: *{'const' if part[1] else 'mut'} {_RUST[part[2]]}")
    return f"    fn {found[2]}({', '.join(parameters)}) -> {_RUST[found[1]]};"


def test_nothing_is_undocumented(digits_like: Path, tmp_path: Path) -> None:
    if shutil.which("doxygen") is None:
        not_run_here("the header's documentation", "doxygen is not on PATH")
        return
    headers = [labc.compile(digits_like, target, out=tmp_path / target) / "include" / "net.h" for target in ("arm", "x86-64")]
    headers.append(tmp_path / "net.h")
    headers[-1].write_text(headers[0].read_text().replace(" * @param arena   as for net_run.\n", "", 1))
    for header, fine in zip(headers, (True, True, False), strict=True):
        settings = {"INPUT": header, "OUTPUT_DIRECTORY": tmp_path / "doc", "GENERATE_LATEX": "NO", "HAVE_DOT": "NO", "QUIET": "YES"}
        settings |= {"OPTIMIZE_OUTPUT_FOR_C": "YES", "WARN_AS_ERROR": "FAIL_ON_WARNINGS", "WARN_NO_PARAMDOC": "YES"}
        (tmp_path / "Doxyfile").write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))
        done = subprocess.run(["doxygen", str(tmp_path / "Doxyfile")], check=False, capture_output=True, text=True, cwd=tmp_path)
        assert (done.returncode == 0) == fine, done.stderr


@pytest.mark.parametrize("target", ["host", "x86-64"])
def test_every_function_is_called_by_its_declaration_alone(target: str, digits_like: Path, tmp_path: Path) -> None:
    if reason := toolchain.not_here(TARGETS[target]):
        not_run_here(f"the header of a library for {target}", reason)
        return
    out = labc.compile(digits_like, target, out=tmp_path / "out")
    manifest = json.loads((out / "manifest.json").read_text())
    made = declarations(out / "include" / "net.h")
    written = re.findall(r"\bnet_\w+(?=\()", re.sub(r"/\*.*?\*/", "", (out / "include" / "net.h").read_text(), flags=re.DOTALL))
    assert sorted(re.findall(r"\bnet_\w+(?=\()", " ".join(made))) == sorted(written)
    ffi = cffi.FFI()
    ffi.cdef("\n".join(made))
    net = ffi.dlopen(str(out / "lib" / shared_name("net")))
    assert (net.net_abi_version(), net.net_input_size(), net.net_output_size()) == (manifest["abi"], 64, manifest["outputs"])
    assert (net.net_arena_bytes(), net.net_arena_align()) == (manifest["arena"]["bytes"], manifest["arena"]["align"])
    raw = ffi.new("uint8_t[]", net.net_arena_bytes() + net.net_arena_align())
    arena = raw + -int(ffi.cast("uintptr_t", raw)) % net.net_arena_align()
    assert net.net_self_test(arena) == 0
    x = np.random.default_rng(3).integers(0, 256, (1, 64), np.uint8)
    data, scores = ffi.cast("uint8_t *", x.ctypes.data), ffi.new("float[]", net.net_output_size())
    assert net.net_run(data, scores, arena) == 0
    wanted = labc.load(out)(x)[0]
    assert (np.frombuffer(ffi.buffer(scores), np.int32) == wanted.view(np.int32)).all()
    assert net.net_predict(data, arena) == wanted.argmax()
    if target == "x86-64":
        assert net.net_force_level(b"scalar") == 0
        assert ffi.string(net.net_level()) == b"scalar"
        assert net.net_force_level(ffi.NULL) == 0


def test_rust_calls_it(digits_like: Path, tmp_path: Path) -> None:
    """The static library in a Rust program with the declarations that bindgen makes of the header, and not one number of its own."""
    compiler = shutil.which("rustc")
    if compiler is None:
        not_run_here("the header from Rust", "rustc is not on PATH")
        return
    out = labc.compile(digits_like, "host", out=tmp_path / "out")
    extern = "\n".join(rust(declaration) for declaration in declarations(out / "include" / "net.h"))
    (tmp_path / "main.rs").write_text(
        '#[link(name = "net", kind = "static")]\nextern "C" {\n' + extern + "\n}\n\n"
        "fn main() {\n    unsafe {\n"
        f"        assert_eq!(net_abi_version(), {labc.ABI});\n"
        "        let bytes = net_arena_bytes() as usize;\n"
        "        let layout = std::alloc::Layout::from_size_align(bytes, net_arena_align() as usize).unwrap();\n"
        "        let arena = std::alloc::alloc(layout) as *mut core::ffi::c_void;\n"
        "        assert_eq!(net_self_test(arena), 0);\n"
        "        let input: Vec<u8> = (0..net_input_size()).map(|i| i as u8).collect();\n"
        "        let mut scores = vec![0f32; net_output_size() as usize];\n"
        "        assert_eq!(net_run(input.as_ptr(), scores.as_mut_ptr(), arena), 0);\n"
        "        let class = net_predict(input.as_ptr(), arena) as usize;\n"
        "        assert!(scores.iter().all(|score| *score <= scores[class]));\n"
        '        println!("class {class}");\n    }\n}\n'
    )
    command = [compiler, "--edition", "2021", "-L", str(out / "lib"), str(tmp_path / "main.rs"), "-o", str(tmp_path / "main")]
    subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
    said = subprocess.run([str(tmp_path / "main")], check=True, capture_output=True, text=True).stdout
    wanted = labc.load(out).predict(np.arange(64, dtype=np.uint8)[None])[0]
    assert said == f"class {wanted}\n"


def test_what_is_not_called_is_not_linked(digits_like: Path, tmp_path: Path) -> None:
    out = labc.compile(digits_like, "host", out=tmp_path / "out")
    calls = {"plain": "net_run(input, output, arena)", "asking": "(int)net_arena_bytes()"}
    sizes = {}
    for name, call in calls.items():
        (tmp_path / f"{name}.c").write_text(
            '#include "net.h"\nstatic uint32_t arena[NET_ARENA_BYTES / 4];\nstatic uint8_t input[NET_INPUT_SIZE];\n'
            "static float output[NET_OUTPUT_SIZE];\n"
            f"int main(void) {{ return net_run(input, output, arena) + {call} * 0; }}\n"
        )
        tools = toolchain.find(HOST)
        objects = compile_objects(tools, HOST, [tmp_path / f"{name}.c"], [out / "include"], tmp_path / "o")
        sizes[name] = link_program(tools, HOST, [*objects, out / "lib" / "libnet.a"], tmp_path / name).read_bytes()
    for name, there in (("plain", False), ("asking", True)):
        assert b"net_run" in sizes[name]
        assert b"net_self_test" not in sizes[name]
        assert (b"net_arena_bytes" in sizes[name]) == there


def test_a_library_of_another_abi_is_not_loaded(digits_like: Path, tmp_path: Path) -> None:
    out = labc.compile(digits_like, "host", out=tmp_path / "out")
    manifest = json.loads((out / "manifest.json").read_text())
    assert f"#define NET_ABI_VERSION {manifest['abi']}\n" in (out / "include" / "net.h").read_text()
    (out / "manifest.json").write_text(json.dumps(manifest | {"abi": labc.ABI + 1}))
    with pytest.raises(LabcError, match=f"has ABI version {labc.ABI + 1}, this labc calls version {labc.ABI}; build the library again"):
        labc.load(out)
