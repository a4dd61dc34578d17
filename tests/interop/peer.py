"""libmongocrypt, driven call by call for the tests of csfle-wasm (peer.mjs is the other end).

One JSON object a line in, one a line out, bytes as base64. Documents cross as BSON bytes and go to the library as they
came: nothing here parses or rebuilds them, so a malformed document reaches libmongocrypt malformed.
"""
import base64
import json
import socket
import sys
import traceback
from urllib.parse import urlparse

import bson
from pymongocrypt import __version__ as pymongocrypt_version
from pymongocrypt import libmongocrypt_version
from pymongocrypt import crypto
from pymongocrypt.binary import MongoCryptBinaryIn, MongoCryptBinaryOut, _write_bytes
from pymongocrypt.binding import _to_string, ffi, lib

from fake_kms import FakeKms

b64 = base64.b64decode


def text64(data):
    return base64.b64encode(data).decode()


class Refused(Exception):
    """What the library's status said, and which call it was."""

    def __init__(self, at, message):
        super().__init__(message)
        self.at = at


# The bytes the library will draw next. With none left it draws from the system, as in production. Choosing them makes
# the random algorithm, key ids and local wrappings comparable byte for byte.
RANDOM = []


@ffi.callback("bool(void *, mongocrypt_binary_t *, uint32_t, mongocrypt_status_t *)")
def random_hook(ctx, output, count, status):
    import os

    data = RANDOM.pop(0) if RANDOM else os.urandom(count)
    if len(data) != count:
        message = f"asked for {count} random bytes, the test planned {len(data)}".encode()
        lib.mongocrypt_status_set(status, lib.MONGOCRYPT_STATUS_ERROR_CLIENT, 1, message, -1)
        return False
    _write_bytes(output, data)
    return True


def status_text(read, handle):
    status = lib.mongocrypt_status_new()
    try:
        read(handle, status)
        message = lib.mongocrypt_status_message(status, ffi.NULL)
        # A field name out of a damaged document need not be UTF-8.
        return ffi.string(message).decode(errors="replace") if message != ffi.NULL else ""
    finally:
        lib.mongocrypt_status_destroy(status)


class Engine:
    """One mongocrypt_t: providers and a key cache."""

    def __init__(self, kms_providers, key_expiration_ms):
        self.handle = lib.mongocrypt_new()
        with MongoCryptBinaryIn(kms_providers) as binary:
            self.check("kmsProviders", lib.mongocrypt_setopt_kms_providers(self.handle, binary.bin))
        self.check(
            "hooks",
            lib.mongocrypt_setopt_crypto_hooks(
                self.handle,
                crypto.aes_256_cbc_encrypt,
                crypto.aes_256_cbc_decrypt,
                random_hook,
                crypto.hmac_sha_512,
                crypto.hmac_sha_256,
                crypto.sha_256,
                ffi.NULL,
            ),
        )
        self.check(
            "hooks",
            lib.mongocrypt_setopt_crypto_hook_sign_rsaes_pkcs1_v1_5(self.handle, crypto.sign_rsaes_pkcs1_v1_5, ffi.NULL),
        )
        if key_expiration_ms is not None:
            self.check("keyExpiration", lib.mongocrypt_setopt_key_expiration(self.handle, key_expiration_ms))
        # As the Node binding sets the library up; some texts depend on it (csfle-format.md 1.6).
        lib.mongocrypt_setopt_use_need_kms_credentials_state(self.handle)
        self.check("init", lib.mongocrypt_init(self.handle))

    def check(self, at, ok):
        if not ok:
            raise Refused(at, status_text(lib.mongocrypt_status, self.handle))

    def close(self):
        lib.mongocrypt_destroy(self.handle)


class Run:
    """One mongocrypt_ctx_t, from its options to its output."""

    def __init__(self, engine, fake_kms, request):
        self.request = request
        self.fake_kms = fake_kms
        self.filters = []
        self.kms = []
        self.replies = [b64(reply) for reply in request.get("kmsReplies", [])]
        self.context = lib.mongocrypt_ctx_new(engine.handle)

    def check(self, at, ok):
        if not ok:
            raise Refused(at, status_text(lib.mongocrypt_ctx_status, self.context))

    def give(self, at, call, data):
        with MongoCryptBinaryIn(data) as binary:
            self.check(at, call(self.context, binary.bin))

    def prepare(self):
        asked = self.request
        if "keyId" in asked:
            self.give("keyId", lib.mongocrypt_ctx_setopt_key_id, b64(asked["keyId"]))
        for name in asked.get("keyAltNames", []):
            self.give("keyAltName", lib.mongocrypt_ctx_setopt_key_alt_name, b64(name))
        if "algorithm" in asked:
            algorithm = asked["algorithm"].encode()
            self.check("algorithm", lib.mongocrypt_ctx_setopt_algorithm(self.context, algorithm, len(algorithm)))
        if "masterKey" in asked:
            self.give("masterKey", lib.mongocrypt_ctx_setopt_key_encryption_key, b64(asked["masterKey"]))
        if "keyMaterial" in asked:
            self.give("keyMaterial", lib.mongocrypt_ctx_setopt_key_material, b64(asked["keyMaterial"]))
        kind = asked["kind"]
        if kind == "createDataKey":
            self.check("start", lib.mongocrypt_ctx_datakey_init(self.context))
            return
        starts = {
            "encrypt": lib.mongocrypt_ctx_explicit_encrypt_init,
            "decrypt": lib.mongocrypt_ctx_explicit_decrypt_init,
            "decryptDocument": lib.mongocrypt_ctx_decrypt_init,
            "rewrap": lib.mongocrypt_ctx_rewrap_many_datakey_init,
        }
        self.give("start", starts[kind], b64(asked["input"]))

    def out(self, at, call):
        with MongoCryptBinaryOut() as binary:
            self.check(at, call(self.context, binary.bin))
            return binary.to_bytes()

    def drive(self):
        self.prepare()
        while True:
            state = lib.mongocrypt_ctx_state(self.context)
            if state == lib.MONGOCRYPT_CTX_READY:
                return self.out("finalize", lib.mongocrypt_ctx_finalize)
            if state == lib.MONGOCRYPT_CTX_DONE:
                return None
            if state == lib.MONGOCRYPT_CTX_NEED_MONGO_KEYS:
                self.filters.append(self.out("filter", lib.mongocrypt_ctx_mongo_op))
                for key in self.wanted_keys():
                    self.give("keys", lib.mongocrypt_ctx_mongo_feed, key)
                self.check("keysDone", lib.mongocrypt_ctx_mongo_done(self.context))
            elif state == lib.MONGOCRYPT_CTX_NEED_KMS:
                self.answer_kms()
                self.check("kmsDone", lib.mongocrypt_ctx_kms_done(self.context))
            else:
                self.check("state", False)

    def wanted_keys(self):
        """Every document of `keys`, asked for or not; of `vault`, those that the filter asks for."""
        yield from map(b64, self.request.get("keys", []))
        if "vault" in self.request:
            by_id, by_name = bson.decode(self.filters[-1])["$or"]
            ids, names = by_id["_id"]["$in"], by_name["keyAltNames"]["$in"]
            for data in map(b64, self.request["vault"]):
                key = bson.decode(data)
                if key.get("_id") in ids or set(key.get("keyAltNames", [])) & set(names):
                    yield data

    def answer_kms(self):
        # Enumerated before the first answer: feeding while enumerating is unsafe when rewrapping (csfle-format.md 10.4).
        found = []
        request = lib.mongocrypt_ctx_next_kms_ctx(self.context)
        while request != ffi.NULL:
            found.append(request)
            request = lib.mongocrypt_ctx_next_kms_ctx(self.context)
        for request in found:
            with MongoCryptBinaryOut() as binary:
                lib.mongocrypt_kms_ctx_message(request, binary.bin)
                message = binary.to_bytes()
            provider = _to_string(lib.mongocrypt_kms_ctx_get_kms_provider(request, ffi.NULL))
            endpoint = ffi.new("char *[]", 1)
            lib.mongocrypt_kms_ctx_endpoint(request, endpoint)
            shown = ffi.string(endpoint[0]).decode(errors="replace")
            self.kms.append({"provider": provider, "endpoint": shown, "message": text64(message)})
            self.feed(request, self.reply(provider, message))

    def reply(self, provider, message):
        if self.replies:
            return self.replies.pop(0)
        if "kmsForward" in self.request:
            return forward(self.request["kmsForward"], message)
        substitute = self.request.get("kmsSubstitute")
        return self.fake_kms.answer(provider, message, b64(substitute) if substitute else None)

    def feed(self, request, reply):
        while lib.mongocrypt_kms_ctx_bytes_needed(request) > 0 and reply:
            needed = lib.mongocrypt_kms_ctx_bytes_needed(request)
            with MongoCryptBinaryIn(reply[:needed]) as binary:
                fed = lib.mongocrypt_kms_ctx_feed(request, binary.bin)
            if not fed:
                raise Refused("kms", status_text(lib.mongocrypt_kms_ctx_status, request))
            reply = reply[needed:]

    def close(self):
        lib.mongocrypt_ctx_destroy(self.context)


def forward(url, message):
    """Sends the library's own signed request to an emulator, unchanged, over plain HTTP."""
    target = urlparse(url)
    with socket.create_connection((target.hostname, target.port), timeout=20) as connection:
        connection.sendall(message)
        reply = b""
        while True:
            part = connection.recv(65536)
            if not part:
                return reply
            reply += part


class Peer:
    def __init__(self):
        self.engines = {}
        self.fake_kms = FakeKms()

    def handle(self, request):
        return getattr(self, "do_" + request["op"])(request)

    def do_versions(self, request):
        return {
            "pymongocrypt": pymongocrypt_version,
            "libmongocrypt": libmongocrypt_version(),
            "python": sys.version.split()[0],
        }

    def do_open(self, request):
        self.engines[request["engine"]] = Engine(b64(request["kmsProviders"]), request.get("keyExpirationMs"))
        return {}

    def do_close(self, request):
        self.engines.pop(request["engine"]).close()
        return {}

    def do_kmipSecret(self, request):
        return {"secret": text64(self.fake_kms.kmip.secret(request["keyId"]))}

    def do_setKmipSecret(self, request):
        self.fake_kms.kmip.secrets[request["keyId"]] = b64(request["secret"])
        return {}

    def do_run(self, request):
        RANDOM[:] = [b64(data) for data in request.get("random", [])]
        run = Run(self.engines[request["engine"]], self.fake_kms, request)
        try:
            output = run.drive()
            return {
                "output": None if output is None else text64(output),
                "filters": [text64(found) for found in run.filters],
                "kms": run.kms,
                "randomLeft": len(RANDOM),
            }
        finally:
            RANDOM.clear()
            run.close()


def main():
    peer = Peer()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = peer.handle(request)
        except Refused as refused:
            answer = {"refused": {"at": refused.at, "message": str(refused)}}
        except Exception:
            answer = {"broken": traceback.format_exc()}
        sys.stdout.write(json.dumps({"id": request["id"], **answer}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
