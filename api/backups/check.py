"""Checks a base back-up: with `pg_verifybackup` where one of the server's version runs, else by its manifest here.

The check here reads every file and compares size and SHA-256 with the manifest, reads the manifest against its own
digest, and lets `pg_waldump` read the WAL that the back-up needs. `pg_verifybackup` does the same.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from api.backups import programs

MANIFEST: Final = "backup_manifest"
_NOT_LISTED: Final = frozenset({MANIFEST, "postgresql.auto.conf", "standby.signal", "recovery.signal"})
_READ_BYTES: Final = 1 << 20


class Checked(Struct, frozen=True, kw_only=True):
    """The result of a check: the program, the reason why it was not `pg_verifybackup` if so, and the faults."""

    program: str
    not_possible: str | None
    wrong: list[str]


def check(cluster: Path, *, server: int) -> Checked:
    """Check a base back-up of a server of a major version. It reads all files once."""
    found = programs.find("pg_verifybackup", server=server, newer_too=False)
    if found.path is not None:
        done = programs.run([str(found.path), "--exit-on-error", str(cluster)])
        wrong = [] if done.returncode == 0 else done.stdout.strip().splitlines()[-5:]
        return Checked(program=str(found.path), not_possible=None, wrong=wrong)
    wrong = [*_differences(cluster), *_wal_faults(cluster, server=server)]
    return Checked(program="the manifest", not_possible="; ".join(found.refused), wrong=wrong)


def _differences(cluster: Path) -> Iterator[str]:
    """Yield how the files differ from the manifest, in sentences."""
    written = _read(cluster)
    if written is None:
        yield f"{MANIFEST} is missing or cannot be read"
        return
    raw, manifest = written
    signed, _, _ = raw.rpartition(b'"Manifest-Checksum"')
    if hashlib.sha256(signed).hexdigest() != manifest.get("Manifest-Checksum"):
        yield f"{MANIFEST} was changed"
        return
    listed = {_name(entry): entry for entry in manifest["Files"]}
    for name, entry in sorted(listed.items()):
        path = cluster / name
        if not path.is_file():
            yield f"{name} is missing"
        elif path.stat().st_size != entry["Size"]:
            yield f"{name} has {path.stat().st_size} bytes, and {entry['Size']} in the manifest"
        elif entry["Checksum-Algorithm"] == "SHA256" and _digest(path) != entry["Checksum"]:
            yield f"{name} has another checksum than in the manifest"
    for path in sorted(cluster.rglob("*")):
        name = str(path.relative_to(cluster))
        if path.is_file() and name not in listed and name not in _NOT_LISTED and not name.startswith("pg_wal/"):
            yield f"{name} is not in the manifest"


def _wal_faults(cluster: Path, *, server: int) -> Iterator[str]:
    """Yield what `pg_waldump` finds wrong with the WAL that the back-up needs."""
    written = _read(cluster)
    if written is None:
        return
    dump = programs.find("pg_waldump", server=server, newer_too=False)
    if dump.path is None:
        yield f"its WAL cannot be read: {'; '.join(dump.refused)}"
        return
    for part in written[1]["WAL-Ranges"]:
        span = [f"--timeline={part['Timeline']}", f"--start={part['Start-LSN']}", f"--end={part['End-LSN']}"]
        done = programs.run([str(dump.path), "--quiet", f"--path={cluster / 'pg_wal'}", *span])
        if done.returncode != 0:
            yield f"its WAL is not whole: {done.stdout.strip()}"


def _read(cluster: Path) -> tuple[bytes, dict[str, Any]] | None:
    try:
        raw = (cluster / MANIFEST).read_bytes()
        return raw, msgspec.json.decode(raw, type=dict[str, Any])
    except (OSError, msgspec.MsgspecError):
        return None


def _name(entry: dict[str, Any]) -> str:
    """Return a file's path in the back-up. The manifest spells one that is not UTF-8 in hex."""
    if "Path" in entry:
        return str(entry["Path"])
    return bytes.fromhex(entry["Encoded-Path"]).decode("utf-8", "surrogateescape")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
