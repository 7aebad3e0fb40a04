"""The pages promise only what is there."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import tutorlib
from tutorlib.cli import app

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "HOME.md", "docs/instructor.md",
         "docs/cluster.md")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def visible(name: str) -> str:
    return re.sub(r"<!--.*?-->", "", read(name), flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", visible(page)):
        path = target.split("#")[0]
        if not path.startswith("http"):
            there = (ROOT / page).parent / path
            assert there.exists(), f"{page} links to {target}, which is not there"


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page):
    text = read(page)
    spans = re.finditer(r"`([^`\n]+)`|^(make .*)$", text, re.MULTILINE)
    code = "\n".join(span[1] or span[2] for span in spans)
    for target in re.findall(r"^make ([a-z-]+)", code, re.MULTILINE):
        assert target in TARGETS, f"{page} names `make {target}`"
    commands = {command.name or command.callback.__name__ for command in app.registered_commands}
    for name in re.findall(r"^(?:\S*/|\S*\\)?tutorlib ([a-z]+)", code, re.MULTILINE):
        assert name in commands, f"{page} names `tutorlib {name}`"


def test_make_help_lists_every_target():
    described = set(re.findall(r"^([a-z-]+):.*  ## \S", MAKEFILE, re.MULTILINE))
    assert described == TARGETS
    assert {"lab", "test", "test-fast", "setup", "build", "run", "clean", "help"} <= TARGETS
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split()
    assert set(phony) == TARGETS


def test_the_readme_shows_a_lesson_as_soon_as_there_is_a_picture():
    shown = re.findall(r"!\[([^\]]+)\]\(docs/lesson\.png\)", visible("README.md"))
    if (ROOT / "docs/lesson.png").exists():
        assert shown and len(shown[0]) > 20, "show docs/lesson.png with alt text"
    else:
        assert "<!-- PICTURE" in read("README.md") and not shown


def test_the_citation_is_well_formed_and_names_the_tutorial():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == tutorlib.__version__
    assert citation["authors"] == [{"name": "The tutorlib contributors"}]
    [tutorial] = citation["references"]
    assert "2507.13158" in tutorial["identifiers"][0]["value"]
    assert [a["family-names"] for a in tutorial["authors"]] == ["Sun", "van der Schaar"]


def test_the_licences_are_named_where_tools_look():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert project["license"] == "MIT" and read("LICENSE").startswith("MIT License")
    assert all((ROOT / name).is_file() for name in project["license-files"])
    assert "https://creativecommons.org/licenses/by/4.0/legalcode" in read("LICENSE-TEXT")


def test_the_changelog_has_this_version():
    assert f"## {tutorlib.__version__}" in read("CHANGELOG.md")
