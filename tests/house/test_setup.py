"""The set-up script: which Python, which torch, when there is nothing to do."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script():
    """The script as a module of its own for each test."""
    spec = importlib.util.spec_from_file_location("setup_env", ROOT / "scripts/setup_env.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def report(url: str, version: str = "2.13.0") -> dict:
    """What ``pip install --report`` says of one file."""
    return {"install": [{"download_info": {"url": url}, "metadata": {"version": version}}]}


PLAIN = report("https://files.example/torch-2.13.0-cp312-cp312-manylinux_2_28_x86_64.whl")
CPU = report("https://files.example/torch-2.13.0%2Bcpu-cp312.whl", "2.13.0+cpu")
LOCAL = report("file:///media/usb/torch-2.13.0-cp312-cp312-linux_x86_64.whl")


@pytest.mark.parametrize("found, override, expected", [
    (PLAIN, None, ["--index-url", "https://download.pytorch.org/whl/cpu"]),
    (CPU, None, []),
    (LOCAL, None, []),
    (None, None, []),  # macOS, Windows, or an NVIDIA GPU: pip is not even asked
    (PLAIN, "https://mirror.example", ["--index-url", "https://mirror.example"]),
    (None, "https://mirror.example", ["--index-url", "https://mirror.example"]),
])
def test_where_torch_comes_from(script, found, override, expected):
    assert script.torch_source(found, override) == expected


@pytest.mark.parametrize("system, gpu", [("Darwin", False), ("Windows", False), ("Linux", True)])
def test_pip_is_asked_only_where_its_answer_matters(script, monkeypatch, system, gpu):
    monkeypatch.setattr(script.platform, "system", lambda: system)
    monkeypatch.setattr(script, "has_nvidia_gpu", lambda: gpu)
    monkeypatch.setattr(script.subprocess, "run", lambda *a, **k: pytest.fail("pip was asked"))
    assert script.torch_report(Path("python"), "torch==2.13.0") is None


def test_pip_is_asked_for_metadata_only(script, monkeypatch):
    asked = []

    def answer(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, json.dumps(PLAIN).encode())

    monkeypatch.setattr(script.platform, "system", lambda: "Linux")
    monkeypatch.setattr(script, "has_nvidia_gpu", lambda: False)
    monkeypatch.setattr(script.subprocess, "run", answer)
    assert script.torch_report(Path("python"), "torch==2.13.0") == PLAIN
    assert {"--dry-run", "--no-deps", "--ignore-installed", "torch==2.13.0"} <= set(asked[0])


def fake(folder: Path, name: str, body: str) -> Path:
    """Write an executable shell script."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("body, gpu", [
    ("echo 'GPU 0: A card'", True), ("echo 'no devices'; exit 9", False), ("exit 0", False)])
def test_a_gpu_counts_only_when_the_driver_lists_it(script, monkeypatch, tmp_path, body, gpu):
    fake(tmp_path / "bin", "nvidia-smi", body)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert script.has_nvidia_gpu() is gpu


def test_an_interpreter_in_range_is_found(script, monkeypatch, tmp_path):
    """An old python3 and a stand-in that refuses to run are passed over."""
    old = fake(tmp_path / "bin", "python3", "echo 3 9")
    fake(tmp_path / "bin", "python3.13", "exit 127")
    fake(tmp_path / "bin", "python3.12", "echo 3 12")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert script.find_python(None) == sys.executable
    monkeypatch.setattr(script.sys, "executable", str(old))
    assert script.find_python(None) == "python3.12"


@pytest.mark.parametrize("body, seen", [
    ("echo 3 9", "3.9"), ("echo 3 14", "3.14"), ("exit 1", "does not run")])
def test_an_interpreter_out_of_range_is_refused(script, tmp_path, body, seen):
    wanted = str(fake(tmp_path / "bin", "mypython", body))
    with pytest.raises(script.SetupError, match=f"(?s)mypython: {seen}.*PYTHON="):
        script.find_python(wanted)


def test_the_probe_reads_a_real_interpreter(script):
    assert script.python_version(sys.executable) == sys.version_info[:2]
    assert script.python_version("/nowhere/python3") is None


@pytest.fixture
def clone(script, monkeypatch, tmp_path):
    """A course folder with a space in its name, an environment, and installs that only count."""
    root = tmp_path / "my course"
    (root / "scripts").mkdir(parents=True)
    for name in ("pyproject.toml", "requirements.lock", "scripts/setup_env.py"):
        (root / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(script, "ROOT", root)
    for name in ("PYTHON", "TORCH_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    calls = []

    def run(command):
        calls.append(command)
        if command[1:3] == ["-m", "venv"]:
            (root / ".venv/bin").mkdir(parents=True, exist_ok=True)
            (root / ".venv/bin/python").touch()
            (root / ".venv/pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.7\n")

    monkeypatch.setattr(script, "run", run)
    monkeypatch.setattr(script, "torch_report", lambda *a: PLAIN)
    return root, calls


def test_a_first_call_installs_torch_first_and_a_second_does_nothing(script, clone):
    root, calls = clone
    assert script.main() == 0
    assert [call[1:4] for call in calls] == [
        ["-m", "venv", "--clear"], *[["-m", "pip", "--disable-pip-version-check"]] * 3,
        ["-m", "tutorlib.cli", "doctor"]]
    assert {"--no-deps", script.CPU_INDEX, script.pinned_torch(root)} <= set(calls[2])
    assert {"--constraint", "--editable"} <= set(calls[3])
    assert calls[3][-1] == f"{root}[test]"
    calls.clear()
    assert script.main() == 0 and calls == []


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock"])
def test_a_change_of_what_is_needed_installs_again(script, clone, name):
    root, calls = clone
    script.main()
    calls.clear()
    with (root / name).open("a") as file:
        file.write("# changed\n")
    script.main()
    assert any("--editable" in call for call in calls)
    assert not any("venv" in call for call in calls), "the environment itself is kept"


def test_a_torch_index_is_taken_once_and_kept(script, clone, monkeypatch):
    _, calls = clone
    script.main()
    calls.clear()
    monkeypatch.setenv("TORCH_INDEX_URL", "https://mirror.example")
    script.main()
    [torch] = [call for call in calls if "--no-deps" in call]
    assert {"--force-reinstall", "https://mirror.example"} <= set(torch)
    calls.clear()
    monkeypatch.delenv("TORCH_INDEX_URL")
    assert script.main() == 0 and calls == []


def test_a_failed_step_is_tried_again_the_next_time(script, clone, monkeypatch, capsys):
    root, calls = clone
    real = script.run

    def fail(command):
        real(command)
        if "--editable" in command:
            raise script.SetupError("no network")

    monkeypatch.setattr(script, "run", fail)
    assert script.main() == 1
    assert "no network" in capsys.readouterr().err
    assert not (root / ".venv/course-stamp.json").exists()
    monkeypatch.setattr(script, "run", real)
    calls.clear()
    assert script.main() == 0 and calls != []


def test_a_broken_or_other_environment_is_made_anew(script, clone, monkeypatch):
    root, calls = clone
    script.main()
    calls.clear()
    (root / ".venv/bin/python").unlink()  # as when its base interpreter was removed
    script.main()
    assert calls[0][1:3] == ["-m", "venv"]
    calls.clear()
    monkeypatch.setenv("PYTHON", "python3.12")
    monkeypatch.setattr(script, "python_version", lambda command: (3, 12))
    script.main()
    assert calls[0][:3] == ["python3.12", "-m", "venv"]


def test_run_says_what_failed(script):
    with pytest.raises(script.SetupError, match=r"This failed: .*sys\.exit"):
        script.run([sys.executable, "-c", "import sys; sys.exit(3)"])


def test_old_pythons_can_read_the_script(script):
    """It must start under whatever python3 is, to look for a better one."""
    import ast

    source = (ROOT / "scripts/setup_env.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 8))
