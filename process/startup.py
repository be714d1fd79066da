"""What must happen before MXNet and onnx are imported."""

import contextlib
import importlib
import os
import re
import sys
import tempfile
import types

from process.cores import physical_cores
from process.errors import UserError
from process.libraries import how_to_load, load_cuda_libraries


def prepare_mxnet():
    """Import MXNet, and let it use every core well; call it before anything else imports MXNet.

    Raises UserError where it cannot be loaded.
    """
    if sys.flags.optimize > 1:
        raise UserError("MXNet needs docstrings: start Python without -OO or PYTHONOPTIMIZE=2")
    give_home()
    use_physical_cores()
    tune_threads()
    role = os.environ.pop("DMLC_ROLE", None)  # or a server would not come out of the import
    try:
        with hidden("scipy", "sklearn"):
            load_cuda_libraries()
            from process import mxnet_compat  # noqa: F401
    except ModuleNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"MXNet cannot be loaded ({error}): {how_to_load(error)}") from error
    except Exception as error:  # such as the AttributeError of a name that a new NumPy has dropped
        raise UserError(
            f"MXNet cannot be imported ({one_line(error)}): 'pip install -r requirements.txt "
            "-c constraints.txt' brings versions of everything that it is known to work with"
        ) from error
    if role is not None:
        os.environ["DMLC_ROLE"] = role


@contextlib.contextmanager
def hidden(*packages):
    """Hide packages that take half of MXNet's import time, and are not needed here."""
    names = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(names))
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


def one_line(error):
    """The text of an exception, which may have several lines, as one."""
    return " ".join(str(error).split())


def prepare_onnx():
    """Import onnx and onnxruntime, and give MXNet its onnx.mapping.

    Raises UserError where one of them is installed, but cannot be loaded.
    """
    for name in ("onnx", "onnxruntime"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(str(error), name=name) from error
        except Exception as error:  # a library or a protobuf that does not go with it
            raise UserError(
                f"{name} cannot be loaded ({one_line(error)}): try "
                "'pip install --upgrade onnx onnxruntime protobuf'"
            ) from error
    give_onnx_mapping()


def give_onnx_mapping():
    """Make the two dictionaries of onnx.mapping, which MXNet uses and onnx 1.19 dropped."""
    import onnx
    from onnx import TensorProto, helper

    if hasattr(onnx, "mapping"):
        return
    numbers = range(TensorProto.FLOAT, TensorProto.UINT64 + 1)  # all that MXNet knows
    mapping = types.ModuleType("onnx.mapping")
    mapping.TENSOR_TYPE_TO_NP_TYPE = {n: helper.tensor_dtype_to_np_dtype(n) for n in numbers}
    mapping.NP_TYPE_TO_TENSOR_TYPE = {
        dtype: number for number, dtype in mapping.TENSOR_TYPE_TO_NP_TYPE.items()
    }
    sys.modules["onnx.mapping"] = onnx.mapping = mapping


def give_home():
    """Libraries keep settings and data at home: a user that the system does not know, as in some
    containers, gets one."""
    if os.path.expanduser("~") == "~":
        os.environ["HOME"] = tempfile.gettempdir()


def use_physical_cores():
    """Let OpenMP use the physical cores that this process may use, unless the user chose a number.

    MXNet by itself takes half of the logical processors, which is half of the cores on a machine
    without hyper-threading.
    """
    chosen = os.environ.get("OMP_NUM_THREADS")
    if chosen is None:
        os.environ["OMP_NUM_THREADS"] = str(physical_cores())
    elif not re.fullmatch(r" *0*[1-9][0-9]{,4} *", chosen):  # int() takes digits that C does not
        raise UserError(
            f"OMP_NUM_THREADS is {chosen!r}, but MXNet needs a whole number above 0 there"
        )


def tune_threads():
    """Keep threads as quick as they are at first, unless the user chose otherwise."""
    # A copy above this size is made by an OpenMP team of another engine thread. libgomp then counts
    # more threads than processors, and stops spinning for the rest of the process: half the speed.
    os.environ.setdefault("MXNET_CPU_PARALLEL_SIZE", "2000000000")
    # Beside other processes, threads that spin longer keep a core from the rest of their own team;
    # threads that sleep sooner take time to wake.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
