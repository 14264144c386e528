"""What the command line understands: commands, options, help."""

from __future__ import annotations

import argparse
from pathlib import Path

from labc import __version__

_EXIT_CODES = """\
exit codes:
  0    done; where something was checked: equal
  1    a check found a difference
  2    wrong usage, or a file labc cannot work with
  3    this machine lacks a tool that is needed
  130  interrupted (Ctrl-C)
"""


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 10_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number between 1 and 10,000,000")
    return int(text)


def _bytes(text: str) -> int:
    from labc.board import size_of

    if not 0 < (size := size_of(text)) < 1 << 40:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes, such as 65536, 64K or 1M")
    return size


def _levels(text: str) -> tuple[str, ...]:
    return tuple(level.strip() for level in text.split(","))


def parser() -> argparse.ArgumentParser:
    """What `labc` understands; `command` is the name of the command."""
    top = argparse.ArgumentParser(
        prog="labc",
        description="Train networks of one-bit weights, compile them to exact C libraries, and prove them equal.",
        epilog="examples:\n"
        "  labc train digits-mlp --out run           train on handwritten digits and write run/digits.onnx\n"
        "  labc inspect run/digits.onnx              what each layer is, and why it is one bit or not\n"
        "  labc build run/digits.onnx --target arm   a C library for Cortex-M4\n"
        "  labc check run/digits.onnx --target arm   the library against the Python reference, bit for bit\n\n" + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"labc {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", dest="command")

    def add(name: str, text: str, examples: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"examples:\n{examples}\n{_EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--json", action="store_true", help="print JSON for machines, nothing else")
        return sub

    train = add(
        "train",
        "train a recipe and export it to ONNX",
        "  labc train digits-mlp\n  labc train digits-mlp --method lab --seed 3 --out run-lab\n"
        "  labc train mnist-mlp --data mnist/ --width 512 --epochs 12\n  labc train mnist-mlp --out run --resume\n"
        "  labc train mnist-cnn --data mnist/ --out run-cnn\n"
        "  labc train cifar-vgg --data cifar-10-batches-bin/ --width-multiplier 0.125 --epochs 30\n"
        "  labc train keywords --data recordings.tar.gz\n",
    )
    train.add_argument("recipe", choices=("digits-mlp", "mnist-mlp", "mnist-cnn", "cifar-vgg", "keywords"), help="what to train")
    train.add_argument(
        "--method", choices=("lab", "lab2", "fp"), default="lab2", help="binary weights; and activations; full precision (default lab2)"
    )
    train.add_argument("--epochs", type=_positive, help="passes over the training set (default: the recipe's)")
    train.add_argument("--seed", type=int, default=0, help="of initial weights and order (default 0)")
    train.add_argument("--split", type=int, default=0, help="which train/test split, for recipes that draw one (default 0)")
    train.add_argument("--width", type=_positive, help="units, or channels, per hidden layer (default: the recipe's)")
    train.add_argument(
        "--width-multiplier", type=float, metavar="X", help="hidden layers X times as wide as the recipe's, 0.125 for an eighth"
    )
    train.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="folder with the data set: the four IDX files of MNIST (else fetched once), CIFAR-10's binary version; "
        "keywords: the folder of recordings, or its .tar.gz",
    )
    train.add_argument(
        "--out", type=Path, metavar="DIR", default=Path("run"), help="folder for the model, checkpoints and logs (default run)"
    )
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")

    inspect = add("inspect", "show each layer: types, weights, one bit or not and why not, work and size", "  labc inspect digits.onnx\n")
    build = add(
        "build",
        "compile an ONNX model to a C library",
        "  labc build digits.onnx\n  labc build digits.onnx --target arm --name digits -o firmware/digits\n"
        "  labc build digits.onnx --target x86-64 --levels avx512,avx2\n"
        "  labc build digits.onnx --board nucleo-f446re\n"
        "  labc build digits.onnx --target arm --cpu cortex-m33 --flash 256K --ram 64K\n"
        "  labc build digits.onnx --board arduino-nano-33-ble --package arduino\n"
        "  labc build digits.onnx --package python\n"
        "  labc build digits.onnx --keep stages\n",
    )
    check = add(
        "check",
        "build a model and prove it equal to the Python reference",
        "  labc check digits.onnx\n  labc check digits.onnx --target arm --samples 100\n"
        "  labc check digits.onnx --inputs images.npy\n  labc check digits.onnx --time\n"
        "  labc check digits.onnx --board microbit-v2 --layers\n  labc check digits.onnx --all\n"
        "  labc check --kernels\n  labc check --kernels --target arm --seed 7\n  labc check --kernels --board mps3-an547\n",
    )
    bench = add(
        "bench",
        "time a model on this machine: the whole, each layer, and what share of the machine's ceiling that is",
        "  labc bench digits.onnx\n  labc bench digits.onnx --target x86-64 --levels avx2\n  labc bench digits.onnx --json\n",
    )
    for sub in (inspect, build, bench):
        sub.add_argument("model", type=Path, metavar="MODEL.onnx")
    check.add_argument("model", type=Path, metavar="MODEL.onnx", nargs="?", help="the model; none with --kernels")
    check.add_argument(
        "--kernels", action="store_true", help="check the kernels alone, on every machine labc knows (--target: on that target's)"
    )
    for sub in (build, check, bench):
        sub.add_argument("--target", help="what to make code for: host (this machine, the default), or one that labc targets lists")
        sub.add_argument(
            "--levels", type=_levels, metavar="A,B", help="which levels a library for x86-64 holds, of avx512, avx512bw, avx2 (default all)"
        )
    bench.set_defaults(target="host")
    check.add_argument("--all", action="store_true", help="check on every board that labc boards lists")
    check.add_argument("--layers", action="store_true", help="also compare every value between two layers, of some inputs")
    for sub in (build, check):
        sub.add_argument(
            "--board", metavar="NAME", help="one of labc boards, or a .toml file: implies target, core, float ABI, flash and RAM"
        )
        sub.add_argument("--cpu", metavar="CORE", help="a core of the target, as cortex-m0plus (default: labc targets)")
        sub.add_argument(
            "--float-abi", choices=("hard", "soft"), help="floats in FPU registers, or no FPU used at all (default: the core's)"
        )
        sub.add_argument("--cc", metavar="COMPILER", help="take this compiler: a name of labc doctor, or a path (default: the first found)")
        sub.add_argument(
            "--flash", type=_bytes, metavar="BYTES", help="what code and constants must fit, as 262144 or 256K (default: anything)"
        )
        sub.add_argument(
            "--ram", type=_bytes, metavar="BYTES", help="what arena, data and stack must fit; kernels that need too much are not taken"
        )
        sub.add_argument("--name", help="prefix of the library's names in C (default: the file's name)")
    build.add_argument("--package", metavar="FORMAT", help="one of labc packages: write that instead of a compiled library")
    build.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="DIR",
        help="folder to write (default NAME-TARGET, or NAME-TARGET-FORMAT; of esp-idf NAME in that)",
    )
    build.add_argument("--keep", type=Path, metavar="DIR", help="also write every stage of the compilation there")
    check.add_argument("--samples", type=_positive, metavar="N", help="random inputs (default 1000; 100 in an emulator)")
    check.add_argument("--seed", type=int, help="of the random inputs (default 0), or of the kernels' cases (default 1)")
    check.add_argument("--inputs", type=Path, metavar="FILE.npy", help="your own inputs as well: uint8 [n, ...]")
    check.add_argument("--time", action="store_true", help="also time one inference on this machine (target host)")
    check.add_argument("--save", type=Path, metavar="FILE.json", help="also write the result there")

    add("boards", "list the boards labc knows, and what this machine can build for them and run", "  labc boards\n")
    add("targets", "list what code can be made for, and what this machine can build and run", "  labc targets\n")
    add("packages", "list the formats that build --package knows, and what validates them here", "  labc packages\n")
    examples = "  labc doctor\n  labc doctor --clear-cache     remove the compiled objects that labc keeps\n"
    doctor = add("doctor", "say what is installed, what is missing and how to get it, and what the cache holds", examples)
    doctor.add_argument("--clear-cache", action="store_true", help="remove all that labc keeps in the user's cache folder")
    return top
