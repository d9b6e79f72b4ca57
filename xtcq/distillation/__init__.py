"""What the student learns from the teacher: losses, layer maps, layer reduction and the stages of a training plan."""

from xtcq.distillation.layers import SELECTIONS, LayerMap, check_layers, reduce_layers, select_layers
from xtcq.distillation.losses import DistillationLoss, attention_loss, hidden_loss, logit_loss
from xtcq.distillation.stages import PLANS, Stage, explore_then_refine, finetune, one_stage, three_stage, two_stage
