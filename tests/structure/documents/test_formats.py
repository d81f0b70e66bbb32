"""The pages on the seal's and the export's format are enough to check a ledger without our code.

The verifier of the page is taken from it and run as a program of its own, on exports of a real store and on tampered
ones; the example of the seal's page is computed again.
"""

import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from ledger.application.application import Ledger
from ledger.export.exporter import export_to_file
from ledger.store.hash_chain import first_seal, seal_rows
from tests.support.documents import CHECKOUT, blocks
from tests.support.ledgers.kept import KeptStore, kept_store

EXPORT_PAGE: Final = (CHECKOUT / "docs/reference/export-format.md").read_text("utf-8")
SEAL_PAGE: Final = (CHECKOUT / "docs/reference/seal-format.md").read_text("utf-8")
VERIFIER_LINES_MAX: Final = 75

Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's program, in a file of its own."""
    (program,) = (block.text for block in blocks(EXPORT_PAGE) if block.language == "python")
    path = tmp_path_factory.mktemp("verifier") / "verify_export.py"
    path.write_text(program, "utf-8")
    return path


@pytest.fixture(scope="module")
def store(postgres_url: str) -> Iterator[KeptStore]:
    """A store with a bit of everything in it."""
    with kept_store(postgres_url) as store:
        yield store


@pytest.fixture(scope="module")
def exported(store: KeptStore, tmp_path_factory: pytest.TempPathFactory) -> Lines:
    """The lines of its export."""
    path = tmp_path_factory.mktemp("export") / "log.ndjson"
    export_to_file(store.database, path)
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def run(verifier: Path, path: Path, *noted: str) -> subprocess.CompletedProcess[str]:
    """Run the program outside the checkout, with the standard library alone."""
    words = [sys.executable, "-I", "-S", str(verifier), str(path), *noted]
    return subprocess.run(words, cwd=path.parent, capture_output=True, text=True, check=False)


def written(path: Path, lines: Lines) -> Path:
    """Write lines as an export has them."""
    text = "".join(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines)
    path.write_text(text, "utf-8")
    return path


def test_the_verifier_is_short() -> None:
    """So that a reader can check the checker."""
    (program,) = (block.text for block in blocks(EXPORT_PAGE) if block.language == "python")

    assert len(program.splitlines()) <= VERIFIER_LINES_MAX


def test_a_whole_export_is_found_whole(verifier: Path, store: KeptStore, exported: Lines, tmp_path: Path) -> None:
    """With as many events and accounts, the same digest, and what the accounts hold."""
    head = exported[-1]
    with Ledger(store.database) as ledger:
        streams = {line["stream"] for line in exported if line.get("topic") == "account.opened"}
        accounts = [ledger.account(int(stream.removeprefix("account-"))) for stream in streams]
    sums = Counter[str]()
    for account in accounts:
        sums[account.currency] += account.posted_minor

    done = run(verifier, written(tmp_path / "log", exported), f"{head['position']}:{head['digest']}")

    assert {"payment.adjusted", "account.adjusted"} <= {line.get("topic") for line in exported}
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"whole: {head['position']} events, ")
    assert done.stdout.endswith(f"digest {head['digest']}\n")
    assert len(sums) > 1
    assert [f"'{currency}': {total}" in done.stdout for currency, total in sums.items()] == [True] * len(sums)


def test_an_export_of_an_empty_log_is_whole(verifier: Path, tmp_path: Path) -> None:
    """Nothing has happened, and nothing is wrong."""
    ledger_id = UUID(int=7)
    lines = [
        {"line": "header", "format": "payment-ledger export", "version": 1, "ledger_id": str(ledger_id)},
        {"line": "end", "position": 0, "digest": first_seal(ledger_id).hex()},
    ]

    done = run(verifier, written(tmp_path / "log", lines))

    assert (done.returncode, done.stdout[:15]) == (0, "whole: 0 events"), done.stderr


def _drop(lines: Lines) -> None:
    del lines[len(lines) // 2]


def _swap(lines: Lines) -> None:
    lines[10], lines[11] = lines[11], lines[10]


def _change_amount(lines: Lines) -> None:
    lines[1]["state"] = richer(lines[1]["state"])


def _change_stream(lines: Lines) -> None:
    lines[5]["stream"] = "account-2"


def _change_topic(lines: Lines) -> None:
    lines[5]["topic"] = "payment.failed"


def _change_version(lines: Lines) -> None:
    lines[5]["version"] += 1


def _change_position(lines: Lines) -> None:
    lines[5]["position"] += 1


def _change_digest(lines: Lines) -> None:
    lines[-2]["digest"] = "0" * 64


def _other_ledger(lines: Lines) -> None:
    lines[0]["ledger_id"] = str(UUID(int=8))


def _cut_the_end(lines: Lines) -> None:
    del lines[-1]


def _cut_events(lines: Lines) -> None:
    del lines[-3:-1]


def _append(lines: Lines) -> None:
    lines.append(lines[-2])


def _repeat(lines: Lines) -> None:
    lines.insert(7, lines[7])


def _overdraw(lines: Lines) -> None:
    """Give an account less than nothing, with all seals made again."""
    opened = json.loads(lines[1]["state"])
    opened["data"]["opening_minor"] = -1
    lines[1]["state"] = json.dumps(opened)
    reseal(lines)


def _skip_version(lines: Lines) -> None:
    """Leave out an event in the middle of a stream, with all positions and seals made again."""
    stream = next(line["stream"] for line in lines if line.get("version") == 3)
    del lines[next(n for n, line in enumerate(lines) if (line.get("stream"), line.get("version")) == (stream, 2))]
    reseal(lines)


def richer(state: str) -> str:
    """An opening with ten times as much."""
    return re.sub(r'"opening_minor":([0-9]+)', r'"opening_minor":\g<1>0', state)


def reseal(lines: Lines) -> None:
    """Make positions and seals again, as an intruder with every right could."""
    events = lines[1:-1]
    rows = [(line["stream"], line["version"], line["topic"], line["state"].encode()) for line in events]
    for position, (line, seal) in enumerate(
        zip(events, seal_rows(first_seal(UUID(lines[0]["ledger_id"])), 0, rows), strict=True), start=1
    ):
        line["position"], line["digest"] = position, seal.hex()
    lines[-1]["position"], lines[-1]["digest"] = len(events), events[-1]["digest"]


@pytest.mark.parametrize(
    "tamper",
    [
        _drop,
        _swap,
        _change_amount,
        _change_stream,
        _change_topic,
        _change_version,
        _change_position,
        _change_digest,
        _other_ledger,
        _cut_the_end,
        _cut_events,
        _append,
        _repeat,
        _overdraw,
        _skip_version,
    ],
)
def test_a_tampered_export_is_refused(
    verifier: Path, exported: Lines, tmp_path: Path, tamper: Callable[[Lines], None]
) -> None:
    """Every change is found, and the message names the line or the missing part."""
    lines = [dict(line) for line in exported]
    tamper(lines)
    assert lines != exported

    done = run(verifier, written(tmp_path / "log", lines))

    assert done.returncode == 1, done.stdout
    assert "line" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_cut_at_any_byte_is_refused(verifier: Path, exported: Lines, tmp_path: Path) -> None:
    """As after a full disk."""
    whole = written(tmp_path / "log", exported).read_bytes()
    dice = random.Random(20_261)
    sizes = [len(whole) - 1, *(dice.randrange(1, len(whole)) for _ in range(4))]

    for size in sizes:
        cut = tmp_path / "cut"
        cut.write_bytes(whole[:size])

        assert run(verifier, cut).returncode == 1, size


def test_a_log_that_was_written_again_is_found_by_a_noted_head(verifier: Path, exported: Lines, tmp_path: Path) -> None:
    """Its seals fit, and only a head noted elsewhere shows the difference."""
    lines = [dict(line) for line in exported]
    noted = f"5:{lines[5]['digest']}"
    lines[1]["state"] = richer(lines[1]["state"])
    reseal(lines)
    path = written(tmp_path / "log", lines)

    assert run(verifier, path).returncode == 0
    assert run(verifier, path, noted).returncode == 1
    assert run(verifier, written(tmp_path / "original", exported), noted).returncode == 0
    assert run(verifier, path, f"{len(lines)}:{lines[-1]['digest']}").returncode == 1


def test_the_example_of_the_seal_is_right() -> None:
    """Each digest is that of the events before it."""
    (example,) = (json.loads(block.text) for block in blocks(SEAL_PAGE) if block.language == "json")
    ledger_id = UUID("0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0")
    rows = [(event["stream"], event["version"], event["topic"], event["state"].encode()) for event in example]

    assert str(ledger_id) in SEAL_PAGE
    assert first_seal(ledger_id).hex() in SEAL_PAGE
    assert [event["digest"] for event in example] == [seal.hex() for seal in seal_rows(first_seal(ledger_id), 0, rows)]
    assert [(len(event["state"]), len(event["state"].encode())) for event in example][1] == (216, 217)
