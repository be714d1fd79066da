"""Packages and native libraries: loading those of CUDA, and what to do about a missing one."""

import ctypes
import importlib.metadata
import importlib.util
import sys
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
CONTAINER = "run it in a container: docker run --platform linux/amd64"


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


def how_to_load(error):
    """What to do about an OSError of loading MXNet, such as "libgomp.so.1: cannot open ..."."""
    library, _, rest = str(error).partition(": ")
    if "No such file" not in rest:
        return "install it anew with 'pip install --force-reinstall --no-deps mxnet==1.9.1'"
    if library == "libcuda.so.1":
        return (
            "mxnet-cu112 needs an NVIDIA driver. Without a GPU 'pip uninstall mxnet-cu112' and "
            "'pip install --no-deps mxnet==1.9.1'"
        )
    if library in [Path(path).name for path in CUDA_LIBRARIES]:
        return "mxnet-cu112 needs CUDA 11: 'pip install -r requirements-gpu.txt' brings it"
    return (
        f"install the system's package that holds {library} (on Debian or Ubuntu 'apt-get install "
        f"libgomp1 libquadmath0 libstdc++6'), or {CONTAINER}"
    )


def how_to_install(error):
    """What to do about a ModuleNotFoundError."""
    package = (error.name or "").partition(".")[0]
    gpu = installed("nvidia-cudnn-cu11") is not None
    command = f"pip install -r requirements{'-gpu' * gpu}.txt"
    note = ""
    if package in ("mxnet", "mlxtend"):
        command = f"pip install --no-deps mxnet{'-cu112' * gpu}==1.9.1 mlxtend"
        note = f", which needs x86-64 and Linux, WSL or macOS; elsewhere {CONTAINER}"
    if package in ("onnx", "onnxruntime"):
        command = "pip install -r requirements-export.txt"
    if package == "onnxruntime" and sys.version_info >= (3, 15):
        command = "pip install onnxruntime"
        note = ", or use Python 3.14 if there is none for 3.15 yet"
    return f"{error}: run '{command}' first{note}"


def installed(name):
    """The version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
