"""What an event says: whether it was shown or chosen, and which kind it is to those who count."""

from __future__ import annotations

from typing import Final

import polars as pl

from data.log.map import Events
from data.log.reading.columns import Sheet
from data.log.rules import Outcome
from hexbite.counters.definitions import Counters

#: What an event says: it was shown, it was chosen, or it was shown and was chosen.
SHOWN: Final = 0
CHOSEN: Final = 1
BOTH: Final = 2


def says_expression(events: Events, sheet: Sheet) -> pl.Expr:
    """`SHOWN`, `CHOSEN` or `BOTH`; null where the row says none of them."""
    if events.chosen is not None:
        sheet.require("chosen", events.chosen)
        truth = sheet.truth(events.chosen)
        if events.chosen_is:
            truth = sheet.text(events.chosen).str.strip_chars().is_in(events.chosen_is)
        said: pl.Expr = pl.when(truth).then(BOTH).when(~truth).then(SHOWN)
    elif events.kind is not None:
        sheet.require("kind", events.kind)
        text = sheet.text(events.kind).str.strip_chars()
        said = pl.when(text.is_in(events.label)).then(CHOSEN).when(text.is_in(events.shown)).then(SHOWN)
    else:
        said = pl.lit(CHOSEN)
    return said.cast(pl.UInt8)


def code_expression(events: Events, counted: Counters) -> pl.Expr:
    """The place in `Counters.kinds` of a row whose ``kind`` and what it ``says`` are known; null for none of them.

    In a log that does not tell kinds every choice is of the one kind that there is.
    """
    if events.kind is None:
        return pl.when(pl.lit(bool(counted)) & (pl.col("says") >= CHOSEN)).then(pl.lit(0, pl.Int16))
    codes = {kind: code for code, kind in enumerate(counted.kinds)}
    return pl.col("kind").replace_strict(codes, default=None, return_dtype=pl.Int16)


def kind_faults(events: Events) -> list[tuple[Outcome, pl.Expr]]:
    """Why a row is no event of a list, by its ``kind``, what it ``says`` and its ``code``, the first that fits."""
    says_nothing = pl.col("says").is_null()
    if events.chosen is not None:
        return [(Outcome.NO_CHOSEN, says_nothing)]
    if events.kind is None:
        return []
    return [
        (Outcome.COUNTED_KIND, says_nothing & pl.col("code").is_not_null()),
        (Outcome.IGNORED_KIND, pl.col("kind").is_in(events.ignored).fill_null(value=False)),
        (Outcome.UNKNOWN_KIND, says_nothing),
    ]
