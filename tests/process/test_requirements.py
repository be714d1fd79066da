"""The requirement files: complete, each for its build of MXNet; NumPy's names; the example."""

import ast
import importlib.util
import subprocess
import sys

import pytest
from helpers import ROOT

from process import startup

PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn"}  # where the module is called otherwise
ROOMS = {"runs", "datasets", "pictures", "inference", "cluster", "process"}
OWN = {path.stem for path in ROOT.glob("*.py")} | ROOMS


def required(name):
    """The packages that a requirement file names, with those of the files it includes."""
    packages = set()
    for line in (ROOT / name).read_text().splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r "):
            packages |= required(line[3:])
        elif line:
            packages.add(line.replace(">", "=").replace("<", "=").partition("=")[0].strip(";, "))
    return {package.partition(";")[0].strip() for package in packages}


def imported():
    """The packages that the program imports, anywhere in its files."""
    modules = set()
    for path in [
        *ROOT.glob("*.py"),
        *(path for room in ROOMS for path in ROOT.glob(f"{room}/*.py")),
    ]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.partition(".")[0])
    found = {module: importlib.util.find_spec(module).origin or "" for module in modules - OWN}
    return {PACKAGES.get(one, one) for one, origin in found.items() if "site-packages" in origin}


@pytest.mark.parametrize(
    "name, mxnet", [("requirements.txt", "mxnet"), ("requirements-gpu.txt", "mxnet-cu112")]
)
def test_every_import_is_required(name, mxnet):
    packages = required(name)
    assert mxnet in packages and len({"mxnet", "mxnet-cu112"} & packages) == 1
    assert imported() - {"mxnet"} <= packages | required("requirements-export.txt")
    assert {"requests", "graphviz"} <= packages  # MXNet's, which Python 3.13 installs without them


def test_numpy_looks_to_others_as_it_did():
    """But for the two names that MXNet takes at any time."""
    script = (
        "import numpy; before = dict(vars(numpy))\n"
        "from process.startup import prepare_mxnet; prepare_mxnet()\n"
        "import types\n"
        "print(sorted(name for name, value in vars(numpy).items() if name not in before "
        "and not isinstance(value, types.ModuleType)))\n"
        "print(all(vars(numpy)[name] is value for name, value in before.items()))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    names, same = done.stdout.splitlines()
    assert set(ast.literal_eval(names)) <= {"bool", "Inf"} and same == "True", done


def test_both_builds_of_mxnet_are_noticed(monkeypatch, capfd):
    monkeypatch.setattr(startup, "installed", lambda name: True)
    startup.prepare_mxnet()
    assert "mxnet and mxnet-cu112 are both installed" in capfd.readouterr().err
    error = ModuleNotFoundError("No module named 'tqdm'", name="tqdm")
    assert "requirements-gpu.txt" in startup.how_to_install(error)
    monkeypatch.setattr(startup, "installed", lambda name: False)
    assert "-r requirements.txt'" in startup.how_to_install(error)
    monkeypatch.setattr(sys, "version_info", (3, 13))
    error = ModuleNotFoundError("No module named 'mxnet'", name="mxnet")
    assert "'pip install --no-deps mxnet==1.9.1'" in startup.how_to_install(error)
