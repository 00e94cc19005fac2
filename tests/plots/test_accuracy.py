"""The figure of accuracies."""

import pytest
from synthetic import TASK, TESTED, add, results_of

from plots import accuracy
from plots.records import NothingToDraw


def test_accuracy_has_a_row_for_each_setting_with_a_mark_for_each_seed(tmp_path):
    losses = [{"kind": "eval", "step": 10, "loss": 0.4}, {"kind": "eval", "step": 20, "loss": 0.5}]
    add(tmp_path, TASK, metrics=TESTED, samples=losses)
    add(tmp_path, TASK | {"data.seed": 43}, metrics=TESTED, repeats=2)
    add(tmp_path, TASK | {"method.lr": 1e-6}, metrics=TESTED)
    add(tmp_path, TASK | {"data.path": "rte"}, metrics=TESTED)  # another task is not in the same figure
    add(tmp_path, TASK | {"method.lr": 1e-4}, state="interrupted", metrics=TESTED)
    add(tmp_path, TASK | {"method.lr": 1e-3})  # not tested
    results = results_of(tmp_path)
    assert {name: len(records) for name, records in accuracy.rows(results).items()} == {"lr 1e-05": 3, "lr 1e-06": 1}
    left, right = accuracy.draw(results)["accuracy"].axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["lr 1e-05", "lr 1e-06"]
    assert left.get_xlabel().endswith("n = 872)")
    curve, kept = right.lines[0], right.lines[1]
    assert list(curve.get_ydata()) == [0.4, 0.5] and list(kept.get_xdata()) == [10]


def test_accuracy_does_not_say_what_nearly_all_rows_have_and_keeps_astray_runs_off_its_scale(tmp_path):
    losses = [{"kind": "eval", "step": 10, "loss": 0.4}, {"kind": "eval", "step": 20, "loss": 0.5}]
    for lr in (1e-6, 2e-6, 3e-6, 4e-6):
        add(tmp_path, TASK | {"method.lr": lr}, metrics=TESTED, samples=losses)
    add(tmp_path, TASK | {"method.lr": 1.0, "method.name": "mezo"}, metrics=TESTED | {"test_accuracy": 0.5},
        samples=[{"kind": "eval", "step": 10, "loss": 2000.0}])
    results = results_of(tmp_path)
    assert list(accuracy.rows(results)) == ["lr 1e-06", "lr 2e-06", "lr 3e-06", "lr 4e-06", "lr 1.0, mezo"]
    left, right = accuracy.draw(results)["accuracy"].axes
    assert [note.get_text() for note in left.texts] == ["50.0"] and left.get_xlim()[0] > 80
    assert right.get_ylim()[1] < 1


def test_accuracy_is_f1_where_answers_were_generated(tmp_path):
    answered = {"test_f1": 0.4, "test_f1_error": 0.02, "test_exact_match": 0.3, "test_examples": 32}
    add(tmp_path, TASK, metrics=answered)
    assert accuracy.draw(results_of(tmp_path))["accuracy"].axes[0].get_xlabel() == "F1, % (+- standard error, n = 32)"


def test_accuracy_needs_a_tested_record(tmp_path):
    add(tmp_path, TASK)
    with pytest.raises(NothingToDraw, match="test_accuracy"):
        accuracy.draw(results_of(tmp_path))
