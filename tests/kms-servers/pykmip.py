"""PyKMIP's server on a port of 127.0.0.1, with client certificates: `pykmip.py PORT CERTIFICATE CA DATABASE`.

Of PyKMIP it is the engine and the sessions, which parse and answer messages. Its KmipServer starts processes of its own, which
stay behind when it is killed.
"""
import socket
import ssl
import sys

from kmip.core import policy
from kmip.services.server.engine import KmipEngine
from kmip.services.server.session import KmipSession


def main(port, certificate, authority, database):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_REQUIRED
    engine = KmipEngine(policies=policy.policies, database_path=database)
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=64)
    while True:
        connection, address = listener.accept()
        wrapped = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        session = KmipSession(engine, wrapped, address)
        session.daemon = True
        session.start()


main(*sys.argv[1:])
