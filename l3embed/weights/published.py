"""OpenL3's published weight files: their names, their identity, where they lie.

Weights by J. Cramer, H.-H. Wu, J. Salamon, J. P. Bello (2019), CC BY 4.0, https://github.com/marl/openl3, branch
`models`. v0_2_0 files hold the front end's kernels, too; v0_4_0 are the same weights without them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import WeightsError, reason
from ..spec import Published, openl3_model, plain, published
from ..zoo import File
from .fetch import at_hand as in_cache
from .fetch import place, url
from .files import blob

URL = "https://github.com/marl/openl3/raw/models/"
LICENCE = "CC BY 4.0"
SUFFIX = ".h5.gz"
TRAINED_WITH = "kapre-0.1.4"  # the front end of all of them that have mel bands
# What git calls each file (`git hash-object FILE`).
BLOBS = {
    "openl3_audio_linear_env-v0_4_0": "7837407f033f3564c7e8d53fc4a4241fe160478b",
    "openl3_audio_linear_music-v0_4_0": "4e2e61beb17865481c8b8791c72eac8307e2753a",
    "openl3_audio_mel128_env-v0_4_0": "8c3dfee140f7776373841e5938a3e76c54f28942",
    "openl3_audio_mel128_music-v0_4_0": "73ff29de441865318c4b3a3f98c40763c4773e7c",
    "openl3_audio_mel256_env-v0_4_0": "34dbd7a91cdd2de6a3d6d036ac0a24d27d78e3cc",
    "openl3_audio_mel256_music-v0_4_0": "15e483646fa3d4091a463f0affbb706e6bbbb098",
    "openl3_image_linear_env-v0_4_0": "a1e527ad5367efb19b18cd051523bf3fadd02feb",
    "openl3_image_linear_music-v0_4_0": "7ccfc16536bff5f46902df6d7f89075f1bfce8bb",
    "openl3_image_mel128_env-v0_4_0": "680c5d4adffc2b0d7b789913a2e9ebccd469be55",
    "openl3_image_mel128_music-v0_4_0": "c287c5f9bc949595ff4fda83177bcc98142601e9",
    "openl3_image_mel256_env-v0_4_0": "dbdf24a7e837267487adb3eed1586fcd2e37d775",
    "openl3_image_mel256_music-v0_4_0": "67bf0b891eb4fb797defafa5b3edc3c75f3cd6ee",
    "openl3_audio_linear_env-v0_2_0": "cdd124b91391070897fbec62ccd8b6b0222c0b57",
    "openl3_audio_linear_music-v0_2_0": "9365d8f01837fdfb57bead16917c03fcc88ab204",
    "openl3_audio_mel128_env-v0_2_0": "ea27bc20cbb3b8ce6710302d71355cd09643f98d",
    "openl3_audio_mel128_music-v0_2_0": "1003bd14a895b3ee8541d91d88a04d1c152c51cf",
    "openl3_audio_mel256_env-v0_2_0": "b5c5534c2a5132a7d63dfe674c5c08702e667095",
    "openl3_audio_mel256_music-v0_2_0": "a0f80c1c7e16aa908408286a3cb3d8b677ec7005",
    "openl3_image_linear_env-v0_2_0": "7f59f4406a4f494762e82fa93b3db8f4591be4b1",
    "openl3_image_linear_music-v0_2_0": "df50a6fa71ff2d00b2c677aa86c162a47169d375",
    "openl3_image_mel128_env-v0_2_0": "6b82bbe41337cabedd4c8f1378ee0054d2c45aa4",
    "openl3_image_mel128_music-v0_2_0": "bb2edc46678d29ae4141bd4511e5035fc7d43192",
    "openl3_image_mel256_env-v0_2_0": "262d7552ec8f4f64b219bf1c9fb45df5a70a7c18",
    "openl3_image_mel256_music-v0_2_0": "7409654aacc7c2bc92d10b1638bd8a0f2a8d8967",
}
# SHA-256 of unpacked files, as far as anybody has published them.
UNPACKED = {"624ee7b1dd5ff87e18073f66fd8b2052bebb8ac70210e9c0937c0c940c63e9d6": "openl3_audio_mel256_music-v0_4_0"}


def is_published(name) -> bool:
    """Whether this is meant as the name of a published model."""
    return name is not None and str(name).startswith("openl3-") and not os.path.exists(name)


def about(name: str) -> dict:
    """What a card would say of a published model."""
    which = published(name)
    has_mel = which.modality == "audio" and which.representation != "linear"
    model = plain(openl3_model(name, TRAINED_WITH if has_mel else None))
    front_end = {key: value for key, value in model["front_end"].items() if value is not None}
    files = {"url": url(file_of(which)), "git_blob_sha1": BLOBS[which.file], "file": str(place(file_of(which))),
             "state": state(which)}  # fmt: skip
    return {"name": name, "dim": which.dim, "description": describe(which), "licence": LICENCE, "front_end": front_end,
            "network": model["network"], "files": files}  # fmt: skip


def file_of(which: Published) -> File:
    """Its file, as it is published."""
    name = f"{which.file}{SUFFIX}"
    return File("openl3", name, URL + name, f"git:{BLOBS[which.file]}")


def describe(which: Published) -> str:
    return f"OpenL3, {which.modality}, {which.representation}, {which.content}, weights {which.version}"


def state(which: Published) -> str:
    """Whether its file is in the cache folder; what is in it is seen when it is used."""
    return "at hand" if any(path.exists() for path in (place(file_of(which)), *_unpacked(which))) else "not fetched"


def at_hand(which: Published) -> Path | None:
    """The file in the cache folder: as it is published, or unpacked (with or without the version in its name).

    Raises WeightsError for a file that is not what its name says; of an unpacked one nobody knows the hash.
    """
    return in_cache(file_of(which)) or next((path for path in _unpacked(which) if path.exists()), None)


def _unpacked(which: Published) -> list[Path]:
    names = (which.file, which.file.removesuffix(f"-{which.version}"))
    return [place(file_of(which)).with_name(f"{name}.h5") for name in names]


def identify(path: Path, sha256: str) -> str | None:
    """Which published file this is, by its hashes, whatever its name."""
    return {hash: name for name, hash in BLOBS.items()}.get(_blob(path)) or UNPACKED.get(sha256)


def differs(which: Published, file: str) -> str | None:
    """What a published file's name (`openl3_audio_mel256_music...`) says it is, if not weights of this model."""
    said = re.search(r"openl3_(?:(audio|image)_)?(linear|mel128|mel256)_(music|env)(?![a-z0-9])", file)
    if not said:
        return None
    found = (said[1] or "audio", said[2], said[3])  # torchopenl3 has audio models only, and does not say so
    return None if found == (which.modality, which.representation, which.content) else ", ".join(found)


def _blob(path: Path) -> str:
    try:
        return blob(path)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({reason(error)}): give the path of a weight file") from error
