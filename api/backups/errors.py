"""The errors of back-ups, as part of the ledger's one tree of errors."""

from dataclasses import dataclass

from ledger.errors import StoreBroken


@dataclass(eq=False, kw_only=True)
class BackupFailed(StoreBroken):
    """No back-up was taken."""

    code = "backup_failed"
    why: str

    def __str__(self) -> str:
        """Return the message and the unquoted reason, which may be a program's output."""
        return f"{self.message} {self.why}"


@dataclass(eq=False, kw_only=True)
class RestoreFailed(StoreBroken):
    """Nothing was restored."""

    code = "restore_failed"
    why: str

    def __str__(self) -> str:
        """Return the message and the unquoted reason, which may be a program's output."""
        return f"{self.message} {self.why}"
