"""A web worker: `python -m host_bridge.tools.web.worker MEMORY_BYTES`.

Reads jobs from its standard input, does each in a thread, writes the answers to its standard output, and ends with its input.
It has no authority: it reaches what the network lets it reach, and is told what to do by a session.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import threading

from host_bridge.errors import HostBridgeError
from host_bridge.policy.model import UrlResource
from host_bridge.policy.origins import url_text
from host_bridge.tools.web.jobs import (
    Answer,
    Begun,
    Decoder,
    Ended,
    Fetch,
    Found,
    Job,
    Order,
    Page,
    Part,
    Piece,
    Problem,
    Redirected,
    Search,
    Send,
    encode,
)
from host_bridge.tools.web.problems import WebError
from host_bridge.tools.web.talk import Talk

_LENGTH = re.compile(r"[0-9]{1,15}")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_STACK_BYTES = 16 * 2**20  # converting nested pages is recursive
_RECURSION_LIMIT = 10_000


def main() -> None:
    """Work until there is nothing more to come."""
    _limit_memory(int(sys.argv[1]))
    sys.setrecursionlimit(_RECURSION_LIMIT)
    threading.stack_size(_STACK_BYTES)
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever a library prints must not stand between two answers
    writing = threading.Lock()

    def say(answer: Answer) -> None:
        data = encode(answer)
        with writing:
            while data:
                data = data[os.write(answers, data) :]

    talks: dict[int, Talk] = {}
    orders = Decoder(Order)
    while data := os.read(0, 65_536):
        for order in orders.feed(data):
            match order:
                case Part():
                    if talk := talks.get(order.job):  # one that is over needs nothing more
                        talk.take(order)
                case _:
                    talks[order.job] = talk = Talk(order.job, order.timeout_seconds, say)
                    threading.Thread(target=_work, args=(order, talk, talks), daemon=True).start()
    os._exit(0)  # nobody waits for the answers of what still runs


def _work(job: Job, talk: Talk, talks: dict[int, Talk]) -> None:
    answer = _answer(job, talk)
    del talks[job.job]
    talk.say(answer)


def _answer(job: Job, talk: Talk) -> Answer:
    try:
        if isinstance(job, Send):
            return _send(job, talk)
        return _fetch(job) if isinstance(job, Fetch) else _search(job)
    except WebError as error:
        return Problem(job=job.job, kind=error.kind, message=str(error))
    except MemoryError:
        text = "the content needs more memory to read than is allowed"
        return Problem(job=job.job, kind="failed", message=text, is_exhausted=True)
    except HostBridgeError as error:
        return Problem(job=job.job, kind="failed", message=str(error))
    except Exception as error:  # the libraries that read hostile pages raise what they like
        return Problem(job=job.job, kind="failed", message=f"the content could not be read ({type(error).__name__})")


def _fetch(job: Fetch) -> Page | Redirected:
    # Imported by the first job that needs it: a search needs no converter, a fetch no search library.
    from host_bridge.tools.web import pages
    from host_bridge.tools.web.fetch import fetch

    url = UrlResource(job.scheme, job.host, job.port, job.path)
    response = fetch(
        url,
        timeout_seconds=job.timeout_seconds,
        max_bytes=job.max_bytes,
        any_address=job.any_address,
        headers={"User-Agent": job.user_agent},
    )
    if response.status in _REDIRECTS and (location := response.headers.get("location")):
        return Redirected(job=job.job, location=location, status=response.status)
    if not 200 <= response.status < 300:
        raise WebError(f"{job.host} answered with HTTP status {response.status}")
    title, text, kind = pages.to_text(response.body, response.headers.get("content-type", ""), url_text(url))
    return Page(
        job=job.job,
        title=title[:1000],
        content_type=kind[:200],
        markdown=text[: job.max_characters],
        truncated=response.truncated or len(text) > job.max_characters,
    )


def _send(job: Send, talk: Talk) -> Ended | Redirected:
    from host_bridge.tools.web.fetch import exchange

    with exchange(
        UrlResource(job.scheme, job.host, job.port, job.path),
        method=job.method,
        headers=job.headers,
        body=None if job.body_bytes is None else talk.parts(job.body_bytes),
        body_bytes=job.body_bytes or 0,
        timeout_seconds=job.timeout_seconds,
        max_bytes=max(job.max_bytes, job.max_success_bytes),
        any_address=job.any_address,
        only_loopback=job.only_loopback,
        tool=job.tool,
    ) as answer:
        if answer.status in _REDIRECTS and (location := answer.headers.get("location")):
            return Redirected(job=job.job, location=location, status=answer.status)
        length = answer.headers.get("content-length", "")
        is_said = _LENGTH.fullmatch(length) is not None and "content-encoding" not in answer.headers
        talk.say(
            Begun(
                job=job.job,
                status=answer.status,
                reason=answer.reason,
                headers=answer.fields,
                size_bytes=int(length) if is_said else None,
            )
        )
        for data in answer.pieces(job.max_success_bytes if 200 <= answer.status < 300 else job.max_bytes):
            talk.say(Piece(job=job.job, data=data))
        if answer.ends_early:
            raise WebError("the content is damaged: it ends in the middle of what is compressed")
        return Ended(job=job.job, truncated=answer.truncated)


def _search(job: Search) -> Found:
    from host_bridge.tools.web.providers import interface

    provider = interface.load(job.provider, job.settings, job.api_key)
    return Found(job=job.job, results=tuple(provider.search(job.query, job.limit, job.timeout_seconds))[: job.limit])


def _limit_memory(size: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    main()
