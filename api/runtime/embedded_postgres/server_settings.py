"""The settings of the embedded server, given on its command line, and how it archives its WAL.

An archived segment is compressed, because the server closes one at least once a minute, and most of it may be empty. It
gets its name when it is complete and on disk. A segment that is there is compared and never replaced.
"""

import shlex
from pathlib import Path
from typing import Final

SERVER_SETTINGS: Final = {
    # An answer means that the payment is on disk and survives a power cut. These are the defaults; they must stay on.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    # A payment touches pages all over the indexes by stream and by idempotency key. When the indexes do not fit in
    # memory, each batch must write out pages of other batches to read its own. Untouched memory is never allocated.
    "shared_buffers": "512MB",
    # After a checkpoint, Postgres writes each page whole to its log once, and payments touch scattered pages. With 1
    # GB, a store of ten million events wrote little else, which caused the next checkpoint. Recovery still takes
    # seconds.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "5min",
    # The service's statements take arrays, and Postgres would plan them for each length: at 200 payments a second it
    # used 15 % less CPU with this. This server is one node; a database of several may refuse forced plans.
    "plan_cache_mode": "force_generic_plan",
    # Enough for several parts with a pool each, and for tests that run in parallel.
    "max_connections": "200",
    # Statements are short, and compiling one costs more than running it.
    "jit": "off",
    # Only the private socket accepts connections.
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%a ",
}

ARCHIVE_SECONDS_MAX: Final = 60
"""How long a commit waits for its archiving at most. A restore from the archive alone loses no more than this."""


def archive_settings(archive: Path | None) -> dict[str, str]:
    """Return the settings that archive WAL in a folder; none without one."""
    if archive is None:
        return {}
    segment, written = _in_shell(archive, "%f.gz"), _in_shell(archive, "%f.written")
    keep = f'gzip -1 -c "%p" > {written} && sync {written} && mv {written} {segment} && sync {_in_shell(archive)}'
    compare = f'gzip -dc {segment} | cmp -s - "%p"'
    return {
        "archive_mode": "on",
        "archive_timeout": f"{ARCHIVE_SECONDS_MAX}s",
        "archive_command": f"if test -f {segment}; then {compare}; else {keep}; fi",
    }


def restore_command(archive: Path | None) -> str:
    """Return the command that fetches an archived segment; without an archive, one that finds none."""
    if archive is None:
        return "false"
    segment = _in_shell(archive, "%f.gz")
    return f'test -f {segment} && gzip -dc {segment} > "%p"'


def _in_shell(folder: Path, name: str = "") -> str:
    """Spell a path for a shell command in which Postgres replaces %f and %p."""
    quoted = shlex.quote(str(folder)).replace("%", "%%")
    return f"{quoted}/{name}" if name else quoted
