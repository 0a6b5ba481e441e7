"""Ends a future of asyncio, in its own loop."""

from __future__ import annotations

import asyncio
from typing import Any, Optional


def settle(future: asyncio.Future[Any], value: Any, error: Optional[BaseException]) -> None:
    """Sets the result, unless nobody waits any more."""
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
