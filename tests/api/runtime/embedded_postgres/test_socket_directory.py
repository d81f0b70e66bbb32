"""Several processes read and write the files of the embedded Postgres at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.runtime.embedded_postgres.pid_file import PID_FILE, read_pid_file
from api.runtime.embedded_postgres.socket_directory import SocketDirectory

WRITTEN = "17\n/data\n1796000000\n5432\n/tmp/payment-ledger-a\n\n  5432001  17\nready   \n"


def test_users_that_note_the_socket_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Each process that keeps the server running notes the directory again when the note was removed."""
    directory = Path("/tmp/payment-ledger-a")  # noqa: S108 - only a name
    socket = SocketDirectory(tmp_path / "socket")

    def note_and_read() -> set[Path | None]:
        read: set[Path | None] = set()
        for _ in range(200):
            socket.note(directory)
            read.add(socket.read())
        return read

    with ThreadPoolExecutor(8) as users:
        reads = [users.submit(note_and_read) for _ in range(8)]

    assert [read.result() for read in reads] == [{directory}] * 8
    assert [each.name for each in tmp_path.iterdir()] == ["socket"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (None, (None, False, None)),
        ("", (None, False, None)),
        ("17", (17, False, None)),
        (WRITTEN[: WRITTEN.index("/tmp")], (17, False, None)),  # noqa: S108 - a line of the file
        (WRITTEN.replace("ready   ", "starting"), (17, False, Path("/tmp/payment-ledger-a"))),  # noqa: S108
        (WRITTEN, (17, True, Path("/tmp/payment-ledger-a"))),  # noqa: S108
    ],
)
def test_a_pid_file_says_what_it_has(
    tmp_path: Path, written: str | None, expected: tuple[int | None, bool, Path | None]
) -> None:
    """A server that starts has written only a part of it, and one that ends has removed it."""
    if written is not None:
        (tmp_path / PID_FILE).write_text(written)

    found = read_pid_file(tmp_path)

    assert (found.number, found.is_ready, found.socket_directory) == expected
