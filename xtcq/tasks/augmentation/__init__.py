"""Data augmentation: new training sentences by replacing words (TinyBERT's scheme; XTC, Tables C.1 and C.4)."""

from xtcq.tasks.augmentation.augment import Augmentation, augment
from xtcq.tasks.augmentation.candidates import MaskedLM, Neighbours
from xtcq.tasks.augmentation.store import COPIES, SOURCES, augment_task, augmented_folder, load_augmented_task
from xtcq.tasks.augmentation.words import Sentence, Word, find_words
