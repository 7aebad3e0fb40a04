"""A toy course of one lesson, with its exercises known to this process and to the kernels."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).parent
KERNEL_PATH = HERE / "kernel_path"
STEM = "22_capstone"
collect_ignore = ["kernel_path", "toy_lesson.py"]  # a lesson and a start-up file, no tests


@pytest.fixture(scope="session")
def toy_module():
    spec = importlib.util.spec_from_file_location("toy_capstone", KERNEL_PATH / "toy/capstone.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def toy_exercises(toy_module, monkeypatch):
    """Make the toy exercises those of the unit 'capstone', here and in kernels."""
    from tutorlib.grading import registry

    real = registry.unit_module
    monkeypatch.setattr(registry, "unit_module",
                        lambda slug: toy_module if slug == "capstone" else real(slug))
    paths = [str(KERNEL_PATH), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return toy_module.EXERCISES


@pytest.fixture
def toy_root(tmp_path, toy_exercises):
    """Return a folder that holds the toy course's lesson."""
    (tmp_path / "course").mkdir()
    shutil.copy(HERE / "toy_lesson.py", tmp_path / "course" / f"{STEM}.py")
    return tmp_path


@pytest.fixture
def edited(toy_root):
    """Return a function that replaces text in the toy lesson and returns the lesson's path."""
    path = toy_root / "course" / f"{STEM}.py"

    def edit(old: str, new: str) -> Path:
        text = path.read_text(encoding="utf-8")
        assert old in text, f"the toy lesson has no {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")
        return path

    return edit
