"""Types that several modules share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Optional, Union

#: A configuration file; none: the usual one.
Path = Optional[Union[str, "PathLike[str]"]]
#: Metadata, extra specs, properties.
Words = Mapping[str, object]
#: The metadata of one aggregate, or of several.
Aggregates = Union[Words, Sequence[Words]]
