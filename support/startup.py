"""What must happen before MXNet and matplotlib are imported."""

import builtins
import contextlib
import ctypes
import importlib.util
import os
import warnings
from pathlib import Path

from support.errors import UserError

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
        MXNet is missing, or cannot work with what is installed beside it.
    """
    use_physical_cores()
    tune_threads()
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


def prepare_matplotlib():
    """Make ``import matplotlib`` work where MPLBACKEND names a backend that is not here, such as
    that of a Jupyter kernel; none is needed."""
    backend = os.environ.pop("MPLBACKEND", None)
    import matplotlib

    if backend is not None:
        os.environ["MPLBACKEND"] = backend
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


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


def tune_threads():
    """Keep threads as quick as they are at first, unless the user chose otherwise."""
    for name, value in THREADS.items():
        if name != "GOMP_SPINCOUNT" or "OMP_WAIT_POLICY" not in os.environ:
            os.environ.setdefault(name, value)


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
