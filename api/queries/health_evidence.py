"""The evidence of the health rules, gathered from the database, this process and this machine."""

from collections.abc import Sequence

from msgspec import Struct

from api.queries.disk_room import DiskRoom, disk_room
from api.queries.last_verification import LastVerification, last_verification
from api.queries.service_status import DatabaseState, StatusReading, StatusReport
from api.settings import Settings


class Evidence(Struct, frozen=True, kw_only=True):
    """Everything that the rules look at. Facts that the caller does not know are None, and then no rule finds them.

    `report` is what the database says, `writer_trouble` why the writer of this process could not write at its last
    try, `disk` the room on the disk of the data directory, if it is on this machine, `verification` the last clean
    verification of the log that was noted on this machine.
    """

    database: DatabaseState
    report: StatusReport | None = None
    writer_trouble: str | None = None
    disk: DiskRoom | None = None
    verification: LastVerification | None = None


def gather(reading: StatusReading, settings: Settings, *, writer_trouble: str | None = None) -> Evidence:
    """Put together what a reading of the database, the writer of this process and this machine say.

    The disk is that of the data directory of the embedded Postgres; of another server's disk nothing is known here.
    """
    return Evidence(
        database=reading.database,
        report=reading.report,
        writer_trouble=writer_trouble,
        disk=disk_room(settings.data_dir) if settings.database_url is None else None,
        verification=last_verification(settings.data_dir),
    )


def gather_all(
    readings: Sequence[StatusReading], settings: Settings, *, writer_troubles: Sequence[str | None]
) -> list[Evidence]:
    """Put together the evidence of each partition. The facts about this machine are with the first one only."""
    first = gather(readings[0], settings, writer_trouble=writer_troubles[0])
    return [
        first,
        *(
            Evidence(database=reading.database, report=reading.report, writer_trouble=trouble)
            for reading, trouble in zip(readings[1:], writer_troubles[1:], strict=True)
        ),
    ]
