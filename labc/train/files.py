"""Files appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from labc.errors import LabcError


def replace(path: Path, content: bytes) -> None:
    """Write beside `path`, then move over it: readers see the old file or the new one. Raises LabcError if the place is not writable."""
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
        # NamedTemporaryFile makes files for the owner alone; give this one what an ordinary open() would.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        raise LabcError(f"{path}: cannot be written ({error.strerror}); create its folder or choose another path") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
