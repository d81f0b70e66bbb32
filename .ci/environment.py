"""Fills .venv: `environment.py pip`, `environment.py packages LOCK`, `environment.py project`.

`.ci/setup` calls it with the interpreter of the .venv. Only `packages` needs the network.
"""

import ensurepip
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
PACKAGES = Path(sysconfig.get_path("purelib"))
SCRIPTS = Path(sysconfig.get_path("scripts"))

PIPS_MAX = 4
"""How many pips work at a time, at most."""

# The lock file names everything, so nothing is resolved: an older pip would take coverage[toml] for unpinned.
PIP = (
    *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
    *("--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement"),
)

# A path with spaces, or a long one, cannot stand behind #!, so the shell starts the script, as with those of pip.
SCRIPT = """\
#!/bin/sh
'''exec' {python} -I "$0" "$@"
' '''
import sys
from api.cli.main import main
sys.exit(main())
"""


def add_pip() -> None:
    """Unpack the pip that came with the interpreter.

    `ensurepip` runs that pip to install it, and compiles all of it: seconds, for a pip that runs once.
    """
    folders = [Path(ensurepip.__file__).with_name("_bundled")]
    if distribution := sysconfig.get_config_var("WHEEL_PKG_DIR"):  # where Debian and Fedora keep it
        folders.insert(0, Path(distribution))
    wheels = [wheel for folder in folders for wheel in sorted(folder.glob("pip-*.whl"))]
    if not wheels:
        subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True)
        return
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(PACKAGES)


def add_packages(lock: Path) -> None:
    """Install the packages of a lock file, with a pip for each core.

    Most of pip's time goes into choosing among the files that an index has of a package, on one core. Each pip gets a
    share of the list; without dependencies, the shares have nothing in common.
    """
    entries = re.split(r"^(?=[a-z0-9])", lock.read_text("utf-8"), flags=re.MULTILINE)[1:]
    pips = min(PIPS_MAX, os.cpu_count() or 1, len(entries))
    with tempfile.TemporaryDirectory() as folder:
        running = []
        for number in range(pips):
            share = Path(folder) / f"{number}.lock"
            share.write_text("".join(entries[number::pips]), "utf-8")
            running.append(subprocess.Popen([*PIP, str(share)]))
        codes = [pip.wait() for pip in running]
    if any(codes):
        sys.exit(1)


def add_project() -> None:
    """Make the checkout importable, and write the command `payment-ledger`.

    It is what an editable install comes to, with nothing to build.
    """
    for former in (*PACKAGES.glob("__editable__.payment_ledger-*"), *PACKAGES.glob("payment_ledger-*.dist-info")):
        if former.is_dir():
            shutil.rmtree(former)
        else:
            former.unlink()
    # The interpreter reads this file in the encoding of the locale.
    (PACKAGES / "payment-ledger.pth").write_text(f"{CHECKOUT}\n", encoding="locale")
    command = SCRIPTS / "payment-ledger"
    command.write_text(SCRIPT.format(python=shlex.quote(str(SCRIPTS / "python"))), encoding="utf-8")
    command.chmod(0o755)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pip"]:
            add_pip()
        case ["packages", lock]:
            add_packages(Path(lock))
        case ["project"]:
            add_project()
        case _:
            sys.exit(__doc__)
