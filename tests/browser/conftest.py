"""A JupyterLab server and a Chromium page, both stopped at the end."""

import os
from pathlib import Path

import pytest

from tests.browser.driver import CHROMIUM, FLAGS, LabServer, Learner
from tutorlib.syllabus import course_root

SHOTS = Path(os.environ.get("TUTORLIB_SHOTS") or course_root() / "build" / "screenshots")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A Lab server for one test module."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    running = LabServer(tmp_path_factory.mktemp("lab"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser(server):
    """One Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def learner(server, browser):
    """A learner with an empty Lab in a laptop-sized window."""
    page = browser.new_page(viewport={"width": 1366, "height": 900})
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    yield Learner(page, server, SHOTS)
    page.close()
    outside = [u for u in requests if not u.startswith(
        (f"http://127.0.0.1:{server.port}", f"ws://127.0.0.1:{server.port}", "data:", "blob:"))]
    assert not outside, f"the page asked for something outside this machine: {outside[:5]}"
