"""What all widgets share: their files, and a static default beside the live view."""

from __future__ import annotations

from functools import cache
from html import escape
from importlib.resources import files


@cache
def asset(*names: str) -> str:
    """Return the text of files in ``static/``, one after the other."""
    return "\n".join((files("tutorlib.viz") / "static" / name).read_text("utf-8")
                     for name in names)


def with_default(bundle: tuple[dict, dict], html: str, text: str) -> tuple[dict, dict]:
    """Return a widget's mime bundle with ``html`` and ``text`` for where no front end answers."""
    data, metadata = bundle
    return {**data, "text/html": html, "text/plain": text}, metadata


def inline(text: str) -> str:
    """Return text as HTML, `quoted code` set as code.

    >>> inline("`x < 1` holds")
    '<code>x &lt; 1</code> holds'
    """
    parts = escape(text).split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
