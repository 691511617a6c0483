"""A kernel that does on the wire whatever a cell tells it to, and nothing more: `python rogue_kernel.py CONNECTION_FILE`.

A cell holds one step per line, in order:

    reply [ok|error|aborted]      send the execution reply
    idle                          send the idle status
    print TEXT                    send TEXT as stdout
    raw PARTS                     send bytes on the output channel, a Python expression: a list of parts
    output KIND CONTENT           send an output message, CONTENT a Python expression
    sleep SECONDS                 do nothing (interrupts are ignored)
    deaf                          answer nothing on the control channel and no heartbeat from now on
    die [CODE]                    exit at once
    once STEP                     do STEP the first time only

A cell without `reply` or `idle` is never settled.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import sys
import threading
import time
from typing import Any

import zmq
from jupyter_client.session import Session


class RogueKernel:
    def __init__(self, connection: dict[str, Any]) -> None:
        self.session = Session(key=connection["key"].encode())
        self.context = zmq.Context()
        address = f"{connection['transport']}://{connection['ip']}:{{}}"
        self.sockets = {}
        kinds = {"shell": zmq.ROUTER, "control": zmq.ROUTER, "stdin": zmq.ROUTER, "iopub": zmq.XPUB}
        for name, kind in kinds.items():
            self.sockets[name] = self.context.socket(kind)
            self.sockets[name].bind(address.format(connection[f"{name}_port"]))
        self.heartbeat_address = address.format(connection["hb_port"])
        self.deaf = False
        self.done: set[str] = set()
        self.count = 0
        threading.Thread(target=self.beat, daemon=True).start()
        threading.Thread(target=self.serve_control, daemon=True).start()

    def beat(self) -> None:
        socket = self.context.socket(zmq.REP)
        socket.bind(self.heartbeat_address)
        while True:
            beat = socket.recv()
            if not self.deaf:
                socket.send(beat)
            else:
                threading.Event().wait()

    def serve_control(self) -> None:
        while True:
            identities, message = self.session.recv(self.sockets["control"], mode=0)
            if self.deaf:
                continue
            kind = message["msg_type"].removesuffix("_request")
            self.session.send(
                self.sockets["control"], f"{kind}_reply", {"status": "ok"}, parent=message, ident=identities
            )
            if kind == "shutdown":
                os._exit(0)

    def serve_shell(self) -> None:
        while True:
            identities, message = self.session.recv(self.sockets["shell"], mode=0)
            if message["msg_type"] == "kernel_info_request":
                self.publish("status", {"execution_state": "busy"}, message)
                content = {
                    "status": "ok",
                    "protocol_version": "5.3",
                    "language_info": {"name": "python"},
                    "implementation": "rogue",
                }
                self.session.send(self.sockets["shell"], "kernel_info_reply", content, parent=message, ident=identities)
                self.publish("status", {"execution_state": "idle"}, message)
            elif message["msg_type"] == "execute_request":
                self.count += 1
                self.publish("status", {"execution_state": "busy"}, message)
                for step in message["content"]["code"].splitlines():
                    self.act(step, message, identities)

    def publish(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        self.session.send(self.sockets["iopub"], kind, content, parent=parent)

    def act(self, step: str, message: dict[str, Any], identities: list[bytes]) -> None:
        word, _, rest = step.strip().partition(" ")
        if word == "once":
            if step in self.done:
                return
            self.done.add(step)
            word, _, rest = rest.partition(" ")
        match word:
            case "reply":
                content = {"status": rest or "ok", "execution_count": self.count}
                if rest == "error":
                    content.update(ename="Rogue", evalue="on purpose", traceback=["a line"])
                self.session.send(self.sockets["shell"], "execute_reply", content, parent=message, ident=identities)
            case "idle":
                self.publish("status", {"execution_state": "idle"}, message)
            case "print":
                self.publish("stream", {"name": "stdout", "text": rest}, message)
            case "raw":
                self.sockets["iopub"].send_multipart(ast.literal_eval(rest))
            case "output":
                kind, _, content = rest.partition(" ")
                self.publish(kind, ast.literal_eval(content), message)
            case "sleep":
                time.sleep(float(rest))
            case "deaf":
                self.deaf = True
            case "die":
                os._exit(int(rest or 1))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(sys.argv[1]) as stream:
        kernel = RogueKernel(json.load(stream))
    kernel.serve_shell()
