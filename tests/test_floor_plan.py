"""The floor plan: imports go one way, and each package says what is in it."""

import ast

import pytest
from helpers import ROOT

ORDER = (  # a line imports from the lines above it, and a room from itself
    "process",
    "recipe",
    "models center_loss",
    "cluster datasets",
    "learner data",
    "utils",
    "runs",
    "pictures inference",
    "evaluation train",
    "main",
)
FLOORS = {name: floor for floor, names in enumerate(ORDER) for name in names.split()}
FILES = [path for name in FLOORS for path in (*ROOT.glob(f"{name}.py"), *ROOT.glob(f"{name}/*.py"))]


def imported(tree):
    """The first part of the name of each module that a file imports."""
    for node in ast.walk(tree):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name.partition(".")[0] for name in names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_from_below(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    name = path.relative_to(ROOT).parts[0].partition(".")[0]
    wrong = {one for one in imported(tree) if FLOORS.get(one, -1) >= FLOORS[name]} - {name}
    assert not wrong


def test_the_root_has_nine_files():
    assert len([path for path in FILES if path.parent == ROOT]) == 9


def test_each_room_says_in_one_line_what_is_in_it():
    rooms = {path.parent for path in FILES} - {ROOT}
    assert len(rooms) == 6
    for room in rooms:
        (line,) = (room / "__init__.py").read_text(encoding="utf-8").splitlines()
        assert line.startswith('"""') and line.endswith('."""')
