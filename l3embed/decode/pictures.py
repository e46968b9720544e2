"""Picture files -> (height, width, 3) arrays, through Pillow."""

from __future__ import annotations

import io
import threading
import warnings

import numpy as np

from ..errors import AudioError, ImageError, reason
from .source import CHANGED, Source

# Known by their first bytes. Pillow also knows formats that it tells by a guess, and some (MPEG) that it cannot decode.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
_MOST_PIXELS = 178_956_970  # where Pillow, too, takes a picture for an attack: half a gigabyte in memory
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
_FILTERS = threading.Lock()  # of warnings, which are the process's, not the thread's


class Still:
    """One picture, to be iterated for its only ``(0.0 s, (height, width, 3) array)``.

    uint8, or uint16 or float32 where the file has one channel of more than 8 bits. Grey becomes three equal channels,
    a palette its colours; alpha is dropped, as OpenL3 does. With `upright` the camera's orientation tag is obeyed.
    """

    expected_s = None

    def __init__(self, image, source: Source, upright: bool):
        self.notes: list[str] = []
        self._image, self._source, self._upright = image, source, upright

    def __iter__(self):
        try:
            array = self._array()
            if self._source.changed():
                raise ImageError(CHANGED)
        except ImageError:
            raise
        except MemoryError:
            width, height = self._image.size
            raise ImageError(f"is too large for the memory at hand: {width} x {height} pixels") from None
        except Exception as error:  # Pillow's decoders raise anything on damaged files
            raise ImageError(f"is damaged or truncated: Pillow cannot decode it ({reason(error)})") from None
        finally:
            self.close()
        yield 0.0, array

    def _array(self) -> np.ndarray:
        from PIL import ImageOps

        image = self._image
        # (a second picture in a camera's JPEG, "MPO", is a preview or another view)
        if image.format != "MPO" and (n := getattr(image, "n_frames", 1)) > 1:
            self.notes.append(f"has {n} pictures: the first one was taken")
            image.seek(0)
        image.load()
        if self._upright:
            image = ImageOps.exif_transpose(image)
        if image.mode in _SIXTEEN_BIT:
            grey = np.asarray(image).astype(np.uint16)
        elif image.mode == "I" and self._image.format in ("PNG", "PPM"):  # 16 bits, in older versions of Pillow
            grey = np.asarray(image).astype(np.uint16)
        elif image.mode == "F":
            grey = np.asarray(image, np.float32)
        elif image.mode == "I":
            raise ImageError("holds 32-bit integers, whose full scale is unknown: convert it to 8 or 16 bits")
        else:
            return np.asarray(image.convert("RGB"))
        return np.repeat(grey[:, :, None], 3, axis=2)

    def close(self) -> None:
        self._image.close()
        self._source.close()


def open_still(source: Source, upright: bool) -> Still | None:
    """The picture in a file, its pixels not yet decoded; None where its first bytes are those of no picture format."""
    from PIL import Image, UnidentifiedImageError

    Image.init()
    source.seek(0)
    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            file = io.BufferedReader(_Raw(source))
            image = Image.open(file, formats=[f for f in _FORMATS if f in Image.OPEN])
    except UnidentifiedImageError:
        return None
    except Image.DecompressionBombError:
        raise ImageError(_TOO_LARGE) from None
    except Exception as error:
        raise ImageError(f"is damaged: Pillow cannot read its header ({reason(error)})") from None
    width, height = image.size
    if width * height > _MOST_PIXELS:
        raise ImageError(_TOO_LARGE)
    return Still(image, source, upright)


_TOO_LARGE = f"has more than {_MOST_PIXELS // 10**6} million pixels: scale it down first"


class _Raw(io.RawIOBase):
    """A `Source` as Python's own files are."""

    def __init__(self, source: Source):
        self._source = source

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def readinto(self, buffer) -> int:
        n = self._source.readinto(buffer)
        try:
            self._source.check()
        except AudioError as error:
            raise ImageError(str(error)) from None
        return n
