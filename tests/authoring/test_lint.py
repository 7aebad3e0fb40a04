"""The house rules on length, shape and accessibility."""

import pytest

from tutorlib.authoring import lint, lint_course, read_lesson
from tutorlib.authoring.linter import count_words


def problems(path):
    return [(p.rule, p.line) for p in lint(read_lesson(path)) if p.rule != "cell-count"]


def line_of(path, text):
    source = path.read_text(encoding="utf-8")
    return source[: source.index(text)].count("\n") + 1


LONG = {
    "prose of 81 words": ("Later counts less.", "word " * 81, "prose-length", "81 words, 80"),
    "a task of 141 words": ("How large is the map?", "word " * 141, "prose-length",
                            "141 words, 140"),
    "code of 26 lines": ("import html", "\n".join(["import html"] * 26), "code-length",
                         "26 lines, 25"),
    "folded code of 41 lines": ("Bar()\n", "Bar()\n" + "Bar()\n" * 31, "code-length",
                                "41 lines, 40"),
    "an image without alt": ("Later counts less.", "See:\n\n![](plot.png)", "image-alt", "text"),
    "an image named by its file": ("Later counts less.", "![plot](img/plot.png)", "image-alt", ""),
    "an img without alt": ("Later counts less.", 'A\n<img src="x.png">', "image-alt", "alt"),
    "an img with empty alt": ("Later counts less.", '<img src="x.png" alt=" ">', "image-alt", ""),
    "a jump to level 3": ("## Worth", "### Worth", "heading-jump", "follows one of level 1"),
    "an exercise below no section": ("## Worth", "**Worth**", "heading-jump", "level 3"),
    "a second title": ("## Worth", "# Worth", "second-title", "one title"),
    "plain string": ('r"""\n## Worth', '"""\n## Worth', "raw-string", "backslashes"),
    "commented Markdown": ('r"""\n## Worth\n\nLater counts less.\n"""', "# ## Worth",
                           "raw-string", "backslashes"),
    "a check of its own": ("import html", 'map_size = check("capstone.map_size", 1)', "own-check",
                           "the builder adds it"),
}


def test_a_good_lesson_has_no_problem(toy_root):
    assert problems(toy_root / "course/22_capstone.py") == []


@pytest.mark.parametrize("name", LONG)
def test_a_broken_rule_is_named(name, edited):
    old, new, rule, message = LONG[name]
    found = [p for p in lint(read_lesson(edited(old, new))) if p.rule == rule]
    assert found and message in found[0].message
    assert str(found[0]).startswith(f"course/22_capstone.py:{found[0].line}: ")


def test_limits_are_inclusive(edited):
    edited("Later counts less.", "word " * 80)
    edited("How large is the map?", "word " * 140)
    edited("Bar()\n", "Bar()\n" * 31)
    assert problems(edited("import html", "\n".join(["import html"] * 25))) == []


def test_problems_point_at_their_line(edited):
    path = edited("Later counts less.", "One.\n\n```\n![](in_code.png)\n```\n\n![](plot.png)")
    assert problems(path) == [("image-alt", line_of(path, "![](plot.png)"))]
    path = edited("## Worth", "Text first.\n\n#### Worth")
    assert ("heading-jump", line_of(path, "#### Worth")) in problems(path)


def test_headings_in_code_are_no_headings(edited):
    assert problems(edited("Later counts less.", "```python\n#### a comment\n```")) == []


def test_the_number_of_cells(toy_root, edited):
    found = [p for p in lint_course(toy_root) if p.rule == "cell-count"]
    assert len(found) == 1 and "this lesson has 10 cells" in found[0].message
    edited("# %%\nimport html\n", "# %%\nimport html\n" * 26)
    assert [p for p in lint_course(toy_root) if p.rule == "cell-count"] == []
    (toy_root / "course/22_capstone.py").rename(toy_root / "course/00_start_here.py")
    assert "cell-count" not in {p.rule for p in lint_course(toy_root)}


@pytest.mark.parametrize(("text", "words"), [
    ("one two three", 3), ("", 0), ("## A heading\n\none", 1), ("a `b c d` e", 2),
    ("```\none two\n```\nthree", 1), ("so $V(s) = \\max_a Q(s, a)$ it is", 3),
    ("$$\nx = y\n$$\nthen", 1), ("see [a long title](http://x.y) now", 2),
    ("it costs \\$5 and then \\$6", 6), ("a dash – and * bullets", 4), ("<b>bold</b> text", 2),
    ("see https://example.org/x y", 2), ("it's well-known", 2),
])
def test_words(text, words):
    assert count_words(text) == words
