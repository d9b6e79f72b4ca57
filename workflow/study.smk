"""A job for every run that is left of a study, or of a table of the papers, whichever --config names."""

from filelock import FileLock, Timeout
from plan import check_plan, write_plan

# What the machine that starts the study has of these, its jobs have too.
settings = ("DATA", "MODELS", "VECTORS", "CACHE", "COMPUTE", "COMMIT")
passed = [name for name in (f"XTCQ_{setting}" for setting in settings) if name in os.environ]

# Jobs read what the first process found left: another look would no longer find what is done by then.
if workflow.is_main_process:
    try:
        write_plan(config, Path("_build/study.json"))
    except (ValueError, OSError) as error:
        named = next(name for name in ("study", "table") if name in config)
        raise WorkflowError(f"--config {named}={config[named]}: {error}") from error


# Files of the configuration also reach machines that share no file system with this one.
configfile: "_build/study.json"


envvars:
    *passed,


records, runs, left = (config["plan"][name] for name in ("records", "runs", "left"))
places = {digest: place for place, digest in enumerate(left)}


def digests(recorded):
    # The rules match what is left and no other file, so nothing that is there can be found stale.
    return "|".join(digest for digest, run in left.items() if run["recorded"] == recorded) or "none"


def needed(wildcards):
    found = left[wildcards.digest]["needs"]
    return [name for digest in found for name in (f"{runs}/{digest}/student.safetensors", f"{records}/{digest}.json")]


def priority(wildcards):
    return len(left) - places[wildcards.digest]


def threads_of_a_run():
    # The cards of a machine share its cores evenly; on a cluster there is no limit of cards, and a job has all `cores`.
    limit = workflow.global_resources.get("gpu")
    return max(1, workflow.cores // max(1, limit and limit.value or 1))


def processes(wildcards, threads):
    return max(1, workflow.cores // threads)


command = (
    "{sys.executable:q} workflow/train.py _build/study.json {wildcards.digest} --processes {params.processes} "
    f"--locks _build/logs/{edition} --weights {{output.weights:q}} --record"
)


onstart:
    # Machines that do not share these files may have what runs read where this one has not.
    if workflow.storage_settings.shared_fs_usage:
        try:
            check_plan(Path("_build/study.json"))
        except (ValueError, OSError) as error:
            raise WorkflowError(str(error)) from None
    # Another study in the same folder would write a Record that a job here takes away to make it again.
    Path(runs).mkdir(parents=True, exist_ok=True)
    study_lock = FileLock(Path(runs, "study.lock"))
    try:
        study_lock.acquire(timeout=0)
    except Timeout:
        raise WorkflowError(
            f"another study works in {runs} ({study_lock.lock_file} is locked): wait for it, or set another XTCQ_RUNS"
        ) from None


localrules:
    study,


rule study:
    input:
        [f"{records}/{digest}.json" for digest, run in left.items() if not run["recorded"]],


rule train:
    input:
        needed,
    params:
        processes=processes,
    output:
        record=f"{records}/{{digest}}.json",
        weights=f"{runs}/{{digest}}/student.safetensors",
    wildcard_constraints:
        digest=digests(recorded=False),
    log:
        "_build/logs/study/{digest}.log",
    priority: priority
    threads: threads_of_a_run()
    resources:
        gpu=1,
    shell:
        command + " {output.record} > {log} 2>&1"


# A run that has its Record, for its weights: the Record is no output, since Snakemake deletes outputs before a job.
rule train_again:
    input:
        needed,
        record=f"{records}/{{digest}}.json",
    params:
        processes=processes,
    output:
        weights=f"{runs}/{{digest}}/student.safetensors",
    wildcard_constraints:
        digest=digests(recorded=True),
    log:
        "_build/logs/study/{digest}.log",
    priority: priority
    threads: threads_of_a_run()
    resources:
        gpu=1,
    shell:
        command + " {input.record} > {log} 2>&1"
