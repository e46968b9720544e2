"""The import rule of docs/design.md, read from the import lines themselves."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Rooms in the order in which data walks through them: each may import the ones before it.
CORRIDOR = [
    "errors",
    "spec",
    "decode",
    "windows",
    "fft32",
    "frontend",
    "imagefrontend",
    "zoo",
    "networks",
    "weights",
    "engine",
    "quantize",
    "images",
    "plan",
    "pooling",
    "store",
    "embed",
    "extract",
]
WINGS = {"avc": [*CORRIDOR[: CORRIDOR.index("engine")], "avc"], "hear": CORRIDOR, "transformer": CORRIDOR,
         "service": [*CORRIDOR, "service"], "client": ["errors", "client"]}  # fmt: skip
DOORS = ["cli", "cli_data", "cli_evaluate", "cli_probe", "cli_report", "cli_serve", "cli_store", "__main__"]
HEAVY = {"tensorflow", "keras", "kapre", "torch", "jax", "openvino", "sklearn", "scipy", "soundfile", "soxr", "ffmpeg",
         "imageio_ffmpeg", "joblib", "tqdm", "h5py", "pescador", "matplotlib", "pooch", "requests", "nncf",
         "PIL", "pyarrow", "fastapi", "starlette", "pydantic", "uvicorn", "prometheus_client"}  # fmt: skip
SOURCES = sorted((ROOT / "l3embed").rglob("*.py"))


def _room(path: Path) -> str:
    parts = path.relative_to(ROOT / "l3embed").with_suffix("").parts
    return parts[0]


def _imports(path: Path):
    """(imported module, whether at module level) of every import, relative ones resolved."""
    package = path.relative_to(ROOT).parent.parts
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(x for x in (base, node.module or "") if x)
            names = [f"{module}.{a.name}" for a in node.names] if module == "l3embed" else [module]
            for name in names:
                yield name, id(node) in top


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_rooms_before_it(path):
    room = _room(path)
    if room in DOORS or room == "__init__":
        return
    allowed = WINGS.get(room) or CORRIDOR[: CORRIDOR.index(room) + 1]
    for name, _ in _imports(path):
        parts = name.split(".")
        if parts[0] == "l3embed" and len(parts) > 1 and parts[1] != "__version__":
            assert parts[1] in allowed, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_doors_open_the_probes_and_heavy_packages_wait_inside_functions(path):
    for name, at_top in _imports(path):
        root = name.split(".")[0]
        assert root != "probes" or (_room(path) in DOORS and not at_top), f"{path.name} imports {name}"
        heavy_room = path.parent.name in ("networks", "service") and path.name != "__init__.py"
        if at_top and root in HEAVY and not heavy_room and path.name != "transformer.py":
            raise AssertionError(f"{path.name} imports {name} at module level: start-up pays for it")


def test_every_module_of_the_corridor_is_there():
    rooms = {_room(p) for p in SOURCES}
    assert rooms <= {*CORRIDOR, *WINGS, *DOORS, "__init__"}, "a room without a place in the order"
    assert set(CORRIDOR) <= rooms


def test_help_loads_nothing_heavy():
    import subprocess

    code = "import sys; from l3embed import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print('LOADED', sorted(m for m in sys.modules if '.' not in m))"
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    loaded = set(ast.literal_eval(text.split("LOADED ")[1]))
    assert not loaded & (HEAVY | {"numpy"})
