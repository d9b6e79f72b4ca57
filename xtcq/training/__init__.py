"""Training: a plan of stages in, a trained student out.

Everything about the loop itself (optimizer, schedule, devices, checkpoints, resuming) is transformers' ``Trainer``.
What is added is a loss that looks at a teacher, batches whose order survives an interruption, and a history that says
what every point of a curve cost.
"""

from xtcq.training.plan import Paused, TrainingResult, distillation_loss, train
from xtcq.training.settings import ADAM_EPSILON, MAX_GRAD_NORM, WARMUP, WEIGHT_DECAY, TrainSettings
from xtcq.training.teacher import TeacherWarning
from xtcq.training.trainer import DistillationTrainer
