"""The requirement files: complete, each for its build of MXNet; versions that are known to work."""

import ast
import importlib.util
import re
import subprocess
import sys

import pytest
from helpers import ROOT

PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn"}  # where the module is called otherwise
ROOMS = {"runs", "datasets", "pictures", "inference", "cluster", "process"}
WITHOUT_OTHERS = {"mxnet", "mlxtend"}  # what install.sh installs in a second step
OWN = {path.stem for path in ROOT.glob("*.py")} | ROOMS


def required(name):
    """The packages that a requirement file names, with those of the files it includes."""
    packages = set()
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("-r "):
            packages |= required(line.split()[1])
        else:
            packages.update(re.findall(r"^\w[\w.-]*", line))
    return packages


def imported():
    """The packages that the program imports, anywhere in its files."""
    modules = set()
    for path in (path for room in ("", *ROOMS) for path in (ROOT / room).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.partition(".")[0])
    specs = {module: importlib.util.find_spec(module) for module in modules - OWN}
    return {
        PACKAGES.get(module, module)
        for module, spec in specs.items()
        if spec is None or "site-packages" in (spec.origin or "")  # None: not installed yet
    }


@pytest.mark.parametrize(
    "name, mxnet", [("requirements.txt", "mxnet"), ("requirements-gpu.txt", "mxnet-cu112")]
)
def test_every_import_is_required(name, mxnet):
    packages = required(name)
    assert mxnet in packages and len({"mxnet", "mxnet-cu112"} & packages) == 1
    assert imported() - WITHOUT_OTHERS <= packages | required("requirements-export.txt")
    assert {"requests", "graphviz"} <= packages  # MXNet's, which is installed without them


def test_the_constraints_still_go_together():
    """With the requirements and with each other, on this Python, as far as it is among them."""
    command = "-m pip install --dry-run --ignore-installed --quiet --disable-pip-version-check"
    files = ["-r", "requirements-dev.txt", "-c", "constraints.txt"]
    done = subprocess.run(
        [sys.executable, *command.split(), *files], cwd=ROOT, capture_output=True, text=True
    )
    unreachable = re.search("[Cc]onnection|[Nn]etwork|name resolution", done.stderr)
    if unreachable and "ResolutionImpossible" not in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr


def test_the_constraints_cover_what_is_required():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    newest = {line.partition("==")[0].lower().replace("_", "-") for line in lines if "3.14" in line}
    assert required("requirements-dev.txt") | WITHOUT_OTHERS <= newest
