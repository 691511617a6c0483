"""A session process that behaves as its configuration's `principal` says: for what the real one can't be made to do.

Started by the real `spawning`, over a real control channel.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time

from host_bridge import control

DEATH_CRY = "Traceback: something broke in the bridge"


class Script:
    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.decoder = control.Decoder()
        self.pending: list[control.ControlMessage] = []

    def receive(self) -> control.ControlMessage | None:
        while not self.pending:
            data = self.channel.recv(65_536)
            if not data:
                return None
            self.pending += self.decoder.feed(data)
        return self.pending.pop(0)

    def send(self, message: control.ControlMessage) -> None:
        control.send(self.channel, message)

    def until(self, kind: type) -> control.ControlMessage | None:
        while True:
            message = self.receive()
            if message is None or isinstance(message, kind):
                return message

    def serve_until_end(self) -> None:
        if self.until(control.End) is not None:
            self.send(control.Ended())


def obedient(script: Script) -> None:
    script.serve_until_end()


def dies_before_ready(script: Script) -> None:
    print(DEATH_CRY, file=sys.stderr, flush=True)
    os._exit(3)


def floods_stderr(script: Script) -> None:
    for _ in range(2_000):
        print("x" * 1_000, file=sys.stderr)
    print(DEATH_CRY, file=sys.stderr, flush=True)
    os._exit(3)


def killed(script: Script) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ends_with_reason(script: Script) -> None:
    script.until(control.CellStarted)
    script.send(control.Ended(reason="the kernel made its bridge too large"))


def talks_nonsense(script: Script) -> None:
    script.channel.sendall(b"\x00\x00\x00\x05hello")
    script.serve_until_end()


def ignores_end(script: Script) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


def asks(script: Script) -> None:
    """Ask as many questions as the run id says, and give the answers as outcomes of calls."""
    script.until(control.CellStarted)
    for number in range(3):
        script.send(
            control.Asked(question_id=f"q{number}", tool="terminal", shown={}, rule_id="r", reason="", principal="p")
        )
    for _ in range(3):
        answer = script.until(control.Answer)
        assert isinstance(answer, control.Answer)
        script.send(control.CallSettled(call_id=answer.question_id, tool="terminal", outcome=answer.answer))
    script.serve_until_end()


def stops_asking(script: Script) -> None:
    """Ask two questions, and need no answer: to the first because its call is over, to the second because all is."""
    script.until(control.CellStarted)
    for name in ("q0", "q1"):
        script.send(control.Asked(question_id=name, tool="terminal", shown={}, rule_id="r", reason="", principal="p"))
    script.until(control.CellSettled)
    script.send(control.QuestionOver(question_id="q0", reason="the call has ended"))
    script.send(control.QuestionOver(question_id="unheard of", reason="the call has ended"))
    script.until(control.CellStarted)
    os._exit(0)


def calls_host_tools(script: Script) -> None:
    """Call each tool provided, and give the replies as settled calls."""
    provided = script.until(control.ProvideTools)
    assert isinstance(provided, control.ProvideTools)
    names = [tool["name"] for tool in provided.tools] + ["absent"]
    for name in names:
        script.send(control.HostToolRequest(call_id=name, tool=name, arguments={"text": "hi"}, timeout_seconds=30))
        if name == "waits":
            script.send(control.HostToolCancel(call_id=name))
    for _ in names:
        reply = script.until(control.HostToolReply)
        assert isinstance(reply, control.HostToolReply)
        outcome = reply.failure or repr(reply.value)
        script.send(control.CallSettled(call_id=reply.call_id, tool=reply.call_id, outcome=outcome))
    script.serve_until_end()


def reports_calls(script: Script) -> None:
    for number in range(int(script_config.run_id)):
        script.send(control.CallSettled(call_id=str(number), tool="read_file", outcome="ok"))
    script.serve_until_end()


NEVER_READY = {"dies_before_ready", "floods_stderr", "killed", "silent", "ignores_end"}


def silent(script: Script) -> None:
    script.serve_until_end()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--control-fd", type=int, required=True)
    script = Script(socket.socket(fileno=parser.parse_args().control_fd))
    opened = script.receive()
    assert isinstance(opened, control.Open)
    script_config = opened.config
    behaviour = script_config.principal
    if behaviour.startswith("refuses:"):
        name = behaviour.removeprefix("refuses:")
        script.send(control.Refused(error=name, message="line 3: no such tool", path="/p/policy.toml", key="rules.3"))
        raise SystemExit(1)
    if behaviour not in NEVER_READY:
        script.send(control.Ready(endpoint=script_config.endpoint))
    globals()[behaviour](script)
