"""A picture never shows without words, and leaves nothing behind."""

import base64
import subprocess
import sys
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest

from tutorlib.errors import InvalidArgumentError, TutorlibError
from tutorlib.viz import COLOURS, Picture, new_figure, style
from tutorlib.viz.look import (
    DIVERGING,
    LINE_STYLES,
    MARKERS,
    SEQUENTIAL,
    colour_scale,
    luminance,
    series_look,
)


class Images(HTMLParser):
    """Collects the attributes of <img> elements, entities decoded."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        assert tag == "img"
        self.found.append(dict(attrs))


def drawing():
    with style():
        fig, ax = new_figure(width=4, height=3, title="A claim")
        ax.plot([0, 1], [0, 1])
    return fig


def test_the_bundle_is_an_image_with_alt_text_and_the_text_alone():
    bundle = Picture(drawing(), alt="A line rises from 0 to 1.")._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    (image,) = Images(bundle["text/html"]).found
    assert image["alt"] == "A line rises from 0 to 1."
    assert "A line rises from 0 to 1." in bundle["text/plain"]
    head, _, data = image["src"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")


def test_it_is_drawn_at_twice_the_size_at_which_it_is_shown():
    picture = Picture(drawing(), alt="x")
    pixels = int.from_bytes(picture.data[16:20], "big")
    assert (picture.width, pixels) == (400, 800)


def test_alt_text_is_escaped():
    alt = 'quote " tag <script> ampersand & apostrophe \''
    html = Picture(drawing(), alt=alt).html()
    assert "<script>" not in html
    assert Images(html).found[0]["alt"] == alt


@pytest.mark.parametrize("alt", ["", "  \n", None])
def test_a_picture_without_words_is_refused(alt):
    with pytest.raises(InvalidArgumentError, match="alt"):
        Picture(drawing(), alt=alt)


def test_something_else_than_a_figure_is_refused():
    with pytest.raises(TutorlibError, match="expected a matplotlib figure"):
        Picture([1, 2], alt="x")


def test_svg_is_shown_as_an_image_too():
    picture = Picture.from_svg('<svg xmlns="http://www.w3.org/2000/svg"/>', alt="Empty.", width=90)
    (image,) = Images(picture.html()).found
    assert image["src"].startswith("data:image/svg+xml;base64,")
    assert (image["alt"], image["width"]) == ("Empty.", "90")
    with pytest.raises(InvalidArgumentError, match="<svg>"):
        Picture.from_svg("hello", alt="x")


def test_a_pyplot_figure_is_closed_and_ours_are_never_opened():
    import matplotlib.pyplot as plt

    Picture(drawing(), alt="x")
    assert plt.get_fignums() == []
    fig, _ = plt.subplots()
    Picture(fig, alt="x")
    assert plt.get_fignums() == []


def test_settings_are_restored_also_after_an_error():
    before = dict(matplotlib.rcParams)
    with pytest.raises(RuntimeError), style():
        assert matplotlib.rcParams["font.size"] == 13
        raise RuntimeError
    assert dict(matplotlib.rcParams) == before


def test_save_writes_the_bytes(tmp_path):
    picture = Picture(drawing(), alt="x")
    assert picture.save(tmp_path / "a.png").read_bytes() == picture.data


def test_a_long_title_wraps_and_makes_the_figure_taller():
    with style():
        short, _ = new_figure(title="Short")
        long, _ = new_figure(title="A claim that needs more room than one line can offer " * 2)
    assert long.get_figheight() > short.get_figheight()


def rgb(colour):
    return [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]


def test_series_colours_stand_out_on_white():
    for colour in COLOURS:
        assert 1.05 / (luminance(rgb(colour)) + 0.05) >= 3


def test_black_numbers_are_legible_on_every_shade_of_a_heat_map():
    for values in (np.array([-1.0, 1.0]), np.array([0.0, 1.0])):
        cmap, _ = colour_scale(values)
        for shade in cmap(np.linspace(0, 1, 50)):
            assert (luminance(shade) + 0.05) / 0.05 >= 4.5
    assert SEQUENTIAL[-1] == DIVERGING[-1]


def test_a_signed_heat_map_is_white_at_zero():
    cmap, norm = colour_scale(np.array([-0.4, 2.0]))
    assert np.allclose(cmap(norm(0.0))[:3], 1, atol=0.02)
    assert (norm.vmin, norm.vmax) == (-2, 2)


def test_series_differ_without_colour():
    looks = [series_look(index, 30) for index in range(len(COLOURS))]
    assert len({look["marker"] for look in looks}) == len(MARKERS) == len(COLOURS)
    assert len({str(look["linestyle"]) for look in looks}) == len(LINE_STYLES) == len(COLOURS)


def test_importing_the_package_loads_neither_matplotlib_nor_torch():
    code = ("import sys, tutorlib.viz; "
            "assert not {'matplotlib', 'torch', 'numpy'} & set(sys.modules), sorted(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)
