"""Modules are short enough to be read in one go."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST = 300  # lines, as CONTRIBUTING.md says


def test_no_module_of_the_package_is_long():
    lines = {path: len(path.read_text(encoding="utf-8").splitlines())
             for path in (ROOT / "tutorlib").rglob("*.py")}
    rules = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert len(lines) > 100 and f"modules of at most {MOST}" in rules
    assert {str(path): count for path, count in lines.items() if count > MOST} == {}
