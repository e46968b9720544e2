"""Files that a service should survive: seeds in many formats, mutations of them, bombs, playlists, odd headers."""

import io
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from l3embed.decode import ffmpeg_binary

RATE_HZ = 16_000
SEED_S = 1.3
LIBSNDFILE = [
    ("wav", "WAV", "PCM_16"),
    ("wav-float", "WAV", "FLOAT"),
    ("wav-24", "WAV", "PCM_24"),
    ("wav-ulaw", "WAV", "ULAW"),
    ("wav-adpcm", "WAV", "IMA_ADPCM"),
    ("rf64", "RF64", "PCM_16"),
    ("w64", "W64", "PCM_16"),
    ("flac", "FLAC", "PCM_16"),
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("aiff", "AIFF", "PCM_16"),
    ("au", "AU", "PCM_16"),
    ("caf", "CAF", "PCM_16"),
    ("caf-alac", "CAF", "ALAC_16"),
    ("voc", "VOC", "PCM_16"),
    ("nist", "NIST", "PCM_16"),
    ("sf", "IRCAM", "PCM_16"),
]
FFMPEG = {
    "m4a": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4"],
    "mkv": ["-c:a", "flac", "-f", "matroska"],
    "webm": ["-c:a", "libopus", "-ar", "48000", "-f", "webm"],
    "ts": ["-c:a", "mp2", "-f", "mpegts"],
    "avi": ["-c:a", "pcm_s16le", "-f", "avi"],
    "wma": ["-c:a", "wmav2", "-f", "asf"],
    "wv": ["-c:a", "wavpack", "-f", "wv"],
    "ac3": ["-c:a", "ac3", "-f", "ac3"],
    "flv": ["-c:a", "aac", "-f", "flv"],
    "adts": ["-c:a", "aac", "-f", "adts"],
    "3gp": ["-c:a", "aac", "-movflags", "frag_keyframe+empty_moov", "-f", "3gp"],
}


def sound(seconds: float = SEED_S, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return 0.4 * np.sin(2 * np.pi * rng.uniform(200, 2000) * t) + 0.05 * rng.standard_normal(len(t))


def written(samples: np.ndarray, kind: str = "WAV", subtype: str = "PCM_16", rate_hz: int = RATE_HZ) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, format=kind, subtype=subtype)
    return out.getvalue()


def seeds() -> dict[str, bytes]:
    """Good files by format; what the libraries at hand cannot write is left out."""
    found = {}
    for name, kind, subtype in LIBSNDFILE:
        if soundfile.check_format(kind, subtype):
            found[name] = written(sound(), kind, subtype)
    for name, options in FFMPEG.items():
        command = [ffmpeg_binary(), "-v", "quiet", "-i", "pipe:0", *options, "pipe:1"]
        made = subprocess.run(command, input=found["wav"], capture_output=True, check=False).stdout
        if made:
            found[name] = made
    return found


# --- mutations


def mutated(rng: np.random.Generator, good: dict[str, bytes]) -> tuple[str, bytes]:
    """(what was done, the file): one or two changes to a seed."""
    name = str(rng.choice(sorted(good)))
    data, done = bytearray(good[name]), [name]
    for _ in range(int(rng.integers(1, 3))):
        change = MUTATIONS[rng.integers(len(MUTATIONS))]
        if not data:
            break
        data = bytearray(change(rng, data, good))
        done.append(change.__name__)
    return "-".join(done), bytes(data)


def truncated(rng, data, good):
    return data[: int(len(data) * rng.random() ** 2)]


def flipped(rng, data, good):
    for _ in range(int(rng.integers(1, 60))):
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return data


def flipped_head(rng, data, good):
    for _ in range(int(rng.integers(1, 8))):
        data[rng.integers(min(96, len(data)))] ^= 1 << int(rng.integers(8))
    return data


def extreme_field(rng, data, good):
    """A size or a rate in the head becomes as large, as small or as negative as its bytes allow."""
    at = int(rng.integers(4, max(5, min(128, len(data)))))
    value = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFE, 0x10000][rng.integers(7)]
    data[at : at + 4] = value.to_bytes(4, "little" if rng.random() < 0.5 else "big")
    return data


def cut_out(rng, data, good):
    start = int(rng.integers(len(data)))
    return data[:start] + data[start + int(rng.integers(1, 2000)) :]


def repeated(rng, data, good):
    start = int(rng.integers(len(data)))
    return data[:start] + data[start : start + int(rng.integers(1, 400))] * int(rng.integers(2, 40)) + data[start:]


def spliced(rng, data, good):
    other = good[str(rng.choice(sorted(good)))]
    return data[: rng.integers(1, len(data) + 1)] + other[rng.integers(len(other)) :]


def noise_inside(rng, data, good):
    start, n = int(rng.integers(len(data))), int(rng.integers(1, 3000))
    data[start : start + n] = rng.bytes(n)
    return data


MUTATIONS = [truncated, flipped, flipped_head, extreme_field, cut_out, repeated, spliced, noise_inside]


# --- crafted: each yields (name, file)


def crafted() -> Iterator[tuple[str, bytes]]:
    """Files that lie about themselves or unfold into far more than they are."""
    yield from wav_lies()
    yield from bombs()
    nan = sound().astype(np.float32)
    nan[500] = np.nan
    yield "nan", written(nan, "WAV", "FLOAT")
    yield "infinity", written(np.where(np.arange(len(nan)) == 7, np.inf, sound()).astype(np.float32), "WAV", "FLOAT")
    yield "huge-samples", written(1e38 * sound(), "WAV", "FLOAT")
    yield "doubles-beyond-floats", written(1e300 * sound(), "WAV", "DOUBLE")
    yield "one-sample", written(np.zeros(1))
    yield "no-samples", written(np.zeros(0))
    yield "empty", b""
    yield "one-byte", b"R"
    yield "zeros", bytes(100_000)
    yield "noise", np.random.default_rng(1).bytes(100_000)
    yield "text", b"not a sound\n" * 1000
    yield "elf", b"\x7fELF" + bytes(5000)
    yield "id3-only", b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(5000)
    yield (
        "id3-nested",
        (b"ID3\x04\x00\x00\x00\x00\x00\x10" + bytes(16)) * 3000 + written(sound(), "MP3", "MPEG_LAYER_III"),
    )
    yield "ogg-pages", (b"OggS\0\2" + bytes(20) + b"\1\1") * 5000
    yield "ebml-nested", b"\x1aE\xdf\xa3\x80" + b"\x18S\x80g\x01\xff\xff\xff\xff\xff\xff\xff" * 4000
    yield "mp4-nested", b"".join(struct.pack(">I4s", 8 * (4000 - i), b"moov") for i in range(4000))
    yield "mp4-huge-atom", struct.pack(">I4sQ", 1, b"mdat", 2**63 - 1) + bytes(1000)


def wav_header(channels=1, rate_hz=RATE_HZ, bits=16, size=32_000, tag=1, block=None, riff=None) -> bytes:
    block = channels * bits // 8 if block is None else block
    chunk = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block & 0xFFFFFFFF, block & 0xFFFF, bits)
    head = b"RIFF" + struct.pack("<I", (36 + size if riff is None else riff) & 0xFFFFFFFF) + b"WAVEfmt "
    return head + struct.pack("<I", len(chunk)) + chunk + b"data" + struct.pack("<I", size & 0xFFFFFFFF)


def wav_lies() -> Iterator[tuple[str, bytes]]:
    body = written(sound())[44:]
    for channels in (0, 2, 255, 1024, 10_000, 65_535):
        yield f"channels-{channels}", wav_header(channels, size=len(body)) + body
    yield "channels-10000-real", wav_header(10_000, size=20_000 * 400) + bytes(20_000 * 400)
    for rate_hz in (0, 1, 7, 1_000_000, 2**31 - 1, 2**32 - 1):
        yield f"rate-{rate_hz}", wav_header(rate_hz=rate_hz, size=len(body)) + body
    for bits in (0, 1, 7, 12, 64, 65_535):
        yield f"bits-{bits}", wav_header(bits=bits, size=len(body)) + body
    for size in (0, 1, 2**31, 2**32 - 2, 2**32 - 1):
        yield f"size-{size}", wav_header(size=size, riff=size) + body
    for tag in (0, 2, 0x50, 0x55, 0x161, 0xFFFE, 0xFFFF):
        yield f"tag-{tag}", wav_header(tag=tag, size=len(body)) + body
    for block in (0, 1, 65_535):
        yield f"block-{block}", wav_header(block=block, size=len(body)) + body
    yield "chunks-endless", b"RIFF\xff\xff\xff\xffWAVE" + b"JUNK\0\0\0\0" * 100_000
    yield "chunk-of-4-GB", b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff" + body
    yield "two-formats", wav_header(size=0)[:36] + wav_header(2, 8000, 8, len(body))[12:] + body


def bombs() -> Iterator[tuple[str, bytes]]:
    """Small files that last long or unpack into much."""
    long = [
        ("flac-hours", "FLAC", "PCM_16", 10),
        ("ogg-hour", "OGG", "VORBIS", 1),
        ("opus-minutes", "OGG", "OPUS", 0.1),
    ]
    for name, kind, subtype, hours in long:
        yield name, long_silence(kind, subtype, 8000, hours)
    yield "flac-8-channels", written(np.zeros((600_000, 8)), "FLAC", "PCM_24", 192_000)
    yield "flac-total-samples", flac_with_total(written(sound(), "FLAC"), 2**36 - 1)
    yield "zip", zipped(bytes(50_000_000))
    yield "gzip", zlib.compress(bytes(100_000_000), 9, 31)
    yield "png", png(30_000, 30_000)
    yield "gif", b"GIF89a\xff\xff\xff\xff\xf7\0\0" + bytes(800) + b",\0\0\0\0\xff\xff\xff\xff\0\x08\x01\0\0;"
    yield "svg-entities", entities(9)


def long_silence(kind: str, subtype: str, rate_hz: int, hours: float) -> bytes:
    out, block = io.BytesIO(), np.zeros(rate_hz, np.int16)  # libsndfile's Vorbis encoder takes large ones on its stack
    with soundfile.SoundFile(out, "w", rate_hz, 1, subtype, format=kind) as file:
        for _ in range(round(hours * 3600)):
            file.write(block)
    return out.getvalue()


def flac_with_total(data: bytes, total: int) -> bytes:
    """STREAMINFO (RFC 9639, section 8.2) promises another number of samples."""
    field = int.from_bytes(data[18:26], "big") >> 36 << 36 | total
    return data[:18] + field.to_bytes(8, "big") + data[26:]


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../sound.wav", data)
    return out.getvalue()


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(bytes(1 + width // 8)) for _ in range(height)) + rows.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def entities(depth: int) -> bytes:
    lines = ['<!ENTITY e0 "boom">'] + [f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, depth + 1)]
    return f'<?xml version="1.0"?><!DOCTYPE svg [{"".join(lines)}]><svg>&e{depth};</svg>'.encode()


# --- what leads elsewhere


def playlists(canary: Path, port: int) -> Iterator[tuple[str, bytes]]:
    """Files that name a local sound, or an address on which somebody listens: neither may be opened."""
    url = f"http://127.0.0.1:{port}/sound.wav"
    for word, target in (
        ("path", str(canary)),
        ("file", f"file://{canary}"),
        ("file1", f"file:{canary}"),
        ("url", url),
    ):
        for name, text in texts(target, port).items():
            yield f"{name}-{word}", text.encode()
    hls = f"#EXTM3U\n#EXTINF:1,\n{canary}\n#EXT-X-ENDLIST\n".encode()
    for name, before in {
        "bom": b"\xef\xbb\xbf",
        "blanks": b" \n" * 8,
        "many-blanks": b"\n" * 200,
        "id3": b"ID3\x04\0\0\0\0\0\x10" + bytes(16),
        "nul": b"\0" * 4,
        "utf16": b"\xff\xfe",
    }.items():
        yield f"hls-after-{name}", before + hls
    yield "hls-utf16", hls.decode().encode("utf-16")
    yield "avi-with-hls", avi_with_subtitles(hls)
    yield "mov-reference", mov_reference(canary)
    yield "mov-alias", mov_alias(url)
    yield "mkv-attached-hls", b"\x1aE\xdf\xa3\x84B\x82\x81m" + hls
    yield "wav-list-hls", wav_header(size=0) + b"LIST" + struct.pack("<I", len(hls)) + hls


def texts(target: str, port: int) -> dict[str, str]:
    """Playlists and manifests of many kinds that name one target."""
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\n{target}\n#EXT-X-ENDLIST\n",
        "hls-master": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n",
        "hls-key": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n',
        "hls-map": f'#EXTM3U\n#EXT-X-MAP:URI="{target}"\n#EXTINF:1,\nx.ts\n#EXT-X-ENDLIST\n',
        "hls-concat": f"#EXTM3U\n#EXTINF:1,\nconcat:{target}|{target}\n#EXT-X-ENDLIST\n",
        "hls-subfile": f"#EXTM3U\n#EXTINF:1,\nsubfile,,start,0,end,64,,:{target}\n#EXT-X-ENDLIST\n",
        "hls-data": f"#EXTM3U\n#EXTINF:1,\ndata:audio/x-mpegurl,%23EXTM3U%0A{target}\n#EXT-X-ENDLIST\n",
        "ffconcat": f"ffconcat version 1.0\nfile '{target}'\n",
        "concat-late": f"# list\nffconcat version 1.0\nfile {target}\n",
        "m3u": f"{target}\n",
        "pls": f"[playlist]\nFile1={target}\nNumberOfEntries=1\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"m=audio {port} RTP/AVP 0\na=control:{target}\n",
        "sdp-tcp": f"v=0\nc=IN IP4 127.0.0.1\nm=audio {port} TCP/RTP/AVP 0\na={target}\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        '<AdaptationSet mimeType="audio/mp4"><Representation id="a" bandwidth="1">'
        f"<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "dash-blanks": f"\n\n  <MPD><Period><BaseURL>{target}</BaseURL></Period></MPD>",
        "xspf": f"<playlist><trackList><track><location>{target}</location></track></trackList></playlist>",
        "asx": f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
        "smil": f'<smil><body><audio src="{target}"/></body></smil>',
        "xxe": f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "{target}">]><x>&a;</x>',
        "imf": '<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
        f"<Id>{target}</Id></CompositionPlaylist>",
        "cue": f'FILE "{target}" WAVE\n TRACK 01 AUDIO\n  INDEX 01 00:00:00\n',
        "redirect": f"[Reference]\nRef1={target}\n",
        "rtsp-text": f"RTSPtext\nrtsp://127.0.0.1:{port}/x\n{target}\n",
        "html": f'<audio src="{target}"></audio>',
        "script": f"#!/bin/sh\ncat {target}\n",
        "vapoursynth": f"import vapoursynth\nopen({target!r})\n",
        "avisynth": f'DirectShowSource("{target}")\n',
        "lavfi": f"amovie={target}[out0]\n",
        "metadata": f";FFMETADATA1\ntitle={target}\n",
    }


def riff(kind: bytes, *chunks: bytes) -> bytes:
    body = kind + b"".join(chunks)
    return struct.pack("<I", len(body)) + body


def avi_with_subtitles(text: bytes) -> bytes:
    """An AVI whose subtitle packet is a playlist: ffmpeg opens such packets as files of their own."""
    gab2 = b"GAB2\0" + struct.pack("<HIHH", 2, 4, 0x6C, 0x73) + struct.pack("<HI", 4, len(text)) + text
    header = struct.pack("<4s4sIHHIIIIIIII8x", b"txts", b"\0\0\0\0", 0, 0, 0, 0, 1, 1, 0, 1, len(gab2), 0, 0)
    stream = b"LIST" + riff(
        b"strl", b"strh", struct.pack("<I", len(header)), header, b"strf", struct.pack("<I", 4), bytes(4)
    )
    main = b"avih" + struct.pack("<I", 56) + struct.pack("<14I", 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0)
    head = b"LIST" + riff(b"hdrl", main, stream)
    movie = b"LIST" + riff(b"movi", b"00tx", struct.pack("<I", len(gab2)), gab2)
    return b"RIFF" + riff(b"AVI ", head, movie)


def atom(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def mov(reference: bytes) -> bytes:
    """A QuickTime file whose sound lies where a data reference says."""
    version = bytes(4)
    sample = atom(b"sowt", bytes(6), struct.pack(">H", 1), bytes(8), struct.pack(">HHHHI", 1, 16, 0, 0, RATE_HZ << 16))
    table = atom(
        b"stbl",
        atom(b"stsd", version, struct.pack(">I", 1), sample),
        atom(b"stts", version, struct.pack(">III", 1, 8000, 1)),
        atom(b"stsc", version, struct.pack(">IIII", 1, 1, 8000, 1)),
        atom(b"stsz", version, struct.pack(">II", 2, 8000)),
        atom(b"stco", version, struct.pack(">II", 1, 44)),
    )
    information = atom(
        b"minf", atom(b"smhd", bytes(8)), atom(b"dinf", atom(b"dref", version, struct.pack(">I", 1), reference)), table
    )
    header = atom(b"mdhd", version, struct.pack(">IIII", 0, 0, RATE_HZ, 8000), bytes(4))
    handler = atom(b"hdlr", version, b"mhlrsoun", bytes(13))
    track = atom(b"trak", atom(b"tkhd", b"\0\0\0\7", bytes(80)), atom(b"mdia", header, handler, information))
    movie = atom(b"mvhd", version, struct.pack(">IIII", 0, 0, RATE_HZ, 8000), bytes(80))
    return atom(b"ftyp", b"qt  ", bytes(4), b"qt  ") + atom(b"moov", movie, track)


def mov_reference(canary: Path) -> bytes:
    return mov(atom(b"alis", bytes(4), alias(str(canary))))


def mov_alias(url: str) -> bytes:
    return mov(atom(b"url ", bytes(4), url.encode() + b"\0"))


def alias(path: str) -> bytes:
    """An alias record with a POSIX path (type 18) in it, as ffmpeg's demuxer for QuickTime reads it."""
    name = path.encode()
    fixed = bytearray(150)
    struct.pack_into(">I", fixed, 0, 0)
    return bytes(fixed) + struct.pack(">HH", 18, len(name)) + name + bytes(len(name) % 2) + b"\xff\xff\0\0"
