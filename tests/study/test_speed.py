from dataclasses import replace

from xtcq.study import Experiment
from xtcq.study.speed import estimate

TEACHER = Experiment(task="mrpc", epochs=1, learning_rate=1e-3, evaluations=1)


def test_an_estimate_counts_what_is_left(small_world):
    student = replace(TEACHER, stages="one-stage", precision="2-2-8", teacher=TEACHER)
    found = estimate([TEACHER, student])
    assert (found["runs"], found["steps"]) == (2, 24)
    assert 0 < found["hours"] < 1 and found["bytes"] > 0 and found["free"] > 0
