"""Open JupyterLab on the course: settings of its own, no request to any other machine.

The settings lie in ``.lab/`` in the course folder, so that neither a learner's own Jupyter
configuration nor a first visit to another project changes what the course looks like.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tutorlib.syllabus import course_root

FIRST_NOTEBOOK = "exercises/00_start_here.ipynb"
HOME_PAGE = "HOME.md"


def lab_config(root: Path) -> dict:
    """Return the server's settings: where it is rooted, what it opens, what it never asks for."""
    first = FIRST_NOTEBOOK if (root / FIRST_NOTEBOOK).is_file() else HOME_PAGE
    return {
        "ServerApp": {
            "root_dir": str(root),  # else the opened notebook's folder would become the root
            "answer_yes": True,  # one Ctrl-C stops it, without a question
            "allow_root": True,  # containers; it listens on this machine alone, behind a token
        },
        "LabApp": {
            "default_url": f"/lab/tree/{first}",
            "extension_manager": "readonly",  # the other one asks a package registry
            "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
            "news_url": None,
        },
    }


def setting_overrides() -> dict:
    """Return the defaults of Lab's own settings; what a learner changes still wins."""
    return {
        "@jupyterlab/apputils-extension:notification": {
            "fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": False},
        "@jupyterlab/extensionmanager-extension:plugin": {"enabled": False},
        "@jupyterlab/docmanager-extension:plugin": {
            "defaultViewers": {"markdown": "Markdown Preview"}},
    }


def page_config() -> dict:
    """Return the extensions that are off: they would only talk to the network."""
    return {"disabledExtensions": {
        "@jupyterlab/apputils-extension:announcements": True,
        "@jupyterlab/extensionmanager-extension": True,
    }}


def first_workspace() -> dict:
    """Return the layout of a first visit: the home page in a tab, before the first notebook's."""
    tab = f"markdownviewer-widget:{HOME_PAGE}"
    return {
        "metadata": {"id": "default"},
        "data": {
            tab: {"data": {"path": HOME_PAGE, "factory": "Markdown Preview"}},
            "layout-restorer:data": {"main": {
                "dock": {"type": "tab-area", "currentIndex": 0, "widgets": [tab]},
                "current": tab,
            }},
        },
    }


def write_settings(root: Path) -> Path:
    """Write the settings under ``root/.lab`` and return the configuration folder."""
    folder = root / ".lab"
    files = {
        "jupyter_lab_config.json": lab_config(root),
        "labconfig/default_setting_overrides.json": setting_overrides(),
        "labconfig/page_config.json": page_config(),
    }
    for name, content in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    _seed_workspace(folder / "lab" / "workspaces")
    return folder


def _seed_workspace(folder: Path) -> None:
    """Lay out the first visit; a layout that Lab has saved since is the learner's, and stays."""
    if not folder.exists():
        # Only on a first visit: this import takes longer than the rest of the start.
        from jupyterlab_server.workspaces_handler import WorkspacesManager

        WorkspacesManager(str(folder)).save("default", json.dumps(first_workspace()))


def lab_command(port: int | None = None, browser: str | None = None) -> list[str]:
    """Return the command line; ``browser="none"`` prints the address instead of opening it."""
    command = [sys.executable, "-m", "jupyterlab"]
    if port is not None:
        command.append(f"--ServerApp.port={port}")
    if (browser or "").lower() == "none":
        command.append("--no-browser")
    return command


def lab_environment(settings: Path) -> dict[str, str]:
    """Return the environment that makes Jupyter read ``settings`` and nobody else's."""
    return {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(settings),
        "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel, not the user's
    }


def start(port: int | None = None, browser: str | None = None) -> int:
    """Start JupyterLab and return its exit code (on POSIX this process becomes the server).

    ``browser`` is ``"none"`` for no browser, else a browser's name, else the usual one. Raises
    ``LessonError`` outside a clone of the course.
    """
    root = course_root()
    environment = lab_environment(write_settings(root))
    if browser and browser.lower() != "none":
        environment["BROWSER"] = browser
    command = lab_command(port, browser)
    print(f"JupyterLab for {root}. Stop it with Ctrl-C.", flush=True)
    if os.name == "nt":
        return subprocess.call(command, env=environment, cwd=root)
    os.chdir(root)
    os.execve(command[0], command, environment)
