"""Picture files of every kind, and what becomes of pictures before the network."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from l3embed import decode, imagefrontend
from l3embed.errors import ImageError
from l3embed.spec import l3_image_front_end

RIGHT, OPENL3 = l3_image_front_end(), l3_image_front_end("openl3-0.4")


def scenery(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) uint8: waves of many lengths, all values used, no two places alike."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = sum(np.sin(rng.normal(0, 0.05) * y + rng.normal(0, 0.05) * x + rng.uniform(0, 6)) for _ in range(5))
    values = waves[:, :, None] + rng.normal(0, 0.2, 3)
    values = (values - values.min()) / np.ptp(values)
    return np.round(255 * values).astype(np.uint8)


def _read(source, upright=True):
    opened = decode.open_pictures(source, 256, 224, upright=upright)
    ((at_s, picture),) = opened
    assert at_s == 0.0 and isinstance(opened, decode.Still)
    return picture, opened.notes


def _saved(image: Image.Image, kind: str, **how) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


COLOUR = scenery(70, 90)
GREY = COLOUR[:, :, 0]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "GIF"])
def test_lossless_files_give_their_pixels(kind, tmp_path):
    image = Image.fromarray(COLOUR)
    if kind == "GIF":
        image = image.quantize(64)
    (tmp_path / "any.name").write_bytes(_saved(image, kind, **({"lossless": True} if kind == "WEBP" else {})))
    found, notes = _read(tmp_path / "any.name")
    np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")))
    assert notes == [] and found.dtype == np.uint8


def test_jpeg_comes_near():
    found, _ = _read(_saved(Image.fromarray(COLOUR), "JPEG", quality=95))
    assert np.abs(found.astype(int) - COLOUR).mean() < 3


def test_grey_palette_alpha_and_bilevel():
    grey = np.repeat(GREY[:, :, None], 3, axis=2)
    np.testing.assert_array_equal(_read(_saved(Image.fromarray(GREY), "PNG"))[0], grey)
    np.testing.assert_array_equal(_read(_saved(Image.fromarray(np.dstack([GREY, GREY[::-1]])), "PNG"))[0], grey)
    with_alpha = Image.fromarray(np.dstack([COLOUR, GREY]))
    np.testing.assert_array_equal(_read(_saved(with_alpha, "PNG"))[0], COLOUR)  # dropped, not blended
    palette = Image.fromarray(COLOUR).quantize(40)
    for how in ({}, {"transparency": 3}):
        found, _ = _read(_saved(palette, "PNG", **how))
        np.testing.assert_array_equal(found, np.asarray(palette.convert("RGB")))
    black_and_white = Image.fromarray(GREY > 100)
    assert set(np.unique(_read(_saved(black_and_white, "PNG"))[0])) == {0, 255}


def test_cmyk_has_its_colours():
    red = Image.new("RGB", (300, 300), (220, 30, 40)).convert("CMYK")
    for kind in ("JPEG", "TIFF"):
        found, _ = _read(_saved(red, kind))
        assert np.abs(found.mean(axis=(0, 1)) - (220, 30, 40)).max() < 4


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_keeps_its_scale(kind):
    fine = (GREY.astype(np.uint16) << 8) + 77
    found, _ = _read(_saved(Image.fromarray(fine), kind))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, np.repeat(fine[:, :, None], 3, axis=2))


def test_sixteen_bit_colour_is_scaled_not_clipped():
    """Written by hand: Pillow cannot."""
    import struct
    import zlib

    fine = np.round(COLOUR.astype(float) * 257).astype(">u2")  # 0 to 65535

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.tobytes() for row in fine)
    header = struct.pack(">IIBBBBB", 90, 70, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    found, _ = _read(png)
    assert np.abs(found.astype(int) - COLOUR).max() <= 1


def test_floats_and_wide_integers():
    unit = GREY.astype(np.float32) / 255
    found, _ = _read(_saved(Image.fromarray(unit), "TIFF"))
    np.testing.assert_allclose(found[:, :, 1], unit)
    with pytest.raises(ImageError, match="32-bit integers, whose full scale is unknown"):
        _read(_saved(Image.fromarray(GREY.astype(np.int32) * 1000), "TIFF"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_cameras_orientation_is_obeyed(orientation):
    turned = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
              5: lambda a: a.swapaxes(0, 1), 6: lambda a: np.rot90(a, -1),
              7: lambda a: np.rot90(a, 2).swapaxes(0, 1), 8: lambda a: np.rot90(a)}  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _saved(Image.fromarray(COLOUR), "PNG", exif=exif)
    np.testing.assert_array_equal(_read(data)[0], turned[orientation](COLOUR))
    np.testing.assert_array_equal(_read(data, upright=False)[0], COLOUR)  # as OpenL3 reads it


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_pictures_the_first_is_taken(kind):
    first, second = (Image.fromarray(scenery(64, 64, seed)).quantize(32).convert("RGB") for seed in (1, 2))
    how = {"lossless": True} if kind == "WEBP" else {}
    found, notes = _read(_saved(first, kind, save_all=True, append_images=[second], **how))
    assert notes == ["has 2 pictures: the first one was taken"]
    assert np.abs(found.astype(int) - np.asarray(first)).mean() < 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_truncated_files_are_refused(kind):
    data = _saved(Image.fromarray(scenery(200, 200)), kind)
    for share in (0.05, 0.6):
        with pytest.raises(ImageError, match=r"damaged|truncated|neither a picture nor a video"):
            _read(data[: int(len(data) * share)])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP"]), st.integers(20, 400), st.integers(0, 255))
def test_a_changed_byte_gives_a_picture_or_a_sentence(kind, at, value):
    data = bytearray(_saved(Image.fromarray(scenery(60, 60)), kind))
    data[at % len(data)] = value
    try:
        opened = decode.open_pictures(bytes(data), 256, 224)
        for _, picture in opened:
            assert picture.ndim == 3 and picture.shape[2] == 3
    except ImageError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is empty"), (b"these are words", "neither a picture nor a video"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a drawing in XML"), (b"#EXTM3U\na.ts", "a playlist"),
    (np.random.default_rng(0).bytes(5000), "neither a picture nor a video|cannot be decoded"),
])  # fmt: skip
def test_what_is_no_picture(content, message):
    with pytest.raises(ImageError, match=message):
        _read(content)


def test_a_bomb_is_refused_before_it_is_unpacked():
    bomb = bytearray(_saved(Image.fromarray(GREY), "PNG"))
    bomb[16:24] = (60_000).to_bytes(4) * 2  # width and height; their checksum is not the first thing that is read
    import zlib

    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4)
    with pytest.raises(ImageError, match="more than 178 million pixels"):
        _read(bytes(bomb))


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ImageError, match="does not exist"):
        decode.open_pictures(tmp_path / "absent.png", 256, 224)
    with pytest.raises(ImageError, match="is a folder"):
        decode.open_pictures(tmp_path, 256, 224)


# --- the front end


def _cubic(x):
    x = np.abs(x)
    return np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0))


def _matrix(old: int, new: int) -> np.ndarray:
    """(new, old): cubic interpolation, widened where it shrinks, rows summing to one."""
    scale = old / new
    at = (np.arange(new) + 0.5) * scale - 0.5
    weights = _cubic((np.arange(old) - at[:, None]) / max(scale, 1))
    return weights / weights.sum(axis=1, keepdims=True)


def _by_matrices(picture: np.ndarray) -> np.ndarray:
    """The right front end written out: the whole picture scaled in float64, then cut."""
    unit = picture / np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else picture.astype(float)
    height, width = picture.shape[:2]
    shorter = min(height, width)
    factor = 256 / shorter if shorter > 256 else 224 / shorter if shorter < 224 else 1
    size = max(224, round(height * factor)), max(224, round(width * factor))
    scaled = np.einsum("ih,hwc,jw->ijc", _matrix(height, size[0]), unit, _matrix(width, size[1]), optimize=True)
    y, x = size[0] // 2 - 112, size[1] // 2 - 112
    return 2 * np.clip(scaled[y : y + 224, x : x + 224], 0, 1) - 1


SIZES = [
    (224, 224),
    (225, 240),
    (256, 256),
    (257, 300),
    (300, 260),
    (600, 400),
    (501, 1333),
    (100, 150),
    (7, 5),
    (1, 40),
]


@pytest.mark.parametrize("size", SIZES)
def test_right_front_end_against_matrices(size):
    picture = scenery(*size)
    found, expected = imagefrontend.prepare(picture, RIGHT), _by_matrices(picture)
    assert found.shape == (224, 224, 3) and found.dtype == np.float32
    assert np.abs(found - expected).max() < 3 * 2 / 255  # eight bits, twice, and what the cubic makes of that
    for other in (picture.astype(np.uint16) * 257, picture / 255, (picture / 255).astype(np.float32)):
        np.testing.assert_allclose(imagefrontend.prepare(other, RIGHT), expected, atol=1e-5)


def test_range_is_the_same_whatever_the_size():
    for size in SIZES:
        picture = np.full((*size, 3), 255, np.uint8)
        picture[: size[0] // 2] = 0
        values = imagefrontend.prepare(picture, RIGHT)
        assert values.max() == 1 and (values.min() == -1 or size[0] < 2)


def _by_loops(picture: np.ndarray) -> np.ndarray:
    """What OpenL3 0.4.2 does with one picture, written out pixel by pixel."""
    height, width = picture.shape[:2]
    if (height, width) == (224, 224):
        out = 2 * (picture / np.iinfo(picture.dtype).max) - 1 if picture.dtype.kind == "u" else picture.astype(float)
        return out / max(1, np.abs(out).max())
    shorter, out = min(height, width), np.empty((224, 224, 3))
    new = (round(height * 256 / shorter), round(width * 256 / shorter)) if shorter > 256 else (height, width)
    top = np.iinfo(picture.dtype).max if picture.dtype.kind == "u" and shorter > 256 else 1
    for i in range(224):
        y = (i + new[0] // 2 - 112 + 0.5) * height / new[0] - 0.5
        for j in range(224):
            x = (j + new[1] // 2 - 112 + 0.5) * width / new[1] - 0.5
            (a, fy), (b, fx) = ((int(np.floor(v)), v - np.floor(v)) for v in (y, x))
            corners = picture[a : a + 2, b : b + 2].astype(float)
            rows = corners[0] * (1 - fy) + corners[-1] * fy
            out[i, j] = rows[0] * (1 - fx) + rows[-1] * fx
    out /= top
    return out / max(1, np.abs(out).max())


@pytest.mark.parametrize("size", [(224, 224), (224, 300), (240, 256), (257, 300), (600, 400)])
def test_openl3_front_end_against_loops(size):
    picture = scenery(*size) // 2  # nothing white: the division by the largest value shows
    for kind in (picture, picture.astype(np.uint16) * 200, picture / 300):
        found = imagefrontend.prepare(kind, OPENL3)
        found = found / imagefrontend.top(found, OPENL3)
        np.testing.assert_allclose(found, _by_loops(kind), atol=1e-6)


@pytest.mark.parametrize(("picture", "message"), [
    (np.zeros((0, 5, 3), np.uint8), "is empty"), (np.zeros((300, 300), np.uint8), r"shape \(300, 300\)"),
    (np.zeros((300, 300, 4), np.uint8), r"expected \(height, width, 3\)"),
    (np.zeros((300, 300, 3), np.int64), "holds int64 values"), (np.zeros((300, 300, 3), bool), "holds bool values"),
    (np.full((300, 300, 3), np.nan), "NaN"), (np.full((300, 300, 3), 200.0), r"from 200 to 200: expected \[0, 1\]"),
    (np.full((300, 300, 3), -0.5), "floats from -0.5"), (np.zeros((300, 300, 3), complex), "holds complex128"),
])  # fmt: skip
def test_arrays_that_are_no_picture(picture, message):
    with pytest.raises(ImageError, match=message):
        imagefrontend.check(picture, RIGHT)


def test_what_is_odd_is_told():
    assert imagefrontend.check(np.zeros((224, 224, 3), np.uint8), RIGHT) == ["all pixels are zero"]
    assert imagefrontend.check(scenery(100, 500), RIGHT) == ["smaller than 224 x 224: enlarged"]
    with pytest.raises(ImageError, match=r"500 x 100 pixels: OpenL3 0\.4 refuses less than 224 x 224"):
        imagefrontend.check(scenery(100, 500), OPENL3)
    assert imagefrontend.check(-np.ones((224, 224, 3)), OPENL3) == []
