"""What must happen before MXNet is imported; and what ends a run early: errors and signals."""

import builtins
import ctypes
import importlib.util
import os
import signal
import socket
import warnings
from pathlib import Path

CUDA_LIBRARIES = (  # in the order in which one needs the other
    "cuda_runtime/lib/libcudart.so.11.0",
    "cuda_nvrtc/lib/libnvrtc.so.11.2",
    "nvtx/lib/libnvToolsExt.so.1",
    "cublas/lib/libcublasLt.so.11",
    "cublas/lib/libcublas.so.11",
    "cufft/lib/libcufft.so.10",
    "curand/lib/libcurand.so.10",
    "cusparse/lib/libcusparse.so.11",
    "cusolver/lib/libcusolver.so.11",
    "cudnn/lib/libcudnn.so.8",
    "nccl/lib/libnccl.so.2",
)


CLUSTER = ("DMLC_PS_ROOT_URI", "DMLC_PS_ROOT_PORT", "DMLC_NUM_SERVER", "DMLC_NUM_WORKER")


class UserError(Exception):
    """Something that the person at the keyboard can mend; its text is one line that says how."""


class Interrupted(Exception):
    """SIGINT or SIGTERM has come."""

    def __init__(self, signum, kept="nothing was begun", resume=False):
        super().__init__(signum, kept, resume)
        self.signum = signum
        self.kept = kept  # what is left of the run, in words
        self.resume = resume  # whether --resume goes on with it


received = []  # the signals so far; they belong to the process, and so does this list


def note_signals():
    """From now on let SIGINT and SIGTERM wait for `check_signals`; a second one acts at once.

    An exception raised by the handler itself could cut a step, or be lost in some ``__del__``.
    """

    def note(signum, frame):
        received.append(signum)
        signal.signal(signum, signal.SIG_DFL)

    signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)


def check_signals():
    """Raise `Interrupted` if a signal has come."""
    if received:
        raise Interrupted(received[0])


def prepare_mxnet():
    """Make ``import mxnet`` work, and use every core; call it before that import.

    Raises
    ------
    UserError
        MXNet is missing, or cannot work with what is installed beside it.
    """
    use_physical_cores()
    restore_numpy_aliases()
    load_cuda_libraries()
    role = os.environ.pop("DMLC_ROLE", None)  # or a server would not come out of the import
    try:
        import mxnet  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f"{error}: run 'pip install -r requirements.txt' first") from error
    except OSError as error:
        raise UserError(
            f"MXNet cannot be loaded ({error}): mxnet-cu112 needs an NVIDIA driver; "
            "without a GPU uninstall it and run 'pip install -r requirements.txt'"
        ) from error
    if role is not None:
        os.environ["DMLC_ROLE"] = role


def check_cluster():
    """Check what the environment says of the processes that train together.

    Raises
    ------
    UserError
        A variable is missing, or does not lead to the scheduler.
    """
    # Without a heart beat nobody would hear of a death.
    heart_beat = {"PS_HEARTBEAT_INTERVAL": "1", "PS_HEARTBEAT_TIMEOUT": "10"}
    for name, seconds in heart_beat.items():
        os.environ.setdefault(name, seconds)
    for name in ("DMLC_ROLE", *CLUSTER, *heart_beat):
        value = os.environ.get(name, "")
        if name == "DMLC_ROLE":
            valid = value in ("scheduler", "server", "worker")
        elif name == "DMLC_PS_ROOT_URI":
            valid = value
        else:
            valid = value.isdecimal() and 0 < int(value) < 2**16
        if not valid:
            raise UserError(
                f"--kvstore dist_sync and dist_async need {name}, which is {value!r}: "
                "see 'Several machines' in README.md"
            )
    host, port = os.environ["DMLC_PS_ROOT_URI"], int(os.environ["DMLC_PS_ROOT_PORT"])
    try:
        socket.getaddrinfo(host, port)
        if os.environ["DMLC_ROLE"] == "scheduler":
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, port))
    except OSError as error:
        raise UserError(
            f"the scheduler cannot be at {host}:{port} ({error.strerror}): "
            "change DMLC_PS_ROOT_URI or DMLC_PS_ROOT_PORT"
        ) from error


def use_physical_cores():
    """Let OpenMP use the physical cores that this process may use, unless the user chose a number.

    MXNet by itself takes half of the logical processors, which is half of the cores on a machine
    without hyper-threading.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        try:
            import joblib
        except ModuleNotFoundError as error:
            raise UserError(f"{error}: run 'pip install -r requirements.txt' first") from error
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where the physical cores are unknown: the logical
            cores = joblib.cpu_count(only_physical_cores=True)
        os.environ["OMP_NUM_THREADS"] = str(cores)


def restore_numpy_aliases():
    """Put back ``numpy.bool`` and its like, which MXNet 1.9.1 uses and NumPy 1.24 dropped."""
    import numpy

    if int(numpy.__version__.split(".")[0]) >= 2:
        raise UserError(
            f"MXNet 1.9.1 cannot work with NumPy {numpy.__version__}: "
            "run 'pip install -r requirements.txt'"
        )
    for name in ("bool", "int", "float", "complex", "object", "str"):
        if name not in vars(numpy):
            setattr(numpy, name, getattr(builtins, name))


def load_cuda_libraries():
    """Load the CUDA libraries of requirements-gpu.txt, so that mxnet-cu112 finds them.

    What is not installed there is left to the system's own loader.
    """
    nvidia = importlib.util.find_spec("nvidia")
    for folder in nvidia.submodule_search_locations if nvidia else ():
        for library in CUDA_LIBRARIES:
            path = Path(folder, library)
            if path.is_file():
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
