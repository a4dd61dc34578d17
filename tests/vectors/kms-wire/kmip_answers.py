"""KMIP answers, good and bad."""
from calls import answer
from reference import MATERIAL
from samples import *


def kmip_answers():
    def wrap(name, key, *acts):
        out = []
        for act in acts:
            out += [act, "done"]
        return answer(f"kmip: {name}", KMIP, key, "wrap", MATERIAL, out)

    def unwrap(name, key, data, *acts):
        return answer(f"kmip unwrap: {name}", KMIP, key, "unwrap", data, [*acts, "done"])

    failed = {"status": 1, "reason": 1, "message": "X"}
    for reason in [*range(26), 256, 257]:
        yield wrap(f"Register, reason {reason}", KMIP_KEY, kmip(3, status=1, reason=reason, message="no"))
    for status in [1, 2, 3, 4, 99]:
        yield wrap(f"Register, status {status}", KMIP_KEY, kmip(3, status=status))
    yield wrap("Activate failed", KMIP_KEY, REGISTERED, kmip(0x12, **failed))
    yield wrap("Get failed", KMIP_KEY, REGISTERED, ACTIVATED, kmip(0x0A, **failed))
    yield wrap("Create failed", DELEGATED, kmip(1, **failed))
    yield wrap("Activate failed after Create", DELEGATED, CREATED, kmip(0x12, **failed))
    yield wrap("Encrypt failed", DELEGATED, CREATED, ACTIVATED, kmip(0x1F, **failed))
    for name, reply in [
        ("no id", kmip(3, enumeration(0x57, 7))), ("no payload", kmip(3)), ("id of another type", kmip(3, item(0x94, b"ab"))), ("empty id", kmip(3, text(0x94, ""))),
        ("no status", kmip(3, text(0x94, "u"), status=None)), ("no operation", kmip(None, text(0x94, "u"))), ("another operation", kmip(0x0A, text(0x94, "u"))),
        ("no batch item", structure(0x7B)), ("a request", structure(0x78)), ("no structure", node(0x7B, 8, bytes(8))), ("HTTP", b"HTTP/1.1 200 OK\r\n"),
        ("huge", bytes.fromhex("42007b01ffffffff") + bytes(8)), ("over the limit", bytes.fromhex("42007b0101000001") + bytes(8)),
        ("of the limit, cut", bytes.fromhex("42007b0101000000") + bytes(8)), ("cut in the header", bytes.fromhex("42007b")),
        ("an item longer than its structure", bytes.fromhex("42007b0100000010" "42000f01000000ff") + bytes(8)),
    ]:
        yield wrap(f"Register, {name}", KMIP_KEY, reply)
    for name, payload in [
        ("95 bytes", [secret(bytes(95))]), ("97 bytes", [secret(bytes(97))]), ("no secret", [text(0x94, "u")]), ("another type of secret", [enumeration(0x57, 2), secret(SECRET)]),
        ("no key block", [structure(0x85, enumeration(0x86, 1))]), ("no key value", [structure(0x85, structure(0x40, enumeration(0x42, 1)))]),
        ("no key material", [structure(0x85, structure(0x40, structure(0x45)))]),
    ]:
        yield wrap(f"Get, {name}", KMIP_KEY, REGISTERED, ACTIVATED, kmip(0x0A, *payload))
    yield wrap("Activate, another id", KMIP_KEY, REGISTERED, kmip(0x12, text(0x94, "uid-2")), GOT)
    for name, payload in [
        ("IV of 15 bytes", [item(0xC2, b"c" * 112), item(0x3D, b"i" * 15)]), ("no IV", [item(0xC2, b"c" * 112)]), ("no data", [item(0x3D, b"i" * 16)]),
        ("short data", [item(0xC2, b"c" * 10), item(0x3D, b"i" * 16)]),
    ]:
        yield wrap(f"Encrypt, {name}", DELEGATED, CREATED, ACTIVATED, kmip(0x1F, *payload))
    known = {**DELEGATED, "keyId": "12"}
    yield unwrap("Decrypt failed", known, bytes(128), kmip(0x20, **failed))
    yield unwrap("Decrypt, no data", known, bytes(128), kmip(0x20, text(0x94, "u")))
    yield unwrap("Decrypt, 95 bytes", known, bytes(128), kmip(0x20, item(0xC2, bytes(95))))
    yield unwrap("Decrypt, material without ciphertext", known, bytes(16), kmip(0x20, item(0xC2, bytes(96))))
    yield unwrap("Decrypt, material without IV", known, bytes(15))
    got = {"provider": "kmip", "keyId": "12"}
    yield unwrap("Get, another secret", got, bytes(160), GOT)
    yield unwrap("Get, short material", got, bytes(60), GOT)
    yield answer("kmip: unreachable", KMIP, KMIP_KEY, "wrap", MATERIAL, ["fail", "next", "done"])
