"""The session's side of web workers: starts them, lends them to one call at a time, and kills them when the call ends."""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Iterator

import msgspec

from host_bridge.errors import CallError
from host_bridge.tools.alarms import Alarm
from host_bridge.tools.children import Child, Children
from host_bridge.tools.interface import CallContext, Session
from host_bridge.tools.launching import Launch
from host_bridge.tools.web.jobs import Answer, Begun, Decoder, Job, Part, Piece, Problem, Wanted, encode

_MODULE = "host_bridge.tools.web.worker"
_MAX_WORKERS = 4  # each takes 30-100 MiB of the host while it is at work
_IDLE_SECONDS = 60.0  # a cell that reads page after page doesn't start a process for each
_CHECK_SECONDS = 0.1
_MAX_WAITING = 8  # answers that nobody has taken; then the worker waits in its pipe, however much it has to say
_VARIABLES = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH", "SSL_CERT_FILE", "SSL_CERT_DIR")


class WebWorker:
    """One worker process. Lent to one call at a time."""

    def __init__(self, children: Children, memory_bytes: int) -> None:
        self._answers: queue.Queue[Answer | None] = queue.Queue(_MAX_WAITING)
        self._open_jobs: set[int] = set()
        self._next_job = 0
        self._broken = False
        self._exhausted = False
        self._writing = threading.Lock()
        self._child = _start(children, memory_bytes)
        self._thread = threading.Thread(target=self._read, name="web-worker", daemon=True)
        self._thread.start()

    @property
    def is_reusable(self) -> bool:
        """Whether it has done all it was asked and can be asked again."""
        return not self._open_jobs and not self._broken and not self._exhausted

    def new_job(self) -> int:
        """Give a number that no other job of this worker has."""
        self._next_job += 1
        return self._next_job

    def send(self, job: Job) -> None:
        """Ask for a job.

        Raises:
            CallError: The worker is gone.
        """
        self._open_jobs.add(job.job)
        self._write(encode(job))

    def give(self, part: Part) -> None:
        """Give what a job wanted.

        Raises:
            CallError: The worker is gone.
        """
        self._write(encode(part))

    def _write(self, data: bytes) -> None:
        with self._writing:
            try:
                while data and self._child.input is not None:
                    data = data[os.write(self._child.input, data) :]
            except OSError:
                self._broken = True
            if data:
                raise self._loss()

    def receive(self, seconds: float) -> Answer | None:
        """Give the next answer; None when there is none in so many seconds.

        Raises:
            CallError: The worker is gone.
        """
        try:
            answer = self._answers.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
        if answer is None:
            self._broken = True
            raise self._loss()
        if isinstance(answer, Problem) and answer.is_exhausted:
            self._exhausted = True
        if not isinstance(answer, Wanted | Begun | Piece):  # more is to come after these
            self._open_jobs.discard(answer.job)
        return answer

    def kill(self) -> None:
        """End it now, from any thread."""
        self._broken = True
        self._child.kill()

    def close(self) -> None:
        """End it now and wait until it is gone."""
        self.kill()
        self._thread.join(timeout=10)

    def _loss(self) -> CallError:
        return CallError(
            "the process that reads the web ended unexpectedly; the content may have needed more memory than "
            "worker_memory_bytes in the tool's settings allows"
        )

    def _read(self) -> None:
        decoder = Decoder(Answer)
        try:
            for stream, data in self._child.output():
                if stream == "stdout":
                    for answer in decoder.feed(data):
                        if not self._put(answer):
                            return
        except (CallError, ValueError, msgspec.ValidationError):
            pass  # what it says makes no sense any more: as good as dead
        finally:
            with self._writing:  # nobody writes to a descriptor that is closed, or somebody else's by now
                self._child.close()
            self._put(None)

    def _put(self, answer: Answer | None) -> bool:
        """Keep an answer for whoever the worker is lent to, once there is room. False if it is to end before."""
        while True:
            try:
                self._answers.put(answer, timeout=_CHECK_SECONDS)
                return True
            except queue.Full:
                if self._broken:
                    return False


class WebWorkers:
    """All of a session's workers."""

    def __init__(self, session: Session) -> None:
        self._children = Children.of(session)
        self._idle: list[tuple[WebWorker, Alarm]] = []
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_MAX_WORKERS)

    @classmethod
    def of(cls, session: Session) -> WebWorkers:
        """Give the session's one instance."""
        found = session.resources.get("web_workers")
        if found is None:
            found = session.resources.setdefault("web_workers", cls(session))
        assert isinstance(found, cls)
        return found

    @contextlib.contextmanager
    def lend(self, context: CallContext, memory_bytes: int) -> Iterator[WebWorker]:
        """Give a worker for as long as the call lasts, and kill it when the call is cancelled or its time is up.

        Raises:
            CallError: No worker can be started; or the call ended before one was free.
        """
        self._take_place(context)
        try:
            worker = self._take_idle() or WebWorker(self._children, memory_bytes)
            lent = threading.Lock()  # held by whoever decides what becomes of the worker

            def kill() -> None:
                if lent.acquire(blocking=False):
                    worker.kill()

            context.on_end(kill)
            try:
                yield worker
            except CallError:
                context.check()  # that the call ended explains best why its worker is gone
                raise
            finally:
                if lent.acquire(blocking=False) and worker.is_reusable:
                    self._keep(worker)
                else:
                    worker.close()
        finally:
            self._places.release()

    def close(self) -> None:
        """End them all."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker, alarm in idle:
            alarm.cancel()
            worker.close()

    def _take_place(self, context: CallContext) -> None:
        while not self._places.acquire(timeout=_CHECK_SECONDS):
            context.check()

    def _take_idle(self) -> WebWorker | None:
        with self._lock:
            while self._idle:
                worker, alarm = self._idle.pop()
                alarm.cancel()
                if worker.is_reusable:
                    return worker
        return None

    def _keep(self, worker: WebWorker) -> None:
        with self._lock:
            self._idle.append((worker, self._children.alarms.after(_IDLE_SECONDS, lambda: self._retire(worker))))

    def _retire(self, worker: WebWorker) -> None:
        with self._lock:
            kept = [entry for entry in self._idle if entry[0] is not worker]
            found = len(kept) < len(self._idle)
            self._idle = kept
        if found:
            worker.kill()


def _start(children: Children, memory_bytes: int) -> Child:
    launch = Launch(
        argv=(sys.executable, "-P", "-m", _MODULE, str(memory_bytes)),
        executable=sys.executable,
        folder="/",
        input="pipe",
        environment={name: os.environ[name] for name in _VARIABLES if name in os.environ},
    )
    try:
        child = children.start(launch)
    except OSError as error:
        raise CallError(f"no process to read the web can be started: {os.strerror(error.errno or 0)}") from None
    assert child.input is not None
    os.set_blocking(child.input, True)
    return child
