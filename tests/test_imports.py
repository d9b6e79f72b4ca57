import subprocess
import sys

SCRIPT = """
import sys
absent = ("datasets", "IPython", "papermill", "onnx", "onnxruntime")
sys.modules |= dict.fromkeys(absent)
import xtcq, xtcq.__main__
from xtcq.study import archive, study
"""


def test_what_some_never_use_is_not_needed_to_import_the_package():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
