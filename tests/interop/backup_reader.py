"""Reads and writes sealed backups from docs/sealed-backup.md alone, with the cryptography of OpenSSL.

One request per line of standard input as JSON, one answer per line of standard output:

    {"open": <base64>, "passphrase": <text> | "localKey": <hex>}  ->  {"content": <base64>}
    {"seal": <base64 of the content>, "passphrase": <text> | "localKey": <hex>, "chunkLength": n}  ->  {"file": <base64>}
"""

import base64
import hashlib
import hmac
import json
import os
import struct
import sys
import unicodedata

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

MAGIC = b"CSFLEBAK"
WRAPPING_NONCE = bytes(11) + b"\x01"


def hkdf(secret, file_id, info):
    pseudorandom = hmac.digest(file_id, secret, "sha256")
    return hmac.digest(pseudorandom, info + b"\x01", "sha256")


def argon2id(passphrase, salt, memory, passes, lanes):
    text = unicodedata.normalize("NFC", passphrase).encode()
    return Argon2id(salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory).derive(text)


def unwrap_local(master_key, wrapped):
    mac_key, enc_key = master_key[:32], master_key[32:64]
    iv, ciphertext, tag = wrapped[:16], wrapped[16:-32], wrapped[-32:]
    expected = hmac.digest(mac_key, iv + ciphertext + bytes(8), "sha512")[:32]
    assert hmac.compare_digest(tag, expected), "the local master key is another one"
    decryptor = Cipher(algorithms.AES(enc_key), modes.CBC(iv)).decryptor()
    padded = decryptor.update(ciphertext) + decryptor.finalize()
    return padded[: -padded[-1]]


def wrap_local(master_key, secret):
    mac_key, enc_key = master_key[:32], master_key[32:64]
    iv = os.urandom(16)
    pad = 16 - len(secret) % 16
    encryptor = Cipher(algorithms.AES(enc_key), modes.CBC(iv)).encryptor()
    ciphertext = encryptor.update(secret + bytes([pad]) * pad) + encryptor.finalize()
    return iv + ciphertext + hmac.digest(mac_key, iv + ciphertext + bytes(8), "sha512")[:32]


def file_secret(method, section, request):
    if method == 1:
        version, memory, passes, lanes = struct.unpack_from("<BIII", section)
        assert version == 0x13 and len(section) == 29
        return argon2id(request["passphrase"], section[13:], memory, passes, lanes)
    (document_length,) = struct.unpack_from("<I", section)
    (wrapped_length,) = struct.unpack_from("<I", section, document_length)
    wrapped = section[document_length + 4 :]
    assert len(wrapped) == wrapped_length
    return unwrap_local(bytes.fromhex(request["localKey"]), wrapped)


def open_file(file, request):
    assert file[:8] == MAGIC and file[8] == 1
    method = file[9]
    (chunk_length,) = struct.unpack_from("<I", file, 10)
    file_id, prefix = file[14:46], file[46:53]
    (section_length,) = struct.unpack_from("<I", file, 53)
    end = 57 + section_length
    fields, wrapped_content_key = file[:end], file[end : end + 48]
    header_hash = file[end + 48 : end + 80]
    assert header_hash == hashlib.sha256(file[: end + 48]).digest()
    secret = file_secret(method, file[57:end], request)
    wrapping_key = hkdf(secret, file_id, b"csfle-wasm sealed backup 1: wrapping key")
    content_key = AESGCM(wrapping_key).decrypt(WRAPPING_NONCE, wrapped_content_key, fields)
    cipher = AESGCM(hkdf(content_key, file_id, b"csfle-wasm sealed backup 1: chunk key"))
    chunks = file[end + 80 :]
    step = chunk_length + 16
    pieces = [chunks[at : at + step] for at in range(0, len(chunks), step)]
    return b"".join(
        cipher.decrypt(nonce(prefix, index, index == len(pieces) - 1), piece, header_hash)
        for index, piece in enumerate(pieces)
    )


def seal(content, request):
    chunk_length = request["chunkLength"]
    if "passphrase" in request:
        salt = os.urandom(16)
        method, section = 1, struct.pack("<BIII", 0x13, 19456, 2, 1) + salt
        secret = argon2id(request["passphrase"], salt, 19456, 2, 1)
    else:
        secret = os.urandom(96)
        wrapped = wrap_local(bytes.fromhex(request["localKey"]), secret)
        document = b"\x02provider\0" + struct.pack("<I", 6) + b"local\0"
        document = struct.pack("<I", len(document) + 5) + document + b"\0"
        method, section = 2, document + struct.pack("<I", len(wrapped)) + wrapped
    file_id, prefix, content_key = os.urandom(32), os.urandom(7), os.urandom(32)
    fields = MAGIC + struct.pack("<BBI", 1, method, chunk_length) + file_id + prefix + struct.pack("<I", len(section)) + section
    wrapping_key = hkdf(secret, file_id, b"csfle-wasm sealed backup 1: wrapping key")
    header = fields + AESGCM(wrapping_key).encrypt(WRAPPING_NONCE, content_key, fields)
    header_hash = hashlib.sha256(header).digest()
    cipher = AESGCM(hkdf(content_key, file_id, b"csfle-wasm sealed backup 1: chunk key"))
    pieces = [content[at : at + chunk_length] for at in range(0, len(content), chunk_length)] or [b""]
    return header + header_hash + b"".join(
        cipher.encrypt(nonce(prefix, index, index == len(pieces) - 1), piece, header_hash)
        for index, piece in enumerate(pieces)
    )


def nonce(prefix, index, is_last):
    return prefix + struct.pack(">IB", index, is_last)


for line in sys.stdin:
    request = json.loads(line)
    if "open" in request:
        answer = {"content": open_file(base64.b64decode(request["open"]), request)}
    else:
        answer = {"file": seal(base64.b64decode(request["seal"]), request)}
    print(json.dumps({name: base64.b64encode(value).decode() for name, value in answer.items()}), flush=True)
