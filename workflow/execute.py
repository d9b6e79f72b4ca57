"""Executes one notebook: parameters checked before a kernel starts, a page only if every cell succeeded."""

import ast
import itertools
import logging
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import nbformat
import papermill
import typer
from dependencies import digest
from filelock import FileLock, Timeout
from jupyter_client import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError
from pydantic import TypeAdapter, ValidationError
from traitlets.config import Config

from xtcq.files import parse_json, whole_file

_KERNELS = "XTCQ_KERNELS"  # socket of the process that forks kernels, see kernels.py
_TYPES = {kind.__name__: kind for kind in (int, float, bool, str, list, dict)}


class ParameterError(ValueError):
    """A parameter that the notebook does not declare, a value of another type, or a template that declares badly."""


def _type_of(annotation: str) -> TypeAdapter:
    """The type that an annotation of a parameters cell names, which JSON must be able to say."""
    try:
        return TypeAdapter(eval(annotation, {"__builtins__": _TYPES}))
    except (NameError, TypeError, SyntaxError):
        raise ParameterError(
            f"the annotation {annotation!r} is not one of int, float, bool, str, list[...], dict[str, ...]: "
            "write the parameters cell with those"
        ) from None


def check_parameters(notebook: Path, parameters: dict[str, Any]) -> None:
    """Compares parameters with what the notebook's parameters cell declares.

    papermill itself only warns of an unknown name, and turns what it cannot translate into a string.

    Raises:
        ParameterError: for an unknown name, a value of another type, or a declaration that is not an annotated literal.
    """
    if "kernelspec" not in nbformat.read(notebook, as_version=4).metadata:
        raise ParameterError(f"{notebook}: metadata.kernelspec is missing: nbstripout takes outputs away and keeps it")
    declared = papermill.inspect_notebook(str(notebook))
    known = ", ".join(f"{p['name']}: {p['inferred_type_name']} = {p['default']}" for p in declared.values()) or "none"
    for p in declared.values():
        try:
            ast.literal_eval(p["default"])
        except (ValueError, SyntaxError):
            raise ParameterError(
                f"{notebook}: the parameter {p['name']!r} is set to {p['default']!r}, which is computed, so it would "
                "keep its old value when another parameter is given: parameters are literals, compute in a later cell"
            ) from None
        if p["inferred_type_name"] == "None":
            raise ParameterError(
                f"{notebook}: the parameter {p['name']!r} has no type: write {p['name']}: <type> = ..."
            )
    for name, value in parameters.items():
        if name not in declared:
            raise ParameterError(f"{notebook}: unknown parameter {name!r} = {value!r}; the notebook declares: {known}")
        annotation = declared[name]["inferred_type_name"]
        try:
            _type_of(annotation).validate_python(value, strict=True)
        except ValidationError:
            raise ParameterError(
                f"{notebook}: {name!r} = {value!r} is of type {type(value).__name__}; the notebook declares "
                f"{name}: {annotation} = {declared[name]['default']}"
            ) from None


@contextmanager
def one_gpu(locks: Path) -> Iterator[None]:
    """Holds one card of this machine for the kernel, when the machine has cards and nobody has chosen one yet.

    A scheduler such as SLURM sets CUDA_VISIBLE_DEVICES itself, and then this does nothing.

    Args:
        locks: folder of the lock files, one a card, shared by the executions that run side by side.
    """
    cards = len(list(Path("/dev").glob("nvidia[0-9]*")))
    if not cards or "CUDA_VISIBLE_DEVICES" in os.environ:
        yield
        return
    for card in itertools.cycle(range(cards)):
        lock = FileLock(locks / f"gpu{card}.lock")
        try:
            lock.acquire(blocking=False)
            break
        except Timeout:
            time.sleep(1)
    os.environ["CUDA_VISIBLE_DEVICES"] = str(card)
    try:
        yield
    finally:
        del os.environ["CUDA_VISIBLE_DEVICES"]
        lock.release()


class _Forked(AsyncKernelManager):
    """Asks for a kernel that has its imports behind it."""

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        kernels = Path(__file__).with_name("kernels.py")
        asking = [sys.executable, "-IS", str(kernels), "start", os.environ[_KERNELS], self.connection_file]
        return [*asking, *(extra_arguments or ())]


def _kernels_are_forked() -> bool:
    """Whether there is a process to ask for kernels, and it lives."""
    with socket.socket(socket.AF_UNIX) as server:
        return _KERNELS in os.environ and server.connect_ex(os.environ[_KERNELS]) == 0


def _without_blank_lines(record: logging.LogRecord) -> bool:
    record.msg, record.args = record.getMessage().rstrip(), None
    return bool(record.msg)


@contextmanager
def _logging_to(log: Path, name: str) -> Iterator[None]:
    """Sends papermill's log, with what the cells print, to a file and to the terminal."""
    logger = logging.getLogger("papermill")
    logger.setLevel(logging.INFO)
    to_file, to_terminal = logging.FileHandler(log, mode="w", encoding="utf-8"), logging.StreamHandler(sys.stdout)
    to_file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    to_terminal.setFormatter(logging.Formatter(f"{name}: %(message)s"))
    for handler in (to_file, to_terminal):
        handler.addFilter(_without_blank_lines)
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in (to_file, to_terminal):
            logger.removeHandler(handler)
        to_file.close()


def _tidy(notebook: nbformat.NotebookNode, parameters: dict[str, Any], made_by: str) -> nbformat.NotebookNode:
    """Removes times, paths and random ids, so that an unchanged page gives an unchanged file.

    Args:
        notebook: as papermill wrote it.
        parameters: that it was given.
        made_by: digest of the code that made it, see ``dependencies.digest``.
    """
    notebook.metadata.papermill = {"parameters": parameters}
    notebook.metadata.xtcq = {"code": made_by}
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", ()):
            cell.id = "injected-parameters"
    return notebook


def execute(template: Path, output: Path, log: Path, parameters: dict[str, Any] | None = None, code: str = "") -> Path:
    """Executes a notebook and puts the result in place only if every cell succeeded.

    While it runs, and for ever if it fails, the notebook lies beside the log (`.partial.ipynb`, `.failed.ipynb`); an
    earlier result in `output` is left as it was.

    Args:
        template: the clean notebook.
        output: where the executed notebook goes, by rename.
        log: the text log; what the cells print appears there as it is printed.
        parameters: JSON values by name; see `check_parameters`.
        code: digest of the code behind the page, where it is known: to find it takes two seconds.

    Raises:
        ParameterError: before a kernel starts.
        papermill.exceptions.PapermillExecutionError: from the first cell that fails.
    """
    parameters = parameters or {}
    check_parameters(template, parameters)
    made_by = code or digest(template, template.resolve().parents[1])
    log.parent.mkdir(parents=True, exist_ok=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial, failed = log.with_suffix(".partial.ipynb"), log.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    # Executions side by side race for TCP ports, so each kernel has its own sockets in its own folder.
    with (
        _logging_to(log, template.stem),
        one_gpu(log.parent),
        tempfile.TemporaryDirectory(prefix="xtcq-") as folder,
    ):
        config = Config()
        config.KernelManager.transport = "ipc"
        config.KernelManager.connection_file = str(Path(folder) / "kernel.json")
        if _kernels_are_forked():
            config.NotebookClient.kernel_manager_class = _Forked
        try:
            papermill.execute_notebook(
                str(template),
                str(partial),
                parameters=parameters,
                kernel_name="python3",
                progress_bar=False,
                log_output=True,
                start_timeout=600,  # on a new machine the first imports are compiled
                config=config,
            )
        except BaseException:
            if partial.exists():
                partial.replace(failed)
            raise
    notebook = _tidy(nbformat.read(partial, as_version=4), parameters, made_by)
    with whole_file(output) as complete:
        nbformat.write(notebook, complete)
    partial.unlink()
    return output


def parse_parameters(text: str) -> dict[str, Any]:
    """Reads a JSON object of parameters.

    Raises:
        ParameterError: for anything else, NaN and Infinity included.
    """
    try:
        parameters = parse_json(text)
    except ValueError as error:
        raise ParameterError(f"the parameters {text!r} are not JSON ({error}): write '{{\"name\": value}}'") from None
    if not isinstance(parameters, dict):
        raise ParameterError(f"the parameters {text!r} are not a JSON object: write '{{\"name\": value}}'")
    return parameters


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    template: Annotated[Path, typer.Argument(help="the clean notebook", exists=True, dir_okay=False)],
    output: Annotated[Path, typer.Argument(help="where the executed notebook goes")],
    log: Annotated[Path, typer.Option(help="text log; a failed notebook stays beside it")],
    parameters: Annotated[str, typer.Option(help="JSON object")] = "{}",
    code: Annotated[str, typer.Option(help="digest of the code behind the page, if it is known")] = "",
) -> None:
    """Execute one notebook with papermill, strictly."""
    # tqdm asks every kernel for widgets; a page is better off with plain lines, and without the warning.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")
    try:
        execute(template, output, log, parse_parameters(parameters), code)
    except ParameterError as error:
        raise SystemExit(f"error: {error}") from None
    except PapermillExecutionError as error:
        raise SystemExit(
            f"error: {template}: cell {error.exec_count} failed: {error.ename}: {error.evalue}\n"
            f"the partial notebook is {log.with_suffix('.failed.ipynb')}, the log {log}"
        ) from None


if __name__ == "__main__":
    app()
