"""The processes that compute one training together, on one machine or on many.

JAX connects them, so that a computation runs on the devices of all.  The first process leads: it
runs the program of the user, and tells the others, over connections that begin with a secret, which
steps they compute with it.  The others do nothing but that, see
:func:`chainrule.run.xla.led.follow`.

Read next: :mod:`chainrule.run.xla.led`.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from multiprocessing.reduction import ForkingPickler
from threading import Lock
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import broadcast_one_to_all

from chainrule.core.errors import OptionError, RunError

__all__ = ["Hosts", "joined", "leading"]

LOOPBACK = "127.0.0.1"
HEARTBEAT = 30  # seconds without a sign of a process after which JAX ends the others
END_SECONDS = 10.0  # in which another process ends when it is told to
ROOM = 256  # bytes of what the first process tells when all have been connected

Array = np.ndarray[Any, Any]
_leading: list[Hosts] = []


class Hosts:
    """The connections of process `number` of `count` to the others.

    Those of the first process to all others, by their numbers, or that to the first.
    """

    def __init__(self, count: int, number: int, connections: Mapping[int, Connection]):
        self.count, self.number, self.connections = count, number, dict(connections)
        self.files: dict[str, Array] = {}  # memory-mapped in every process, by path
        self.lost = False  # whether one of the others has ended
        self.lock = Lock()  # of a thread while it talks to the others, so that none comes between
        for connection in connections.values():
            # A message does not wait until the last one is answered.
            with socket.socket(fileno=os.dup(connection.fileno())) as same:
                same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def tell(self, *what: Any) -> None:
        """Tell all others `what`; raise RunError if one of them has ended."""
        packed = ForkingPickler.dumps(what)
        for number, connection in self.connections.items():
            try:
                connection.send_bytes(packed)
            except OSError as error:
                raise self._gone(number) from error

    def tell_one(self, number: int, what: Any) -> None:
        """Tell the process `number` alone."""
        try:
            self.connections[number].send(what)
        except OSError as error:
            raise self._gone(number) from error

    def hear(self) -> list[Any]:
        """Return what each of the others tells next; raise RunError if one of them has ended."""
        heard = []
        for number, connection in self.connections.items():
            try:
                heard.append(connection.recv())
            except (OSError, EOFError) as error:
                raise self._gone(number) from error
        return heard

    def _gone(self, number: int) -> RunError:
        self.lost = True
        return RunError(f"process {number} of {self.count}, from 0, has ended.")

    def close(self) -> None:
        """Let the others end, and wait for that: JAX aborts those that outlive the first."""
        _leading.clear()
        if not self.lost:
            with self.lock, suppress(RunError):
                self.tell("end")
            for connection in self.connections.values():
                connection.poll(END_SECONDS)  # the end of a connection is something to read


def leading() -> Hosts | None:
    """Return the connections to the processes that compute with this one, None without any."""
    return _leading[0] if _leading else None


def joined(address: str | None, count: int | None, number: int | None) -> Hosts:
    """Connect this process with the others, and return its connections.

    `count` processes on this machine meet at the `address`, a host and a port of it, and this one
    has the `number`, from 0.  None: Slurm, Open MPI or Kubernetes started them, and JAX asks it
    for the three.

    Raises OptionError if none of them did.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM, and go on
    try:
        jax.distributed.initialize(
            address, count, number, number, heartbeat_timeout_seconds=HEARTBEAT
        )
    except ValueError as error:
        raise OptionError(
            "JAX finds no Slurm, Open MPI or Kubernetes that started this process "
            f"({error}). For processes on this machine, give their number: --processes 2."
        ) from None
    count, number = jax.process_count(), jax.process_index()
    if number:
        host, port, secret = json.loads(_told(b"").decode())
        connection = Client((host, port), authkey=bytes.fromhex(secret))
        connection.send(number)
        return Hosts(count, number, {0: connection})
    host = LOOPBACK if address else _own_address()
    secret = secrets.token_bytes(32)
    with Listener((host, 0), backlog=count, authkey=secret) as listener:
        _told(json.dumps([host, listener.address[1], secret.hex()]).encode())
        found: dict[int, Connection] = {}
        while len(found) < count - 1:
            with suppress(AuthenticationError, OSError, EOFError):
                connection = listener.accept()
                found[connection.recv()] = connection
    hosts = Hosts(count, number, found)
    _leading[:] = [hosts]
    return hosts


def _told(text: bytes) -> bytes:
    """Return what the first process tells as `text`, at most `ROOM` bytes."""
    room = np.frombuffer(text.ljust(ROOM), np.uint8)
    return np.asarray(broadcast_one_to_all(room), np.uint8).tobytes().rstrip()


def _own_address() -> str:
    """Return the address of this machine in the network that it sends to others by."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # an address of documentation: nothing is sent
        except OSError:
            return socket.gethostbyname(socket.gethostname())
        address: str = asking.getsockname()[0]
        return address
