"""Ids of commands."""

import re

from ledger.command_ids import new_command_id


def test_ids_of_commands_are_new_each_time() -> None:
    """An id has 32 hexadecimal digits, so it is valid wherever a client's request id is."""
    ids = {new_command_id() for _ in range(10_000)}

    assert len(ids) == 10_000
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
