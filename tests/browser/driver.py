"""Drive JupyterLab in a real Chromium as a learner would: open, run, click, type."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from tutorlib.doctor import find_chromium
from tutorlib.lab import lab_command, lab_environment, write_settings
from tutorlib.syllabus import course_root

CHROMIUM = find_chromium()
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
_OPEN = """async (path) => {
  const app = window.jupyterapp;
  const panel = await app.commands.execute('docmanager:open', {path, factory: 'Notebook'});
  await panel.context.ready;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  window.panel = panel;
}"""
_SOURCES = """() => window.panel.content.widgets.map(
  cell => [cell.model.type, cell.model.sharedModel.source])"""
_SHOW = """async (index) => {
  const notebook = window.panel.content;
  notebook.deselectAll();
  notebook.activeCellIndex = index;
  await notebook.scrollToItem(index, 'center');
  notebook.widgets[index].node.setAttribute('data-cell', String(index));
}"""
_RUN_ALL = """async () => {
  await window.jupyterapp.commands.execute('notebook:run-all-cells');
}"""


class LabServer:
    """A JupyterLab server on a copy of the course's notebooks; it stops with the test."""

    def __init__(self, folder: Path):
        """Copy the three products into ``folder`` and start a server there."""
        root = course_root()
        self.root = folder / "course"
        for name in ("course", "exercises", "notebooks", "solutions", "tutorlib"):
            shutil.copytree(root / name, self.root / name, dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("__pycache__"))
        self.port, self.token = _free_port(), "learner"
        self.log = folder / "lab.log"
        environment = {**lab_environment(write_settings(self.root)),
                       "TUTORLIB_HOME": str(folder / "home"), "TUTORLIB_ROOT": str(self.root),
                       "JUPYTER_DATA_DIR": str(folder / "data"),
                       "IPYTHONDIR": str(folder / "ipython")}
        command = [*lab_command(self.port, "none"), "--LabApp.expose_app_in_browser=True",
                   f"--IdentityProvider.token={self.token}"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=self.root, env=environment,
                                            stdout=log, stderr=log)
        self.wait_until_up()

    def url(self, path: str = "/lab") -> str:
        """Return the address of a path, token included."""
        return f"http://127.0.0.1:{self.port}{path}?token={self.token}"

    def wait_until_up(self, seconds: float = 90) -> None:
        """Return when the server answers; fail with its log."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(self.url("/api/status"), timeout=2).read()
                return
            except OSError:
                time.sleep(0.3)
        raise AssertionError(f"JupyterLab did not come up:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        """End the server and its kernels."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Learner:
    """A browser page with a notebook open."""

    def __init__(self, page, server: LabServer, shots: Path):
        """Open Lab in a fresh workspace."""
        self.page, self.server, self.shots = page, server, shots
        page.goto(server.url(f"/lab/workspaces/w{time.monotonic_ns()}"))
        page.wait_for_function("() => window.jupyterapp !== undefined", timeout=60_000)
        page.evaluate("async () => { await window.jupyterapp.restored }")

    def open(self, path: str) -> None:
        """Open a notebook and wait for its kernel."""
        self.page.evaluate(_OPEN, path)

    def run_all(self, seconds: float = 180) -> None:
        """Run every cell and wait for the last one."""
        self.page.set_default_timeout(seconds * 1000)
        self.page.evaluate(_RUN_ALL)
        self.page.wait_for_function("() => window.panel.sessionContext.session.kernel.status"
                                    " === 'idle'", timeout=seconds * 1000)
        self.page.set_default_timeout(30_000)

    def find(self, fragment: str, kind: str = "code") -> int:
        """Return the index of the first cell whose source holds ``fragment``."""
        for index, (cell_type, source) in enumerate(self.page.evaluate(_SOURCES)):
            if cell_type == kind and fragment in source:
                return index
        raise AssertionError(f"no {kind} cell holds {fragment!r}")

    def source(self, index: int) -> str:
        """Return a cell's source."""
        return self.page.evaluate(_SOURCES)[index][1]

    def cell(self, index: int):
        """Scroll to a cell and return it as a locator."""
        self.page.evaluate(_SHOW, index)
        return self.page.locator(f'.jp-Cell[data-cell="{index}"]').first

    def type_and_run(self, index: int, code: str) -> None:
        """Click into a cell, replace its text by typing, and run it with Shift+Enter."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(code)
        assert self.source(index).strip() == code.strip()
        self.run(index)

    def run(self, index: int) -> None:
        """Run one cell with Shift+Enter and wait until the kernel is idle again."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        self.page.wait_for_function(
            "(i) => { const c = window.panel.content.widgets[i]; return "
            "c.model.executionState === 'idle' || !c.node.innerText.includes('[*]') }", arg=index)
        self.page.wait_for_function(
            "() => window.panel.sessionContext.session.kernel.status === 'idle'")

    def outputs(self, index: int) -> str:
        """Return the text a learner sees under a cell."""
        return self.cell(index).locator(".jp-Cell-outputArea").inner_text()

    def shot(self, name: str) -> Path:
        """Keep a screenshot of the page."""
        self.shots.mkdir(parents=True, exist_ok=True)
        target = self.shots / f"{name}.png"
        self.page.screenshot(path=target)
        return target


def sessions(server: LabServer) -> list[dict]:
    """Return the server's running notebook sessions."""
    return json.loads(urllib.request.urlopen(server.url("/api/sessions"), timeout=5).read())


def _free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
