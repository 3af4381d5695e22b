"""Counters as the kernel shows them: a folder per processor, parts of it beside."""

import pytest

from resnet_mlflow.energy import EnergyMeter


@pytest.fixture
def counters(tmp_path):
    """Set the counters of two processors; gives their folder."""

    def set_to(*microjoules):
        for number, value in enumerate(microjoules):
            for name in (f"intel-rapl:{number}", f"intel-rapl:{number}:0"):
                (tmp_path / name).mkdir(exist_ok=True)
                (tmp_path / name / "energy_uj").write_text(f"{value}\n")
                (tmp_path / name / "max_energy_range_uj").write_text("10000000\n")
        return tmp_path

    return set_to


def test_joules_are_what_counters_rose_by_also_where_they_start_again(counters):
    meter = EnergyMeter(counters(1_000_000, 9_000_000))
    counters(3_000_000, 9_500_000)
    meter.look()
    counters(4_000_000, 500_000)
    # 3 J of the first processor; of the second 0.5 J, and 1 J over its end.
    assert meter.joules() == pytest.approx(4.5)


def test_joules_are_unknown_where_nothing_can_be_read(tmp_path):
    assert EnergyMeter(tmp_path).joules() is None
    (tmp_path / "intel-rapl:0").mkdir()
    assert EnergyMeter(tmp_path).joules() is None
