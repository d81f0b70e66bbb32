"""A back-up with a change anywhere is found, whichever program can check it on this machine."""

import shutil
from pathlib import Path

import pytest

from api.backups import programs
from api.backups.check import MANIFEST, check
from api.backups.take import CLUSTER
from tests.api.backups.conftest import Kept

SERVER = 18


@pytest.fixture
def copy(kept: Kept, tmp_path: Path) -> Path:
    """Give a copy of the back-up's files."""
    return shutil.copytree(kept.directory / CLUSTER, tmp_path / "copy")


def change(path: Path) -> None:
    """Change the last byte of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def first_segment(cluster: Path) -> Path:
    return next(path for path in sorted((cluster / "pg_wal").iterdir()) if path.is_file())


def test_a_whole_back_up_is_found_whole(kept: Kept) -> None:
    """The result names the program, and the reason why it was not `pg_verifybackup` if so."""
    checked = kept.taken.checked

    assert checked.wrong == []
    found = programs.find("pg_verifybackup", server=SERVER, newer_too=False)
    assert (checked.not_possible is None) == (found.path is not None)


def test_a_changed_byte_is_found(copy: Path) -> None:
    """The size is the same, and the checksum is not."""
    change(copy / "global/pg_control")

    assert any("pg_control" in wrong for wrong in check(copy, server=SERVER).wrong)


def test_a_missing_file_is_found(copy: Path) -> None:
    """It is named."""
    (copy / "PG_VERSION").unlink()

    assert any("PG_VERSION" in wrong for wrong in check(copy, server=SERVER).wrong)


def test_a_longer_file_is_found(copy: Path) -> None:
    """It is named with both sizes, or as `pg_verifybackup` says it."""
    with (copy / "PG_VERSION").open("ab") as file:
        file.write(b"\n")

    assert any("PG_VERSION" in wrong for wrong in check(copy, server=SERVER).wrong)


def test_a_file_too_many_is_found(copy: Path) -> None:
    """Postgres may read it."""
    (copy / "pg_hba.d").write_text("all all trust")

    assert any("pg_hba.d" in wrong for wrong in check(copy, server=SERVER).wrong)


def test_a_changed_manifest_is_found(copy: Path) -> None:
    """It has a checksum of its own."""
    manifest = copy / MANIFEST
    manifest.write_text(manifest.read_text().replace("PG_VERSION", "PG_VERSIOM"))

    assert check(copy, server=SERVER).wrong != []


def test_a_missing_manifest_is_found(copy: Path) -> None:
    """Without it nothing is known of the files."""
    (copy / MANIFEST).unlink()

    assert check(copy, server=SERVER).wrong != []


def test_missing_wal_is_found(copy: Path) -> None:
    """The manifest does not list it, and the back-up cannot be restored without it."""
    first_segment(copy).unlink()

    assert check(copy, server=SERVER).wrong != []
