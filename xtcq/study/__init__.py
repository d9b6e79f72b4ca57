"""The study: experiments, their Records, the scales they run at, and the papers they stand beside."""

from xtcq.study.experiment import Experiment
from xtcq.study.profiles import Profile
from xtcq.study.queue import full_teachers, gather, run_all, stored
from xtcq.study.records import Record, RecordError, load_record, record_path, records_folder, runs_folder, save_record
from xtcq.study.runs import run, trained_student
from xtcq.study.scales import load_profile
from xtcq.study.students import build_student, is_trained, load_student
from xtcq.study.study import notebook_grid
