"""A picture that is never shown without words.

Alt text reaches JupyterLab, nbconvert and myst-nb only as an HTML ``<img alt="...">``: metadata of
a raw image output does not. So a picture is an object that displays itself as HTML.
"""

from __future__ import annotations

import base64
import sys
from html import escape
from io import BytesIO
from pathlib import Path

from tutorlib.errors import InvalidArgumentError
from tutorlib.viz.arrays import required_text

CSS_DPI = 100  # a matplotlib inch is shown as this many CSS pixels
SHARPNESS = 2  # image pixels per CSS pixel, for high-density screens and projectors
_STYLE = "background:#fff;max-width:100%;height:auto;border-radius:4px"


class Picture:
    """An image with its text alternative; it draws at once and keeps only the bytes."""

    def __init__(self, fig, alt: str):
        """Render a matplotlib figure and close it.

        ``alt`` says what the picture shows to a reader who cannot see it; compute it from the
        data. Raises InvalidArgumentError when it is empty or ``fig`` is not a figure.
        """
        self.alt = required_text(alt, "alt")
        if not hasattr(fig, "savefig"):
            raise InvalidArgumentError(
                f"fig is a {type(fig).__name__}; expected a matplotlib figure")
        self.data, self.mime = _png(fig), "image/png"
        self.width = round(fig.get_figwidth() * CSS_DPI)
        if "matplotlib.pyplot" in sys.modules:  # else the notebook would show the figure again
            sys.modules["matplotlib.pyplot"].close(fig)

    @classmethod
    def from_svg(cls, svg: str, alt: str, width: int | None = None) -> Picture:
        """Wrap a complete ``<svg>`` document, shown ``width`` CSS pixels wide.

        >>> Picture.from_svg('<svg xmlns="http://www.w3.org/2000/svg"/>', alt="Nothing.").alt
        'Nothing.'
        """
        if not svg.lstrip().startswith(("<svg", "<?xml")):
            raise InvalidArgumentError("svg must be a whole <svg> document")
        picture = cls.__new__(cls)
        picture.alt = required_text(alt, "alt")
        picture.data, picture.mime, picture.width = svg.encode("utf-8"), "image/svg+xml", width
        return picture

    @property
    def src(self) -> str:
        """The image as a data URI."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode('ascii')}"

    def html(self) -> str:
        """Return the picture as one ``<img>`` on its own light ground, alt text included."""
        width = f' width="{self.width}"' if self.width else ""
        return (f'<img data-testid="picture" alt="{escape(self.alt)}" src="{self.src}"'
                f'{width} style="{_STYLE}">')

    def save(self, path: str | Path) -> Path:
        """Write the image to a file (PNG, or SVG for a picture made from SVG)."""
        Path(path).write_bytes(self.data)
        return Path(path)

    def __repr__(self) -> str:
        """Return the text alternative."""
        return f"Picture: {self.alt}"

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
        """Return HTML for front ends and the alt text for terminals."""
        return {"text/html": self.html(), "text/plain": repr(self)}


def _png(fig) -> bytes:
    """Return the figure as PNG, at the same size wherever it is drawn."""
    from tutorlib.viz.look import style

    stream = BytesIO()
    with style():
        fig.savefig(stream, format="png", dpi=CSS_DPI * SHARPNESS, facecolor="white")
    return stream.getvalue()
