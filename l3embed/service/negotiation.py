"""Which of the types that are offered an Accept header asks for (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from .problems import Problem


def chosen(header: str | None, offered: list[str]) -> str:
    """The type that is liked best, the first of equals. Raises Problem where none is accepted."""
    ranges = dict(_range(part) for part in (header or "*/*").split(",") if part.strip())

    def liking(offer: str) -> float:
        for wanted in (offer, f"{offer.partition('/')[0]}/*", "*/*"):  # the most specific range decides
            if wanted in ranges:
                return ranges[wanted]
        return 0.0

    best = max(offered, key=liking)
    if not liking(best):
        raise Problem(406, "not_acceptable", f"answers are of the types {', '.join(offered)}: accept one of them")
    return best


def _range(part: str) -> tuple[str, float]:
    """(media range, quality in [0, 1])"""
    kind, *parameters = (field.strip().lower() for field in part.split(";"))
    quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
    try:
        return kind, min(1.0, max(0.0, float(quality)))
    except ValueError:
        return kind, 0.0
