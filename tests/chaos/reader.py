"""The independent reader of the chaos run: libmongocrypt and pymongo alone, with every master key, and nothing of the package.

One JSON object a line in, one a line out; bytes as base64. A request is {id, uri, database, vault, masterKey, kms: [host, port],
witnesses: {name: base64}, known: [hex ids of their keys], needles: [{name, bytes, but: [collections]}]}.
The answer holds, for each collection without key documents, every document decrypted as far as it goes; for each witness what it decrypts
to, and whether encrypting that deterministically gives the same bytes, as it does under the same key material alone; each key document
with the collection that has it, and whether it opens when no witness shows that; and the needles that were found in what is stored.
"""
import base64
import json
import socket
import sys

import bson
from bson.binary import Binary
from bson.raw_bson import RawBSONDocument
from bson.codec_options import CodecOptions
from pymongo import MongoClient
from pymongocrypt.errors import MongoCryptError
from pymongocrypt.mongocrypt import MongoCrypt, MongoCryptOptions
from pymongocrypt.options import ExplicitEncryptOpts
from pymongocrypt.synchronous.state_machine import MongoCryptCallback, run_state_machine

RAW = CodecOptions(document_class=RawBSONDocument)
KEY_FIELDS = ("_id", "version", "keyAltNames", "keyMaterial", "creationDate", "updateDate", "status", "masterKey")
DETERMINISTIC = "AEAD_AES_256_CBC_HMAC_SHA_512-Deterministic"
RANDOM = "AEAD_AES_256_CBC_HMAC_SHA_512-Random"
MOST_LAYERS = 4
CLIENTS = {}


def client_of(uri):
    if uri not in CLIENTS:
        CLIENTS[uri] = MongoClient(uri)
    return CLIENTS[uri]


def key_documents(value):
    """Every key document in a value, at whatever depth: a retired key may lie in a document about it."""
    if isinstance(value, dict):
        if isinstance(value.get("keyMaterial"), bytes) and isinstance(value.get("masterKey"), dict):
            yield {name: value[name] for name in KEY_FIELDS if name in value}
            return
        for inner in value.values():
            yield from key_documents(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from key_documents(inner)


def has_encrypted(value):
    if isinstance(value, dict):
        return any(has_encrypted(inner) for inner in value.values())
    if isinstance(value, list):
        return any(has_encrypted(inner) for inner in value)
    return isinstance(value, Binary) and value.subtype == 6


class Callback(MongoCryptCallback):
    def __init__(self, keys, kms):
        self.keys = keys
        self.kms = kms

    def kms_request(self, kms_context):
        with socket.create_connection(tuple(self.kms), timeout=10) as connection:
            connection.sendall(kms_context.message)
            while kms_context.bytes_needed > 0:
                received = connection.recv(min(kms_context.bytes_needed, 65536))
                if not received:
                    break
                kms_context.feed(received)

    def fetch_keys(self, filter):
        wanted = bson.decode(filter)
        ids = wanted["$or"][0]["_id"]["$in"]
        names = wanted["$or"][1]["keyAltNames"]["$in"]
        seen = set()
        for key in self.keys:
            if key["_id"] in seen:
                continue
            if key["_id"] in ids or any(name in names for name in key.get("keyAltNames", [])):
                seen.add(key["_id"])
                yield bson.encode(key)

    def bson_encode(self, doc):
        return bson.encode(doc)

    def unused(self, *given):
        raise NotImplementedError

    collection_info = mark_command = insert_data_key = unused

    def close(self):
        pass


def decrypted(crypt, callback, data):
    """The document as it is when nothing in it is encrypted any more."""
    for _ in range(MOST_LAYERS):
        with crypt.decryption_context(data) as context:
            data = run_state_machine(context, callback)
        if not has_encrypted(bson.decode(data)):
            break
    return data


def encrypted(crypt, callback, key_id, value, algorithm):
    options = ExplicitEncryptOpts(algorithm, key_id)
    with crypt.explicit_encryption_context(bson.encode({"v": value}), options) as context:
        return bytes(bson.decode(run_state_machine(context, callback))["v"])


def opens(crypt, callback, key_id):
    """Whether something can be encrypted under a key."""
    try:
        encrypted(crypt, callback, key_id, "x", RANDOM)
        return True
    except (MongoCryptError, OSError):
        return False


def is_encrypted(data):
    return has_encrypted(bson.decode(data))


def used_key_ids(value, found):
    if isinstance(value, dict):
        for inner in value.values():
            used_key_ids(inner, found)
    elif isinstance(value, list):
        for inner in value:
            used_key_ids(inner, found)
    elif isinstance(value, Binary) and value.subtype == 6 and len(value) > 17:
        found.add(bytes(value[1:17]).hex())


def look(request):
    database = client_of(request["uri"])[request["database"]]
    stored = {}
    for name in database.list_collection_names():
        stored[name] = [bytes(document.raw) for document in database.get_collection(name, codec_options=RAW).find()]
    keys = []
    vault_first = sorted(stored, key=lambda name: name != request["vault"])
    listed = []
    of_keys = set()
    for name in vault_first:
        for data in stored[name]:
            for key in key_documents(bson.decode(data)):
                of_keys.add(name)
                keys.append(key)
                listed.append({
                    "id": bytes(key["_id"]).hex(), "collection": name, "names": key.get("keyAltNames", []),
                    "provider": key["masterKey"].get("provider"), "arn": key["masterKey"].get("key"),
                })
    callback = Callback(keys, request["kms"])
    providers = {
        "local": {"key": base64.b64decode(request["masterKey"])},
        "aws": {"accessKeyId": "chaos", "secretAccessKey": "chaos"},
    }
    crypt = MongoCrypt(MongoCryptOptions(providers, bypass_encryption=True, key_expiration_ms=0), callback)
    try:
        collections = {}
        for name, documents in stored.items():
            if name in of_keys or name == request["vault"]:
                continue
            collections[name] = []
            for data in documents:
                used = set()
                used_key_ids(bson.decode(data), used)
                document_id = bson.encode({"id": bson.decode(data)["_id"]})
                entry = {"encrypted": is_encrypted(data), "keyIds": sorted(used), "id": base64.b64encode(document_id).decode()}
                try:
                    entry["plain"] = base64.b64encode(decrypted(crypt, callback, data)).decode()
                except (MongoCryptError, OSError) as error:
                    entry["error"] = str(error)
                collections[name].append(entry)
        witnesses = {}
        for name, payload in request["witnesses"].items():
            try:
                with crypt.explicit_decryption_context(bson.encode({"v": Binary(base64.b64decode(payload), 6)})) as context:
                    value = bson.decode(run_state_machine(context, callback))["v"]
                data = base64.b64decode(payload)
                again = encrypted(crypt, callback, data[1:17], value, DETERMINISTIC)
                witnesses[name] = {"value": value, "same": again == data}
            except (MongoCryptError, OSError) as error:
                witnesses[name] = {"error": str(error)}
        for key in listed:
            if key["collection"] == request["vault"] and key["id"] not in request["known"]:
                key["opens"] = opens(crypt, callback, bytes.fromhex(key["id"]))
    finally:
        crypt.close()
    hits = []
    for needle in request["needles"]:
        data = base64.b64decode(needle["bytes"])
        for name, documents in stored.items():
            if name not in needle["but"] and any(data in document for document in documents):
                hits.append({"needle": needle["name"], "where": f"collection {name}"})
    return {"collections": collections, "witnesses": witnesses, "keys": listed, "hits": hits}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = look(request)
        except Exception as error:  # The other end decides what a reader that fails means.
            answer = {"broken": f"{type(error).__name__}: {error}"}
        print(json.dumps({"id": request["id"], **answer}), flush=True)


main()
