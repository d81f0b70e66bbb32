"""The version of this program, as its documentation and its command line show it.

It stands in `pyproject.toml` as well; a test holds the two together. The image runs the program without installing it,
so there is no package metadata to read it from.
"""

from typing import Final

VERSION: Final = "0.1.0"
