import pytest

from recscale.report.verdict import markdown, verdicts

METRIC = "metrics.retrieval.ndcg@10"


def runs(control: str, kind: str, values: list[float]):
    return [
        {
            "seed": seed,
            "config": {
                "data": {"source": "synthetic", "control": control},
                "model": {"name": "hstu", "forgetting": {"kind": kind}},
                "seed": seed,
            },
            "metrics": {"retrieval": {"ndcg@10": value}},
        }
        for seed, value in enumerate(values)
    ]


def judge(plain, permuted=None, hour=None):
    """The verdict on a gain of `plain` and what is left of it under two controls."""
    records = runs("none", "none", [0.10, 0.12, 0.11])
    records += runs(
        "none", "mixture", [v + g for v, g in zip([0.10, 0.12, 0.11], plain, strict=True)]
    )
    for control, gain in (("permute_gaps", permuted), ("hour", hour)):
        if gain is not None:
            records += runs(control, "none", [0.10, 0.10, 0.10])
            records += runs(control, "mixture", [0.10 + gain, 0.101 + gain, 0.099 + gain])
    (verdict,) = verdicts(records, METRIC)
    return verdict


GAIN = [0.02, 0.022, 0.018]


@pytest.mark.parametrize(
    ("plain", "permuted", "hour", "said"),
    [
        (GAIN, 0.0, 0.019, "forgetting"),
        (GAIN, 0.015, 0.019, "not forgetting: it survives permuted gaps"),
        (GAIN, 0.0, 0.001, "session structure: it dies at an hour"),
        ([0.02, -0.02, 0.001], 0.0, 0.0, "no gain"),
        ([-0.02, -0.022, -0.018], 0.0, 0.0, "worse"),
        (GAIN, None, None, "a gain, not controlled"),
    ],
)
def test_the_verdict_follows_the_rule(plain, permuted, hour, said):
    assert judge(plain, permuted, hour).said == said


def test_a_gain_is_paired_by_seed_and_carries_its_error():
    gain = judge(GAIN).gains["none"]
    assert gain.mean == pytest.approx(0.02)
    assert gain.error == pytest.approx(0.002 / 3**0.5)
    assert gain.seeds == 3


def test_one_seed_decides_nothing():
    records = runs("none", "none", [0.1]) + runs("none", "mixture", [0.3])
    assert verdicts(records, METRIC)[0].said == "one seed only"


def test_runs_with_other_settings_are_never_set_against_each_other():
    records = runs("none", "none", [0.1, 0.1]) + runs("none", "mixture", [0.3, 0.3])
    for record in records[2:]:
        record["config"]["model"]["width"] = 128
    assert verdicts(records, METRIC) == []


def test_the_table_has_one_row_a_kind_and_says_what_was_not_run():
    table = markdown([judge(GAIN, permuted=0.0)])
    assert "| synthetic | hstu | mixture | 0.1100 | +0.0200 ± 0.0012 |" in table
    assert "| – | – | 3 | a gain, not controlled |" in table
