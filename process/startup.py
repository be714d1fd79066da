"""What must happen before MXNet and matplotlib are imported."""

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import resource
import sys
import threading
import warnings
from pathlib import Path

from process.console import warn
from process.errors import UserError

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

LEAST_MEMORY = 2 * 10**9  # bytes of addresses, with less of which MXNet crashes or hangs

MXNET_THREADS = 6  # beside those of OpenMP; where one cannot be started MXNet aborts

LISTED_FUNCTIONS = (
    "alltrue", "in1d", "mirr", "msort", "npv", "pmt", "ppmt", "product", "pv", "rate", "round_",
    "sometrue", "trapz",
)  # fmt: skip

THREADS = {
    # A copy above this size is made by an OpenMP team of another engine thread. libgomp then counts
    # more threads than processors, and stops spinning for the rest of the process: half the speed.
    "MXNET_CPU_PARALLEL_SIZE": "2000000000",
    # Beside other processes on the same cores threads that spin longer keep these from the rest
    # of their own team; ones that sleep sooner cost the time of waking them.
    "GOMP_SPINCOUNT": "10000",
}


def prepare_mxnet():
    """Make ``import mxnet`` work, and use every core well; call it before that import.

    Raises
    ------
    UserError
        MXNet cannot be loaded.
    """
    if installed("mxnet") and installed("mxnet-cu112"):
        warn(
            "mxnet and mxnet-cu112 are both installed, and share their files: uninstall both, "
            "then install one"
        )
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LEAST_MEMORY:
        raise UserError(
            f"MXNet needs {LEAST_MEMORY / 1e9:.0f} GB of addresses, and this process may have "
            f"{limit / 1e9:.1f}: raise the limit with ulimit -v"
        )
    use_physical_cores()
    check_threads(MXNET_THREADS + int(os.environ["OMP_NUM_THREADS"]))
    tune_threads()
    load_cuda_libraries()
    role = os.environ.pop("DMLC_ROLE", None)  # or a server would not come out of the import
    try:
        with numpy_as_mxnet_knows_it():
            import mxnet  # noqa: F401
    except OSError as error:
        raise UserError(
            f"MXNet cannot be loaded ({error}): mxnet-cu112 needs an NVIDIA driver; "
            "without a GPU uninstall it and run 'pip install -r requirements.txt'"
        ) from error
    if role is not None:
        os.environ["DMLC_ROLE"] = role


def check_threads(count):
    """Raise UserError unless this process may start so many threads beside those it has."""
    threads, release = [], threading.Event()
    try:
        for _ in range(count):
            thread = threading.Thread(target=release.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError as error:
        raise UserError(
            f"MXNet needs {count} threads, and this process may start {len(threads)}: raise the "
            "limit with ulimit -u, or lower OMP_NUM_THREADS"
        ) from error
    finally:
        release.set()
        for thread in threads:
            thread.join()


def installed(name):
    """Whether a package is installed."""
    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False


def how_to_install(error):
    """What to do about a ModuleNotFoundError."""
    gpu = installed("nvidia-cudnn-cu11")
    command = f"pip install -r requirements{'-gpu' * gpu}.txt"
    if error.name == "mxnet" and sys.version_info >= (3, 13):
        command = f"pip install --no-deps mxnet{'-cu112' * gpu}==1.9.1"
    if str(error.name).partition(".")[0] in ("onnx", "onnxruntime"):
        command = "pip install -r requirements-export.txt"
    return f"{error}: run '{command}' first"


def prepare_matplotlib():
    """Make ``import matplotlib`` work where MPLBACKEND names a backend that is not here, such as
    that of a Jupyter kernel; none is needed."""
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    except ValueError as error:  # such as a matplotlibrc that is no text
        raise UserError(f"matplotlib cannot be loaded: {' '.join(str(error).split())}") from error
    if backend is not None:
        os.environ["MPLBACKEND"] = backend
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


def use_physical_cores():
    """Let OpenMP use the physical cores that this process may use, unless the user chose a number.

    MXNet by itself takes half of the logical processors, which is half of the cores on a machine
    without hyper-threading.
    """
    chosen = os.environ.get("OMP_NUM_THREADS")
    if chosen is None:
        import joblib

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where the physical cores are unknown: the logical
            cores = joblib.cpu_count(only_physical_cores=True)
        os.environ["OMP_NUM_THREADS"] = str(cores)
    elif not (chosen.strip().isdecimal() and int(chosen) > 0):
        raise UserError(
            f"OMP_NUM_THREADS is {chosen!r}, but MXNet needs a whole number above 0 there"
        )


def tune_threads():
    """Keep threads as quick as they are at first, unless the user chose otherwise."""
    for name, value in THREADS.items():
        if name != "GOMP_SPINCOUNT" or "OMP_WAIT_POLICY" not in os.environ:
            os.environ.setdefault(name, value)


@contextlib.contextmanager
def numpy_as_mxnet_knows_it():
    """While MXNet is imported, give NumPy back the names that MXNet 1.9.1 takes from it.

    Those that MXNet takes later too stay; the others go again.
    """
    import numpy

    kept = {"bool": bool, "Inf": numpy.inf}
    passing = {
        "PZERO": 0.0, "NZERO": -0.0, "PINF": numpy.inf, "NINF": -numpy.inf,
        "NaN": numpy.nan, "NAN": numpy.nan,
    }  # fmt: skip
    # Functions that its fallback module lists, and nobody calls.
    passing.update(dict.fromkeys(LISTED_FUNCTIONS))
    names = vars(numpy)
    given = {name: value for name, value in {**kept, **passing}.items() if name not in names}
    names.update(given)
    try:
        yield
    finally:
        for name in given.keys() & passing.keys():
            del names[name]


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
