"""Tables of plain values, once for every form: HTML, CSV and LaTeX show the same rows.

A cell is a text, a number, None, or a `Score` (a share with its interval). `kind` of a column says how it is shown.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass, field

from .facts import LEVEL, Score

MINUS, DASH, THIN = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{NARROW NO-BREAK SPACE}"
LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "\n": " ",
})  # fmt: skip


@dataclass(frozen=True)
class Column:
    key: str
    title: str
    kind: str = "text"  # text | share (in per cent) | points (a difference, signed) | p | count | number
    note: str = ""  # shown beside the title


@dataclass
class Table:
    name: str  # of the files
    title: str
    columns: list[Column]
    rows: list[dict]
    caption: str = ""
    bold: set[tuple[int, str]] = field(default_factory=set)  # (row, key) of cells in the first tier


# --- cells


def shown(value, kind: str) -> str:
    """A cell as people read it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return DASH
    if isinstance(value, Score):
        low, high = (plain(x, kind) for x in (value.low, value.high))
        return f"{plain(value.value, kind)} [{low}, {high}]"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return plain(value, kind)


def plain(value, kind: str) -> str:
    if kind == "text":
        return str(value)
    if isinstance(value, float) and math.isinf(value):
        return "none"
    if kind == "share":
        return f"{100 * value:.1f}"
    if kind == "points":
        return f"{100 * value + 0.0:+.1f}".replace("-", MINUS)
    if kind == "p":
        return p_text(value)
    if kind == "count":
        return f"{value:,.0f}".replace(",", THIN)
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}".replace(",", THIN)


def p_text(p: float) -> str:
    """.0034, and never a rounded 0 or a .05 that was .0499."""
    if p < 0.0001:
        return "< .0001"
    if p >= 0.995:
        return "1"
    each = (f"{p:.{digits}f}"[1:] for digits in ((2,) if p > 0.1 else (4, 6, 17)))
    return next(text for text in each if (float(text) < LEVEL) == (p < LEVEL))


def sort_value(value, kind: str) -> str:
    """What a column is sorted by; numbers as numbers."""
    if isinstance(value, Score):
        value = value.value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.10g}" if isinstance(value, int | float) else shown(value, kind)


# --- files


def csv_text(table: Table) -> str:
    """Comma-separated, shares as they are (0 to 1), an interval in columns of its own."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    scored = {c.key for c in table.columns if any(isinstance(row.get(c.key), Score) for row in table.rows)}
    head = []
    for column in table.columns:
        head += [column.key] + ([f"{column.key}_low", f"{column.key}_high"] if column.key in scored else [])
    writer.writerow(head)
    for row in table.rows:
        cells = []
        for column in table.columns:
            value = row.get(column.key)
            if column.key in scored:
                cells += [_cell(x) for x in ((value.value, value.low, value.high) if value else (None,) * 3)]
            else:
                cells.append(_cell(value))
        writer.writerow(cells)
    return out.getvalue()


def _cell(value) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return "; ".join(map(str, value))
    text = str(value).replace("\r", " ")
    return f"'{text}" if text[:1] in ("=", "@", "\t") else text  # a spreadsheet would compute it


def escaped(text: str) -> str:
    """Text for LaTeX."""
    return str(text).translate(LATEX)


def latex_text(table: Table) -> str:
    """A booktabs table (\\usepackage{booktabs}, UTF-8); what stands beside the best is bold."""
    kinds = "".join("l" if c.kind == "text" else "r" for c in table.columns)
    lines = [
        "\\begin{table}", "\\centering", f"\\caption{{{escaped(table.title)}. {escaped(table.caption)}}}",
        f"\\label{{tab:{escaped(table.name).replace(chr(92), '')}}}", f"\\begin{{tabular}}{{{kinds}}}", "\\toprule",
        " & ".join(_head(c) for c in table.columns) + r" \\", "\\midrule",
    ]  # fmt: skip
    for i, row in enumerate(table.rows):
        lines.append(
            " & ".join(_latex(row.get(c.key), c.kind, (i, c.key) in table.bold) for c in table.columns) + r" \\"
        )
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", "\\end{table}", ""])


def _head(column: Column) -> str:
    return escaped(column.title + (", %" if column.kind == "share" else ""))


def _latex(value, kind: str, bold: bool) -> str:
    text = escaped(shown(value, kind)).replace(MINUS, "$-$").replace(THIN, "\\,").replace(DASH, "--")
    if isinstance(value, Score):
        text = text.replace(" [", " {\\scriptsize[") + "}"
    elif kind == "p":
        text = text.replace("\\textless{} ", "$<$\\,")
    return f"\\textbf{{{text}}}" if bold else text
