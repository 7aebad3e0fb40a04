"""JupyterLab as the course opens it: at the right place, at once, without asking anyone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

from tutorlib import lab, maps
from tutorlib.doctor import find_chromium
from tutorlib.errors import LessonError

ROOT = Path(__file__).parents[2]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]

# Loaded by every Python that the server starts: writes down whom it tries to reach.
SPY = """
import socket
real_connect, real_lookup = socket.socket.connect, socket.getaddrinfo
def note(host):
    host = str(host)
    if host not in ("", "None", "localhost", "::1", "0.0.0.0") and not host.startswith("127."):
        open({log!r}, "a").write(host + "\\n")
def connect(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        note(address[0])
    return real_connect(self, address)
def lookup(host, *args, **kwargs):
    note(host)
    return real_lookup(host, *args, **kwargs)
socket.socket.connect, socket.getaddrinfo = connect, lookup
"""


@pytest.fixture
def course(tmp_path):
    """A course folder with a space in its name, a first notebook and a home page."""
    root = tmp_path / "my course"
    for name in ("course", "tutorlib", "exercises"):
        (root / name).mkdir(parents=True)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# First page"), nbformat.v4.new_code_cell("6 * 7")],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    nbformat.write(notebook, root / lab.FIRST_NOTEBOOK)
    (root / "course" / "00_start_here.py").touch()
    maps.update(root)
    return root


@pytest.fixture
def start(course, tmp_path):
    """Start ``tutorlib lab`` headless in another folder and return (process, address, seconds)."""
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy" / "sitecustomize.py").write_text(SPY.format(log=str(tmp_path / "asked")))
    running = []

    def begin(**environment):
        began = time.monotonic()
        command = [sys.executable, "-m", "tutorlib.cli", "lab", "--port", "8931"]
        process = subprocess.Popen(
            command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "TUTORLIB_ROOT": str(course), "BROWSER": "none",
                 "PYTHONPATH": f"{tmp_path / 'spy'}{os.pathsep}{ROOT}", **environment})
        running.append(process)
        seen = []
        for line in process.stdout:
            seen.append(line)
            if match := re.search(r"http://127\.0\.0\.1:\d+/\S+", line):
                return process, match[0], time.monotonic() - began
        raise AssertionError("no address was printed:\n" + "".join(seen))

    yield begin
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def fetch(address: str, path: str) -> str:
    """Get a page of the server with its token; it prints its address a moment before it answers."""
    base, token = re.match(r"(http://[^/]+)/.*(token=\w+)", address).groups()
    for _ in range(50):
        try:
            return urllib.request.urlopen(f"{base}{path}?{token}", timeout=30).read().decode()
        except urllib.error.URLError as problem:
            if not isinstance(problem.reason, ConnectionRefusedError):
                raise
        time.sleep(0.1)
    raise AssertionError("the server does not answer")


@pytest.mark.slow
def test_the_server_opens_the_course_and_stops_at_once(course, start, tmp_path):
    process, address, _ = start()
    assert "/lab/tree/exercises/00_start_here.ipynb?token=" in address
    listed = {item["name"] for item in json.loads(fetch(address, "/api/contents"))["content"]}
    assert {"HOME.md", "exercises"} <= listed, "the whole course is in reach, not one folder"
    page = fetch(address, "/lab")
    config = json.loads(re.search(r'id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.S)[1])
    off = config["disabledExtensions"]
    assert "@jupyterlab/apputils-extension:announcements" in off
    assert "@jupyterlab/extensionmanager-extension" in off
    assert config["news"] == {"disabled": True} or not config["news"].get("url")
    time.sleep(2)  # anything it wanted to fetch in the background would have begun by now
    asked = tmp_path / "asked"
    assert not asked.exists(), f"the server tried to reach {asked.read_text()}"
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert process.wait(30) == 0
    assert time.monotonic() - began < 5


@pytest.mark.browser
def test_a_first_visit_shows_the_first_notebook_beside_the_home_page(course, start, tmp_path):
    from playwright.sync_api import sync_playwright

    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    _, address, _ = start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1366, "height": 900})
        requests = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        tabs = page.locator("#jp-main-dock-panel .lm-TabBar-tabLabel")
        page.get_by_role("heading", name="First page").wait_for(timeout=60_000)
        tabs.filter(has_text="HOME.md").click()
        page.get_by_role("heading", name="Part I: The reward is known").wait_for(timeout=30_000)
        shots = ROOT / "build" / "screenshots"
        shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=shots / "home_page.png")
        assert tabs.all_inner_texts() == ["HOME.md", "00_start_here.ipynb"]
        page.get_by_role("link", name="exercises").click()  # goes to the open notebook
        page.get_by_role("heading", name="First page").wait_for(timeout=30_000)
        time.sleep(2)
        browser.close()
    outside = [u for u in requests if not re.match(r"(http|ws)://127\.0\.0\.1:|data:|blob:", u)]
    assert requests and not outside, f"the page asked for {outside[:5]}"
    assert not (tmp_path / "asked").exists(), (tmp_path / "asked").read_text()


def test_settings_are_the_same_each_time(course):
    folder = lab.write_settings(course)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    lab.write_settings(course)
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert len(before) == 4


def test_a_layout_that_a_learner_made_stays(course):
    folder = lab.write_settings(course)
    [saved] = (folder / "lab" / "workspaces").iterdir()
    saved.write_text('{"mine": true}')
    lab.write_settings(course)
    assert saved.read_text() == '{"mine": true}'


def test_without_a_first_notebook_the_home_page_opens(course):
    (course / lab.FIRST_NOTEBOOK).unlink()
    assert lab.lab_config(course)["LabApp"]["default_url"] == "/lab/tree/HOME.md"


@pytest.mark.parametrize("port, browser, expected", [
    (None, None, []), (8899, None, ["--ServerApp.port=8899"]), (None, "none", ["--no-browser"]),
    (1234, "NONE", ["--ServerApp.port=1234", "--no-browser"]), (None, "firefox", []),
])
def test_the_command_line(port, browser, expected):
    assert lab.lab_command(port, browser) == [sys.executable, "-m", "jupyterlab", *expected]


def test_outside_a_clone_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(lab, "course_root", lambda: (_ for _ in ()).throw(LessonError("clone it")))
    with pytest.raises(LessonError, match="clone it"):
        lab.start()
