"""The plots of a report, each a PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from training.judging.importance import Importance
from training.judging.metrics import Curves
from training.learning.history import Point, Validation

_BLUE, _ORANGE, _GREY = "#2563a8", "#c8641e", "#8a8f98"
_FEATURES_SHOWN = 20


def _draw(draw: Callable[[Axes], Any], *, width: float = 6.4, height: float = 3.6) -> bytes:
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    draw(axes)
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def _thousands(axis: Any) -> None:
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value / 1000:,.4g}k" if abs(value) >= 1000 else f"{value:g}")
    )


def draw_loss(points: Sequence[Point], validations: Sequence[Validation]) -> bytes:
    """Log loss by step: of the training rows as they were met, and of the validation rows."""

    def draw(axes: Axes) -> None:
        axes.plot(
            [point.step for point in points], [point.loss for point in points], color=_BLUE, label="training rows"
        )
        _mark(axes, validations, "log_loss")
        _label_steps(axes, "log loss")

    return _draw(draw)


def draw_auc(points: Sequence[Point], validations: Sequence[Validation]) -> bytes:
    """AUC by step: of the training rows as they were met, and of the validation rows."""

    def draw(axes: Axes) -> None:
        known = [(point.step, point.auc) for point in points if point.auc is not None]
        axes.plot([step for step, _ in known], [auc for _, auc in known], color=_BLUE, label="training rows")
        _mark(axes, validations, "auc")
        _label_steps(axes, "AUC")

    return _draw(draw)


def _mark(axes: Axes, validations: Sequence[Validation], name: str) -> None:
    known = [(one.step, value) for one in validations if (value := one.figures.get(name)) is not None]
    if known:
        axes.plot(*zip(*known, strict=True), "o", color=_ORANGE, label="validation rows")


def _label_steps(axes: Axes, label: str) -> None:
    _thousands(axes.xaxis)
    axes.set(xlabel="step", ylabel=label)
    axes.legend(frameon=False)


def draw_calibration(curves: Curves) -> bytes:
    """Click rate by mean score of a bin; a dot is as wide as its rows are many."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--", label="perfect")
        axes.plot(curves.score, curves.click_rate, color=_BLUE, linewidth=1)
        sizes = 12 + 150 * curves.rows / curves.rows.max()
        axes.scatter(curves.score, curves.click_rate, s=sizes, color=_BLUE, label="validation rows")
        axes.set(xlabel="mean score", ylabel="click rate", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
        axes.legend(frameon=False)

    return _draw(draw, width=4.6, height=4.2)


def draw_scores(curves: Curves) -> bytes:
    """How many rows, clicked and not, have a logit of about so much."""

    def draw(axes: Axes) -> None:
        for counts, color, label in ((curves.left, _GREY, "not clicked"), (curves.clicked, _BLUE, "clicked")):
            axes.stairs(counts, curves.edges, fill=True, alpha=0.55, color=color, label=label)
        _thousands(axes.yaxis)
        axes.set(xlabel="logit", ylabel="validation rows")
        axes.legend(frameon=False)

    return _draw(draw)


def draw_roc(curves: Curves, auc: float) -> bytes:
    """True by false positive rate."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--", label="guessing")
        axes.plot(curves.false_positive, curves.true_positive, color=_BLUE, label=f"AUC {auc:.4f}")
        axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.legend(frameon=False, loc="lower right")

    return _draw(draw, width=4.6, height=4.2)


def draw_importance(importance: Sequence[Importance]) -> bytes:
    """What shuffling a feature costs, the most important at the top."""
    shown = list(importance[:_FEATURES_SHOWN])[::-1]

    def draw(axes: Axes) -> None:
        axes.barh([one.feature for one in shown], [max(one.log_loss_gained, 0.0) for one in shown], color=_BLUE)
        axes.set(xlabel="log loss gained when shuffled")
        axes.grid(visible=False, axis="y")

    return _draw(draw, height=1.0 + 0.26 * len(shown))


def draw_pace(points: Sequence[Point]) -> bytes:
    """Rows a second by time."""

    def draw(axes: Axes) -> None:
        rates = np.array([point.rows_per_s for point in points])
        axes.plot([point.seconds for point in points], rates / 1e6, color=_BLUE)
        axes.set(xlabel="seconds", ylabel="million rows/s", ylim=(0, None))

    return _draw(draw, height=3.0)


def draw_memory(points: Sequence[Point]) -> bytes:
    """Resident memory by time."""

    def draw(axes: Axes) -> None:
        axes.plot([point.seconds for point in points], [point.rss_mib for point in points], color=_BLUE)
        axes.set(xlabel="seconds", ylabel="resident MiB", ylim=(0, None))

    return _draw(draw, height=3.0)
