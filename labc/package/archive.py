"""Zip files whose bytes depend on nothing but their contents."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first date that a zip file can hold


def archive(files: Mapping[str, str | bytes]) -> bytes:
    """A zip file of texts and bytes, in their order; stored, not deflated: what deflating gives depends on zlib's version."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as zipped:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # Unix, whatever wrote it
            zipped.writestr(entry, content)
    return stream.getvalue()
