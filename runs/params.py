"""Parameters in the format of ``mxnet.nd.save``, read and written here.

MXNet's own loader crashes on some damaged files and takes gigabytes for others, and its writer
does not notice a full disk.
"""

import math
import struct

import numpy as np

LIST_MAGIC, ARRAY_MAGIC, DENSE, CPU, FLOAT32 = 0x112, 0xF993FAC9, 0, 1, 0


def pack(arrays):
    """The bytes of float32 arrays, by name, in the format of ``mxnet.nd.save``."""
    parts = [struct.pack("<QQQ", LIST_MAGIC, 0, len(arrays))]
    for array in arrays.values():
        parts.append(struct.pack("<Iii", ARRAY_MAGIC, DENSE, array.ndim))
        parts.append(struct.pack(f"<{array.ndim}q", *array.shape))
        parts.append(struct.pack("<iii", CPU, 0, FLOAT32))
        parts.append(np.ascontiguousarray(array, "<f4").tobytes())
    parts.append(struct.pack("<Q", len(arrays)))
    for name in map(str.encode, arrays):
        parts.append(struct.pack("<Q", len(name)) + name)
    return b"".join(parts)


def unpack(content):
    """The float32 arrays, by name, in bytes of `pack`, or of ``mxnet.nd.save`` since MXNet 1.0.

    Raises ValueError where the bytes are anything else.
    """
    whole, at = bytearray(content), 0

    def take(size):
        nonlocal at
        if not 0 <= size <= len(whole) - at:
            raise ValueError("it is truncated, or no parameter file")
        at += size
        return bytes(whole[at - size : at])

    def read(form):
        return struct.unpack(form, take(struct.calcsize(form)))

    arrays = []
    for _ in range(read("<QQQ")[2]):
        ndim = read("<Iii")[2]
        shape = read(f"<{max(0, ndim)}q")
        if read("<iii")[2] != FLOAT32:
            raise ValueError("an array of an unknown type")
        # A file may come from a GPU: which device held an array does not matter here.
        struct.pack_into("<ii", whole, at - 12, CPU, 0)
        arrays.append(np.frombuffer(take(4 * math.prod(shape)), "<f4").reshape(shape))
    names = [take(*read("<Q")).decode() for _ in range(*read("<Q"))]
    named = dict(zip(names, arrays))
    # Whatever else may be wrong with a file, it is not what would be written of its arrays.
    if pack(named) != whole:
        raise ValueError("it is not a parameter file, or holds more than its arrays")
    return named
