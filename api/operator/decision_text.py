"""The texts that are recorded with an operator's decision: who decides, and why.

HTTP and the command line take the same texts. An audit allows longer ones, so that the rule here may change.
"""

import re
from typing import Final

TEXT_CHARACTERS_MAX: Final = 500

_BLANK: Final = r"\u0000-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

TEXT_PATTERN: Final = rf"^[^\u0000]*[^{_BLANK}][^\u0000]*$"
r"""A text that is not blank, and without NUL, which Postgres cannot store.

The blank characters are listed, because programs that read the documentation do not agree on the meaning of \s.
"""

TAKES: Final = f"1 to {TEXT_CHARACTERS_MAX} characters, not all of them blank, and no NUL"


def is_decision_text(text: str) -> bool:
    """Tell whether a text may be recorded. Half a surrogate pair stands for a byte that the terminal could not read."""
    return (
        len(text) <= TEXT_CHARACTERS_MAX
        and re.search(TEXT_PATTERN, text) is not None
        and re.search("[\ud800-\udfff]", text) is None
    )
