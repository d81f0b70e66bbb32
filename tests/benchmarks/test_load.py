"""Both generators send the same requests, count the good answers, and report their own CPU."""

import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

import msgspec
import pytest

from tests.benchmarks.load.instant_gateway import InstantProfile
from tests.benchmarks.load.traffic import Kind, Traffic, requests
from tests.benchmarks.load.wrk import Plan, generate
from tests.benchmarks.measuring.parts import environment, started, wait_for
from tests.support.ports import free_port


@pytest.mark.parametrize("kind", ["deposits", "payments", "batches"])
def test_requests_are_whole_and_no_two_have_the_same_key(kind: Kind) -> None:
    """The length is that of the body, and the body is JSON."""
    made = requests(Traffic(kind=kind, run="run", accounts=7, batch_size=3))
    keys = []
    for _ in range(50):
        head, _, body = next(made).partition(b"\r\n\r\n")
        headers = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:])
        read = msgspec.json.decode(body)

        assert len(body) == int(headers[b"Content-Length"])
        keys += [headers.get(b"Idempotency-Key")] if kind != "batches" else []
        keys += [item["idempotency_key"] for item in read.get("payments", [])]

    assert None not in keys
    assert len(keys) == len(set(keys)) == (150 if kind == "batches" else 50)


@pytest.mark.parametrize(
    "wrk", [False, pytest.param(True, marks=pytest.mark.skipif(not shutil.which("wrk"), reason="no wrk"))]
)
def test_a_generator_counts_good_answers(tmp_path: Path, wrk: bool) -> None:  # noqa: FBT001 - a parameter
    """The instant gateway answers one path with 200 and the other with an error."""
    port = free_port()
    (tmp_path / "paths").write_text("/book\n")
    command = [sys.executable, "-P", "-m", "tests.benchmarks.load.instant_gateway"]
    with started(
        tmp_path, "gateway", [*command, msgspec.json.encode(InstantProfile(port=port)).decode()], environment()
    ) as it:
        wait_for(it, tmp_path / "gateway.log", lambda log: b"ready" in log)
        traffic = Traffic(kind="paths", run="run", paths_file=str(tmp_path / "paths"))
        plan = Plan(port=port, traffic=traffic, connections=4, seconds=1, warm_up_seconds=1)

        good = generate(plan, tmp_path, nullcontext(), wrk=wrk)

        assert good.requests > 100
        assert good.failures == 0
        assert 0 < good.latency_ms_p50 <= good.latency_ms_p99 <= good.latency_ms_max
        assert good.core_share > 0
