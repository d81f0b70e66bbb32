"""The release before this one, from the history of the repository."""

import io
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Final

import pytest

from ledger.store.migrate import Migration, migrations
from tests.support.services import CHECKOUT

PREVIOUS_RELEASE: Final = "f685b284968af01cac6b1687fc9dcb07f14e870e"
"""The commit of the release before this one. It is named only here; a release sets it to the one before."""


def unpack_previous_release(directory: Path) -> Path:
    """Write the files of the previous release into a directory. Without its commit, the test is skipped.

    A clone may be shallow, and an archive of the sources has no history.
    """
    if (git := shutil.which("git")) is None:
        pytest.skip("git is not installed, so the previous release cannot be read")
    command = [git, "-C", str(CHECKOUT), "archive", "--format=zip", PREVIOUS_RELEASE]
    archived = subprocess.run(command, capture_output=True, check=False)
    if archived.returncode != 0:
        pytest.skip(f"the history here does not have {PREVIOUS_RELEASE}: {archived.stderr.decode().strip()}")
    with zipfile.ZipFile(io.BytesIO(archived.stdout)) as files:
        files.extractall(directory)
    return directory


def migrations_since(release: Path) -> list[Migration]:
    """Return the migrations that the previous release does not have."""
    had = {path.stem for path in (release / "ledger/store/migrations").glob("*.sql")}
    return [migration for migration in migrations() if migration.id not in had]
