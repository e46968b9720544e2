"""The sentences of a report: what its numbers do and do not say."""

from __future__ import annotations

import math
import re

import numpy as np

from .. import ranks
from .facts import LEVEL, Family, Ranking, Score
from .reading import Found, Set
from .tables import p_text


def percent(score: Score) -> str:
    return f"{100 * score.value:.1f} % (95 % interval {100 * score.low:.1f} to {100 * score.high:.1f})"


def counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else ""


def of_ranking(one: Ranking) -> list[str]:
    """What the ranking says."""
    if not one.rows:
        return ["No model has results on all data sets with this probe."]
    best, n = one.rows[0], len(one.sets)
    where = f"{n} data sets" if n > 1 else one.sets[0]
    said = [f"{best.model} scores {percent(best.mean)}{' in the mean' if n > 1 else ''} over {where}."
            if n > 1 else f"{best.model} scores {percent(best.mean)} on {where}."]  # fmt: skip
    if len(one.rows) > 1:
        said.append(_beside(one))
    if len(one.rows) > 1 and n > 1:
        smallest = 2.0 / 2**n
        said.append(
            f"Whether it would be so on other data sets is another question: Wilcoxon's test over {n} of them reaches "
            f"p = {p_text(smallest)} at best{', too little to say anything' if smallest >= LEVEL else ''}."
        )  # fmt: skip
    if len(one.rows) > 2 and n > 1:
        p = p_text(ranks.friedman(one.values).p)
        said.append(f"That all {len(one.rows)} rank alike there: p {p if p.startswith('<') else f'= {p}'} (Friedman).")
    return said


def _beside(one: Ranking) -> str:
    best, others = one.rows[0], one.rows[1:]
    if not one.pairs.reachable:
        return "There are too few groups to tell any two models apart: the order may be chance."
    near = [row.model for row in others if row.tier == 1]
    behind = [row.model for row in others if row.tier > 1]
    text = f"{listed(near)} cannot be told apart from it" if near else f"{best.model} is alone in tier 1"
    if behind:
        worst = max(one.pairs.adjusted[0, k] for k, row in enumerate(one.rows) if row.tier > 1)
        text += (f"; the test tells it from {listed(behind)} (p {_at_most(worst)} each, Holm over {one.pairs.n} "
                 f"{'pairs' if one.pairs.n > 1 else 'pair'})")  # fmt: skip
    return text + "."


def _at_most(p: float) -> str:
    return p_text(p) if p < 0.0001 else f"≤ {p_text(p)}"


def of_gap(families: list[Family]) -> str:
    """The smallest visible gap of a data set, over its families."""
    gaps = [f.visible for f in families if not math.isnan(f.visible)]
    if not gaps:
        return ""
    strict = [f.visible_family for f in families if not math.isnan(f.visible_family)]
    n, groups = families[0].n_clips, families[0].n_groups
    size = f"{n} clips in {groups} groups" if groups < n else f"{n} clips"
    if not np.isfinite(np.median(gaps)):
        return f"Smallest visible gap: none. With {size} the test cannot reach .05, or only by luck."
    text = f"Smallest visible gap: {100 * np.median(gaps):.1f} points between two models"
    if np.isfinite(np.median(strict)) and families[0].pairs.n > 1:
        text += f", {100 * np.median(strict):.1f} after correction for {families[0].pairs.n} pairs"
    return f"{text} ({size}, power .8)."


def of_family(f: Family) -> str:
    """What stands above the pairs of a family."""
    if f.pairs.n == 0:
        return "One model: nothing to compare."
    folds = len(f.rows[0].folds)
    said = [] if f.pairs.reachable else [
        f"With {f.n_groups} groups and {f.pairs.n} pairs the test cannot reach .05 after Holm: no pair can be told."
    ]  # fmt: skip
    if 1 < folds and 2.0 / 2**folds >= LEVEL:
        said.append(f"Wilcoxon over {folds} folds reaches p = {p_text(2.0 / 2**folds)} at best.")
    return " ".join([*said, *f.notes])


def contamination(found: Found) -> dict[tuple[str, str], str]:
    """(model, data set) -> why the model may have heard the set: its card names it among what it was trained on."""
    out = {}
    for model, about in found.models.items():
        heard = about.get("trained_on") or ""
        heard = _bare(" ".join(heard) if isinstance(heard, list) else str(heard))
        for name, data in found.sets.items():
            for title in _titles(data):
                if _bare(title) in heard:
                    out.setdefault((model, name), f"its card names {title} among what it was trained on")
    return out


def _titles(data: Set) -> list[str]:
    """Names a card may have for a set: its own, and what is hyphenated in its source."""
    source = re.findall(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)+", str(data.about.get("source") or ""))
    return [title for title in (data.name, *source) if len(_bare(title)) >= 5]


def _bare(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())
