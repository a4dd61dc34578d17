"""libmongocrypt run by scripts of calls, right ones and wrong ones (reference.mjs is the other end).

One JSON object a line in, one a line out, bytes as base64. The library is set up as its Node binding does it.
"""
import functools
import hashlib
import json
import os
import pathlib
import sys
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "interop"))

from pymongocrypt import crypto
from pymongocrypt.binary import MongoCryptBinaryIn, MongoCryptBinaryOut, _write_bytes
from pymongocrypt.binding import _to_string, ffi, lib

from peer import b64, status_text, text64


# Checking a key takes a thousand times as long as signing with it.
crypto.load_der_private_key = functools.lru_cache(crypto.load_der_private_key)


class Refused(Exception):
    pass


class Stream:
    """The random bytes of one script; random-stream.mjs says how they follow from its seed."""

    BLOCK = 1024

    def __init__(self, seed):
        self.seed = seed
        self.small = b""
        self.counts = {}

    def block(self, length):
        number = self.counts.get(length, 0)
        self.counts[length] = number + 1
        return hashlib.shake_256(f"{self.seed}/{length}/{number}".encode()).digest(length)

    def draw(self, length):
        if length > 16:
            return self.block(length)
        if len(self.small) < length:
            self.small = self.block(self.BLOCK)
        drawn, self.small = self.small[:length], self.small[length:]
        return drawn


STREAM = [Stream("")]
PROGRESS = 3


@ffi.callback("bool(void *, mongocrypt_binary_t *, uint32_t, mongocrypt_status_t *)")
def random_hook(ctx, output, count, status):
    _write_bytes(output, STREAM[0].draw(count))
    return True


def status_of(read, handle):
    """A status as the Node binding shows it."""
    status = lib.mongocrypt_status_new()
    try:
        read(handle, status)
        shown = {"type": lib.mongocrypt_status_type(status), "code": lib.mongocrypt_status_code(status)}
        message = lib.mongocrypt_status_message(status, ffi.NULL)
        if message != ffi.NULL:
            shown["message"] = ffi.string(message).decode(errors="replace")
        return shown
    finally:
        lib.mongocrypt_status_destroy(status)


def library(options):
    handle = lib.mongocrypt_new()

    def check(ok):
        if not ok:
            raise Refused(status_text(lib.mongocrypt_status, handle))

    def document(name, call):
        if name in options:
            with MongoCryptBinaryIn(b64(options[name])) as binary:
                check(call(handle, binary.bin))

    document("kmsProviders", lib.mongocrypt_setopt_kms_providers)
    document("schemaMap", lib.mongocrypt_setopt_schema_map)
    document("encryptedFieldsMap", lib.mongocrypt_setopt_encrypted_field_config_map)
    check(
        lib.mongocrypt_setopt_crypto_hooks(
            handle,
            crypto.aes_256_cbc_encrypt,
            crypto.aes_256_cbc_decrypt,
            random_hook,
            crypto.hmac_sha_512,
            crypto.hmac_sha_256,
            crypto.sha_256,
            ffi.NULL,
        )
    )
    check(lib.mongocrypt_setopt_crypto_hook_sign_rsaes_pkcs1_v1_5(handle, crypto.sign_rsaes_pkcs1_v1_5, ffi.NULL))
    if options.get("bypassQueryAnalysis"):
        lib.mongocrypt_setopt_bypass_query_analysis(handle)
    lib.mongocrypt_setopt_use_need_kms_credentials_state(handle)
    lib.mongocrypt_setopt_retry_kms(handle, True)
    lib.mongocrypt_setopt_enable_multiple_collinfo(handle)
    if "keyExpirationMS" in options:
        check(lib.mongocrypt_setopt_key_expiration(handle, options["keyExpirationMS"]))
    check(lib.mongocrypt_init(handle))
    return handle


class Context:
    def __init__(self, crypt, how):
        self.handle = lib.mongocrypt_ctx_new(crypt)
        self.requests = []
        kind = how["kind"]
        # In the order of the binding: what is wrong first is what is told.
        if "masterKey" in how:
            self.give(lib.mongocrypt_ctx_setopt_key_encryption_key, how["masterKey"])
        if "keyId" in how:
            self.give(lib.mongocrypt_ctx_setopt_key_id, how["keyId"])
        for name in how.get("keyAltNames", []):
            self.give(lib.mongocrypt_ctx_setopt_key_alt_name, name)
        if "algorithm" in how:
            algorithm = how["algorithm"].encode()
            self.check(lib.mongocrypt_ctx_setopt_algorithm(self.handle, algorithm, len(algorithm)))
        if "keyMaterial" in how:
            self.give(lib.mongocrypt_ctx_setopt_key_material, how["keyMaterial"])
        if kind == "dataKey":
            self.check(lib.mongocrypt_ctx_datakey_init(self.handle))
        elif kind == "encrypt":
            database = how["database"].encode()
            with MongoCryptBinaryIn(b64(how["input"])) as binary:
                self.check(lib.mongocrypt_ctx_encrypt_init(self.handle, database, len(database), binary.bin))
        else:
            self.give(
                {
                    "explicitEncrypt": lib.mongocrypt_ctx_explicit_encrypt_init,
                    "explicitEncryptExpression": lib.mongocrypt_ctx_explicit_encrypt_expression_init,
                    "explicitDecrypt": lib.mongocrypt_ctx_explicit_decrypt_init,
                    "decrypt": lib.mongocrypt_ctx_decrypt_init,
                    "rewrap": lib.mongocrypt_ctx_rewrap_many_datakey_init,
                }[kind],
                how["input"],
            )

    def check(self, ok):
        if not ok:
            raise Refused(self.message())

    def give(self, call, data):
        with MongoCryptBinaryIn(b64(data)) as binary:
            self.check(call(self.handle, binary.bin))

    def message(self):
        return status_text(lib.mongocrypt_ctx_status, self.handle)

    def run(self, name, arguments):
        result = getattr(self, "call_" + name)(*arguments)
        state = lib.mongocrypt_ctx_state(self.handle)
        return {"state": state, "status": status_of(lib.mongocrypt_ctx_status, self.handle), "result": result}

    def out(self, call):
        with MongoCryptBinaryOut() as binary:
            call(self.handle, binary.bin)
            return text64(binary.to_bytes()) if lib.mongocrypt_binary_len(binary.bin) else ""

    def take(self, call, data):
        with MongoCryptBinaryIn(b64(data)) as binary:
            call(self.handle, binary.bin)

    def call_look(self):
        return None

    def call_operation(self):
        return self.out(lib.mongocrypt_ctx_mongo_op)

    def call_feed(self, data):
        self.take(lib.mongocrypt_ctx_mongo_feed, data)

    def call_finishOperation(self):
        lib.mongocrypt_ctx_mongo_done(self.handle)

    def call_provide(self, data):
        self.take(lib.mongocrypt_ctx_provide_kms_providers, data)

    def call_nextRequest(self):
        request = lib.mongocrypt_ctx_next_kms_ctx(self.handle)
        if request == ffi.NULL:
            return None
        self.requests.append(request)
        with MongoCryptBinaryOut() as binary:
            lib.mongocrypt_kms_ctx_message(request, binary.bin)
            message = text64(binary.to_bytes())
        endpoint = ffi.new("char *[]", 1)
        lib.mongocrypt_kms_ctx_endpoint(request, endpoint)
        return {
            "provider": _to_string(lib.mongocrypt_kms_ctx_get_kms_provider(request, ffi.NULL)),
            "endpoint": ffi.string(endpoint[0]).decode(errors="replace"),
            "message": message,
            "sleep": lib.mongocrypt_kms_ctx_usleep(request),
            **self.progress(request),
        }

    @staticmethod
    def progress(request):
        return {"needed": lib.mongocrypt_kms_ctx_bytes_needed(request), "status": status_of(lib.mongocrypt_kms_ctx_status, request)}

    def call_answer(self, index, data):
        """Feeds as many bytes as are wanted."""
        if index >= len(self.requests):
            return None
        request, reply, needs = self.requests[index], b64(data), []
        while reply and lib.mongocrypt_kms_ctx_bytes_needed(request) > 0:
            needed = lib.mongocrypt_kms_ctx_bytes_needed(request)
            needs.append(needed)
            with MongoCryptBinaryIn(reply[:needed]) as binary:
                if not lib.mongocrypt_kms_ctx_feed(request, binary.bin):
                    break
            reply = reply[needed:]
        return {"needs": needs, **self.progress(request)}

    def call_chunk(self, index, data):
        """Feeds these bytes, however many are wanted."""
        if index >= len(self.requests):
            return None
        with MongoCryptBinaryIn(b64(data)) as binary:
            lib.mongocrypt_kms_ctx_feed(self.requests[index], binary.bin)
        return self.progress(self.requests[index])

    def call_fail(self, index):
        if index >= len(self.requests):
            return None
        again = bool(lib.mongocrypt_kms_ctx_fail(self.requests[index]))
        return {"again": again, **self.progress(self.requests[index])}

    def call_finishRequests(self):
        lib.mongocrypt_ctx_kms_done(self.handle)

    def call_finalize(self):
        return self.out(lib.mongocrypt_ctx_finalize)

    def close(self):
        lib.mongocrypt_ctx_destroy(self.handle)


# {v: 'probe'}
PROBE = b"\x12\0\0\0\x02v\0\x06\0\0\0probe\0\0"
DETERMINISTIC = b"AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic"


def cached(crypt, setter, reference):
    """What a value becomes under the key that the cache has for an id or a name; None where it has none."""
    handle = lib.mongocrypt_ctx_new(crypt)
    try:
        lib.mongocrypt_ctx_setopt_algorithm(handle, DETERMINISTIC, len(DETERMINISTIC))
        with MongoCryptBinaryIn(b64(reference)) as binary:
            setter(handle, binary.bin)
        with MongoCryptBinaryIn(PROBE) as binary:
            lib.mongocrypt_ctx_explicit_encrypt_init(handle, binary.bin)
        if lib.mongocrypt_ctx_state(handle) != lib.MONGOCRYPT_CTX_READY:
            return None
        with MongoCryptBinaryOut() as binary:
            lib.mongocrypt_ctx_finalize(handle, binary.bin)
            return text64(binary.to_bytes())
    finally:
        lib.mongocrypt_ctx_destroy(handle)


def run(script):
    STREAM[0] = Stream(script["seed"])
    try:
        crypt = library(script["options"])
    except Refused as refused:
        return {"refused": str(refused)}
    outcomes = []
    contexts = []
    context = None
    for number, (name, *arguments) in enumerate(script["steps"]):
        # Should the library end the process, this was the step.
        os.write(PROGRESS, number.to_bytes(4, "little"))
        if name == "make":
            try:
                context = Context(crypt, arguments[0])
                outcomes.append(context.run("look", []))
            except Refused as refused:
                context = None
                outcomes.append({"refused": str(refused)})
            contexts.append(context)
        elif name == "use":
            context = contexts[arguments[0]]
            outcomes.append(None if context is None else context.run("look", []))
        elif name == "cached":
            ids, names = arguments
            outcomes.append(
                {
                    "ids": [cached(crypt, lib.mongocrypt_ctx_setopt_key_id, id) for id in ids],
                    "names": [cached(crypt, lib.mongocrypt_ctx_setopt_key_alt_name, name) for name in names],
                }
            )
        elif name == "sleep":
            time.sleep(arguments[0] / 1000)
            outcomes.append(None)
        else:
            outcomes.append(None if context is None else context.run(name, arguments))
    for context in contexts:
        if context is not None:
            context.close()
    lib.mongocrypt_destroy(crypt)
    return {"outcomes": outcomes}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = run(request)
        except Exception:
            answer = {"broken": traceback.format_exc()}
        sys.stdout.write(json.dumps({"id": request["id"], **answer}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
