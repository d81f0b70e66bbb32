"""Imports the whole program, so that the subclasses of a class do not depend on earlier imports."""

import importlib
import pkgutil
from functools import cache
from typing import Final

import api
import ledger
import processors
import projections

PACKAGES: Final = (api, ledger, processors, projections)
PROGRAMS: Final = ("__main__", "launcher")
"""Modules that are started and not imported."""


@cache
def import_program() -> None:
    """Import every module of the program."""
    for package in PACKAGES:
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(PROGRAMS):
                importlib.import_module(module.name)


def is_of_program(subject: type) -> bool:
    """Tell whether a class is the program's own, and not a test's."""
    return subject.__module__.split(".")[0] in {package.__name__ for package in PACKAGES}
