"""Bars that are text: a figure made of a table, readable at any width, aloud and without colour."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tutorlib.grading.cohort.pages import inline


def bar_figure(title: str, names: tuple[str, str], rows: Sequence[tuple[str, float, str]],
               top: float, notes: Sequence[str] = ()) -> str:
    """Return a figure: each row is (what it is, a length up to ``top``, the number as text).

    ``names`` head what the rows are and what their numbers count; ``notes`` stand below the rows'
    names, one each.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = "\n".join(_row(label, note, length / top if top else 0.0, text)
                     for (label, length, text), note in zip(rows, notes or [""] * len(rows),
                                                            strict=True))
    return (f'<figure class="bars">\n<figcaption>{inline(title)}</figcaption>\n<table>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</figure>")


def _row(label: str, note: str, share: float, text: str) -> str:
    """Return one row; the bar says nothing that its number does not."""
    below = f'<br><span class="note">{inline(note)}</span>' if note else ""
    bar = f'<span class="bar" style="width:{100 * share:.1f}%"></span>'
    return (f'<tr><th scope="row">{inline(label)}{below}</th><td class="drawn">'
            f'<span class="track" aria-hidden="true">{bar}</span><span>{escape(text)}</span>'
            "</td></tr>")


def listed(names: Sequence[str], most: int = 2) -> str:
    """Return quoted names as a list in words.

    >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c", "d"])
    ('"a"', '"a" and "b"', '"a", "b" and 2 more')
    """
    shown = [f'"{name}"' for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return " and ".join(shown)
