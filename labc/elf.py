"""Read the ELF image of a program for another core, with suspicion: sizes are bounded, ranges checked, damage is an error."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from labc.errors import NOT_HERE, LabcError

LARGEST = 64 << 20  # bytes of an ELF file, and of what it loads
# Where an image may lie: code and SRAM of ARMv7-M ARM B3.1, or the memory of QEMU's RISC-V machine "virt".
PLACES = ((0, 0x4000_0000), (0x8000_0000, 0x8800_0000))
# Magic, 32 or 64 bits, byte order; then type executable, and machine: Arm, AArch64, RISC-V of both widths, AVR, big-endian MIPS
# (System V ABI, "ELF Header", and its supplements).
_HEADS = {
    *((b"\x7fELF\x01\x01", struct.pack("<HH", 2, machine)) for machine in (40, 243, 83)),
    *((b"\x7fELF\x02\x01", struct.pack("<HH", 2, machine)) for machine in (183, 243)),
    (b"\x7fELF\x01\x02", struct.pack(">HH", 2, 8)),
}


@dataclass(frozen=True)
class Symbol:
    """A function or object of the image: `address` without the Thumb bit, `thumb` whether it had one; `size` is in bytes."""

    address: int
    size: int
    kind: str  # "function" or "object"
    thumb: bool = False


@dataclass(frozen=True)
class Segment:
    """Memory to load: `data` at `address` (and, where .data waits in flash, at `load_address`), zeros up to `size` bytes."""

    address: int
    load_address: int
    size: int
    data: bytes
    writable: bool


@dataclass(frozen=True)
class Elf:
    """What labc reads of an ELF image, of 32-bit or 64-bit code (`bits`).

    `sections` is (name, bytes, writable, occupies the file), allocated ones only.
    """

    segments: tuple[Segment, ...]
    symbols: dict[str, Symbol]
    sections: tuple[tuple[str, int, bool, bool], ...]
    bits: int


def sections(elf: Path | bytes) -> dict[str, int]:
    """Bytes of an ELF image by its section headers.

    Each allocated section by its name, and three sums: "flash" (all that is stored, the initial values of .data too), "ram" (all
    that is writable: .data and .bss), and "image" (the start-up code and vectors, part of "flash", that a network does not need).
    Stack and arena are not in it.
    """
    found = read_elf(elf).sections
    table: dict[str, int] = {}
    for name, size, _, _ in found:
        table[name] = table.get(name, 0) + size
    flash = sum(size for _, size, _, stored in found if stored)
    ram = sum(size for _, size, writable, _ in found if writable)
    return table | {"flash": flash, "ram": ram, "image": table.get(".image", 0)}


def read_elf(source: Path | bytes) -> Elf:
    """The image in a file or in bytes; LabcError if it is not a bounded, complete executable of a core in `_HEADS`."""
    place = "image" if isinstance(source, bytes) else str(source)
    try:
        if not isinstance(source, bytes) and source.stat().st_size > LARGEST:
            raise LabcError(f"{place}: larger than {LARGEST >> 20} MiB; give the ELF file of an image")
        data = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise LabcError(f"{place}: cannot be read ({error.strerror}); build the image first") from error
    if len(data) > LARGEST or (data[:6], data[16:20]) not in _HEADS:
        raise LabcError(f"{place}: not an ELF executable of a core that labc emulates; link it with labc")
    try:
        return _parse(data)
    except ImportError as error:
        raise LabcError(f"{place}: the wheel pyelftools does not load ({error}); pip install 'labc[cross]'", code=NOT_HERE) from error
    except LabcError as error:
        raise LabcError(f"{place}: {error}; build it again") from error
    except Exception as error:  # pyelftools meets a damaged file with whatever exception comes first
        raise LabcError(f"{place}: a damaged ELF file ({type(error).__name__}: {error}); build it again") from error


@lru_cache(maxsize=1)  # an image that stopped is loaded again
def _parse(data: bytes) -> Elf:
    from io import BytesIO

    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    elf = ELFFile(BytesIO(data))
    if elf.num_segments() > 64 or elf.num_sections() > 4096:
        raise LabcError(f"{elf.num_segments()} segments and {elf.num_sections()} sections are too many")
    segments: list[Segment] = []
    for part in elf.iter_segments("PT_LOAD"):
        start, stored, size = part["p_offset"], part["p_filesz"], part["p_memsz"]
        if stored > size or start + stored > len(data):
            raise LabcError("a segment ends after the file does")
        at = (part["p_vaddr"], part["p_paddr"])
        placed = any(low <= min(at) and max(at) + size <= high for low, high in PLACES)
        if not placed or sum(s.size for s in segments) + size > LARGEST:
            raise LabcError(f"a segment of {size} bytes at {part['p_vaddr']:#x} does not lie in an image's code and RAM")
        if size:
            segments.append(Segment(part["p_vaddr"], part["p_paddr"], size, data[start : start + stored], bool(part["p_flags"] & 2)))
    headers = []
    for section in elf.iter_sections():
        if section["sh_type"] != "SHT_NOBITS" and section["sh_offset"] + section["sh_size"] > len(data):
            raise LabcError(f"section {section.name!r} ends after the file does")
        if section["sh_flags"] & 2 and section["sh_size"]:
            headers.append((section.name, section["sh_size"], bool(section["sh_flags"] & 1), section["sh_type"] != "SHT_NOBITS"))
    table = elf.get_section_by_name(".symtab")
    if not isinstance(table, SymbolTableSection) or table.num_symbols() > 200_000:
        raise LabcError("no symbol table (it was stripped), or one without end")
    kinds = {"STT_FUNC": "function", "STT_OBJECT": "object"}
    known: dict[str, Symbol] = {}
    for entry in table.iter_symbols():
        kind = kinds.get(entry["st_info"]["type"])
        if kind and entry["st_shndx"] != "SHN_UNDEF" and (entry.name not in known or entry["st_info"]["bind"] != "STB_LOCAL"):
            thumb = elf["e_machine"] == "EM_ARM" and kind == "function" and bool(entry["st_value"] & 1)
            known[entry.name] = Symbol(entry["st_value"] - thumb, entry["st_size"], kind, thumb)
    return Elf(tuple(segments), known, tuple(headers), elf.elfclass)
