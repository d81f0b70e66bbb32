"""The version of this program, as its documentation and its command line show it.

`pyproject.toml` has the version too, and a test compares the two. The container image runs the program without
installing it, so the program cannot read its version from package metadata.
"""

from typing import Final

VERSION: Final = "0.1.0"
