"""CRC-32C (Castagnoli), the checksum of TensorFlow's checkpoints, fast enough in NumPy for hundreds of megabytes.

Python walks bytes one by one, which would take minutes. A checksum is linear: the data are cut into many stripes, whose
checksums are computed side by side, a byte of each at a time, and joined by moving each over the zeros that stand for
what follows it (Adler's crc32_combine, in zlib).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

POLYNOMIAL = 0x82F63B78  # reflected
_STRIPES = 2**14  # side by side
_TILE = 64  # columns that are turned at a time: neighbours in memory, then neighbours in time


def masked(data) -> int:
    """As TensorFlow and LevelDB store it: rotated and shifted, so that the checksum of a checksum is not 0."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data) -> int:
    """Of bytes."""
    data = np.frombuffer(data, np.uint8)
    length = len(data) // _STRIPES // 2 * 2
    striped = length * _STRIPES
    crc = 0xFFFFFFFF
    if length:
        stripes = np.zeros(_STRIPES, np.uint32)
        stripes[0] = crc
        pairs = data[:striped].view("<u2").reshape(_STRIPES, -1)  # two bytes at a time
        for at in range(0, pairs.shape[1], _TILE):
            for column in np.ascontiguousarray(pairs[:, at : at + _TILE].T):
                stripes = _table(16)[(stripes & 0xFFFF) ^ column] ^ (stripes >> 16)
        crc = _joined(stripes, length)
    for byte in data[striped:].tolist():
        crc = int(_table(8)[(crc ^ byte) & 0xFF]) ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _joined(stripes: np.ndarray, length: int) -> int:
    """The checksum of all stripes, each of `length` bytes: pairs become one, until one is left."""
    shift = _over_zeros(length)
    while len(stripes) > 1:
        stripes = _times(shift, stripes[0::2]) ^ stripes[1::2]
        shift = _times(shift, shift)
    return int(stripes[0])


def _over_zeros(n_bytes: int) -> np.ndarray:
    """(32,) what becomes of each bit of a checksum over so many zero bytes: columns of a matrix over GF(2)."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    power, total = _table(8)[bits & 0xFF] ^ (bits >> 8), bits  # over one byte; over none
    while n_bytes:
        if n_bytes & 1:
            total = _times(power, total)
        power, n_bytes = _times(power, power), n_bytes >> 1
    return total


def _times(matrix: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(32,) columns times (n,) vectors of 32 bits."""
    out = np.zeros_like(vectors)
    for bit in range(32):
        out ^= matrix[bit] * ((vectors >> np.uint32(bit)) & np.uint32(1))
    return out


@lru_cache
def _table(n_bits: int) -> np.ndarray:
    """(2 ** n_bits,) what becomes of so many low bits of a checksum when they are shifted out."""
    table = np.arange(2**n_bits, dtype=np.uint32)
    for _ in range(n_bits):
        table = (table >> np.uint32(1)) ^ (np.uint32(POLYNOMIAL) * (table & np.uint32(1)))
    return table
