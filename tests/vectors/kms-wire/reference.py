"""libmongocrypt's KMS requests, driven call by call for generate.py."""
import base64
import datetime
import json
import re

import bson
from bson.binary import Binary
from pymongocrypt import crypto
from pymongocrypt.binary import MongoCryptBinaryIn, MongoCryptBinaryOut, _to_bytes, _write_bytes
from pymongocrypt.binding import ffi, lib

MATERIAL = bytes(range(96))
SIGNATURE = bytes(range(256))
KEY_ID = Binary(bytes([0x61] * 16), 4)
SIGNED = []


def b64(data):
    return base64.b64encode(data).decode()


@ffi.callback("bool(void *, mongocrypt_binary_t *, uint32_t, mongocrypt_status_t *)")
def random_hook(ctx, output, count, status):
    _write_bytes(output, bytes((i * 7 + 1) & 255 for i in range(count)))
    return True


@ffi.callback("bool(void *, mongocrypt_binary_t *, mongocrypt_binary_t *, mongocrypt_binary_t *, mongocrypt_status_t *)")
def sign_hook(ctx, key, data, output, status):
    SIGNED.append((_to_bytes(key), _to_bytes(data)))
    _write_bytes(output, SIGNATURE)
    return True


class Refused(Exception):
    pass


def status_text(read, handle):
    status = lib.mongocrypt_status_new()
    try:
        read(handle, status)
        message = lib.mongocrypt_status_message(status, ffi.NULL)
        return None if message == ffi.NULL else ffi.string(message).decode(errors="replace")
    finally:
        lib.mongocrypt_status_destroy(status)


class Engine:
    def __init__(self, providers):
        self.handle = lib.mongocrypt_new()
        lib.mongocrypt_setopt_use_need_kms_credentials_state(self.handle)
        with MongoCryptBinaryIn(providers) as binary:
            self.check(lib.mongocrypt_setopt_kms_providers(self.handle, binary.bin))
        hooks = (
            crypto.aes_256_cbc_encrypt, crypto.aes_256_cbc_decrypt, random_hook,
            crypto.hmac_sha_512, crypto.hmac_sha_256, crypto.sha_256,
        )
        self.check(lib.mongocrypt_setopt_crypto_hooks(self.handle, *hooks, ffi.NULL))
        self.check(lib.mongocrypt_setopt_crypto_hook_sign_rsaes_pkcs1_v1_5(self.handle, sign_hook, ffi.NULL))
        lib.mongocrypt_setopt_retry_kms(self.handle, True)
        self.check(lib.mongocrypt_init(self.handle))

    def check(self, ok):
        if not ok:
            raise Refused(status_text(lib.mongocrypt_status, self.handle))


class Request:
    """One mongocrypt_kms_ctx_t."""

    def __init__(self, handle):
        self.handle = handle

    def message(self):
        with MongoCryptBinaryOut() as binary:
            lib.mongocrypt_kms_ctx_message(self.handle, binary.bin)
            return binary.to_bytes()

    def endpoint(self):
        endpoint = ffi.new("char *[]", 1)
        lib.mongocrypt_kms_ctx_endpoint(self.handle, endpoint)
        return ffi.string(endpoint[0]).decode(errors="replace")

    def needed(self):
        return lib.mongocrypt_kms_ctx_bytes_needed(self.handle)

    def status(self):
        return status_text(lib.mongocrypt_kms_ctx_status, self.handle)

    def feed(self, data):
        with MongoCryptBinaryIn(data) as binary:
            return lib.mongocrypt_kms_ctx_feed(self.handle, binary.bin)

    def read(self, data):
        """Feeds what a host would read, and returns what it would leave."""
        while data and self.needed() > 0:
            needed = self.needed()
            if not self.feed(data[:needed]):
                return data[needed:]
            data = data[needed:]
        return data

    def fail(self):
        return lib.mongocrypt_kms_ctx_fail(self.handle)


class Run:
    """One mongocrypt_ctx_t that wraps or unwraps a key."""

    def __init__(self, providers, operation, master_key, data):
        self.engine = Engine(bson.encode(providers))
        self.handle = lib.mongocrypt_ctx_new(self.engine.handle)
        if operation == "wrap":
            self.give(lib.mongocrypt_ctx_setopt_key_encryption_key, bson.encode(master_key))
            material = bson.encode({"keyMaterial": Binary(data, 0)})
            self.give(lib.mongocrypt_ctx_setopt_key_material, material)
            self.check(lib.mongocrypt_ctx_datakey_init(self.handle))
            return
        blob = bytes([1]) + bytes(KEY_ID) + bytes([2]) + bytes(80)
        self.give(lib.mongocrypt_ctx_explicit_decrypt_init, bson.encode({"v": Binary(blob, 6)}))
        date = datetime.datetime(2020, 1, 1)
        key = {
            "_id": KEY_ID, "keyMaterial": Binary(data, 0), "creationDate": date, "updateDate": date, "status": 0,
            "masterKey": master_key,
        }
        self.give(lib.mongocrypt_ctx_mongo_feed, bson.encode(key))
        self.check(lib.mongocrypt_ctx_mongo_done(self.handle))

    def check(self, ok):
        if not ok:
            raise Refused(status_text(lib.mongocrypt_ctx_status, self.handle))

    def give(self, call, data):
        with MongoCryptBinaryIn(data) as binary:
            self.check(call(self.handle, binary.bin))

    def next(self):
        found = lib.mongocrypt_ctx_next_kms_ctx(self.handle)
        return None if found == ffi.NULL else Request(found)

    def done(self):
        self.check(lib.mongocrypt_ctx_kms_done(self.handle))

    def is_ready(self):
        return lib.mongocrypt_ctx_state(self.handle) == lib.MONGOCRYPT_CTX_READY

    def key_document(self):
        with MongoCryptBinaryOut() as binary:
            self.check(lib.mongocrypt_ctx_finalize(self.handle, binary.bin))
            return bson.decode(binary.to_bytes())


def http(status, body, head=""):
    body = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    return f"HTTP/1.1 {status} X\r\n{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def now_ms(message, signed):
    """The time that a message was made at, as it says itself."""
    if found := re.search(rb"X-Amz-Date:(\S+)", message):
        at = datetime.datetime.strptime(found[1].decode(), "%Y%m%dT%H%M%SZ")
        return int(at.replace(tzinfo=datetime.timezone.utc).timestamp() * 1000)
    if signed:
        claims = signed[0][1].split(b".")[1]
        return json.loads(base64.urlsafe_b64decode(claims))["iat"] * 1000
    return 0
