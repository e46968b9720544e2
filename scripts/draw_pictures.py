"""Draws docs/pictures.png: scenes as the training sees them, one second each. Needs matplotlib.

python scripts/draw_pictures.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from l3embed.avc import picture
from l3embed.avc.scenes import scene

fig, axes = plt.subplots(2, 8, figsize=(12, 3.1))
for seed, ax in enumerate(axes.flat):
    sound = scene(np.random.default_rng(seed), 4.0, picture.RATE_HZ)
    ax.imshow(picture.draw(sound[: picture.RATE_HZ], 128))
    ax.axis("off")
fig.tight_layout(pad=0.3)
fig.savefig(Path(__file__).resolve().parents[1] / "docs" / "pictures.png", dpi=80)
