"""Native libraries: loading those of CUDA, and what to do where MXNet cannot be loaded."""

import ctypes
import importlib.util
import platform
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
SYSTEM_PACKAGES = {  # of Debian and Ubuntu; of Fedora
    "libgomp": ("libgomp1 libquadmath0", "libgomp libquadmath"),
    "libquadmath": ("libgomp1 libquadmath0", "libgomp libquadmath"),
    "libstdc++": ("libstdc++6", "libstdc++"),
}
ARM_LIBRARIES = ("libarmpl", "libamath", "libastring")
CONTAINER = "run it in a container for x86-64: docker run --platform linux/amd64"


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
    """What brings the library that an OSError of loading MXNet says is missing.

    Parameters
    ----------
    error : OSError
        As `ctypes.CDLL` raises it: "libgomp.so.1: cannot open shared object file: ...".

    Returns
    -------
    str
    """
    library, _, rest = str(error).partition(": ")
    name = Path(library).name.partition(".so")[0]
    if "No such file" not in rest:
        return where_mxnet_runs() or (
            "install it anew with 'pip install --force-reinstall --no-deps mxnet==1.9.1'"
        )
    if name.startswith(ARM_LIBRARIES):
        return f"its build for aarch64 needs the Arm Performance Libraries. Or {CONTAINER}"
    if name in SYSTEM_PACKAGES:
        debian, fedora = SYSTEM_PACKAGES[name]
        return f"on Debian or Ubuntu 'apt-get install {debian}', on Fedora 'dnf install {fedora}'"
    if name == "libcuda":
        return (
            "mxnet-cu112 needs an NVIDIA driver. Without a GPU 'pip uninstall mxnet-cu112' and "
            "'pip install --no-deps mxnet==1.9.1'"
        )
    if any(name == Path(path).name.partition(".so")[0] for path in CUDA_LIBRARIES):
        return "mxnet-cu112 needs CUDA 11: 'pip install -r requirements-gpu.txt' brings it"
    return where_mxnet_runs() or f"install the system's package that holds {library}"


def where_mxnet_runs():
    """What to do on a machine for which there is no MXNet; None where there is one."""
    system, machine = platform.system(), platform.machine()
    if system == "Windows":
        return "there is no MXNet 1.9.1 for Windows: use WSL"
    if machine.lower() not in ("x86_64", "amd64"):
        return f"there is no MXNet 1.9.1 for {system} on {machine}: {CONTAINER}"
    if system == "Linux" and platform.libc_ver()[0] != "glibc":
        return (
            "MXNet needs glibc, which this Linux, such as Alpine, lacks: use another image, such "
            "as python:3.13-slim"
        )
    return None
