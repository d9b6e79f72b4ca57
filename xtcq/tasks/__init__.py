"""Tasks: what they are, where their data come from, how they are encoded and scored."""

from xtcq.tasks.augmentation import load_augmented_task
from xtcq.tasks.encoding import EncodedDataset, encode
from xtcq.tasks.metrics import compute_metrics, glue_average
from xtcq.tasks.own import own_task
from xtcq.tasks.sources import TASKS, load_task, task_spec
from xtcq.tasks.spec import Task, TaskSpec

__all__ = [
    "TASKS",
    "EncodedDataset",
    "Task",
    "TaskSpec",
    "compute_metrics",
    "encode",
    "glue_average",
    "load_augmented_task",
    "load_task",
    "own_task",
    "task_spec",
]
