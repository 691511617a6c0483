"""One session process, spoken to on the wire: a secret goes where it may, and nowhere else."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
from pathlib import Path

import pytest
from bare_kernel import Host, open_host, open_kernel

from hermes_protocol.messages import Cancel, Chunk, Pending, SecretMark
from host_bridge import control

VALUE = "glpat-t0p/secret+value"
RULES = (
    (
        "test",
        'version = 1\n[taint]\nbrake = false\n[rules]\nallow = ["terminal", "process", "read_file", "add", "search_files"]\n',
    ),
)
TOKEN = control.SecretUse(name="TOKEN", tools=("terminal", "add"))
NARROW = control.SecretUse(name="NARROW", tools=("terminal(git push *)",))
WHOLE = SecretMark(name="TOKEN", argument=("secrets", "TOKEN"))
GIVEN = {"secrets": {"TOKEN": "[secret TOKEN]"}, "marks": (WHOLE,)}


@contextlib.contextmanager
def open_session(**fields):
    fields = {"policy_texts": RULES, "secret_uses": (TOKEN, NARROW), **fields}
    with open_host(**fields) as host, open_kernel(host) as kernel:
        host.send(control.ProvideTools(tools=({"name": "add", "summary": "Add."},)))
        assert kernel.greet().secrets == ("NARROW", "TOKEN")
        yield host, kernel


@pytest.fixture(scope="module")
def session():
    """A session that knows the value already: most tests are about what happens then."""
    with open_session() as (host, kernel):
        assert given(host, kernel, "printf '%s' \"$TOKEN\" | wc -c").streams["stdout"].strip() == b"22"
        yield host, kernel


def given(host: Host, kernel, command: str, value: str = VALUE, **fields):
    """Call `terminal` with the secret, and be the host application that has it."""
    call_id = kernel.ask("terminal", command=command, **{**GIVEN, **fields})
    host.send(control.SecretReply(name=host.expect(control.SecretRequest).name, value=value))
    return kernel.answer(call_id)


def call_with_secret(kernel, command: str, **fields):
    return kernel.call("terminal", command=command, **{**GIVEN, **fields})


def log_of(host: Host) -> str:
    return Path(host.config.audit_path).read_text()


def test_a_command_gets_the_value_as_a_variable_and_the_kernel_only_its_name(session):
    host, kernel = session
    answer = call_with_secret(kernel, 'echo "$TOKEN"; echo "$TOKEN" >&2')
    assert answer.streams == {"stdout": b"[secret TOKEN]\n", "stderr": b"[secret TOKEN]\n"}
    decided = [json.loads(line) for line in log_of(host).splitlines() if '"call_decided"' in line][-1]
    assert decided["arguments"]["secrets"] == {"TOKEN": "[secret TOKEN]"}
    assert VALUE not in log_of(host)


def test_the_variable_may_have_another_name_that_sounds_like_a_secrets(session):
    _, kernel = session
    mark = SecretMark(name="TOKEN", argument=("secrets", "GH_TOKEN"))
    answer = kernel.call(
        "terminal",
        command='test -n "$GH_TOKEN" && echo yes',
        secrets={"GH_TOKEN": "[secret TOKEN]"},
        marks=(mark,),
    )
    assert answer.streams["stdout"] == b"yes\n"


@pytest.mark.parametrize("variable", ["PATH", "LD_PRELOAD", "GIT_SSH_COMMAND", "BASH_ENV", "A B", "X=Y", ""])
def test_a_variable_that_means_something_else_to_programs_is_refused(session, variable):
    _, kernel = session
    mark = SecretMark(name="TOKEN", argument=("secrets", variable))
    answer = kernel.call("terminal", command="env", secrets={variable: "[secret TOKEN]"}, marks=(mark,))
    assert answer.code == "invalid_request"


def test_the_value_is_in_no_process_listing(session):
    _, kernel = session
    answer = call_with_secret(kernel, "cat /proc/self/cmdline /proc/$PPID/cmdline /proc/$$/cmdline | tr '\\0' ' '")
    assert b"cat" in answer.streams["stdout"]
    assert b"[secret" not in answer.streams["stdout"]  # which is what would be shown of the value


@pytest.mark.parametrize(
    "command",
    [
        'printf "x%s" "$TOKEN"',
        'printf "%s" "$TOKEN" | base64',
        'printf "alice:%s" "$TOKEN" | base64',
        "printf '%s' \"$TOKEN\" | sed 's,/,%2F,;s,+,%2B,'",
        # In pieces, with a pause in the middle of the value.
        'printf "%s" "${TOKEN%secret*}"; sleep 0.2; printf "%s" "${TOKEN#*t0p/}"',
    ],
)
def test_what_a_command_prints_of_it_is_hidden_in_every_usual_form(session, command):
    _, kernel = session
    shown = call_with_secret(kernel, command).streams["stdout"]
    assert b"[secret TOKEN]" in shown
    assert b"t0p" not in shown
    assert b"value" not in shown
    for encoded in (base64.b64encode(VALUE.encode())[:12], base64.b64encode(b"alice:" + VALUE.encode())[8:20]):
        assert encoded not in shown


def test_output_cut_within_the_value_gives_neither_half():
    with open_session(tool_settings={"terminal": {"max_output_bytes": 30, "tail_bytes": 30}}) as (host, kernel):
        answer = given(host, kernel, 'printf "%020d%s%020d%s%02d" 0 "$TOKEN" 0 "$TOKEN" 0')
    seen = answer.streams["stdout"] + answer.bulk["stdout_tail"]
    assert b"glpat" not in seen
    assert b"value" not in seen


def test_a_command_in_the_background_keeps_nothing_of_it_for_any_reader(session):
    _, kernel = session
    started = call_with_secret(kernel, 'echo "$TOKEN"', background=True).reply.result
    kernel.call("process", action="wait", session_id=started["session_id"], timeout=10)
    pieces = [
        kernel.call("process", action="log", session_id=started["session_id"], offset=offset, limit=1).bulk["output"]
        for offset in range(len("[secret TOKEN]"))
    ]
    assert b"".join(pieces) == b"[secret TOKEN]"


def test_what_a_command_left_in_a_file_is_hidden_when_a_tool_reads_it(session):
    host, kernel = session
    assert call_with_secret(kernel, 'echo "key=$TOKEN" > left.txt').code == "ok"
    assert (Path(host.config.workspace) / "left.txt").read_text() == f"key={VALUE}\n"
    read = kernel.call("read_file", path="left.txt")
    assert read.content == b"key=[secret TOKEN]\n"
    assert read.reply.result["returned_bytes"] == len(read.content), "or the kernel takes it for cut off"
    found = kernel.call("search_files", pattern="key=", path=".")
    assert VALUE not in json.dumps(found.reply.result)


def test_a_tool_of_the_host_application_gets_it_in_any_argument(session):
    host, kernel = session
    marks = (SecretMark(name="TOKEN", argument=("headers", "Authorization"), offset=6),)
    call_id = kernel.ask("add", headers={"Authorization": "token [secret TOKEN]"}, marks=marks)
    request = host.expect(control.HostToolRequest)
    assert request.arguments == {"headers": {"Authorization": f"token {VALUE}"}}
    host.send(control.HostToolReply(call_id=request.call_id, value={"echo": [f"you sent {VALUE}"]}))
    assert kernel.answer(call_id).reply.result == {"echo": ["you sent [secret TOKEN]"]}


def test_an_error_that_quotes_it_doesnt(session):
    host, kernel = session
    marks = (SecretMark(name="TOKEN", argument=("a",)),)
    call_id = kernel.ask("add", a="[secret TOKEN]", marks=marks)
    request = host.expect(control.HostToolRequest)
    host.send(control.HostToolReply(call_id=request.call_id, failure=f"401 for {VALUE}"))
    failure = kernel.answer(call_id).reply.failure
    assert failure.message == "401 for [secret TOKEN]"


# refused -----------------------------------------------------------------------------------------------------------------


def test_without_a_mark_the_text_is_only_text(session):
    host, kernel = session
    call_id = kernel.ask("add", a="[secret TOKEN]", b={"secret": "TOKEN", "name": "TOKEN"})
    request = host.expect(control.HostToolRequest)
    assert request.arguments == {"a": "[secret TOKEN]", "b": {"secret": "TOKEN", "name": "TOKEN"}}
    host.send(control.HostToolReply(call_id=request.call_id, value=1))
    assert kernel.answer(call_id).code == "ok"
    unmarked = kernel.call("terminal", command="env", secrets={"TOKEN": "[secret TOKEN]"})
    assert unmarked.code == "invalid_request"


def test_an_unknown_name_is_refused_with_those_there_are(session):
    _, kernel = session
    mark = SecretMark(name="OTHER", argument=("a",))
    failure = kernel.call("add", a="[secret OTHER]", marks=(mark,)).reply.failure
    assert failure.code.value == "denied"
    assert "NARROW, TOKEN" in failure.message


def test_a_secret_in_a_command_line_or_in_a_tool_that_takes_none_is_refused(session):
    _, kernel = session
    mark = SecretMark(name="TOKEN", argument=("command",), offset=5)
    failure = kernel.call("terminal", command="echo [secret TOKEN]", marks=(mark,)).reply.failure
    assert (failure.code.value, "only in secrets" in failure.message) == ("invalid_request", True)
    mark = SecretMark(name="TOKEN", argument=("path",))
    assert kernel.call("read_file", path="[secret TOKEN]", marks=(mark,)).code in ("invalid_request", "not_found")


def test_a_command_its_rules_dont_mean_is_denied_though_the_policy_allows_it(session):
    host, kernel = session
    mark = SecretMark(name="NARROW", argument=("secrets", "NARROW"))
    failure = kernel.call("terminal", command="env", secrets={"NARROW": "[secret NARROW]"}, marks=(mark,)).reply.failure
    assert (failure.code.value, failure.rule_id) == ("denied", "secrets.NARROW:tools")
    assert not [message for message in host.inbox if isinstance(message, control.SecretRequest)]


def test_the_policy_still_decides_about_the_call_itself():
    with open_session(policy_texts=(("test", "version = 1\n"),)) as (host, kernel):
        assert call_with_secret(kernel, "env").code == "denied"
        assert not [message for message in host.inbox if isinstance(message, control.SecretRequest)]


def test_a_source_that_cannot_be_read_is_an_error_of_the_call_and_asked_again_by_the_next():
    with open_session() as (host, kernel):
        call_id = kernel.ask("terminal", command="env", **GIVEN)
        host.expect(control.SecretRequest)
        host.send(control.SecretReply(name="TOKEN", failure="the file is gone"))
        failure = kernel.answer(call_id).reply.failure
        assert (failure.code.value, "the file is gone" in failure.message) == ("not_configured", True)
        assert given(host, kernel, 'echo "$TOKEN"').streams["stdout"] == b"[secret TOKEN]\n"


def test_a_call_that_waits_for_a_value_can_be_cancelled_and_its_late_answer_harms_nobody():
    with open_session() as (host, kernel):
        call_id = kernel.ask("terminal", command='echo "$TOKEN"', **GIVEN)
        host.expect(control.SecretRequest)
        kernel.say(Cancel(id=call_id))
        assert kernel.answer(call_id).code == "cancelled"
        host.send(control.SecretReply(name="TOKEN", value=VALUE))
        assert call_with_secret(kernel, 'echo "$TOKEN"').streams["stdout"] == b"[secret TOKEN]\n"


def test_calls_that_want_it_at_once_ask_for_it_once():
    with open_session() as (host, kernel):
        calls = [kernel.ask("terminal", command="true", **GIVEN) for _ in range(5)]
        host.expect(control.SecretRequest)
        host.send(control.SecretReply(name="TOKEN", value=VALUE))
        answered = set()
        while len(answered) < len(calls):
            message, _ = kernel.receive()
            if not isinstance(message, Chunk):
                assert message.failure is None
                answered.add(message.id)
        assert not [message for message in host.inbox if isinstance(message, control.SecretRequest)]


def test_a_person_is_shown_the_name_and_a_yes_is_for_the_handle():
    asking = (("test", 'version = 1\n[rules]\nask = ["terminal"]\n'),)
    with open_session(policy_texts=asking, interactive=True) as (host, kernel):
        call_id = kernel.ask("terminal", command="true", **GIVEN)
        asked = host.expect(control.Asked)
        assert asked.shown["secrets"] == {"TOKEN": "[secret TOKEN]"}
        kernel.hear(Pending)
        host.send(control.Answer(question_id=asked.question_id, answer="once"))
        host.expect(control.SecretRequest)
        host.send(control.SecretReply(name="TOKEN", value=VALUE))
        assert kernel.answer(call_id).code == "ok"


@pytest.mark.parametrize(
    ("use", "key"),
    [
        (control.SecretUse(name="T", tools=("termnal",)), "secrets.T.tools"),
        (control.SecretUse(name="T", tools=("*",)), "secrets.T.tools"),
        (control.SecretUse(name="T", hosts=("https://a/b",)), "secrets.T.hosts"),
    ],
)
def test_a_use_that_cannot_be_meant_refuses_the_session(use, key):
    with open_host(secret_uses=(use,)) as host:
        assert host.expect(control.Refused).key == key
        assert host.wait() == 1


def test_nothing_of_it_is_in_the_sessions_own_log(session):
    """The last test of this module: ends the session that the others used."""
    host, _ = session
    host.send(control.End())
    assert host.wait() == 0
    assert VALUE not in host.errors()
    assert VALUE not in log_of(host)


def test_a_request_takes_a_secret_along_only_where_its_rules_say():
    seen: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        for _ in range(3):
            connection, _address = listener.accept()
            with connection:
                request = connection.recv(65_536)
                seen.append(request)
                target = b"/api/there" if request.startswith(b"GET /api/here") else b"/elsewhere"
                found = b"302 Found\r\nLocation: " + target if b"there" not in request[:20] else b"200 OK"
                connection.sendall(b"HTTP/1.1 " + found + b"\r\nContent-Length: 0\r\n\r\n")
                connection.recv(1)  # until the other side has read it

    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        use = control.SecretUse(
            name="TOKEN", tools=(f"http_request(url:http://{place}/api/**)",), hosts=(f"http://{place}",)
        )
        fields = {
            "policy_texts": (("test", 'version = 1\n[taint]\nbrake = false\n[rules]\nallow = ["http_request"]\n'),),
            "secret_uses": (use, NARROW),
            "tool_settings": {"http_request": {"allow_private": [place]}},
        }
        mark = SecretMark(name="TOKEN", argument=("headers", "Authorization"), offset=6)
        given = {"method": "GET", "headers": {"Authorization": "token [secret TOKEN]"}, "marks": (mark,)}
        with open_session(**fields) as (host, kernel):
            server = threading.Thread(target=serve, args=(listener,))
            server.start()
            call_id = kernel.ask("http_request", url=f"http://{place}/api/here", **given)
            host.send(control.SecretReply(name=host.expect(control.SecretRequest).name, value=VALUE))
            assert kernel.answer(call_id).reply.result["status"] == 200
            away = kernel.call("http_request", url=f"http://{place}/api/away", **given)
            outside = kernel.call("http_request", url=f"http://{place}/there", **given)
            changing = kernel.call("http_request", url=f"http://{place}/api/here", **{**given, "method": "POST"})
            server.join(20)
            log = log_of(host)
    assert [answer.reply.failure.rule_id for answer in (away, outside, changing)] == ["secrets.TOKEN:tools"] * 3
    assert [request.split(b" ")[1] for request in seen] == [b"/api/here", b"/api/there", b"/api/away"]
    assert all(f"token {VALUE}".encode() in request for request in seen)
    assert VALUE not in log
    assert '"session_tainted"' in log


def test_credentials_are_sent_and_stand_on_no_record(tmp_path):
    seen: list[str] = []

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _address = listener.accept()
            with connection:
                lines = connection.recv(65_536).decode().split("\r\n")
                seen.append(
                    next(line for line in lines if line.lower().startswith("authorization: ")).partition(": ")[2]
                )
                told = f"you are {seen[-1]}".encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))
                connection.recv(1)  # until the other side has read it

    basic = base64.b64encode(f"ann:{VALUE}".encode()).decode()
    tape = tmp_path / "tape"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        use = control.SecretUse(
            name="TOKEN", tools=(f"http_request(url:http://{place}/**)",), hosts=(f"http://{place}",)
        )
        fields = {
            "policy_texts": (
                (
                    "test",
                    'version = 1\n[taint]\nbrake = false\n[rules]\nallow = ["http_request", "write_file(./**)"]\n',
                ),
            ),
            "secret_uses": (use, NARROW),
            "tool_settings": {"http_request": {"allow_private": [place]}},
            "tape": control.TapeOrders(path=str(tape)),
        }
        request = {"method": "GET", "url": f"http://{place}/", "headers": {}}
        with open_session(**fields) as (host, kernel):
            server = threading.Thread(target=serve, args=(listener,))
            server.start()
            pair = (SecretMark(name="TOKEN", argument=("auth", 1)),)
            call_id = kernel.ask("http_request", **request, auth=["ann", "[secret TOKEN]"], marks=pair)
            host.send(control.SecretReply(name=host.expect(control.SecretRequest).name, value=VALUE))
            answers = [kernel.answer(call_id)]
            bearer = (SecretMark(name="TOKEN", argument=("auth",)),)
            saving = {**request, "auth": "[secret TOKEN]", "save_to": "told", "marks": bearer}
            answers.append(kernel.call("http_request", **saving))
            server.join(20)
            host.send(control.End())
            host.expect(control.Ended)
            saved = Path(host.config.workspace, "told").read_text()
            records = [log_of(host), host.errors(), saved, str([answer.bulk for answer in answers])]
    assert [answer.code for answer in answers] == ["ok", "ok"]
    assert seen == [f"Basic {basic}", f"Bearer {VALUE}"]
    assert saved == "you are Bearer [secret TOKEN]"
    records += [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()]
    for record in records:
        assert VALUE not in record
        assert basic[8:-4] not in record  # what is before is the user, and behind it padding
    assert "[secret TOKEN]" in records[0]
