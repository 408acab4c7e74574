"""The socket on which the server listens."""

import socket

from timesformer.serve.run import Address


def test_accepted_connections_send_at_once() -> None:
    address = Address(host="127.0.0.1", port=0)
    with (
        address.listen() as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
