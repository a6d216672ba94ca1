"""The width of a program is chosen by measurement: which widths are compared, what ends that, and the reason given."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from toys import asked

from rljax.engine.machine import Machine
from rljax.engine.plan import Group, Programs, group
from rljax.engine.width import choose_width, training_seconds
from rljax.errors import ConfigError

GIGA = 10**9


class Measured:
    """Stands in for programs: so many bytes and so many seconds an update at each width."""

    def __init__(self, seconds, bytes_a_member=1000):
        self._seconds, self._bytes, self.widths = seconds, bytes_a_member, []
        self.prepared = [SimpleNamespace(algorithm=SimpleNamespace(steps_per_update=100))]

    def of(self, group):
        return SimpleNamespace(bytes=self._bytes * group.width)

    def time(self, _, group):
        self.widths.append(group.width)
        return self._seconds(group.width)


@pytest.fixture
def choose(monkeypatch):
    def choose(seconds, members=256, workers=1, devices=1, limit=GIGA, width=None):
        """The group, and the widths that were measured."""
        measured = Measured(seconds)
        monkeypatch.setattr("rljax.engine.width._time", measured.time)
        planned = Group(list(range(members)), [0], 1000, 10, 1000, width=width or 1)
        machine = Machine(workers, devices, limit)
        return choose_width(measured, planned, 1, machine, None, width is not None), measured.widths

    return choose


def test_a_short_group_is_not_worth_a_comparison(choose):
    found, widths = choose(lambda width: 1e-5)
    assert found.width == 1 and widths == [1] and found.why.startswith("in turn: 2.6 s in all")


def test_each_run_has_a_slot_of_its_own_where_there_are_enough(choose):
    for machine, slot in (({"workers": 4}, "process"), ({"devices": 4}, "device")):
        found, widths = choose(lambda width: 1.0, members=4, **machine)
        assert found.width == 1 and widths == [1] and found.why == f"4 runs, so each has a {slot} of its own"


def test_it_widens_as_long_as_that_is_faster(choose):
    found, widths = choose({1: 1.0, 8: 0.5, 64: 0.2, 256: 0.19}.get)
    assert found.width == 64 and widths == [1, 8, 64, 256] and found.seconds == 0.2 and found.bytes == 64_000
    assert found.why == (
        "64 side by side 500 steps/s, the fastest measured "
        "(in turn 100 steps/s, 8 side by side 200 steps/s, 256 side by side 526 steps/s)"
    )


def test_in_turn_wins_where_side_by_side_is_no_faster(choose):
    found, widths = choose({1: 1.0, 8: 0.95}.get)
    assert found.width == 1 and widths == [1, 8]
    assert found.why == "in turn 100 steps/s, the fastest measured (8 side by side 105 steps/s)"


def test_memory_bounds_the_width(choose):
    found, widths = choose(lambda width: 1 / width, limit=50_000)
    assert widths[-1] <= 50 and found.width == widths[-1] > 8 and found.bytes <= 50_000


def test_workers_share_the_memory(choose):
    alone, _ = choose(lambda width: 1 / width, limit=100_000)
    shared, _ = choose(lambda width: 1 / width, limit=100_000, workers=4)
    assert shared.bytes <= 25_000 and alone.bytes <= 100_000 and shared.width < alone.width


@pytest.mark.parametrize(("members", "slots"), [(100, 1), (100, 2), (96, 4), (17, 2), (65, 1), (1000, 3)])
def test_no_slot_idles_at_the_end(choose, members, slots):
    found, _ = choose(lambda width: 1 / width, members=members, workers=slots)
    shards = len(found.shards([0]))
    assert shards % slots == 0 and shards * found.width - members < shards


def test_a_given_width_is_taken(choose):
    found, widths = choose(lambda width: 1.0, width=5)
    assert (found.width, found.why, found.bytes, widths) == (5, "as given", 5000, [5])


def test_a_given_width_that_does_not_fit_is_refused(choose):
    with pytest.raises(ConfigError, match="width=500: needs 500 kB, 50 kB are free; give a smaller one"):
        choose(lambda width: 1.0, limit=50_000, width=500)


def test_a_group_that_has_a_width_is_left_alone(monkeypatch):
    known = Group([0], [0], 10, 1, 10, width=3, why="because", width_by="machine")
    assert choose_width(None, known, 1, Machine(1, 1, 0), None) is known


def test_a_real_group_is_measured():
    found = asked()
    programs = Programs([row.prepare() for row in found.rows])
    [planned] = group(programs, 2)
    chosen = choose_width(programs, planned, 2, Machine(1, 1, GIGA), found.rows[0])
    assert chosen.seconds > 0 and chosen.bytes == programs.of(chosen).bytes > 0


def test_the_time_it_takes_counts_slots_rounds_and_updates():
    one = Group([0, 1, 2], [0], 100, 10, 100, width=2, seconds=0.5)
    assert training_seconds([one], 4, Machine(1, 1, 0)) == 6 * 2 * 0.5 * 100
    assert training_seconds([one], 4, Machine(4, 1, 0)) == 2 * 2 * 0.5 * 100


def test_a_row_too_big_even_alone_is_refused_with_the_figure_and_the_field(monkeypatch):
    class Sized(Programs):
        """A member takes a kB for every environment and ten for every step."""

        def of(self, group):
            config = self.prepared[group.rows[0]].config
            return SimpleNamespace(bytes=1000 * config["num_envs"] + 10_000 * config["num_steps"])

    monkeypatch.setattr("rljax.engine.width.Programs", Sized)
    found = asked(num_envs=16, num_steps=4)
    programs = Sized([row.prepare() for row in found.rows])
    [planned] = group(programs, 2)
    with pytest.raises(ConfigError) as caught:
        choose_width(programs, planned, 2, Machine(2, 1, 100_000), found.rows[0])
    assert str(caught.value) == (
        "num_steps=4: one run needs 56 kB and 50 kB are free; give a smaller num_steps, or more with memory_limit="
    )
