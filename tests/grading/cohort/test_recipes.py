"""docs/cluster.md: its commands have these options, its files are what they claim to be."""

import os
import re
import subprocess
import sys

import pytest
import typer
import yaml

from tests.grading.cohort.conftest import ROOT
from tutorlib.cli import app

TEXT = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def blocks(kind):
    return [text for language, text in BLOCKS if language == kind]


def commands():
    """All words of each command in the page, with lines joined."""
    lines = "\n".join(blocks("") + blocks("bash")).replace("\\\n", " ").splitlines()
    return [line.split() for line in lines]


def options_of(*program):
    """(words, options) of each use of a program in the page."""
    found = []
    for words in commands():
        names = [word.rpartition("/")[2] for word in words]
        for i in range(len(names)):
            if tuple(names[i:i + len(program)]) == program:
                found.append([w for w in words[i:] if w.startswith("--")])
    return found


def test_grade_has_the_options_that_are_shown():
    known = {option for parameter in typer.main.get_command(app).commands["grade"].params
             for option in parameter.opts}
    uses = options_of("tutorlib", "grade")
    assert len(uses) >= 4 and {option for use in uses for option in use} <= known


@pytest.mark.parametrize("program", ["scheduler", "worker"])
def test_dask_has_the_options_that_are_shown(program):
    pytest.importorskip("distributed", reason="Dask is not installed: make peers")
    import importlib

    main = importlib.import_module(f"distributed.cli.dask_{program}").main
    known = {option for parameter in main.params
             for option in (*parameter.opts, *parameter.secondary_opts)}
    shown = {option for use in options_of("dask", program) for option in use}
    shown |= {word for one in pods() for word in one["command"] if word.startswith("--")
              and one["command"][1] == program}
    assert len(shown) >= 5 and shown <= known, shown - known


def manifests():
    return list(yaml.safe_load_all(blocks("yaml")[1]))


def pods():
    return [container for one in manifests() if one["kind"] == "Deployment"
            for container in one["spec"]["template"]["spec"]["containers"]]


def test_the_pods_belong_together():
    service, *deployments = manifests()
    assert [one["kind"] for one in deployments] == ["Deployment"] * 2
    labels = [one["spec"]["template"]["metadata"]["labels"] for one in deployments]
    assert all(one["spec"]["selector"]["matchLabels"] == label
               for one, label in zip(deployments, labels, strict=True))
    assert service["spec"]["selector"] == labels[0] != labels[1]
    port = service["spec"]["ports"][0]["port"]
    scheduler, worker = pods()
    assert scheduler["command"][scheduler["command"].index("--port") + 1] == str(port)
    assert worker["command"][2] == f"tls://{service['metadata']['name']}:{port}"
    for one in deployments:
        [secret] = [v["secret"]["secretName"] for v in one["spec"]["template"]["spec"]["volumes"]
                    if "secret" in v]
        assert f"secret generic {secret}" in TEXT


def test_the_pods_keep_to_the_restricted_standard():
    for one in manifests()[1:]:
        spec = one["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert all(set(volume) <= {"name", "secret", "emptyDir"} for volume in spec["volumes"])


def test_dasks_configuration_names_the_files_for_all_three():
    pytest.importorskip("distributed", reason="Dask is not installed: make peers")
    import dask.config
    from distributed.security import Security

    config = dask.config.merge(dask.config.global_config, yaml.safe_load(blocks("yaml")[0]))
    with dask.config.set(config):
        security = Security()
    for who in ("scheduler", "worker", "client"):
        files = security.get_tls_config_for_role(who)
        assert files["cert"].endswith("cert.pem") and files["key"].endswith("key.pem")
        assert files["ca_file"] == files["cert"]
    assert security.require_encryption is True


def test_the_patience_is_what_the_page_says():
    pytest.importorskip("distributed", reason="Dask is not installed: make peers")
    from tutorlib.grading.cohort.cluster import PATIENCE

    assert PATIENCE == 5 * 60 and "waits five minutes" in TEXT


STAND_INS = {
    "dask": """case "$1" in
  scheduler) echo '{"address": "tls://10.0.0.9:41"}' > "${@: -1}"; exec sleep 600;;
  worker) echo "$DASK_CONFIG $*" >> worker; exec sleep 600;;
esac""",
    "tutorlib": 'echo "$*" > grader; until [ -s worker ]; do sleep 0.05; done; exit 3',
}


def test_the_batch_script_connects_them_and_ends_them(tmp_path):
    """With stand-ins for Slurm, Dask and the grader, which fails in the end."""
    [script] = [text for text in blocks("bash") if "#SBATCH" in text]
    course, tools = tmp_path / "my course", tmp_path / "tools"
    (course / ".venv" / "bin").mkdir(parents=True)
    tools.mkdir()
    for folder, name, body in ((tools, "srun", 'exec "$@"'),
                               *((course / ".venv" / "bin", *one) for one in STAND_INS.items())):
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    (course / ".venv" / "bin" / "python").symlink_to(sys.executable)
    environment = {**os.environ, "COURSE": str(course), "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, timeout=60,
                          capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert (course / "grader").read_text().endswith("--scheduler tls://10.0.0.9:41\n")
    worker = (course / "worker").read_text()
    assert worker.startswith(str(course / "tls" / "dask.yaml")) and "scheduler.json" in worker
    assert not list(course.glob("grading-run.*")), "what was for one run is gone"
    left = subprocess.run(["pgrep", "-f", str(course)], capture_output=True, text=True).stdout
    assert not left.split(), "and so are its processes"
