"""The native part, if it can be had.

Nova's services import what is in this package, and some of them end when an import fails. So nothing here does: what
needs the native part asks for it when it is used, and does without it where Nova must go on.
"""

from __future__ import annotations

import pathlib
import struct
from typing import Optional

from nova_ext.errors import NativeMissing


def _cut() -> Optional[str]:
    """A library of which the end is missing, as after an upgrade on a full disk. To load it would end the process."""
    for library in pathlib.Path(__file__).parent.glob("_native*.so"):
        with library.open("rb") as file:
            header = file.read(64)
            size = file.seek(0, 2)
        if len(header) < 64 or header[:5] != b"\x7fELF\x02":
            return f"{library} is no library"
        order = "<" if header[5] == 1 else ">"
        # The table of sections is the last thing in the file.
        (table,) = struct.unpack_from(f"{order}Q", header, 0x28)
        each, count = struct.unpack_from(f"{order}HH", header, 0x3A)
        if table + each * count > size:
            return f"{library} is cut off: install the package again"
    return None


_why: Optional[str] = None
try:
    _why = _cut()
    if _why is None:
        from nova_ext import _native as _native
except Exception as error:  # A library for another Python fails in more ways than ImportError.
    _why = f"{type(error).__name__}: {error}"


def missing() -> Optional[str]:
    """Why the native part is not there; none if it is."""
    return _why


def require() -> None:
    """Raises NativeMissing if the native part is not there."""
    if _why is not None:
        raise NativeMissing(f"the native part of nova_ext cannot be loaded: {_why}")
