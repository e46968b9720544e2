"""Videos of every kind, made by ffmpeg so that their content tells the time: each frame has a grey level of its own."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from l3embed import decode
from l3embed.decode.video import each_once
from l3embed.errors import ImageError
from l3embed.images import sampled

LEVEL = 20  # between one picture and the next


def ffmpeg(*arguments) -> None:
    command = [decode.ffmpeg_binary(), "-y", "-v", "error", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def stairs(path: Path, n: int = 10, size: str = "320x240", rate: str = "10", **how) -> Path:
    """A video of n pictures, the k-th of them grey of level 20 (k + 1). `filters` are put before the encoder."""
    source = f"color=black:size={size}:rate={rate},format=gray,geq=lum='{LEVEL}*(N+1)',trim=end_frame={n}"
    filters = how.pop("filters", "null")
    codec = how.pop("codec", "ffv1")
    more = [x for key, value in how.items() for x in (f"-{key}", value)]
    ffmpeg("-f", "lavfi", "-i", source, "-vf", f"{filters},format=yuv444p", "-c:v", codec, *more, path)
    return path


def uneven(path: Path, milliseconds: str, **how) -> Path:
    """The same, the N-th picture at a time of its own."""
    option = {each_once(decode.ffmpeg_binary()): "passthrough", "enc_time_base": "1:1000"}
    return stairs(path, filters=f"settb=1/1000,setpts='{milliseconds}'", **option, **how)


def read(path, **how):
    """Times (n,), the level of each picture in its middle (n,), their shapes, and the notes."""
    video = decode.open_pictures(path, 256, 224, **how)
    pictures = list(video)
    times = np.array([t for t, _ in pictures])
    levels = np.array([p[100:120, 100:120].mean() for _, p in pictures])
    return times, levels, {p.shape for _, p in pictures}, video.notes


def steps(levels) -> list[int]:
    """Which picture of the stairs it is."""
    return [round(level / LEVEL) - 1 for level in levels]


def test_every_picture_once_at_its_time(tmp_path):
    times, levels, shapes, notes = read(stairs(tmp_path / "a.mkv"))
    np.testing.assert_allclose(times, np.arange(10) / 10, atol=6e-4)  # Matroska counts milliseconds
    assert steps(levels) == list(range(10)) and shapes == {(224, 224, 3)} and notes == []


@pytest.mark.parametrize("rate", ["30000/1001", "24", "12.5", "7"])
def test_times_are_exact_at_any_rate(tmp_path, rate):
    path = stairs(tmp_path / "a.mp4", rate=rate, codec="libx264", qp=0)
    number = float(rate.split("/")[0]) / float((rate + "/1").split("/")[1])
    np.testing.assert_allclose(read(path)[0], np.arange(10) / number, atol=1e-4)


def test_variable_frame_rate(tmp_path):
    """Picture k at 0.037 k (k + 1) s: 0, 0.074, 0.222, 0.444, ..."""
    times, levels, _, _ = read(uneven(tmp_path / "a.mkv", "N*(N+1)*37"))
    np.testing.assert_allclose(times, [k * (k + 1) * 0.037 for k in range(10)], atol=1e-3)
    assert steps(levels) == list(range(10))


def test_an_hour_in_times_do_not_lose_digits(tmp_path):
    np.testing.assert_allclose(
        read(uneven(tmp_path / "a.mkv", "N*4000037", n=3))[0], [0, 4000.037, 8000.074], atol=1e-3
    )


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_rotation_is_obeyed(tmp_path, angle):
    """White is on the left of the pixels; the tag turns it elsewhere."""
    source = "color=black:size=320x320:rate=5:duration=0.6,drawbox=0:0:160:320:white:fill"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "libx264", tmp_path / "plain.mp4")
    ffmpeg("-display_rotation", angle, "-i", tmp_path / "plain.mp4", "-c", "copy", tmp_path / "turned.mp4")
    _, picture = next(iter(decode.open_pictures(tmp_path / "turned.mp4", 256, 224)))
    halves = {"left": picture[:, :90], "top": picture[:90], "right": picture[:, -90:], "bottom": picture[-90:]}
    white = max(halves, key=lambda side: halves[side].mean())
    assert white == {90: "bottom", 180: "right", 270: "top"}[angle]  # the angle counts anticlockwise


@pytest.mark.parametrize("size", ["321x243", "1999x301", "227x1001", "640x480"])
def test_scaled_and_cut_as_a_picture_of_that_size_is(tmp_path, size):
    """ffmpeg and Pillow scale alike: the bicubic of one is near that of the other."""
    from l3embed import imagefrontend
    from l3embed.spec import l3_image_front_end

    source = f"testsrc2=size={size}:rate=5"
    ffmpeg("-f", "lavfi", "-i", source, "-frames:v", 1, "-pix_fmt", "rgb24", tmp_path / "a.png")
    ffmpeg("-i", tmp_path / "a.png", "-c:v", "ffv1", "-pix_fmt", "gbrp", tmp_path / "a.mkv")
    ((_, picture),) = decode.open_pictures(tmp_path / "a.mkv", 256, 224)
    still = imagefrontend.prepare(np.asarray(Image.open(tmp_path / "a.png")), l3_image_front_end())
    difference = np.abs(picture.astype(float) - (still + 1) * 127.5)
    assert difference.mean() < 2.5 and np.corrcoef(picture.ravel(), still.ravel())[0, 1] > 0.998


def test_small_pictures_are_enlarged_and_told(tmp_path):
    for size in ("16x16", "300x2", "2x2"):
        _, levels, shapes, notes = read(stairs(tmp_path / f"{size}.mkv", n=3, size=size))
        assert shapes == {(224, 224, 3)} and steps(levels) == [0, 1, 2]
        assert notes == ["smaller than 224 x 224: enlarged"]


def test_pixels_that_are_not_square_are_shown_in_their_shape(tmp_path):
    """A circle that was squeezed to half its width is a circle again."""
    source = "color=black:size=150x300:rate=5:duration=0.2,format=gray"
    circle = "geq=lum='255*lt(hypot((X-75)*2,Y-150),100)',setsar=2/1"
    ffmpeg("-f", "lavfi", "-i", source, "-vf", circle, "-c:v", "ffv1", tmp_path / "a.mkv")
    _, picture = next(iter(decode.open_pictures(tmp_path / "a.mkv", 256, 224)))
    inside = picture[:, :, 0] > 127
    assert abs(inside.any(axis=0).sum() - inside.any(axis=1).sum()) <= 2


def test_a_stream_may_change_its_resolution(tmp_path):
    """What comes after the change is scaled by its own size, and times go on."""
    for name, size in (("one", "320x240"), ("two", "640x240")):
        stairs(tmp_path / f"{name}.ts", n=5, size=size, codec="libx264", qp=0)
    both = tmp_path / "both.ts"
    ffmpeg("-i", tmp_path / "two.ts", "-c", "copy", "-output_ts_offset", "0.5", tmp_path / "late.ts")
    both.write_bytes((tmp_path / "one.ts").read_bytes() + (tmp_path / "late.ts").read_bytes())
    times, levels, shapes, _ = read(both)
    assert shapes == {(224, 224, 3)} and steps(levels) == [*range(5), *range(5)]
    assert (np.diff(times) >= 0).all() and times[0] == pytest.approx(0, abs=1e-3)


def test_video_without_picture_covers_and_zero_frames(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", tmp_path / "sound.wav")
    ffmpeg("-f", "lavfi", "-i", "color=red:size=300x300", "-frames:v", 1, tmp_path / "cover.png")
    ffmpeg("-i", tmp_path / "sound.wav", tmp_path / "sound.mp4")
    ffmpeg("-i", tmp_path / "sound.wav", "-i", tmp_path / "cover.png", "-map", 0, "-map", 1, "-c:v", "png",
           "-disposition:v", "attached_pic", tmp_path / "cover.m4a")  # fmt: skip
    for name in ("sound.mp4", "cover.m4a"):
        with pytest.raises(ImageError, match="has no picture"):
            read(tmp_path / name)
    stairs(tmp_path / "some.avi", n=3)
    head = (tmp_path / "some.avi").read_bytes()
    (tmp_path / "none.avi").write_bytes(head[: head.index(b"movi") + 4])
    with pytest.raises(ImageError, match=r"holds no pictures|cannot be decoded"):
        read(tmp_path / "none.avi")


def test_one_picture_is_a_video(tmp_path):
    times, levels, _, _ = read(stairs(tmp_path / "a.mp4", n=1, codec="libx264"))
    assert times.tolist() == [0] and len(levels) == 1


def test_truncated_videos(tmp_path):
    path = stairs(tmp_path / "a.mp4", n=12, codec="libx264")
    data = path.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"is truncated \(its index"):
        read(tmp_path / "cut.mp4")
    long = tmp_path / "long.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=320x240:rate=10:duration=20", "-c:v", "libx264", long)
    (tmp_path / "cut.mkv").write_bytes(long.read_bytes()[: long.stat().st_size // 2])
    times, _, _, notes = read(tmp_path / "cut.mkv")
    assert 4 < times[-1] < 16 and any("promises 20.00 s" in note or "damaged" in note for note in notes)


def test_no_video_at_all(tmp_path):
    (tmp_path / "text.mkv").write_text("these are words")
    with pytest.raises(ImageError, match="neither a picture nor a video"):
        read(tmp_path / "text.mkv")


def test_names_are_names(tmp_path):
    for name in ("a b'c.mkv", "concat:x.mkv", "-i.mkv", "a%03d.mkv", "[0:v].mkv"):
        stairs(tmp_path / "plain.mkv", n=2).rename(tmp_path / name)
        assert len(read(tmp_path / name)[0]) == 2


def test_bytes_and_file_objects(tmp_path):
    path = stairs(tmp_path / "a.mkv", n=3)
    with open(path, "rb") as file:
        for source in (path.read_bytes(), file):
            assert steps(read(source)[1]) == [0, 1, 2]


def test_pictures_come_as_they_are_taken(tmp_path):
    """An hour of video: only what is asked for is decoded, and nothing is kept."""
    path = tmp_path / "a.mkv"
    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25:duration=40", "-c:v", "libx264", "-preset", "ultrafast", path
    )
    video = decode.open_pictures(path, 256, 224)
    pictures = iter(video)
    for _ in range(3):
        next(pictures)
    assert video._times.qsize() < 100  # told, and not yet taken: ffmpeg waits for the reader
    assert video._process.poll() is None
    pictures.close()
    assert video._process.poll() is not None


def test_as_moviepy_gave_them_to_openl3(tmp_path):
    """Squeezed to a square, at a constant rate, timed by the rate rounded down."""
    source = "color=black:size=512x256:rate=30000/1001:duration=0.5,drawbox=0:0:256:256:white:fill"
    ffmpeg("-f", "lavfi", "-i", source, "-c:v", "ffv1", tmp_path / "a.mkv")
    video = decode.open_pictures(tmp_path / "a.mkv", 256, 224, as_openl3=True)
    pictures = list(video)
    assert {p.shape for _, p in pictures} == {(256, 256, 3)}
    assert pictures[0][1][:, :120].min() > 240 and pictures[0][1][:, 136:].max() < 15
    np.testing.assert_allclose([t for t, _ in pictures], np.arange(15) / 29)
    _, levels, _, _ = read(uneven(tmp_path / "b.mkv", "N*N*100", n=4), as_openl3=True)
    assert len(levels) > 4 and sorted(set(steps(levels))) == [0, 1, 2, 3]  # pictures are repeated to fill the time
    slow = stairs(tmp_path / "c.mkv", n=3, rate="1/2")
    with pytest.raises(ImageError, match=r"OpenL3 0\.4 refuses less than one"):
        read(slow, as_openl3=True)


def test_where_sound_begins(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=64x64:rate=10:duration=2", "-itsoffset", "0.5", "-f", "lavfi", "-i",
           "sine=duration=1", "-c:v", "libx264", "-c:a", "flac", tmp_path / "late.mkv")  # fmt: skip
    assert decode.sound_start(tmp_path / "late.mkv") == pytest.approx(0.5, abs=0.01)
    assert decode.sound_start(stairs(tmp_path / "none.mkv", n=1)) == 0.0


def test_real_videos(shared_data):
    for path in sorted((shared_data / "video").glob("*.mp4"))[::25]:
        times, _, shapes, notes = read(path)
        assert shapes == {(224, 224, 3)} and notes == [] and (np.diff(times) > 0).all()


# --- what is on the screen at a time


def _looked_up(begins, wanted):
    """By search in the whole list, instead of on the stream."""
    return [max((k for k, b in enumerate(begins) if b <= t), default=0) for t in wanted]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=25).map(sorted), st.integers(1, 40), st.integers(0, 30),
    st.one_of(st.none(), st.integers(0, 50)),
)  # fmt: skip
def test_the_picture_on_the_screen(begins, hop, lead, n):
    taken, found = [], []
    pictures = ((taken.append(k) or b, k) for k, b in enumerate(begins))

    def time(i):
        return i * hop + lead

    for k, times in sampled(pictures, time, n):
        assert times
        found += [(t, k) for t in times]
    count = n if n is not None else len([t for t in (time(i) for i in range(100)) if t <= begins[-1]])
    wanted = [time(i) for i in range(count)]
    assert found == list(zip(wanted, _looked_up(begins, wanted), strict=True))
    if n and time(n - 1) < begins[-1]:  # no more is decoded than is needed
        assert taken[-1] <= max(1, next(k for k, b in enumerate(begins) if b > time(n - 1)))
