"""Kernels forked from one process that has imported what all notebooks import, which takes each of them many seconds.

    python workflow/kernels.py serve MODULE...
        prints where to ask, imports the modules, and forks a kernel when asked
    python workflow/kernels.py start ADDRESS CONNECTION_FILE ARGUMENT...
        asks for a kernel, and lives as long as it does

Jupyter takes the second process for the kernel: it passes on interrupts, ends when the kernel ends, and when it or its
parent is killed the kernel ends too. The first ends, and with it its kernels, when its standard input is closed.

Only the standard library is imported here before the fork: the process that asks should start at once.
"""

import atexit
import gc
import importlib
import json
import logging
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import warnings


def serve(modules: list[str]) -> tuple[socket.socket, set[str]] | None:
    """Import modules, then fork a kernel for each connection to a Unix socket, until standard input ends.

    Args:
        modules: to import; one that fails is left to the notebook that wants it.

    Returns:
        In a forked process, the connection to who asked for it, and the names in the environment that are not this
        kernel's; at the end, nothing.
    """
    own, path = set(os.environ), list(sys.path)
    # A kernel sets it before it imports anything; Matplotlib reads it when it is imported.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    warnings.filterwarnings("ignore", "IProgress not found")  # see execute.py
    # Threads that libraries start when they are imported wait for work, and hold nothing that a fork would need.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    folder = tempfile.mkdtemp(prefix="xtcq-")  # not one that takes itself away: that of a fork would
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    server = os.getpid()
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(address := f"{folder}/kernels")
            listening.listen()
            print(address, flush=True)  # before the imports: who asks early waits
            for name in ("ipykernel.kernelapp", *modules):
                try:
                    importlib.import_module(name)
                except Exception as error:
                    print(f"kernels: {name}: {error!r}", file=sys.stderr)
            sys.path[:] = path
            gc.freeze()
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for kernels
            while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
                asked, _ = listening.accept()
                # Who sends nothing only asked whether there is somebody.
                if asked.recv(1, socket.MSG_PEEK) and os.fork() == 0:
                    return asked, own
                asked.close()
        return None
    finally:
        if os.getpid() == server:
            shutil.rmtree(folder)


def become_kernel(asked: socket.socket, not_its_own: set[str]) -> None:
    """Be the kernel of the process that asked: in its folder, with its environment and its output."""
    # Its two files of output come along with the length of the request.
    length, outputs, _, _ = socket.recv_fds(asked, 4, 2)
    request = json.loads(asked.recv(int.from_bytes(length), socket.MSG_WAITALL))
    with open(os.devnull) as nothing:
        for stream, file in enumerate((nothing.fileno(), *outputs)):
            os.dup2(file, stream)
    for file in outputs:
        os.close(file)
    os.setsid()
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    # What imports have set stays.
    for name in not_its_own - set(request["environment"]):
        del os.environ[name]
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    # Python sees to its own generator.
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "torch" in sys.modules:
        sys.modules["torch"].seed()
    asked.sendall(os.getpid().to_bytes(4))
    threading.Thread(target=_end_with, args=(asked,), daemon=True).start()

    from ipykernel.kernelapp import IPKernelApp

    app, errors = IPKernelApp.instance(parent_handle=os.getppid()), sys.stderr  # the parent whose end it looks out for
    app.initialize(["-f", request["connection"], *request["arguments"]])
    # What libraries log goes where the kernel shows it, and not to the stream that was there when they were imported.
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and handler.stream is errors:
                handler.setStream(sys.stderr)
    app.start()
    # As processes of `multiprocessing` end: a library's own exit may wait for threads that are not in a fork.
    atexit._run_exitfuncs()
    os._exit(0)


def _end_with(asked: socket.socket) -> None:
    """End this process, and those it started, when the one that asked for it has ended."""
    asked.recv(1)
    os.killpg(0, signal.SIGKILL)


def start(address: str, connection: str, arguments: list[str]) -> int:
    """Ask for a kernel and stay until it ends, or the process that wants it.

    Returns:
        The exit status, 1: none is said of a kernel that ends.
    """
    parent = os.getppid()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        wanted = {"connection": connection, "arguments": arguments}
        said = json.dumps(wanted | {"folder": os.getcwd(), "environment": dict(os.environ)}).encode()
        socket.send_fds(server, [len(said).to_bytes(4)], [1, 2])
        server.sendall(said)
        if kernel := int.from_bytes(server.recv(4, socket.MSG_WAITALL)):
            signal.signal(signal.SIGINT, lambda *_: os.killpg(kernel, signal.SIGINT))
            while os.getppid() == parent and not select.select([server], [], [], 1)[0]:
                pass
    return 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", *modules]:
            del sys.path[0]  # this folder, which no notebook imports from
            if asked := serve(modules):
                become_kernel(*asked)
        case ["start", address, connection, *arguments]:
            sys.exit(start(address, connection, arguments))
        case _:
            sys.exit(__doc__)
