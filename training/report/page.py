"""A run's report: one HTML page that needs nothing beside it, and its plots as PNG files."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from training.judging.importance import Importance
from training.judging.metrics import Curves
from training.learning.history import History
from training.report import plots

#: The page's name; the plots lie beside it.
PAGE: Final = "report.html"

_BEST_FEATURES: Final = 5


@dataclass(frozen=True, slots=True)
class Run:
    """What a report tells of a run. ``curves`` and ``importance`` are those of the kept weights on validation rows.

    ``curves`` is None where no row was held out; ``why_no_auc`` is empty where their AUC is told.
    ``command`` is what a person typed.
    """

    name: str
    command: str
    training: Mapping[str, Any]
    data: Mapping[str, Any]
    history: History
    curves: Curves | None
    why_no_auc: str
    importance: Sequence[Importance]
    peak_rss_mib: float


def write_report(run: Run) -> dict[str, bytes]:
    """The page and its plots, by file name."""
    pictures = _plots(run)
    environment = Environment(
        loader=PackageLoader("training.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("page.html.j2").render(
        run=run,
        best=run.history.best,
        pictures={name: base64.b64encode(content).decode() for name, content in pictures.items()},
        leading=list(run.importance[:_BEST_FEATURES]),
    )
    return {PAGE: page.encode(), **{f"{name}.png": content for name, content in pictures.items()}}


def _plots(run: Run) -> dict[str, bytes]:
    history = run.history
    drawn = {}
    if history.points:
        drawn["loss"] = plots.draw_loss(history.points, history.validations)
        drawn["auc"] = plots.draw_auc(history.points, history.validations)
        drawn["pace"] = plots.draw_pace(history.points)
        drawn["memory"] = plots.draw_memory(history.points)
    if run.curves is not None:
        drawn["calibration"] = plots.draw_calibration(run.curves)
        drawn["scores"] = plots.draw_scores(run.curves)
        auc = history.best.figures["auc"] if history.best else None
        if auc is not None:
            drawn["roc"] = plots.draw_roc(run.curves, auc)
    if run.importance:
        drawn["importance"] = plots.draw_importance(run.importance)
    return drawn
