"""What decides the arithmetic of a training run and is not a field of an experiment: part of a Record's identity."""

# Raised by hand whenever the arithmetic of training changes, so that results before and after are never taken for
# results of one method. 1: Records of schema 1. 2: lengths rounded to steps, evaluations at the same steps for every
# plan, best over the whole plan, a refinement of fixed length after learned widths.
METHOD = 2

# XTC's public training script (DeepSpeedExamples, compression/bert/run_glue_no_trainer.py L440-465 and its configs):
# AdamW with transformers' former epsilon, decoupled decay of everything but biases and LayerNorm, global clipping.
WEIGHT_DECAY, ADAM_EPSILON, MAX_GRAD_NORM = 0.01, 1e-6, 1.0
# XTC, Appendix B.1: linear decay after a warm-up of 10% of the training time.
WARMUP = 0.1
