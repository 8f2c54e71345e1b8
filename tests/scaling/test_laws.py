from __future__ import annotations

import numpy as np
import pytest

from recscale.scaling import crosschecks, forms, intervals, laws, link, rivals, trends
from recscale.scaling.laws import LawError
from recscale.scaling.points import Noise, Points, seed_noise


def ladder(noise: float = 0.0, seed: int = 0) -> Points:
    """L = 5 + 30 / N^0.35 + 100 / D^0.45: five sizes by three shares, three seeds at the least."""
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e4, 6.4e5, 5), np.geomspace(1e5, 8e5, 3)))
    least = n == n.min()
    n, d = (np.concatenate([x, x[least], x[least]]) for x in (n, d))
    loss = 5 + 30 * n**-0.35 + 100 * d**-0.45
    loss += np.random.default_rng((1, seed)).normal(0, noise, len(n)) if noise else 0
    return Points({"params": n, "events": d}, loss)


def test_a_law_without_noise_is_found_exactly():
    found = laws.fit(forms.additive(["params", "events"]), ladder())
    assert found.numbers == pytest.approx(
        {
            "exponent[params]": 0.35,
            "exponent[events]": 0.45,
            "E": 5,
            "A[params]": 30,
            "A[events]": 100,
        },
        rel=1e-4,
    )
    assert found.predict({"params": 1e7, "events": 1e7}) == pytest.approx(
        5 + 30 * 1e7**-0.35 + 100 * 1e7**-0.45, rel=1e-6
    )


def test_the_same_points_in_the_same_order_give_the_same_bits():
    one, two = (laws.fit(forms.additive(["params", "events"]), ladder(0.01)) for _ in range(2))
    assert one.numbers == two.numbers


def test_a_linear_law_has_the_textbook_intervals():
    """Loss on ln(x) at x = e, e^2, e^3, e^4: slope -1, level 5, residuals +-0.1."""
    x, residual = np.array([1.0, 2, 3, 4]), 0.1 * np.array([1, -1, -1, 1])
    points = Points({"params": np.exp(x)}, 5 - x + residual)
    fit = laws.fit(forms.log_linear(["params"]), points)
    t = 4.302653  # Student's t, 97.5 %, 2 degrees of freedom
    s = np.sqrt(0.04 / 2)
    slope = intervals.coefficients(fit)["slope[params]"]
    assert slope.value == pytest.approx(-1)
    assert slope.high == pytest.approx(-1 + t * s / np.sqrt(5), rel=1e-3)
    # At x = 6: mean 2.5, spread 5, so leverage 1/4 + 3.5^2 / 5.
    leverage = 0.25 + 3.5**2 / 5
    place = {"params": np.exp(6)}
    mean, run = intervals.prediction(fit, place), intervals.prediction(fit, place, runs=1)
    assert mean.high == pytest.approx(-1 + t * s * np.sqrt(leverage), rel=1e-3)
    assert run.low == pytest.approx(-1 - t * s * np.sqrt(1 + leverage), rel=1e-3)
    three = intervals.prediction(fit, place, runs=3)
    assert three.low == pytest.approx(-1 - t * s * np.sqrt(1 / 3 + leverage), rel=1e-3)


def test_planted_exponents_lie_in_their_intervals():
    """Twenty draws here; benchmarks/planted_laws.py makes a hundred of every law."""
    held = 0
    for seed in range(20):
        fit = laws.fit(forms.additive(["params", "events"]), ladder(0.005, seed))
        found = intervals.coefficients(fit)
        held += found["exponent[params]"].holds(0.35) + found["exponent[events]"].holds(0.45)
    assert held >= 35  # of 40; fewer has probability 0.01 at 95 %


def test_an_exponent_that_the_points_do_not_bound_has_an_open_interval():
    x = np.array([1.0, 1.1, 1.2, 1.3, 1.4])
    loss = 5 - 0.01 * np.log(x) + 0.01 * np.array([1, -1, 0.5, -1, 0.5])
    fit = laws.fit(forms.additive(["params"]), Points({"params": x}, loss))
    found = intervals.coefficients(fit)["exponent[params]"]
    assert found.low is None
    assert found.high is None


def test_a_bootstrap_draws_rungs_and_seeds_and_repeats_itself():
    fit = laws.fit(forms.additive(["params", "events"]), ladder(0.005))
    place = {"params": 1e6, "events": 1e6}
    one, two = (
        intervals.bootstrap(fit, [place], np.random.default_rng(3), resamples=20) for _ in range(2)
    )
    assert one.interval("exponent[params]") == two.interval("exponent[params]")
    low, high = one.interval("exponent[params]")
    assert low < 0.35 < high
    assert one.predictions[0].std() > 0


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"params": [1.0, 1, 1, 1, 1, 1]}, "needs runs that differ in params"),
        ({"params": [1.0, 2, 1, 2, 1, 2]}, "2 values of params tell no exponent"),
        ({"params": [1.0, 2, 3, 3, 3, 3]}, "3 numbers from 3 rungs"),
    ],
)
def test_a_law_that_the_points_cannot_tell_is_refused(axes: dict[str, list[float]], message: str):
    points = Points({name: np.array(v) for name, v in axes.items()}, np.ones(6))
    with pytest.raises(LawError, match=message):
        laws.fit(forms.additive(["params"]), points)


def test_losses_and_axes_must_be_numbers():
    with pytest.raises(ValueError, match="axis params"):
        Points({"params": np.array([0.0])}, np.ones(1))
    with pytest.raises(ValueError, match="finite"):
        Points({"params": np.ones(1)}, np.array([np.nan]))


def test_seed_noise_is_pooled_over_rungs():
    """Two rungs of two runs, 0.2 and 0.4 apart: variances 0.02 and 0.08, mean 0.05."""
    points = Points({"params": np.array([1.0, 1, 2, 2])}, np.array([1.0, 1.2, 2.0, 2.4]))
    noise = seed_noise(points)
    assert noise == Noise(pytest.approx(0.05**0.5), 2)
    assert seed_noise(points.take(np.array([0, 2]))) is None


def test_the_broken_power_bends_where_it_says():
    """Far below the break the slope is the first exponent, far above the second."""
    form = forms.broken_power("flops")
    shape = np.array([0.1, 0.5, np.log(1e3)])
    x = np.array([1.0, 2.0, 1e6, 2e6])
    log = np.log(form.terms(shape, {"flops": x})[:, 1])
    assert log[0] - log[1] == pytest.approx(0.1 * np.log(2), rel=1e-3)
    assert log[2] - log[3] == pytest.approx(0.5 * np.log(2), rel=1e-3)


def test_the_performance_law_peaks_where_it_was_published_to():
    """A term w (ln x^w3 + 1/2 x^-w3) turns at x = 2^(-1 / w3): H* = 28 for w3 = -ln 2 / ln 28."""
    form = forms.performance(["depth"], None)
    depth = np.array([27.0, 28.0, 29.0])
    curve = form.terms(np.array([-np.log(2) / np.log(28)]), {"depth": depth})[:, 1]
    assert curve[1] < min(curve[0], curve[2])


def test_a_family_that_does_not_scale_is_said_not_to():
    """Size does nothing, history does a lot; the history's levels must not hide in the noise."""
    size = np.tile([1.0, 2, 4, 8], 2)
    history = np.repeat([10.0, 50.0], 4)
    wobble = 0.01 * np.tile([1, -1, -1, 1], 2)
    points = Points({"params": size, "history": history}, 5 - history / 50 + wobble)
    flat = trends.trend(points, "params", ["history"])
    steep = trends.trend(points, "history", ["params"])
    assert flat is not None
    assert flat.verdict == "does not scale"
    assert flat.per_doubling == pytest.approx(0, abs=1e-9)
    assert steep is not None
    assert steep.verdict == "scales"
    assert trends.trend(points.take(np.array([0])), "params", ["history"]) is None


def test_carrying_the_last_rung_forward_takes_the_nearest_one():
    points = Points({"params": np.array([1.0, 1, 2, 2])}, np.array([5.0, 5.2, 4.0, 4.2]))
    said = rivals.Carried(points, ("params",)).predict({"params": 8.0}, runs=1)
    assert said.value == pytest.approx(4.1)
    assert said.high is not None
    assert said.high > 4.2


def test_rivals_that_cannot_be_told_say_why():
    fitted, refused = rivals.fits(ladder(0.005))
    assert set(fitted) == {"additive power", "log-linear"}
    assert refused == {}
    few = ladder(0.005).take(np.arange(3))  # three sizes at one share
    assert "leave nothing to test" in rivals.fits(few)[1]["additive power"]


def test_isoflop_parabolas_find_the_bottom_of_each_valley():
    """Valleys in ln N around the square root of the budget, exactly parabolic."""
    budget = np.repeat([1e4, 1e6, 1e8], 5)
    size = np.sqrt(budget) * np.tile([0.25, 0.5, 1, 2, 4], 3)
    loss = 3 + np.log(size / np.sqrt(budget)) ** 2
    found = crosschecks.isoflop(Points({"params": size, "flops": budget}, loss))
    assert found.sizes == pytest.approx([1e2, 1e3, 1e4])
    assert found.exponent.value == pytest.approx(0.5)
    with pytest.raises(LawError, match="needs 3 budgets"):
        crosschecks.isoflop(Points({"params": size[:10], "flops": budget[:10]}, loss[:10]))


def test_the_joint_fit_agrees_where_there_is_no_noise():
    robust = crosschecks.joint(ladder(), ["params", "events"])
    assert robust["exponent[params]"] == pytest.approx(0.35, abs=0.02)
    assert robust["E"] == pytest.approx(5, abs=0.1)


def test_loss_to_metric_is_a_line_in_the_logarithm():
    loss = np.array([5.0, 5.1, 5.2, 5.3, 5.4])
    found = link.link(loss, np.exp(2 - loss), [])
    assert (found.rate, found.spearman) == (pytest.approx(1), pytest.approx(-1))
    assert found.predict(4.9).value == pytest.approx(np.exp(2 - 4.9))


def test_loss_to_metric_is_refused_where_the_order_flips():
    """Two budgets: between them lower loss is better, inside the second it is worse."""
    loss = np.concatenate([np.linspace(6, 6.4, 5), np.linspace(5, 5.4, 5)])
    metric = np.concatenate([np.linspace(0.05, 0.04, 5), np.linspace(0.09, 0.1, 5)])
    slices = [np.arange(5), np.arange(5, 10)]
    link.link(loss, metric, [slices[0]])
    with pytest.raises(LawError, match=r"flips.*\+1\.00 inside a slice of 5"):
        link.link(loss, metric, slices)
    with pytest.raises(LawError, match="lower loss is not better"):
        link.link(loss, loss / 100, [])
