"""HTML that stands alone: one file, no scripts, nothing fetched, readable without colour."""

from __future__ import annotations

from html import escape

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
body { font: 1.05rem/1.55 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
a { color: #0b4f8a; } h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2rem; }
section.exercise { border-left: 6px solid #6b7280; padding: .1rem 1rem; margin: 1.2rem 0; }
section.passed { border-color: #2a7f62; } section.failed { border-color: #b3261e; }
code, pre { font: .95rem/1.45 ui-monospace, monospace; background: #f4f4f2; border-radius: 3px; }
code { padding: 0 .2em; overflow-wrap: anywhere; white-space: pre-wrap; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; } caption { text-align: left; padding-bottom: .4rem; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #ddd;
  vertical-align: top; overflow-wrap: break-word; }
.wide thead th { white-space: nowrap; } .wide th[scope=row] { min-width: 9em; }
td.number, th.number { text-align: right; white-space: nowrap; }
figure.bars { margin: 1.6rem 0; } figcaption { font-weight: 600; margin-bottom: .4rem; }
figure.bars table { width: 100%; } figure.bars th[scope=row] { font-weight: normal; }
figure.bars td.drawn { width: 45%; padding-right: 0; white-space: nowrap; }
span.note { color: #4a4a4a; font-size: .95em; }
.track { display: inline-block; width: calc(100% - 3.4em); margin-right: .5em;
  vertical-align: middle; background: #e8edf2; border-radius: 2px; }
.bar { display: block; height: 1em; background: #0b62a8; border-radius: 2px;
  print-color-adjust: exact; }
@media (max-width: 40rem) { body { margin: 1rem auto; font-size: 1rem; }
  figure.bars th[scope=row] { hyphens: auto; } }
dt { font-weight: 600; } dd { margin: 0 0 .6rem 0; }
img { max-width: 100%; height: auto; }
"""


def page(title: str, body: str) -> str:
    """Return a whole page; ``body`` is HTML already."""
    return ('<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
            f"<body>\n<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n")


def inline(text: str) -> str:
    """Escape a text and set its `quoted code` as code."""
    parts = escape(text).split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


def table(caption: str, columns: list[str], rows: list[list], numbers: int = 0,
          html: bool = False) -> str:
    """Return a table that scrolls sideways where it must; its last ``numbers`` columns go right.

    With ``html`` the cells are HTML already.
    """
    first = len(columns) - numbers

    def cell(kind: str, index: int, value, scope: str = "") -> str:
        side = ' class="number"' if index >= first else ""
        text = f"{value:g}" if isinstance(value, int | float) else str(value)
        return f"<{kind}{side}{scope}>{text if html else inline(text)}</{kind}>"

    head = "".join(cell("th", i, c, ' scope="col"') for i, c in enumerate(columns))
    body = "\n".join("<tr>" + "".join(
        cell("th", i, v, ' scope="row"') if i == 0 else cell("td", i, v)
        for i, v in enumerate(row)) + "</tr>" for row in rows)
    return (f'<div class="wide" role="region" aria-label="{escape(caption)}" tabindex="0">\n'
            f"<table>\n<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
            f"<tbody>\n{body}\n</tbody>\n</table>\n</div>")
