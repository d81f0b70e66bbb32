"""The room on a disk is what the system says, and unknown without a directory."""

from pathlib import Path

from api.queries.disk_room import disk_room


def test_a_disk_has_at_most_its_size_free(tmp_path: Path) -> None:
    """Both numbers are those of the directory's disk."""
    room = disk_room(tmp_path)

    assert room is not None
    assert 0 < room.free_bytes <= room.total_bytes


def test_the_disk_of_a_directory_that_is_not_there_is_unknown(tmp_path: Path) -> None:
    """Then no rule finds it."""
    assert disk_room(tmp_path / "none") is None
