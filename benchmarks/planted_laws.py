"""Do the intervals of every law hold the truth? Curves from known laws, with noise, 100 times.

    python benchmarks/planted_laws.py [--draws 100]

For each law: runs on a ladder of the usual kind (three seeds at the smallest rungs, one elsewhere),
normal seed noise, and how many of the 95 % intervals hold what was planted: each number, the
mean loss of a rung four times beyond the largest, and three new runs there. Beside them the plain
percentile bootstrap, and the two cross-checks. A family without an effect of size says how often it
is taken for one that scales. Ends in one JSON document; exit status 1 where an exponent's intervals
hold the truth in fewer than 90 % of draws.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from recscale import record
from recscale.scaling import crosschecks, forms, intervals, laws, trends
from recscale.scaling.forms import Form
from recscale.scaling.points import Floats, Points

RESAMPLES = 200


@dataclass(frozen=True)
class Planted:
    """A law, the numbers that are planted, where it is measured, and how noisy."""

    name: str
    form: Form
    numbers: Mapping[str, float]  # in the axes' own units
    truth: Callable[[Mapping[str, Floats]], Floats]
    grid: Mapping[str, Floats]
    noise: float
    exponents: tuple[str, ...]


def grid(**levels: Floats) -> dict[str, Floats]:
    """Every combination once, and twice more at the smallest value of the first axis."""
    names = list(levels)
    full = {n: v.ravel() for n, v in zip(names, np.meshgrid(*levels.values()), strict=True)}
    smallest = full[names[0]] == full[names[0]].min()
    return {n: np.concatenate([v, v[smallest], v[smallest]]) for n, v in full.items()}


def bend(x: Floats, w: float) -> Floats:
    """The Performance Law's curve in one axis."""
    return w * np.log(x) + 0.5 * x**-w


def planted() -> list[Planted]:
    """Sizes, exponents and noise of the order that small ladders on public logs show."""
    sizes, shares = np.geomspace(1e4, 6.4e5, 5), np.geomspace(1e5, 8e5, 3)
    histories = np.array([10.0, 25.0, 50.0])
    compute = np.geomspace(1e12, 1e15, 12)
    return [
        Planted(
            "additive power, size and data",
            forms.additive(("params", "events")),
            {"exponent[params]": 0.35, "exponent[events]": 0.45,
             "E": 5.0, "A[params]": 30.0, "A[events]": 100.0},
            lambda at: 5 + 30 * at["params"] ** -0.35 + 100 * at["events"] ** -0.45,
            grid(params=sizes, events=shares),
            0.005,
            ("exponent[params]", "exponent[events]"),
        ),
        Planted(
            "additive power, size and history",
            forms.additive(("params", "history")),
            {"exponent[params]": 0.25, "exponent[history]": 0.6,
             "E": 5.0, "A[params]": 8.0, "A[history]": 0.8},
            lambda at: 5 + 8 * at["params"] ** -0.25 + 0.8 * at["history"] ** -0.6,
            grid(params=sizes, history=histories),
            0.005,
            ("exponent[params]", "exponent[history]"),
        ),
        Planted(
            "log-linear",
            forms.log_linear(("params", "history")),
            {"slope[params]": -0.05, "slope[history]": -0.03},
            lambda at: 7 - 0.05 * np.log(at["params"]) - 0.03 * np.log(at["history"]),
            grid(params=sizes, history=histories),
            0.005,
            ("slope[params]", "slope[history]"),
        ),
        Planted(
            "power with floor",
            forms.floor_power(),
            {"exponent[flops]": 0.2, "E": 5.0, "A[flops]": 250.0},
            lambda at: 5 + 250 * at["flops"] ** -0.2,
            grid(flops=compute),
            0.005,
            ("exponent[flops]",),
        ),
        Planted(
            "broken power",
            forms.broken_power(),
            {"exponent[flops]": 0.15, "exponent after[flops]": 0.6},
            lambda at: 5 + (at["flops"] / 3e13) ** -0.15
            * (1 + (at["flops"] / 3e13) ** 5) ** (-0.2 * 0.45),
            grid(flops=np.geomspace(1e12, 1e15, 24)),
            0.003,
            ("exponent[flops]", "exponent after[flops]"),
        ),
        Planted(
            "performance law",
            forms.performance(("depth", "width"), "events"),
            {"w[depth]": -0.3, "w[width]": -0.2, "w[events]": 0.05},
            lambda at: 0.2 - 0.4 * bend(at["depth"], -0.3) - 0.5 * bend(at["width"], -0.2)
            + bend(at["events"], 0.05),
            grid(depth=np.array([1.0, 2, 4, 8, 16, 32]), width=np.array([16.0, 32, 64, 128]),
                 events=np.array([1e5, 2e5, 4e5])),
            0.003,
            ("w[depth]", "w[width]", "w[events]"),
        ),
    ]  # fmt: skip


def measure(case: Planted, draws: int) -> dict[str, object]:
    """Of how many draws the intervals hold the truth."""
    beyond = {name: float(values.max() * 4) for name, values in case.grid.items()}
    expected = float(case.truth({name: np.array([v]) for name, v in beyond.items()})[0])
    held: Counter[str] = Counter()
    boot: Counter[str] = Counter()
    widths: list[float] = []
    for draw in range(draws):
        rng = np.random.default_rng((draw, len(case.name)))
        loss = case.truth(case.grid) + rng.normal(
            0, case.noise, len(next(iter(case.grid.values())))
        )
        fit = laws.fit(case.form, Points(case.grid, loss))
        found = intervals.coefficients(fit)
        held.update(name for name, truth in case.numbers.items() if found[name].holds(truth))
        mean = intervals.prediction(fit, beyond)
        held["mean of a rung beyond"] += mean.holds(expected)
        runs = intervals.prediction(fit, beyond, 3)
        held["three runs beyond"] += runs.holds(expected + rng.normal(0, case.noise, 3).mean())
        if runs.low is not None and runs.high is not None:
            widths.append(runs.high - runs.low)
        if draw < draws // 2:  # slow
            drawn = intervals.bootstrap(fit, [], rng, RESAMPLES)
            for name in case.exponents:
                low, high = drawn.interval(name)
                boot[name] += low <= case.numbers[name] <= high
    names = (*case.numbers, "mean of a rung beyond", "three runs beyond")
    return {
        "runs": len(next(iter(case.grid.values()))),
        "noise": case.noise,
        "exponents": list(case.exponents),
        "coverage": {name: held[name] / draws for name in names},
        "bootstrap_coverage": {name: boot[name] / (draws // 2) for name in case.exponents},
        "median_width_of_three_runs_beyond": float(np.median(widths)) if widths else None,
    }


def not_scaling(draws: int) -> dict[str, object]:
    """A family whose size does nothing, beside one whose size does something."""
    at = grid(params=np.geomspace(1e4, 6.4e5, 5), history=np.array([10.0, 25.0, 50.0]))
    said: dict[str, Counter[str]] = {"flat": Counter(), "falling": Counter(), "rising": Counter()}
    for draw in range(draws):
        rng = np.random.default_rng((draw, 7))
        for name, slope in (("flat", 0.0), ("falling", -0.004), ("rising", 0.004)):
            loss = 5 + 0.8 * at["history"] ** -0.6 + slope * np.log2(at["params"])
            points = Points(at, loss + rng.normal(0, 0.005, len(loss)))
            found = trends.trend(points, "params", ["history"])
            assert found is not None
            said[name][found.verdict] += 1
    return {
        name: {verdict: n / draws for verdict, n in counts.items()} for name, counts in said.items()
    }


def cross_checks(draws: int) -> dict[str, object]:
    """The growth of the best size with compute, by parabolas and by the joint fit."""
    n, c = (
        x.ravel() for x in np.meshgrid(np.geomspace(1e4, 2.56e6, 9), np.geomspace(1e11, 1e13, 5))
    )
    at = {"params": n, "flops": c, "events": c / (6 * n)}
    truth = 0.45 / (0.35 + 0.45)
    held, told, joint, primary = 0, 0, [], []
    for draw in range(draws):
        rng = np.random.default_rng((draw, 9))
        loss = 5 + 30 * n**-0.35 + 100 * at["events"] ** -0.45 + rng.normal(0, 0.005, len(n))
        points = Points(at, loss)
        try:
            held += crosschecks.isoflop(points).exponent.holds(truth)
            told += 1
        except laws.LawError:
            pass
        robust = crosschecks.joint(points, ("params", "events"))
        joint.append(robust["exponent[params]"] - 0.35)
        fitted = laws.fit(forms.additive(("params", "events")), points)
        primary.append(fitted.numbers["exponent[params]"] - 0.35)
    return {
        "isoflop": {"told": told / draws, "coverage": held / max(told, 1)},
        "rms_error_of_size_exponent": {
            "variable projection": float(np.sqrt(np.mean(np.square(primary)))),
            "joint huber": float(np.sqrt(np.mean(np.square(joint)))),
        },
    }


def main() -> None:
    """Measure and print the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100)
    draws = parser.parse_args().draws
    began = time.process_time()
    found = {}
    for case in planted():
        found[case.name] = measure(case, draws)
        print(case.name, json.dumps(found[case.name]["coverage"]), file=sys.stderr)
    missed = [
        f"{name}: {exponent}"
        for name, told in found.items()
        for exponent in told["exponents"]
        if told["coverage"][exponent] < 0.9
    ]
    print(
        json.dumps(
            {
                "benchmark": "planted_laws",
                "draws": draws,
                "laws": found,
                "not_scaling": not_scaling(draws),
                "cross_checks": cross_checks(draws),
                "exponents_covered_in_fewer_than_90_percent": missed,
                "core_seconds": time.process_time() - began,
                "load_average": os.getloadavg()[0],
                "commit": record.commit(),
            },
            indent=1,
        )
    )
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
