"""Everything that can go wrong, in the caller's language.

One root, few children. Each message is one sentence: which input, what was found, what was expected, what to do.
The command line turns any of them into that sentence on standard error and a non-zero exit code.
"""

from __future__ import annotations

from collections.abc import Iterable


class L3EmbedError(Exception):
    """Root of all errors that l3embed raises on purpose."""


class AudioError(L3EmbedError):
    """A recording (file, bytes or array) that cannot be turned into sound."""


class LimitError(AudioError):
    """A recording that is longer, or has more channels, or another rate, than is allowed where it came."""


class ImageError(L3EmbedError):
    """A picture (file or array) or a video that cannot be turned into pictures."""


class UsageError(L3EmbedError, ValueError):
    """A setting outside its range, an unknown name, a wrong type: the caller has to change the call."""


class WeightsError(L3EmbedError):
    """Weights that are missing, damaged, or of another network."""


class StoreError(L3EmbedError):
    """An output that cannot be written or read back."""


class DataError(L3EmbedError):
    """A table that describes recordings or videos (labels, an index, AudioSet's) and cannot be used."""


class TrainingError(L3EmbedError):
    """A training run that cannot start or cannot go on."""


class ServiceError(L3EmbedError):
    """A service that cannot be reached, or whose answer is no answer."""


class MissingExtraError(L3EmbedError, ImportError):
    """A part of l3embed whose packages are not installed."""

    def __init__(self, what: str, extra: str):
        super().__init__(f"{what} needs packages that are not installed: pip install 'l3embed[{extra}]'")


class L3EmbedWarning(UserWarning):
    """Something the caller should know about a result that is nevertheless valid."""


def reason(error: BaseException) -> str:
    """One line that says what happened, for reports and for the command line."""
    if isinstance(error, OSError) and not isinstance(error, L3EmbedError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return " ".join(str(error).split()) or type(error).__name__


def hint(word: str, known: Iterable[str], aliases: Iterable[str] = ()) -> str:
    """What may have been meant by a word that is not known: the nearest one, or else all that are."""
    import difflib

    near = difflib.get_close_matches(word, [*known, *aliases], 1)
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
