"""What can go wrong. One tree, with `retryable`: whether trying the same again may help.

Error
 ├─ ConfigError    a file, name or value that cannot be used
 ├─ NotProven      nothing proves that the host is off, or it is on
 ├─ OutOfOrder     a step before its time: evacuations from the host have not ended
 ├─ CloudError     Keystone, Nova or Placement; has `status` and `request_id`
 ├─ PowerError     a power device
 ├─ EngineError    the engine of this controller, or its files
 ├─ TimedOut       the time was over; what was begun goes on
 ├─ NativePanic    a bug of nova_ext
 └─ NativeMissing  the native part is not there, or not for this Python
"""

from __future__ import annotations

from typing import Optional


class Error(Exception):
    """Anything that goes wrong here."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        #: Whether trying the same again may help.
        self.retryable = retryable


class ConfigError(Error):
    """A file, name or value that cannot be used."""


class NotProven(Error):
    """Nothing proves that the host is off, or its power device says that it is on."""


class OutOfOrder(Error):
    """A step before its time: evacuations from the host have not ended."""


class CloudError(Error):
    """Keystone, Nova or Placement."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        status: Optional[int] = None,
        request_id: Optional[str] = None,
    ) -> None:
        super().__init__(message, retryable=retryable)
        #: The HTTP status, if there was an answer.
        self.status = status
        #: The request's name in the cloud's own logs.
        self.request_id = request_id


class PowerError(Error):
    """A power device."""


class EngineError(Error):
    """The engine of this controller, or its files."""


class TimedOut(Error):
    """The time was over; what was begun goes on."""


class NativePanic(Error):
    """A bug of nova_ext."""


class NativeMissing(Error):
    """The native part is not there, or not for this Python."""
