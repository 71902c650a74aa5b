"""The first process of a node, and the helper that forks it; a script of its own, never imported by `lab`.

Run as `python -I -S -X utf8 nodeinit.py`, standard library only and single-threaded, because PID and mount namespaces
cannot be entered from the threads of `lab` itself. It knows namespaces, mounts and processes; links, addresses, the
journal and everything that has a user's name for it stay on the other side of its sockets (processes.py).

    owner ── control (its standard input) ──> spawner          one per owner, ends when the owner closes control
                                                 │ fork, one per node with processes
    owner <── channel: ready, then the gate ──> init, PID 1     in PID, mount, UTS and IPC namespaces of its own
    client ── node directory/init.sock ───────> init ──> the process: a session of its own, one connection each

All sockets are SOCK_SEQPACKET and carry JSON; `+` stands for descriptors sent with it (SCM_RIGHTS, unix(7)).

    owner → spawner   {node, labs, node_dir, own} + net namespace, channel[, pidfd of the owner: the init dies with it]
                      {node, node_dir, join} + pidfd of a container's first process, channel[, pidfd of the owner]
    init → owner      {} when ready (the kernel adds its pid, SCM_CREDENTIALS) or {errno, message}
    owner → init      one message opens the gate; an end of file before it ends the init
    client → init     {} + memfd of {argv, env, cwd, tty, keep, name}, stdin, stdout, stderr; or {find: name}
    init → client     {pid} + pidfd, or {errno, message, path}; later {status}, negative for a signal
    client → init     {signal: n} for the process group, {end: true} for the session; so does an end of file, without keep

A process with a name is one for the whole life of the node: while it lives no second one starts under that name, and who
finds it is told its pid, or the status with which the last one ended.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import gc
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from lab.substrate import nodejoin, nodeview
else:
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # -I keeps the script's own folder out
    import nodejoin
    import nodeview

    del sys.path[0]

CLONE_NEWPID, TIOCSCTTY = 0x20000000, 0x540E  # linux/sched.h, asm-generic/ioctls.h


def listen(node_dir: str) -> socket.socket:
    """The socket at node_dir/init.sock, reached from inside the directory: a Unix address holds 108 bytes only."""
    os.chdir(node_dir)
    if os.path.lexists("init.sock"):
        os.unlink("init.sock")  # of an init that was killed: who asked for this one holds the directory's lock
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    previous = os.umask(0o177)
    listener.bind("init.sock")
    os.umask(previous)
    listener.listen(512)
    listener.setblocking(False)
    os.chdir("/")
    return listener


# Messages.


def receive(sock: socket.socket, most: int) -> tuple[dict[str, object] | None, list[int]]:
    """One message and at most `most` descriptors; None at the end of file. Raises BlockingIOError where none is there."""
    fds = array.array("i")
    data, ancillary, _, _ = sock.recvmsg(65536, socket.CMSG_SPACE(most * fds.itemsize), socket.MSG_CMSG_CLOEXEC)
    for _, _, sent in ancillary:
        fds.frombytes(sent)
    return (json.loads(data) if data else None), fds.tolist()


def send(sock: socket.socket, message: dict[str, object], fds: Iterable[int] = ()) -> None:
    """Says it to a peer that may be gone: then its end of file comes next and says the rest."""
    with contextlib.suppress(OSError):
        socket.send_fds(sock, [json.dumps(message).encode()], list(fds))


def told(error: BaseException) -> dict[str, object]:
    if isinstance(error, OSError) and error.errno:
        return {"errno": error.errno, "message": error.strerror, "path": str(error.filename or "")}
    return {"errno": errno.EINVAL, "message": str(error), "path": ""}


def poll_of(*fds: int) -> select.poll:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return poll


def children_wake() -> int:
    """A descriptor that is readable once a child has ended."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    return reader


def ended_children(wake: int) -> Iterable[tuple[int, int]]:
    """Reaps: (pid, exit status or negative signal) of every child that has ended, orphans of the node too."""
    with contextlib.suppress(BlockingIOError):
        os.read(wake, 4096)
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status)


# The init.


class Task:
    """One process that a client asked for, from its fork until it is reaped. `clients` are told how it ends."""

    def __init__(self, client: socket.socket, pid: int, keep: bool, name: str | None, outcome: int) -> None:
        self.clients, self.pid, self.name, self.outcome = [client], pid, name, outcome
        self.owner = None if keep else client
        # Now, while nobody can have reaped the child: its number may stand for another one later.
        self.pidfd = os.pidfd_open(pid)

    def answer(self, failure: bytes) -> None:
        """Says how the exec went; what never ran has no name."""
        if failure:
            self.name = None
            self.tell(json.loads(failure))
        else:
            self.tell({"pid": self.pid}, [self.pidfd])
        os.close(self.pidfd)
        os.close(self.outcome)
        self.outcome = -1

    def tell(self, message: dict[str, object], fds: Iterable[int] = ()) -> None:
        for client in self.clients:
            send(client, message, fds)


class Init:
    """Serves init.sock: a poll loop whose every step is short, so that no client and no process can hold it up."""

    def __init__(self, listener: socket.socket, owner: int | None) -> None:
        self.listener = listener
        self.poll = poll_of()
        self.handlers: dict[int, Callable[[], None]] = {}
        self.tasks: dict[int, Task] = {}
        self.ended: dict[str, int] = {}
        self.wake = children_wake()
        self.watch(self.wake, self.reap)
        self.watch(listener.fileno(), self.accept)
        if owner is not None:
            self.watch(owner, lambda: os._exit(0))

    def serve(self) -> None:
        while True:
            for fd, _ in self.poll.poll():
                if handler := self.handlers.get(fd):
                    try:
                        handler()
                    except Exception:  # what one client sent must not end the node
                        sys.excepthook(*sys.exc_info())
                        self.forget(fd)

    def watch(self, fd: int, handler: Callable[[], None]) -> None:
        self.handlers[fd] = handler
        self.poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        if self.handlers.pop(fd, None):
            self.poll.unregister(fd)

    def accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError:  # no descriptor is left: `reap` listens again
            if self.tasks:
                self.forget(self.listener.fileno())
            return
        connection.setblocking(False)
        self.watch(connection.fileno(), lambda: self.request(connection))

    def request(self, connection: socket.socket) -> None:
        """Starts the process that the first message of a connection asks for."""
        try:
            message, fds = receive(connection, 4)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            message, fds = None, []
        self.forget(connection.fileno())
        try:
            if message is not None and len(fds) == 4:
                self.start(connection, fds)
            elif message is not None and "find" in message:
                self.find(connection, str(message["find"]))
            else:
                connection.close()
        except Exception as error:
            send(connection, told(error))
            connection.close()
        finally:
            for fd in fds:
                os.close(fd)

    def find(self, connection: socket.socket, name: str) -> None:
        """Joins the clients of the process of that name."""
        if task := self.named(name):
            task.clients.append(connection)
            self.watch(connection.fileno(), lambda: self.hear(task, connection))
            if task.outcome == -1:  # else the exec is still to be told, to everybody
                pidfd = os.pidfd_open(task.pid)
                send(connection, {"pid": task.pid}, [pidfd])
                os.close(pidfd)
            return
        if name not in self.ended:
            raise FileNotFoundError(errno.ENOENT, "no process was started under this name", name)
        send(connection, {"status": self.ended[name]})
        connection.close()

    def named(self, name: str) -> Task | None:
        return next((task for task in self.tasks.values() if task.name == name), None)

    def start(self, connection: socket.socket, fds: list[int]) -> None:
        """Forks; the answer follows when the exec has closed the pipe, or has written into it what failed."""
        request = json.loads(os.pread(fds[0], os.fstat(fds[0]).st_size, 0))
        name = request["name"]
        if name is not None and self.named(name):
            raise FileExistsError(errno.EEXIST, "a process of this name runs already", name)
        outcome, report = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            pid = os.fork()
            if pid == 0:
                execute(request, fds[1:], report)
        except OSError:
            os.close(outcome)
            raise
        finally:
            os.close(report)
        task = self.tasks[pid] = Task(connection, pid, bool(request["keep"]), name, outcome)
        self.watch(outcome, lambda: self.started(task))
        self.watch(connection.fileno(), lambda: self.hear(task, connection))

    def started(self, task: Task) -> None:
        """The pipe of an exec is closed by it, or holds what failed."""
        if task.outcome == -1:
            return
        try:
            failure = os.read(task.outcome, 65536)
        except BlockingIOError:  # an event of the descriptor that had this number before
            return
        self.forget(task.outcome)
        task.answer(failure)

    def hear(self, task: Task, client: socket.socket) -> None:
        """A later message of a client, or its end; unless a process is kept, its session ends with whoever started it."""
        try:
            message, _ = receive(client, 0)
        except BlockingIOError:
            return
        except OSError:
            message = None
        if message is None:
            self.dismiss(task, client)
        elif message == {"end": True}:
            end_session(task.pid)
        else:
            signal_group(task.pid, int(str(message["signal"])))

    def dismiss(self, task: Task, client: socket.socket) -> None:
        self.forget(client.fileno())
        task.clients.remove(client)
        client.close()
        if task.owner is client:
            end_session(task.pid)

    def reap(self) -> None:
        for pid, status in ended_children(self.wake):
            if task := self.tasks.pop(pid, None):
                self.started(task)  # a process may end before its start was told
                if task.name is not None:
                    self.ended[task.name] = status
                task.tell({"status": status})
                for client in task.clients:
                    self.forget(client.fileno())
                    client.close()
                self.watch(self.listener.fileno(), self.accept)


def signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def end_session(session: int) -> None:
    """SIGKILL to every process group of the session, until there is none that was not told.

    By groups, because kill(2) of a group is atomic against fork(2); the leader first, which may not have made its session
    yet. It is not reaped, so that the number is still its own. What has left by setsid(2) ends with the node.
    """
    os.kill(session, signal.SIGKILL)
    told_groups: set[int] = set()
    groups = {session}
    while groups:
        for group in groups:
            signal_group(group, signal.SIGKILL)
        told_groups |= groups
        groups = groups_of(session) - told_groups


def groups_of(session: int) -> set[int]:
    """The process groups of a session (fields 5 and 6 of /proc/PID/stat, counted behind the name)."""
    found = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as stat:
                    fields = stat.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session:
                found.add(int(fields[2]))
    return found


def execute(request: dict[str, object], stdio: list[int], report: int) -> None:
    """In the child of a fork: becomes the process asked for, or reports why not; never returns."""
    try:
        become(request, stdio)
    except BaseException as error:
        os.write(report, json.dumps(told(error)).encode())
    finally:
        os._exit(127)


def become(request: dict[str, object], stdio: list[int]) -> None:
    """Every other descriptor of the init closes on exec, and every signal but two is as the kernel made it."""
    argv, env, cwd = request["argv"], request["env"], request["cwd"]
    assert isinstance(argv, list) and isinstance(env, dict) and isinstance(cwd, str)
    os.setsid()
    for number, fd in enumerate(stdio):
        os.dup2(fd, number)
    if request["tty"]:
        nodeview.checked(nodeview.LIBC.ioctl(0, ctypes.c_ulong(TIOCSCTTY), 0), "take the terminal")
    try:
        os.chdir(cwd)
    except OSError as error:
        raise OSError(error.errno, f"cannot enter the working directory: {error.strerror}", cwd) from None
    if JOINED:
        JOINED[0].become()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores both, and exec(2) would keep that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as error:  # it names the last directory that was searched
        raise OSError(error.errno, f"cannot execute: {error.strerror}", argv[0]) from None


JOINED: list[nodejoin.Joined] = []
"""In the init of a container: what everything that it starts becomes."""


def replace(number: int, path: str) -> None:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(fd, number)
    os.close(fd)


def init(request: dict[str, object], fds: list[int]) -> None:
    """The life of an init, from its fork on."""
    os.setsid()
    os.closerange(3, min(fds))  # the spawner's own were there first
    replace(0, os.devnull)
    where, gate, *owner = fds
    channel = socket.socket(fileno=gate)
    node_dir = str(request["node_dir"])
    try:
        replace(2, f"{node_dir}/init.log")
        listener = listen(node_dir)  # now, for the node does not see the labs' directories
        (enter_container if "join" in request else enter_node)(request, where)
    except Exception as error:
        send(channel, told(error))
        return
    os.close(where)
    if gate_opens(channel, owner):
        Init(listener, owner[0] if owner else None).serve()


def enter_node(request: dict[str, object], netns: int) -> None:
    own = request["own"]
    assert isinstance(own, list)
    nodeview.enter_node(netns, str(request["node"]), str(request["labs"]), [(source, place) for source, place in own])


def enter_container(request: dict[str, object], pidfd: int) -> None:
    wish = request["join"]
    assert isinstance(wish, dict)
    JOINED.append(nodejoin.Joined(wish["uid"], wish["gid"], wish["groups"], wish["cgroups"]))
    nodejoin.enter(pidfd, str(request["node"]), wish["bounding"])


def gate_opens(channel: socket.socket, owner: list[int]) -> bool:
    """Whether the owner has written down who this process is; not if it died before."""
    send(channel, {})
    poll_of(channel.fileno(), *owner).poll()
    with channel, contextlib.suppress(OSError):
        return channel.recv(16, socket.MSG_DONTWAIT) != b""
    return False


# The spawner.


def fork_init(own_pid_namespace: int, request: dict[str, object], fds: list[int]) -> None:
    """unshare(2) of a PID namespace moves the next child only, and setns(2) takes that back for the next request."""
    try:
        if "join" in request:
            nodeview.checked(nodeview.LIBC.setns(fds[0], CLONE_NEWPID), "enter the PID namespace of the container")
        else:
            nodeview.checked(nodeview.LIBC.unshare(CLONE_NEWPID), "make a PID namespace")
        if os.fork() == 0:
            try:
                init(request, fds)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(1)
    except OSError as error:
        with socket.socket(fileno=os.dup(fds[1])) as channel:
            send(channel, told(error))
    finally:
        nodeview.checked(nodeview.LIBC.setns(own_pid_namespace, CLONE_NEWPID), "return to the own PID namespace")


def spawner() -> None:
    """Serves the control socket until its other end is closed."""
    control = socket.socket(fileno=0)
    own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    wake = children_wake()
    poll = poll_of(control.fileno(), wake)
    gc.freeze()  # what is here now is never looked at again, so that the inits keep sharing its pages
    while True:
        ready = {fd for fd, _ in poll.poll()}
        list(ended_children(wake))
        if control.fileno() in ready:
            request, fds = receive(control, 3)
            if request is None:
                return
            fork_init(own_pid_namespace, request, fds)
            for fd in fds:
                os.close(fd)


def as_if_new() -> None:
    """Nothing of how the owner was started reaches a node: its signals' fates (nohup(1)), their mask, its umask."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE, signal.SIGXFSZ}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.umask(0o022)
    os.chdir("/")


if __name__ == "__main__":
    as_if_new()
    spawner()
