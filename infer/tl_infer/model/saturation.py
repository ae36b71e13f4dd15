"""int8 on processors that cannot add its products exactly: found out by trying, and then computed in another way.

x86 processors with AVX2 or AVX-512 but without VNNI multiply unsigned by signed bytes and add two products in 16 bits,
which saturate. onnxruntime has instructions that do not, half as wide, and takes them where it is asked to. Asked on a
processor with VNNI, it would take them there, too; so it has to be known which one this is.
Source: onnxruntime's documentation, "Quantize ONNX models", and `session.x64quantprecision` in its C API.
"""

import functools
from collections.abc import Collection

import numpy as np
import onnxruntime as ort

_EXACT = "session.x64quantprecision"

# In every int8 file, and in no other.
_OPERATOR = b"DequantizeLinear"

# The smallest network that saturates: MatMulInteger of `a`, uint8 [1, 8], and a constant of 8 x 16 times 127.
_ROWS, _COLUMNS, _WEIGHT = 8, 16, 127
_PROBE = (
    b"\x08\x08:\xd6\x01\n\x18\n\x01a\n\x01b\x12\x01c\"\rMatMulInteger\x12\x01g*\x8c\x01\x08\x08\x08\x10\x10\x03B\x01bJ"
    b"\x80\x01" + bytes([_WEIGHT]) * (_ROWS * _COLUMNS) + b"Z\x13\n\x01a\x12\x0e\n\x0c\x08\x02\x12\x08\n\x02\x08\x01"
    b"\n\x02\x08\x08b\x13\n\x01c\x12\x0e\n\x0c\x08\x06\x12\x08\n\x02\x08\x01\n\x02\x08\x10B\x04\n\x00\x10\x12"
)  # fmt: skip


def compute_exactly(options: ort.SessionOptions, operators: Collection[bytes]) -> None:
    """Let a session compute an int8 network exactly, also where that takes longer.

    Args:
        options: of the session, modified in place; left as they are where the model is not int8, and where this
            processor is exact anyway.
        operators: those of the network.

    """
    if _OPERATOR in operators and products_saturate():
        options.add_session_config_entry(_EXACT, "1")


@functools.cache
def products_saturate() -> bool:
    """Whether sums of products of uint8 and int8 saturate on this processor, as onnxruntime computes them."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(_PROBE, options, providers=["CPUExecutionProvider"])
    largest = np.iinfo(np.uint8).max
    (sums,) = session.run(["c"], {"a": np.full((1, _ROWS), largest, np.uint8)})
    return bool((sums != _ROWS * int(largest) * _WEIGHT).any())
