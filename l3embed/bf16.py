"""Rounding a graph's kernels to bfloat16 so that each filter keeps its sum.

A convolution behind a ReLU sees numbers that are all positive, so what matters of the rounding of its weights is first
of all their sum. Rounded to the nearest, the errors of a filter's weights may agree in sign: always where weights take
few values. Here each weight is rounded together with what the ones before it were off by, so that errors cancel.
"""

from __future__ import annotations

import numpy as np


def round_kernels(graph) -> None:
    """Replace the kernels of an OpenVINO model's convolutions by bfloat16 ones. The numbers stay float32 in type."""
    from openvino import opset13

    for node in graph.get_ops():
        if node.get_type_name() == "Convolution" and node.input_value(1).get_node().get_type_name() == "Constant":
            kernel = node.input_value(1).get_node().data
            node.input(1).replace_source_output(opset13.constant(rounded(kernel)).output(0))


def rounded(kernel: np.ndarray) -> np.ndarray:
    """(out, in, ...) -> bfloat16 numbers as float32; the sums over `in` are those of `kernel` but for one rounding."""
    out, carry = np.empty_like(kernel), np.zeros_like(kernel[:, 0])
    for i in range(kernel.shape[1]):
        wanted = kernel[:, i] + carry
        out[:, i] = nearest(wanted)
        carry = wanted - out[:, i]
    return out


def nearest(x: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 number (ties to even) of finite float32 numbers."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).view(np.float32)
