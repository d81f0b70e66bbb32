"""The evidence of the health rules, gathered from the database, this process and this machine."""

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
