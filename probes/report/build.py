"""Run folders -> the folder of a report: index.html, tables (CSV, LaTeX), plots (SVG, PNG). Orders the rooms."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections import Counter
from pathlib import Path

from l3embed.errors import UsageError
from l3embed.store.files import naming, part_name, token

from . import clips, content, costs, facts, fewshot, figures, maps, page, reading, tables, words
from .sound import NONE, Sounds
from .tables import Column, Table


def write(runs: list[Path], out: Path, *, store: Path | None, map_of: tuple[str, ...] | None, sounds: bool) -> Path:
    """See `probes.report.write`."""
    found = reading.read(runs)
    if unknown := [name for name in map_of or () if name not in found.models]:
        raise UsageError(f"no model {unknown[0]!r} in these runs: expected one of {', '.join(found.models)}")
    with whole_folder(out) as folder:
        for name in ("tables", "plots"):
            (folder / name).mkdir()
        Builder(found, folder, out, store, map_of, sounds).build()
    return out / page.NAME


@contextlib.contextmanager
def whole_folder(out: Path):
    """A folder to write into, which becomes `out` when all is there. A former report is replaced, nothing else is."""
    _may_replace(out)
    part = out.with_name(part_name(token()))
    with naming(out):
        try:
            part.mkdir(parents=True)
            yield part
            _swap(part, out)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _may_replace(out: Path) -> None:
    if not out.exists():
        return
    index = out / page.NAME
    if not out.is_dir() or (
        any(out.iterdir()) and not (index.is_file() and page.MARK in index.read_text("utf-8")[:999])
    ):
        raise UsageError(f"{out}: holds something else than a report: name another folder (-o)")


def _swap(part: Path, out: Path) -> None:
    """The new folder in the place of an old one."""
    old = out.with_name(part_name(token()))
    if out.exists():
        out.rename(old)
    part.rename(out)
    shutil.rmtree(old, ignore_errors=True)


CLASSES = 60  # of confusions that a page shows; the table has all


class Builder:
    """Makes one report; `folder` is where it is built, `out` where it will lie."""

    def __init__(self, found: reading.Found, folder: Path, out: Path, store, map_of, sounds: bool):
        self.found, self.folder, self.store, self.map_of = found, folder, store, map_of
        self.sounds = Sounds(out.absolute()) if sounds else None
        self.look = figures.Look(list(found.models))
        self.files: list[str] = []
        self.heard = words.contamination(found)

    def build(self) -> None:
        import matplotlib

        found = self.found
        self.families, self.shots = facts.families(found), fewshot.families(found)
        self.rankings = facts.rankings(found, self.families)
        with matplotlib.rc_context(figures.RULES):
            made = self._page()
        self._tables(made)
        made.links = sorted(self.files)
        (self.folder / page.NAME).write_text(page.render("page.html.j2", page=made), encoding="utf-8")

    def _page(self) -> page.Page:
        found, first = self.found, self.rankings[0] if self.rankings else None
        cost = costs.costs(found, first)
        return page.Page(
            found, [self._ranking(one) for one in self.rankings],
            [self._section(name) for name in found.sets], cost, self._cost_figures(cost, first),
            content.pairs_over_sets([one for one in self.rankings if len(one.sets) > 1]), _models(found),
            [(name, tables.shown(m["trained_on"], "text")) for name, m in found.models.items() if m.get("trained_on")],
            [{"summary": "", "faults": [], "source": "", **p, "name": n} for n, p in found.protocols.items()],
            _probes(found), clips.failed_jobs(found), clips.failed_clips(found), _settings(found), [],
        )  # fmt: skip

    def _ranking(self, one: facts.Ranking) -> tuple:
        drawn, where = figures.mean_ranks(one), (one.probe, one.protocol)
        plots = [self._plot(drawn, f"ranks, {one.probe}, {one.protocol}", "ranks", *where)] if drawn else []
        return one, content.ranking(self.found, one), words.of_ranking(one), plots

    def _section(self, name: str) -> page.Section:
        here = [f for f in self.families if f.data == name]
        shots = [s for s in self.shots if s.data == name]
        made = page.Section(name, _card(self.found.sets[name]), words.of_gap(here),
                            page.warnings(self.found, name, self.heard))  # fmt: skip
        for protocol in dict.fromkeys(f.protocol for f in here):
            made.matrices.append(content.matrix(here, name, protocol))
            figure = figures.dots([f for f in here if f.protocol == protocol], self.look)
            made.figures.append(self._plot(figure, f"scores, {protocol}", "scores", name, protocol))
        made.scores = content.scores(here) if here else None
        for f in (f for f in here if f.pairs.n):
            made.pairs.append((f"{f.probe} probe, protocol {f.protocol}", words.of_family(f), content.pairs([f])))
        made.confusions = [
            page.confusion(f, k) for f in here[:1] for k in range(len(f.rows)) if len(f.table.classes) <= CLASSES
        ]
        for s in shots:
            made.curves.append(self._plot(figures.curves(s, self.look), f"{s.probe}, {s.protocol}", "fewshot", name,
                                          s.probe, s.protocol))  # fmt: skip
        made.curve_notes = list(dict.fromkeys(f"{s.probe}, {s.protocol}: {note}." for s in shots for note in s.notes))
        made.areas = content.areas(shots) if shots else None
        made.maps = self._maps(name, here)
        made.worst = self._worst(here[0]) if here else None
        return made

    def _worst(self, family: facts.Family) -> Table:
        table = clips.worst(self.found, family)
        for row in table.rows:
            clip = self.found.sets[family.data].clips[row["row"]]
            row["sound"] = self.sounds.of(clip) if self.sounds else NONE
        return table

    def _maps(self, name: str, here: list[facts.Family]) -> list:
        models = (here[0].rows[0].model,) if self.map_of is None and here else self.map_of or ()
        data, out = self.found.sets[name], []
        for model in models:
            if chart := maps.chart(self.found, model, data, self.store):
                rows, places = chart
                labels = [data.clips[row]["label"] for row in rows]
                out.append(self._plot(figures.places(places, labels), model, "map", name, model))
                table = Table(f"map-{content.stem(name, model)}", "", [Column("clip", ""), Column("label", ""),
                              Column("x", "", "number"), Column("y", "", "number")],
                              [{"clip": data.clips[r]["clip"], "label": label, "x": float(x), "y": float(y)}
                               for r, label, (x, y) in zip(rows, labels, places, strict=True)])  # fmt: skip
                self._file(f"tables/{table.name}.csv", tables.csv_text(table).encode())
        return out

    def _cost_figures(self, table: Table, ranking) -> list:
        asked = (("speed", "seconds of sound per second", True), ("weights_bytes", "weights, MB", False),
                 ("bytes_per_hour", "MB of embeddings per hour of sound", False))  # fmt: skip
        out = []
        for key, label, larger in asked if ranking else ():
            if figure := figures.cost(table, ranking, key, label, larger, self.look):
                out.append(self._plot(figure, label, "cost", key))
        return out

    def _plot(self, figure, title: str, *names: str) -> tuple[str, str]:
        """(title, SVG for the page); files of both kinds."""
        name = content.stem(*names)
        text = figures.svg(figure)
        self._file(f"plots/{name}.svg", text)
        self._file(f"plots/{name}.png", figures.png(figure))
        return title, figures.inline(text, page.slug(name), title)

    def _tables(self, made: page.Page) -> None:
        both = [table for _, table, *_ in made.rankings] + [m for s in made.sections for m in s.matrices]
        both += [content.areas(self.shots), content.curves(self.shots), made.cost] if self.shots else [made.cost]
        worst = [s.worst for s in made.sections if s.worst]
        once = [content.scores(self.families), content.pairs(self.families), made.over_sets,
                content.confusion(self.families), content.folds(self.families), content.curve_pairs(self.shots),
                Table("worst-clips", "", worst[0].columns if worst else [], [r for w in worst for r in w.rows]),
                made.failed_jobs, made.failed_clips, made.models, made.probes]  # fmt: skip
        for table in both:
            self._file(f"tables/{table.name}.tex", tables.latex_text(table).encode())
        for table in [*both, *(t for t in once if t.rows)]:
            self._file(f"tables/{table.name}.csv", tables.csv_text(table).encode())

    def _file(self, name: str, data: bytes) -> None:
        (self.folder / name).write_bytes(data)
        self.files.append(name)


# --- what is listed as it stands in run.json


def _card(data: reading.Set) -> list[tuple[str, str, bool]]:
    about, published = data.about, data.about.get("published") or {}
    seconds, n = about.get("seconds"), str(about["n_clips"])
    largest = max(Counter(clip["label"] for clip in data.clips).values())
    facts_of = [
        ("clips", f"{n}, as published" if published.get("clips") == about["n_clips"] else n, False),
        ("groups", str(about["n_groups"]), False), ("classes", str(len(about["classes"])), False),
        ("largest class", f"{100 * largest / len(data.clips):.1f} %", False),
        ("sound", f"{seconds / 3600:.2f} h" if seconds else "", False),
        ("splits by", {"none": "groups, made here"}.get(about["rule"], about["rule"]), False),
        ("score", content.METRICS.get("map" if data.multi_label else data.metric, data.metric), False),
        ("licence", about.get("licence") or "unknown", False), ("source", about.get("source") or "", True),
    ]  # fmt: skip
    return [(name, value, wide) for name, value, wide in facts_of if value]


def _models(found: reading.Found) -> Table:
    keys = {"model": ("model", "text"), "kind": ("kind", "text"), "dim": ("numbers a window", "count"),
            "parameters": ("parameters", "count"), "weights_bytes": ("bytes of weights", "count"),
            "hop_s": ("hop, s", "number"), "precision": ("precision", "text"), "licence": ("licence", "text"),
            "trained_on": ("trained on", "text"), "fingerprint": ("fingerprint", "text")}  # fmt: skip
    rows = [
        {**{key: about.get(key) for key in keys}, "model": name, "kind": content.kind(found, name)}
        for name, about in found.models.items()
    ]
    return Table("models", "Models", [Column(key, *how) for key, how in keys.items()], rows)


def _probes(found: reading.Found) -> Table:
    rows = [
        {"probe": name, "input": p.get("input"), "grid": "; ".join(_point(point) for point in p.get("grid") or ()),
         "source": p.get("source")} for name, p in found.probes.items()
    ]  # fmt: skip
    columns = [Column("probe", "probe"), Column("input", "input"), Column("grid", "grid"), Column("source", "source")]
    return Table("probes", "Probes", columns, rows)


def _point(point) -> str:
    return ", ".join(f"{k} {v}" for k, v in point.items()) if isinstance(point, dict) else str(point)


def _settings(found: reading.Found) -> list[tuple[str, str]]:
    out = []
    for run, about in zip(found.runs, found.about, strict=True):
        prefix = f"{run.name}: " if len(found.runs) > 1 else ""
        for key in ("started", "finished", "seed", "failed_rule"):
            out.append((prefix + key.replace("_", " "), str(about.get(key))))
        for key in ("settings", "versions", "machine", "wall_s"):
            out += [(f"{prefix}{key} {k}", v if isinstance(v, str) else json.dumps(v, ensure_ascii=False))
                    for k, v in (about.get(key) or {}).items()]  # fmt: skip
    return out
