"""A Jupyter application of its own: starts a confined kernel, does to it what applications do, and says what came of it.

Runs as a program, as whoever the test wants: `python -P kernel_trials.py`. Prints a line of JSON for each trial as it ends:
its name and "", or what went wrong.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

WAIT_SECONDS = 25.0
CALL = "import hermes_runtime; print(hermes_runtime.read_file('greeting.txt'), end='')"

Trial = Callable[["Kernel"], None]
TRIALS: dict[str, Trial] = {}


def trial(function: Trial) -> Trial:
    TRIALS[function.__name__] = function
    return function


class Kernel:
    """A kernel and its client."""

    def __init__(self) -> None:
        self.manager = KernelManager(kernel_name="hermes")
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=WAIT_SECONDS)
        self.messages: list[dict[str, Any]] = []

    def run(self, code: str) -> str:
        """Run code; give what it printed, or its error's name and text."""
        pieces: list[str] = []
        self.messages = []

        def hear(message: dict[str, Any]) -> None:
            self.messages.append(message)
            content = message["content"]
            if message["msg_type"] == "stream":
                pieces.append(content["text"])
            elif message["msg_type"] == "error":
                pieces.append(f"{content['ename']}: {content['evalue']}")

        self.client.execute_interactive(code, output_hook=hear, timeout=WAIT_SECONDS, stop_on_error=False)
        return "".join(pieces)

    def begin(self, code: str) -> str:
        """Begin code that prints when it is under way, and return then."""
        # Without `stop_on_error=False` the kernel may pass over what comes just after an error.
        message = str(self.client.execute(f"print('on', flush=True)\n{code}", stop_on_error=False))
        while self.client.get_iopub_msg(timeout=WAIT_SECONDS)["msg_type"] != "stream":
            pass
        return message

    def reply(self, message: str) -> dict[str, Any]:
        while (reply := self.client.get_shell_msg(timeout=WAIT_SECONDS))["parent_header"].get("msg_id") != message:
            pass
        content: dict[str, Any] = reply["content"]
        return content

    def wait_for_death(self) -> None:
        # Not by `waiting`: this file runs as a program, where no other file of the tests is found.
        deadline = time.monotonic() + WAIT_SECONDS
        while self.manager.is_alive():
            assert time.monotonic() < deadline, "the kernel still lives"
            time.sleep(0.01)

    def restart(self, **arguments: Any) -> None:
        self.manager.restart_kernel(**arguments)
        self.client.wait_for_ready(timeout=WAIT_SECONDS)


def expect(actual: object, expected: object) -> None:
    assert actual == expected, f"{actual!r} instead of {expected!r}"


@trial
def a_tool_is_called(kernel: Kernel) -> None:
    expect(kernel.run(CALL), "hello")


@trial
def it_is_confined(kernel: Kernel) -> None:
    code = (
        "status = dict(l.split(':\\t') for l in open('/proc/self/status').read().splitlines() if ':\\t' in l)\n"
        "import os; print(status['Seccomp'], status['NoNewPrivs'], os.path.exists('/etc/shadow'), os.getuid())"
    )
    expect(kernel.run(code), "2 1 False 1000\n")


@trial
def rich_output_arrives(kernel: Kernel) -> None:
    kernel.run(
        "import matplotlib.pyplot as plt\nfrom IPython.display import HTML, display\n"
        "display(HTML('<b>bold</b>')); plt.plot([1, 2]); plt.show()"
    )
    kinds = {kind for message in kernel.messages for kind in message["content"].get("data", {})}
    assert {"text/html", "image/png"} <= kinds, kinds


@trial
def commands_run(kernel: Kernel) -> None:
    expect(kernel.run("!echo from a command; exit 3\nprint(_exit_code)").split(), ["from", "a", "command", "3"])
    expect(kernel.run("lines = !printf 'a\\nb\\n'\nprint(list(lines))"), "['a', 'b']\n")
    expect(kernel.run("%%bash\necho $((40 + 2))"), "42\n")


@trial
def processes_and_shared_memory_work(kernel: Kernel) -> None:
    Path("work.py").write_text("def double(number):\n    return 2 * number\n")
    for method in ("fork", "spawn", "forkserver"):
        code = (
            "import multiprocessing, warnings, work\nwarnings.simplefilter('ignore')\n"
            f"with multiprocessing.get_context({method!r}).Pool(2) as pool: print(pool.map(work.double, range(4)))"
        )
        expect(kernel.run(code), "[0, 2, 4, 6]\n")
    code = (
        "from multiprocessing import shared_memory\nm = shared_memory.SharedMemory(create=True, size=4)\n"
        "m.buf[0] = 7; n = shared_memory.SharedMemory(m.name); print(n.buf[0]); n.close(); m.close(); m.unlink()"
    )
    expect(kernel.run(code), "7\n")


@trial
def a_signal_interrupts(kernel: Kernel) -> None:
    message = kernel.begin("import time; time.sleep(600)")
    kernel.manager.interrupt_kernel()
    expect(kernel.reply(message)["ename"], "KeyboardInterrupt")
    expect(kernel.run(CALL), "hello")


@trial
def a_signal_interrupts_what_a_cell_started(kernel: Kernel) -> None:
    message = kernel.begin("import subprocess; subprocess.run(['sleep', '600'])")
    kernel.manager.interrupt_kernel()
    expect(kernel.reply(message)["ename"], "KeyboardInterrupt")


@trial
def a_message_interrupts(kernel: Kernel) -> None:
    spec = kernel.manager.kernel_spec
    assert spec is not None
    spec.interrupt_mode = "message"
    try:
        message = kernel.begin("import time; time.sleep(600)")
        kernel.manager.interrupt_kernel()
        expect(kernel.reply(message)["ename"], "KeyboardInterrupt")
        expect(kernel.run(CALL), "hello")
    finally:
        spec.interrupt_mode = "signal"


@trial
def it_restarts(kernel: Kernel) -> None:
    kernel.run("kept = 1")
    kernel.restart()
    expect(kernel.run("kept").partition(":")[0], "NameError")
    expect(kernel.run(CALL), "hello")


@trial
def a_daemon_does_not_survive_a_restart(kernel: Kernel) -> None:
    kernel.run(
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        while True: open('beat', 'w').write(str(time.time())); time.sleep(0.01)\n"
        "    os._exit(0)\n"
        "while not os.path.exists('beat'): time.sleep(0.01)"
    )
    kernel.restart(now=True)
    beat = Path("beat")
    last = beat.read_text()
    time.sleep(0.2)  # twenty beats
    expect(beat.read_text(), last)
    beat.unlink()


@trial
def it_is_restarted_after_it_killed_itself(kernel: Kernel) -> None:
    for code in (
        "os.kill(os.getpid(), 9)",
        "subprocess.Popen(['sleep', '600']); os.kill(-1, 9); os.kill(os.getpid(), 9)",
        "os._exit(3)",
    ):
        kernel.client.execute(f"import os, subprocess; {code}")
        kernel.wait_for_death()
        kernel.restart(now=True)
        expect(kernel.run(CALL), "hello")


@trial
def it_is_limited_by_its_temporary_space_and_lives_on(kernel: Kernel) -> None:
    code = (
        "import os\n"
        "def fill():\n"
        "    with open('/tmp/filler', 'wb') as file:\n"
        "        for _ in range(4096): file.write(b'x' * 2**20)\n"
        "try: fill()\n"
        "except OSError as error: print(error.strerror)\n"
        "os.unlink('/tmp/filler')"
    )
    assert kernel.run(code) in ("No space left on device\n",), "no limit"
    expect(kernel.run(CALL), "hello")


@trial
def the_debugger_stops_at_a_breakpoint(kernel: Kernel) -> None:
    client = kernel.client
    count = 0

    def ask(command: str, **arguments: Any) -> dict[str, Any]:
        nonlocal count
        count += 1
        request = {"type": "request", "seq": count, "command": command, "arguments": arguments}
        client.control_channel.send(client.session.msg("debug_request", request))
        if command == "attach":  # answered when everything is configured
            return {}
        while True:
            message = client.get_control_msg(timeout=WAIT_SECONDS)
            if message["msg_type"] == "debug_reply" and message["content"].get("command") == command:
                content: dict[str, Any] = message["content"]
                assert content["success"], content
                return content

    source = "value = 20\nvalue += 1\nprint(value)"
    ask("initialize", clientID="test", adapterID="", pathFormat="path", linesStartAt1=True, columnsStartAt1=True)
    ask("attach")
    path = ask("dumpCell", code=source)["body"]["sourcePath"]
    ask("setBreakpoints", source={"path": path}, breakpoints=[{"line": 2}], sourceModified=False)
    ask("configurationDone")
    message = client.execute(source)
    event: dict[str, Any] = {}
    while event.get("event") != "stopped":
        event = client.get_iopub_msg(timeout=WAIT_SECONDS)["content"]
    ask("continue", threadId=event["body"]["threadId"])
    expect(kernel.reply(message)["status"], "ok")
    ask("disconnect", restart=False, terminateDebuggee=False)
    kernel.restart(now=True)  # ipykernel takes no interrupt any more once a debugger was there, confined or not


@trial
def one_that_ignores_signals_is_shut_down(kernel: Kernel) -> None:
    kernel.run("import signal\nfor number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)")
    kernel.begin("while True: pass")
    begun = time.monotonic()
    kernel.manager.shutdown_wait_time = 1.0
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel()
    took = time.monotonic() - begun
    assert took < 10, f"it took {took:.1f} s"


def main() -> None:
    kernel = Kernel()
    if sys.argv[1:] == ["wait"]:
        kernel.begin("import time; time.sleep(600)")
        print("ready", flush=True)
        signal.pause()
    for name, function in TRIALS.items():
        faulthandler.dump_traceback_later(2 * WAIT_SECONDS, exit=True)  # no trial has a reason to take so long
        problem = ""
        try:
            function(kernel)
        except Exception:
            problem = traceback.format_exc()[-3000:]
        print(json.dumps([name, problem]), flush=True)
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    assert os.path.exists("greeting.txt")  # noqa: PTH110 - this is the workspace
    main()
