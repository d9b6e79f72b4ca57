"""Snakemake in processes of its own that need not import it again, which takes several times what they do."""

import multiprocessing
import os
import subprocess

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["snakemake.cli"])


def run(arguments, folder, environment):
    """Run in a process of its own: what it says goes to two files in the folder."""
    from snakemake.cli import main

    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for name, stream in (("stdout", 1), ("stderr", 2)):
        with open(name, "w") as file:
            os.dup2(file.fileno(), stream)
    main(arguments)


def snakemake(*arguments, folder):
    """Run a command line in a folder, as `subprocess.run` does, with this process's environment as it is now."""
    process = CONTEXT.Process(target=run, args=(arguments, folder, dict(os.environ)))
    process.start()
    process.join()
    said = [(folder / name).read_text() for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(arguments, process.exitcode, *said)
