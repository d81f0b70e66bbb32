"""Fail points: each name is used at one place of the program, and only tests can arm them."""

import re
from collections.abc import Iterator
from typing import get_args

import pytest

from ledger.fail_points import FailPoint, arm, fail_point
from tests.support.services import CHECKOUT

SOURCES = [
    path for folder in ("ledger", "projections", "processors", "api") for path in (CHECKOUT / folder).rglob("*.py")
]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    """Disarm all fail points after each test."""
    yield
    arm(None)


def test_a_fail_point_does_nothing_until_it_is_armed() -> None:
    """Once armed it reports its name, until it is disarmed."""
    reached: list[str] = []
    fail_point("writer.before_lock")

    arm(reached.append)
    fail_point("writer.before_commit")
    arm(None)
    fail_point("writer.after_commit")

    assert reached == ["writer.before_commit"]


def test_each_fail_point_is_at_one_place_of_the_program() -> None:
    """A name without a place would never be hit, and a second place would hide the first."""
    places = [name for path in SOURCES for name in re.findall(r'fail_point\("([^"]+)"\)', path.read_text())]

    assert sorted(get_args(FailPoint)) == sorted(places)


def test_nothing_in_the_program_arms_them() -> None:
    """No setting, no command and no part of the service can make a process die at one."""
    assert [path for path in SOURCES if re.search(r"\barm\(", path.read_text()) and path.name != "fail_points.py"] == []
