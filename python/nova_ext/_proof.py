"""FenceProof: the native one, or one that says that there is none."""

from __future__ import annotations

from typing import Any

from nova_ext import _load

if _load.missing() is None:
    from nova_ext._native import FenceProof
else:

    class FenceProof:  # type: ignore[no-redef]
        """Nobody proves anything without the native part."""

        def __new__(cls, *_args: Any, **_kwargs: Any) -> Any:
            _load.require()

        @staticmethod
        def current(*_args: Any, **_kwargs: Any) -> Any:
            _load.require()

        @staticmethod
        def verify(*_args: Any, **_kwargs: Any) -> Any:
            _load.require()

        @staticmethod
        def confirm(*_args: Any, **_kwargs: Any) -> Any:
            _load.require()


__all__ = ["FenceProof"]
