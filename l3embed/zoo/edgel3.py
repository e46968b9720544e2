"""EdgeL3 (Kumari et al. 2019; Srivastava et al. 2021; ksangeeta2429/edgel3 0.2.1): L3's audio network made smaller.

`sea`: specialised embedding approximation, an L3-Net of fewer filters at 8 kHz. `sparse`: L3-Net itself with most of
its weights zero, fine-tuned (`ft`) or distilled (`kd`); its files are dense arrays, and no faster.
"""

from __future__ import annotations

from ..spec import FrontEnd, Model, Network, l3_front_end
from . import Entry, File

URL = "https://github.com/ksangeeta2429/edgel3/raw/models/"
LICENCE = "MIT (code and weights)"
SIZES = {512: 64, 256: 32, 128: 32, 64: 32}  # embedding -> filters of the first block
SPARSITIES = ("53.5", "63.5", "72.3", "87.0", "95.45")  # per cent
SHA256 = {
    "edgel3_sea_ust_audio_emb_64.h5.gz": "sha256:d1cf0ce5640e93f07b3eef950f0694c40f3be33d8d7241deaea7f71e2f929a7f",
}


def sea_front_end() -> FrontEnd:
    """That of the files (kapre 0.1.4's Melspectrogram): OpenL3's HTK mel, at 8 kHz with 64 bands."""
    return FrontEnd(
        "edgel3-sea", 1, rate_hz=8_000, window_samples=8_000, n_fft=1024, hop_samples=160, pad_samples=(432, 432),
        n_mels=64, mel_scale="htk", mel_norm="slaney", mel_of="power", amin=1e-10, range_db=80.0,
    )  # fmt: skip


def entries() -> list[Entry]:
    found = []
    for size, width in SIZES.items():
        network = Network("edgel3", width, (8, 6), variant=f"sea-{size}")
        model = Model(f"edgel3-sea-{size}", sea_front_end(), network, size, "", auto="f32")
        found.append(_entry(model, f"EdgeL3, SEA, {size} numbers", f"edgel3_sea_ust_audio_emb_{size}"))
    for how in ("ft", "kd"):
        for sparsity in SPARSITIES:
            network = Network("l3", 64, (32, 24))
            front_end = l3_front_end("mel256", "kapre-0.1.4")
            model = Model(f"edgel3-{how}-{sparsity}", front_end, network, 512, "", auto="f32")
            text = f"EdgeL3, sparse, {'fine-tuned' if how == 'ft' else 'distilled'}, {sparsity} % zeros"
            found.append(_entry(model, text, f"edgel3_{how}_audio_sparsity_{sparsity}"))
    return found


def _entry(model: Model, description: str, file: str) -> Entry:
    name = f"{file}.h5.gz"
    return Entry(model, description, LICENCE, (File("edgel3", name, URL + name, SHA256.get(name, "")),))
