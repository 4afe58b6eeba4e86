"""The plan of a run: sizes checked where it is made, batches that fit the data and devices."""

import dataclasses

import jax
import pytest
import tiny

from jaxgen.training.plan import Plan, check_plan


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Plan)])
def test_sizes_are_at_least_one(name):
    Plan(**{name: 1})
    least = 0 if name == "batch_size" else 1  # A batch of 0 stands for all examples.
    with pytest.raises(ValueError, match=f"^{name}: {least - 1}, expected at least {least}$"):
        Plan(**{name: least - 1})
    with pytest.raises(ValueError, match=f"^{name}: -2, expected at least {least}$"):
        dataclasses.replace(Plan(), **{name: -2})


@pytest.mark.parametrize(
    ("batch_size", "num", "num_devices", "batches", "expected"),
    [
        (16, 70, 8, 1, 16),
        (16, 70, 8, 3, 48),
        (0, 70, 1, 1, 70),
        (0, 70, 8, 1, 64),
        (0, 70, 8, 3, 48),
        (0, 1, 8, 1, 1),
    ],
)
def test_no_size_is_that_of_all_examples(
    monkeypatch, batch_size, num, num_devices, batches, expected
):
    monkeypatch.setattr(jax, "device_count", lambda: num_devices)
    plan = Plan(batch_size=batch_size).settled(num, batches_per_step=batches)
    assert plan.batch_size == expected
    if batch_size == 0:
        with pytest.raises(ValueError, match=f"^batch_size: 0, expected 1 to {num} "):
            check_plan(Plan(batch_size=0), tiny.make_split(num))


@pytest.mark.parametrize(
    ("num", "num_devices", "batches", "good", "bad"),
    [
        (
            70,
            8,
            1,
            (8, 16, 64),
            {12: "as 8 or 16$", 72: "at most 64", 3: "as 8$", 65: "64"},
        ),
        (70, 1, 1, (1, 13, 70), {71: r"at most 70 \(70 training examples\)"}),
        (70, 8, 8, (8,), {9: r"at most 8 \(70 .*, 8 batches in a step, 8 devices\)", 3: "as 8$"}),
        (7, 8, 1, (), {8: "no batch at all: 7 training examples, 8 devices", 1: "no batch"}),
        (0, 1, 1, (), {1: "no batch at all: 0 training examples"}),
    ],
)
def test_batches_fit_the_data_and_the_devices(monkeypatch, num, num_devices, batches, good, bad):
    monkeypatch.setattr(jax, "device_count", lambda: num_devices)
    split = tiny.make_split(num)
    for size in good:
        check_plan(Plan(batch_size=size), split, batches_per_step=batches)
    for size, message in bad.items():
        with pytest.raises(ValueError, match=f"^batch_size: {size}, .*{message}"):
            check_plan(Plan(batch_size=size), split, batches_per_step=batches)
