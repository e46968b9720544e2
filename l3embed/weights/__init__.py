"""Model cards and weight files: name or path -> card -> files whose hash is right -> network or graph.

`cards` what a model is and where its files lie; `published` OpenL3's files and `fetch` their download; `arrays` weight
files to arrays, in the formats of `hdf5` and `checkpoint`; `release` arrays to network, graph and card; `resolve` what
the user named to a card.
"""

from .arrays import read_arrays, write_arrays
from .cache import cache_folder
from .cards import DEFAULT, Card, available, card, enter, shipped_folder, toml
from .checkpoint import read_state_dict
from .fetch import fetch
from .files import check, sha256
from .published import about, is_published
from .release import add_graph, add_graphs, build, convert, load_network, release, save, set_arrays
from .resolve import arrays_of, find, with_file

__all__ = [
    "DEFAULT", "Card", "about", "add_graph", "add_graphs", "arrays_of", "available", "build", "cache_folder",
    "card", "check", "convert", "enter", "fetch", "find", "is_published", "load_network", "read_arrays",
    "read_state_dict", "release", "save", "set_arrays", "sha256", "shipped_folder", "toml", "with_file",
    "write_arrays",
]  # fmt: skip
