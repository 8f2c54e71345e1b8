import pytest

from recscale.models.installed import fault, installed

GOOD = {"torch": "2.13.0+cpu", "torchrec": "1.8.0", "fbgemm-gpu-cpu": "1.8.0"}


def test_this_environment_is_in_order():
    assert fault(installed()) is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fbgemm-gpu": "1.8.0"}, "overwrite each other"),
        ({"torch": "2.12.1"}, "torchrec 1.8.0 needs torch 2.13, found 2.12.1"),
        ({"fbgemm-gpu-cpu": "1.7.0"}, "does not match fbgemm-gpu-cpu 1.7.0"),
    ],
)
def test_a_mismatch_is_named_with_its_mend(change: dict[str, str], named: str):
    told = fault(GOOD | change)
    assert told is not None
    assert named in told
    assert "make setup" in told


def test_a_missing_package_is_named():
    assert "torchrec: not installed" in (fault({"torch": "2.13.0"}) or "")
