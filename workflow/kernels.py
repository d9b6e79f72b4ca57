"""Kernels forked from one process that has imported what all notebooks import, which takes each of them many seconds.

    python workflow/kernels.py serve MODULE...                   prints where to ask, imports, and forks when asked
    python workflow/kernels.py start ADDRESS CONNECTION_FILE     asks for a kernel, and lives as long as it does

Jupyter takes the second process for the kernel: it passes on interrupts, ends when the kernel ends, and when it is
killed the kernel ends too. The first ends, and with it its kernels, when its standard input is closed.

Only the standard library is imported here before the fork: the process that asks should start at once.
"""

import gc
import importlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import warnings


def serve(modules: list[str]) -> socket.socket | None:
    """Import modules, then fork a kernel for each connection to a Unix socket, until standard input ends.

    Args:
        modules: to import; one that is not installed is left to the notebook that wants it.

    Returns:
        In a forked process, the connection to who asked for it; at the end, nothing.
    """
    # A kernel sets it before it imports anything; Matplotlib reads it when it is imported.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    warnings.filterwarnings("ignore", "IProgress not found")  # see execute.py
    folder = tempfile.mkdtemp(prefix="xtcq-")  # not one that takes itself away: that of a fork would
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address := f"{folder}/kernels")
        listening.listen()
        print(address, flush=True)  # before the imports: who asks early waits
        for name in ("ipykernel.kernelapp", *modules):
            try:
                importlib.import_module(name)
            except ImportError as error:
                print(f"kernels: {name}: {error}", file=sys.stderr)
        gc.freeze()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for kernels
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            asked, _ = listening.accept()
            if os.fork() == 0:
                return asked
            asked.close()
    shutil.rmtree(folder)
    return None


def become_kernel(asked: socket.socket) -> None:
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
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    asked.sendall(os.getpid().to_bytes(4))
    threading.Thread(target=_end_with, args=(asked,), daemon=True).start()

    from ipykernel.kernelapp import launch_new_instance

    # The parent whose end it looks out for.
    sys.exit(launch_new_instance(["-f", request["connection"]], parent_handle=os.getppid()))


def _end_with(asked: socket.socket) -> None:
    """End this process when the one that asked for it has ended."""
    asked.recv(1)
    os._exit(1)


def start(address: str, connection: str) -> int:
    """Ask for a kernel and stay until it ends; the exit status is 1, since none is said of a kernel that ends."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        request = {"connection": connection, "folder": os.getcwd(), "environment": dict(os.environ)}
        said = json.dumps(request).encode()
        socket.send_fds(server, [len(said).to_bytes(4)], [1, 2])
        server.sendall(said)
        if kernel := int.from_bytes(server.recv(4, socket.MSG_WAITALL)):
            signal.signal(signal.SIGINT, lambda *_: os.kill(kernel, signal.SIGINT))
            server.recv(1)
    return 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", *modules]:
            del sys.path[0]  # this folder, which no notebook imports from
            if asked := serve(modules):
                become_kernel(asked)
        case ["start", address, connection]:
            sys.exit(start(address, connection))
        case _:
            sys.exit(__doc__)
