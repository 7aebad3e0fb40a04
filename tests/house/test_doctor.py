"""The doctor: honest about what is missing, and it names the mend."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tutorlib import doctor as module
from tutorlib.doctor import MISSING, NOTE, OK, Diagnosis, Finding, doctor, package_findings

ROOT = Path(__file__).parents[2]


def tutorlib(*arguments, **environment):
    return subprocess.run([sys.executable, "-m", "tutorlib.cli", *arguments], cwd=ROOT, text=True,
                          capture_output=True, env={**os.environ, **environment}, timeout=120)


def test_this_machine_is_ready_and_says_what_it_found():
    diagnosis = doctor()
    found = {finding.name: finding for finding in diagnosis.findings}
    assert diagnosis.ok, str(diagnosis)
    assert {"Python", "packages", "device", "training step", "threads", "disk", "memory",
            "progress", "Chromium (for tests only)"} <= set(found)
    assert f"torch {torch.__version__}" in found["packages"].value
    assert float(found["training step"].value.split()[0]) > 0


def test_every_finding_that_is_not_ok_names_its_mend():
    needs = ["torch>=99", "no-such-package>=1", "numpy>=1.26"]
    for finding in package_findings(needs, {"numpy": "0.0.1"})[1:]:
        assert finding.state != OK and finding.mend


@pytest.mark.parametrize("needs, locked, state, words", [
    (["no-such-package>=1"], {}, MISSING, "not installed"),
    (["torch>=99"], {}, MISSING, "needs torch>=99"),
    (["torch>=2"], {"torch": "1.2.3"}, NOTE, "tested with 1.2.3"),
])
def test_packages_are_judged(needs, locked, state, words):
    [_, finding] = package_findings(needs, locked)
    assert finding.state == state and words in finding.value


def test_a_build_tag_is_not_another_version():
    version = torch.__version__.split("+")[0]
    assert len(package_findings(["torch>=2"], {"torch": version})) == 1


def test_the_forms_agree_and_escape():
    diagnosis = Diagnosis((Finding("a<b", "x & y", MISSING, "make <it>"), Finding("c", "fine")))
    forms = diagnosis._repr_mimebundle_()
    assert not diagnosis.ok and "Not ready: mend a<b." in str(diagnosis)
    assert "a&lt;b" in forms["text/html"] and "make &lt;it&gt;" in forms["text/html"]
    assert "<b" not in forms["text/html"].replace("<br>", "")
    assert forms["text/plain"] == str(diagnosis) and "-> make <it>" in str(diagnosis)


def test_json_for_programs():
    done = tutorlib("doctor", "--json", "--quick")
    answer = json.loads(done.stdout)
    assert done.returncode == 0 and answer["ok"] is True
    assert {"name", "value", "state", "mend"} == set(answer["findings"][0])


def test_without_torch_it_still_answers_and_fails(tmp_path):
    """A half-made environment: packages on the path, but none has metadata or a torch."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nfrom importlib import metadata\nreal = metadata.version\n"
        "def version(name):\n"
        "    if name in ('torch', 'psutil'):\n"
        "        raise metadata.PackageNotFoundError(name)\n"
        "    return real(name)\n"
        "metadata.version = version\n"
        "sys.modules.update(torch=None, psutil=None)\n")
    done = tutorlib("doctor", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert "Not ready: mend psutil, torch." in done.stdout
    assert 'make setup   (or: python -m pip install "torch>=' in done.stdout


def test_a_torch_that_does_not_load_is_a_finding(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    [finding] = module.torch_findings(quick=True)
    assert finding.state == MISSING and finding.mend == "make clean setup"


def test_threads_are_restored_and_a_faster_single_thread_is_said(monkeypatch):
    before = torch.get_num_threads()
    assert module.training_step_seconds(torch, "cpu", threads=2, steps=3) > 0
    assert torch.get_num_threads() == before
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(module, "training_step_seconds", lambda t, d, threads: 1e-3 * threads)
    threads = module.timing_findings(torch, torch.device("cpu"))[1]
    assert threads.state == NOTE and threads.mend == "torch.set_num_threads(1)"
    monkeypatch.setattr(module, "training_step_seconds", lambda t, d, threads: 1e-3)
    assert module.timing_findings(torch, torch.device("cpu"))[1].state == OK


def test_a_gpu_that_lies_idle_is_said(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch.version, "cuda", None)
    finding = module.device_finding(torch, torch.device("cpu"))
    assert finding.state == NOTE and "TORCH_INDEX_URL" in finding.mend


def test_little_disk_and_memory_are_said(monkeypatch, tmp_path):
    import psutil

    assert module.disk_finding(tmp_path).name == "disk"
    monkeypatch.setattr(module, "LOW_DISK", 1e9)
    monkeypatch.setattr(module, "LOW_MEMORY", 1e9)
    assert module.disk_finding(tmp_path).state == NOTE
    assert module.memory_findings()[0].state == NOTE and psutil


def test_progress_that_cannot_be_kept_is_said(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("TUTORLIB_HOME", str(tmp_path / "file" / "inside"))
    finding = module.progress_finding()
    assert finding.state == NOTE and "TUTORLIB_HOME" in finding.value


def test_the_browser_can_be_named(monkeypatch):
    monkeypatch.setenv("TUTORLIB_CHROMIUM", "/opt/my/chrome")
    assert module.browser_finding().value == "/opt/my/chrome"
    monkeypatch.delenv("TUTORLIB_CHROMIUM")
    monkeypatch.setenv("PATH", "/nowhere")
    assert module.browser_finding().state == NOTE and module.browser_finding().mend
