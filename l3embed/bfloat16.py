"""Weights rounded to bfloat16 so that the errors of an output channel cancel.

Rounded one by one, the weights of a convolution keep errors that do not sum to zero. The maps behind a ReLU are
positive and have a mean, so each channel is off by that sum times the mean: most of what bfloat16 changes. Here each
weight takes over the error of the one before it (error diffusion), and what is left of the sum is less than one step.
On the synthetic OpenL3 weights of ../shared it takes 1 - cosine from 6e-4 to 7e-6 (tests/test_images.py).
"""

from __future__ import annotations

import numpy as np


def nearest(values: np.ndarray) -> np.ndarray:
    """float32 -> the nearest numbers that bfloat16 holds, as float32; ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded & np.uint32(0xFFFF0000)).view(np.float32)


def diffused(weights: np.ndarray) -> np.ndarray:
    """(out, ...) float32 -> numbers that bfloat16 holds, whose sum per output channel is kept to within one step."""
    flat = weights.reshape(len(weights), -1).astype(np.float64)
    out, error = np.empty(flat.shape, np.float32), np.zeros(len(flat))
    for i in range(flat.shape[1]):
        out[:, i] = nearest(flat[:, i] + error)
        error += flat[:, i] - out[:, i]
    return out.reshape(weights.shape)


def round_convolutions(graph) -> None:
    """Give the convolutions of an OpenVINO graph such weights, in place."""
    from openvino import opset13

    for node in graph.get_ordered_ops():
        if node.get_type_name() != "Convolution":
            continue
        weights = node.input_value(1).get_node()
        if weights.get_type_name() == "Constant":
            node.input(1).replace_source_output(opset13.constant(diffused(weights.data)).output(0))
