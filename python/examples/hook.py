"""A hook of a site, for an entry point of the group nova_ext.hooks:

[project.entry-points."nova_ext.hooks"]
site = "hook:Site"
"""

from __future__ import annotations

from nova_ext.hooks import Occasion


class _Site:
    """Methods are named by points; those that are not there are left out."""

    def server_done(self, occasion: Occasion) -> None:
        print(f"{occasion.server} is on {occasion.destination}")

    def end(self, occasion: Occasion) -> None:
        print(f"{occasion.host}: {occasion.outcome}")


Site = _Site()
