import json
from dataclasses import replace

from xtcq.study import Experiment, gathering, record_path, run, stored
from xtcq.study.records import save_record

TEACHER = Experiment(task="mrpc", epochs=2, learning_rate=1e-3, evaluations=2)
STUDENT = Experiment(
    task="mrpc", epochs=2, learning_rate=1e-3, evaluations=2, precision="1-1-8", stages="two-stage", teacher=TEACHER
)


def test_a_page_is_drawn_from_a_grid_and_its_teachers(small_world, trainings):
    other = replace(STUDENT, seed=7)
    assert gathering.gather([STUDENT, other], train=False) == ([], []) and not trainings
    students, teachers = gathering.gather([STUDENT, other], train=True)
    assert [r.experiment for r in students] == [STUDENT, other] and [r.experiment for r in teachers] == [TEACHER]
    record_path(other).unlink()
    assert gathering.gather([STUDENT, other], train=False) == (students[:1], teachers) and len(trainings) == 3
    record_path(TEACHER).unlink()
    assert gathering.gather([STUDENT, other], train=False) == (students[:1], [])


def test_a_chain_of_teachers_ends_in_one(small_world):
    small = replace(STUDENT, precision="32-32-32", stages="one-stage", layers=(1,))
    taught_by_it = replace(STUDENT, teacher=small)
    assert gathering.full_teachers([taught_by_it, STUDENT, TEACHER]) == [TEACHER]


def test_stored_trains_nothing(small_world, trainings):
    record = run(TEACHER)
    assert stored([STUDENT, TEACHER]) == [record] and trainings == [TEACHER.digest]


def test_an_old_record_is_drawn_where_there_is_no_new_one(folders, make_record):
    old = make_record(task="mrpc", precision="2-2-8")
    fields = json.loads(old.to_json())
    for name in ("settings", "method", "predictions", "compute", "data", "content", "exploration"):
        del fields[name]
    folder = folders / "records" / "schema-1"
    folder.mkdir(parents=True)
    (folder / "0.json").write_text(json.dumps(fields | {"schema": 1}))
    (found,) = stored([old.experiment])
    assert found.schema == 1 and found.best == old.best and found.predictions is None
    save_record(old)
    assert stored([old.experiment]) == [old]
