"""The named peer of the call-path benchmarks: pyzmq's ROUTER with nothing around it, as a process of its own.

`python bare_peer.py ENDPOINT FILE [PUBLIC_KEY SECRET_KEY]` echoes messages; one whose last frame is `get` is answered with
FILE in pieces of 1 MiB, eight ahead of what was acknowledged; `end` ends it.
"""

from __future__ import annotations

import sys

import zmq

CHUNK_BYTES = 1 << 20
WINDOW = 8


def serve(endpoint: str, path: str, keys: list[str]) -> None:
    router = zmq.Context().socket(zmq.ROUTER)
    if keys:
        router.curve_server = True
        router.curve_publickey, router.curve_secretkey = (key.encode() for key in keys)
    router.bind(endpoint)
    while True:
        frames = router.recv_multipart()
        if frames[-1] == b"end":
            return
        if frames[-1] == b"get":
            send_file(router, frames[0], path)
        else:
            router.send_multipart(frames)


def send_file(router: zmq.Socket[bytes], peer: bytes, path: str) -> None:
    with open(path, "rb", buffering=0) as file:
        credit = WINDOW
        while piece := file.read(CHUNK_BYTES):
            if credit == 0:
                router.recv_multipart()
                credit += 1
            router.send_multipart([peer, piece], copy=False)
            credit -= 1
    router.send_multipart([peer, b""])
    # Acknowledgements still on their way would be taken for requests.
    while credit < WINDOW:
        router.recv_multipart()
        credit += 1


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], sys.argv[3:])
