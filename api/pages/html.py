"""Makes the pages: HTML for browsers, JSON for everybody else.

A page loads nothing, so it works without the internet.
"""

import re
from html import escape
from string import Template
from typing import Any, Final

from litestar import Request

from api.http.responses import Answer

_PAGE: Final = Template("""\
<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>$title</title>
    <style>body { font-family: sans-serif; line-height: 1.5; max-width: 45em; margin: 2em auto; }</style>
  </head>
  <body>
    <h1>$title</h1>
$body
  </body>
</html>
""")


def answer(request: Request[Any, Any, Any], *, title: str, body: list[str], content: object) -> Answer[Any]:
    """Answer with a page of a title and elements of HTML, or with `content` in JSON if the client wants no HTML."""
    headers = {"Vary": "Accept", "Cache-Control": "max-age=3600"}
    if "text/html" not in request.headers.get("accept", ""):
        return Answer(content, headers=headers)
    lines = "\n".join(f"    {element}" for element in body)
    page = _PAGE.substitute(title=escape(title), body=lines).encode()
    return Answer(page, media_type="text/html; charset=utf-8", headers=headers)


def text(words: str) -> str:
    """Write a text in HTML; words in backticks become code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(words))


def link(address: str, words: str | None = None) -> str:
    """Write a link; its words are the address itself unless others are given."""
    return f'<a href="{escape(address)}">{text(words or address)}</a>'


def entries(lines: list[str]) -> list[str]:
    """Write a list of lines that are HTML already."""
    return ["<ul>", *(f"  <li>{line}</li>" for line in lines), "</ul>"]
