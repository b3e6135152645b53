"""Statistics of benchmarks: quantiles, growth, and a table with one column for each database."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import linear_regression, median, quantiles

Figures = dict[str, float]
"""Name with its unit at the end (`post_p99_ms`) → value."""


def spread(name: str, seconds: Sequence[float]) -> Figures:
    """p50, p99 and the maximum, in milliseconds."""
    taken = [1000 * one for one in seconds]
    if len(taken) == 1:
        taken *= 2
    return {
        f"{name}_p50_ms": median(taken),
        f"{name}_p99_ms": quantiles(taken, n=100, method="inclusive")[98],
        f"{name}_max_ms": max(taken),
    }


def growth(costs: Mapping[int, float]) -> float:
    """The exponent k of the best fit of `cost ~ number ** k`: 0 does not grow, 1 is linear."""
    numbers = [math.log(number) for number in costs]
    return linear_regression(numbers, [math.log(max(cost, 1e-9)) for cost in costs.values()]).slope


def table(columns: Mapping[str, Figures], aims: Mapping[str, float]) -> str:
    """Every figure of every database side by side; what misses its aim is marked."""
    names = list(dict.fromkeys(name for figures in columns.values() for name in figures))
    width = max(map(len, names))
    lines = ["  ".join([" " * width, *(f"{database:>12}" for database in columns), "aim"])]
    for name in names:
        aim = aim_of(name, aims)
        cells = [_cell(figures.get(name), aim) for figures in columns.values()]
        lines.append("  ".join([f"{name:<{width}}", *cells, "" if aim is None else f"≤ {aim:g}"]).rstrip())
    return "\n".join(lines)


def missed(columns: Mapping[str, Figures], aims: Mapping[str, float]) -> list[str]:
    """Each figure that is above its aim, as a line."""
    return [
        f"{database}: {name} is {value:.2f}, above {aim:g}"
        for database, figures in columns.items()
        for name, value in figures.items()
        if (aim := aim_of(name, aims)) is not None and value > aim
    ]


def aim_of(name: str, aims: Mapping[str, float]) -> float | None:
    """An aim holds for all figures whose name ends with it."""
    return next((limit for end, limit in aims.items() if name.endswith(end)), None)


def _cell(value: float | None, aim: float | None) -> str:
    if value is None:
        return f"{'':>12}"
    shown = f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return f"{shown + ('!' if aim is not None and value > aim else ' '):>12}"
