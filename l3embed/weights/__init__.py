"""Model cards and weight files: name or path -> card -> files whose hash is right -> network or graph.

`cards` what a model is and where its files lie; `published` OpenL3's files and `fetch` the download of any; `arrays`
weight files to arrays in order and `tensors` to arrays by name, in the formats of `hdf5`, `checkpoint`, `tfcheckpoint`
and `tflite`; `release` arrays to network, graph and card; `resolve` what the user named to a card; `catalogue` names.
"""

from .arrays import read_arrays, write_arrays
from .cache import cache_folder
from .cards import DEFAULT, Card, available, card, enter, read_toml, shipped_folder, toml
from .catalogue import fetch_files, lines, show
from .checkpoint import read_state_dict
from .files import check, sha256
from .release import add_graph, add_graphs, build, convert, load_network, outline, release, save, set_arrays
from .resolve import arrays_of, find, with_file

__all__ = [
    "DEFAULT", "Card", "add_graph", "add_graphs", "arrays_of", "available", "build", "cache_folder", "card", "check",
    "convert", "enter", "fetch_files", "find", "lines", "load_network", "outline", "read_arrays", "read_state_dict",
    "read_toml", "release", "save", "set_arrays", "sha256", "shipped_folder", "show", "toml", "with_file",
    "write_arrays",
]  # fmt: skip
