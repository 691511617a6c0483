"""CURVE key pairs as text."""

from __future__ import annotations

import zmq

from host_bridge.errors import SessionError


def new_keys() -> tuple[str, str]:
    """Give a fresh key pair, public and secret, as Z85 text.

    Raises:
        SessionError: This pyzmq can't encrypt.
    """
    if not zmq.has("curve"):
        raise SessionError("this pyzmq has no CURVE encryption; reinstall it: pip install --force-reinstall pyzmq")
    public_key, secret_key = zmq.curve_keypair()
    return public_key.decode(), secret_key.decode()
