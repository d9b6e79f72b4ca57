"""Tasks: what they are, where their data come from, how they are encoded and scored."""

from typing import TYPE_CHECKING

from xtcq.lazy import on_demand

if TYPE_CHECKING:
    from xtcq.tasks.augmentation import load_augmented_task
    from xtcq.tasks.dataset import EncodedDataset
    from xtcq.tasks.encoding import encode
    from xtcq.tasks.metrics import chance_level, compute_metrics, has_learned, least_score, standard_error
    from xtcq.tasks.own import own_task
    from xtcq.tasks.sources import TASKS, data_digest, load_task, task_spec
    from xtcq.tasks.spec import QuestionSpec, Task, TaskSpec
    from xtcq.tasks.squad import checked_questions, score_answers

__getattr__, __dir__ = on_demand(
    __name__,
    ("spec", "augmentation", "dataset", "encoding", "metrics", "sources", "squad", "own"),
)

__all__ = [
    "TASKS",
    "EncodedDataset",
    "QuestionSpec",
    "Task",
    "TaskSpec",
    "chance_level",
    "checked_questions",
    "compute_metrics",
    "data_digest",
    "encode",
    "has_learned",
    "least_score",
    "load_augmented_task",
    "load_task",
    "own_task",
    "score_answers",
    "standard_error",
    "task_spec",
]
