"""A release of the program whose parts a test starts one by one."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.services import Service


class Program(Service):
    """The parts of one release, with settings for one store and an API of its own."""

    def imported_from(self) -> Path:
        """Return the directory from which its package `api` is imported."""
        asked = [sys.executable, "-c", "import api; print(api.__file__)"]
        done = subprocess.run(
            asked, cwd=self.directory, env=self.environment, capture_output=True, text=True, check=True
        )
        return Path(done.stdout.strip()).parent

    def start_part(self, part: str) -> "subprocess.Popen[bytes]":
        """Start a part as a process of its own."""
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self.command(part), cwd=self.directory, env=self.environment, stdout=log, stderr=log
            )

    @contextmanager
    def part(self, name: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Run a part for the length of a block, or until the block kills it."""
        process = self.start_part(name)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                assert process.wait(30) == 0, self.log()
