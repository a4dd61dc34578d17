"""A pretend KMS for libmongocrypt: it answers the requests the library writes, byte for byte, without a network.

The rule of every wrapping is shared with fake-kms.mjs, so that keys wrapped on one side unwrap on the other:

    wrapped = "FAKE-KMS" | length of name (1) | name | plaintext XOR SHA-512 stream of the name

KMIP objects exist by name too: the secret of an object id that was never registered is the stream of "kmip:<id>".
"""
import base64
import hashlib
import json

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

MAGIC = b"FAKE-KMS"


def stream(name, length):
    out = b""
    counter = 0
    while len(out) < length:
        out += hashlib.sha512(name + b"/" + str(counter).encode()).digest()
        counter += 1
    return out[:length]


def xor(left, right):
    return bytes(a ^ b for a, b in zip(left, right))


def wrap(name, plaintext):
    name = name.encode()
    return MAGIC + bytes([len(name)]) + name + xor(plaintext, stream(name, len(plaintext)))


def unwrap(wrapped):
    """The plaintext, or None for bytes this KMS never produced."""
    if wrapped[:8] != MAGIC or len(wrapped) < 9 or len(wrapped) < 9 + wrapped[8]:
        return None
    name = wrapped[9 : 9 + wrapped[8]]
    sealed = wrapped[9 + wrapped[8] :]
    return xor(sealed, stream(name, len(sealed)))


def http(status, body):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def parse(message):
    """Path, headers and JSON body of an HTTP request."""
    head, body = message.split(b"\r\n\r\n", 1)
    lines = head.decode(errors="replace").split("\r\n")
    headers = dict(line.split(":", 1) for line in lines[1:])
    # The reference writes names from the master key into the path as they are, spaces included.
    path = lines[0].split(" ", 1)[1].rsplit(" ", 1)[0]
    return path, headers, json.loads(body)


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class FakeKms:
    def __init__(self):
        self.kmip = KmipObjects()

    def answer(self, provider, message, substitute=None):
        """The reply to one request. `substitute` stands in for the plaintext of what this KMS never wrapped."""
        kind = provider.split(":")[0]
        if kind == "kmip":
            return self.kmip.answer(message)
        return getattr(self, kind)(message, substitute)

    def aws(self, message, substitute):
        _, headers, body = parse(message)
        if headers["X-Amz-Target"].endswith(".Encrypt"):
            wrapped = wrap("aws:" + body["KeyId"], base64.b64decode(body["Plaintext"]))
            return http(200, {"CiphertextBlob": base64.b64encode(wrapped).decode()})
        plaintext = unwrap(base64.b64decode(body["CiphertextBlob"])) or substitute
        if plaintext is None:
            return http(400, {"__type": "InvalidCiphertextException"})
        return http(200, {"Plaintext": base64.b64encode(plaintext).decode()})

    def azure(self, message, substitute):
        path, _, body = parse(message)
        value = unpadded(body["value"])
        if "/wrapkey" in path:
            name = path[len("/keys/") :].rsplit("/", 2)[0]
            return http(200, {"value": base64.urlsafe_b64encode(wrap("azure:" + name, value)).decode().rstrip("=")})
        plaintext = unwrap(value) or substitute
        if plaintext is None:
            return http(400, {"error": {"code": "BadParameter"}})
        return http(200, {"value": base64.urlsafe_b64encode(plaintext).decode().rstrip("=")})

    def gcp(self, message, substitute):
        path, _, body = parse(message)
        if path.endswith(":encrypt"):
            name = path.split("/cryptoKeys/")[1].split(":")[0].split("/")[0]
            wrapped = wrap("gcp:" + name, base64.b64decode(body["plaintext"]))
            return http(200, {"ciphertext": base64.b64encode(wrapped).decode()})
        plaintext = unwrap(base64.b64decode(body["ciphertext"])) or substitute
        if plaintext is None:
            return http(400, {"error": {"code": 400}})
        return http(200, {"plaintext": base64.b64encode(plaintext).decode()})


class KmipObjects:
    """Register, Activate, Get of secrets and Create, Activate, Encrypt, Decrypt of symmetric keys, in TTLV."""

    def __init__(self):
        self.secrets = {}

    def secret(self, uid):
        return self.secrets.get(uid) or stream(b"kmip:" + uid.encode(errors="surrogateescape"), 96)

    def answer(self, message):
        tree = self.read(message)[0][1]
        operation = int.from_bytes(self.find(tree, 0x42005C), "big")
        uid = self.find(tree, 0x420094)
        uid = uid.decode(errors="surrogateescape") if uid is not None else None
        if operation == 0x03:
            secret = self.find(tree, 0x420043)
            uid = "registered-" + hashlib.sha256(secret).hexdigest()[:16]
            self.secrets[uid] = secret
            payload = self.text(0x420094, uid)
        elif operation == 0x01:
            uid = "created-" + hashlib.sha256(message).hexdigest()[:16]
            payload = self.text(0x420094, uid)
        elif operation == 0x12:
            payload = self.text(0x420094, uid)
        elif operation == 0x0A:
            value = self.node(0x420045, 1, self.node(0x420043, 8, self.secret(uid)))
            block = self.node(0x420040, 1, self.node(0x420042, 5, (1).to_bytes(4, "big")) + value)
            secret = self.node(0x420085, 1, self.node(0x420086, 5, (1).to_bytes(4, "big")) + block)
            payload = self.node(0x420057, 5, (7).to_bytes(4, "big")) + self.text(0x420094, uid) + secret
        elif operation == 0x1F:
            data = self.find(tree, 0x4200C2)
            iv = hashlib.sha256(data).digest()[:16]
            pad = 16 - len(data) % 16
            cipher = Cipher(algorithms.AES(stream(b"kmip-aes:" + uid.encode(errors="surrogateescape"), 32)), modes.CBC(iv)).encryptor()
            sealed = cipher.update(data + bytes([pad]) * pad) + cipher.finalize()
            payload = self.text(0x420094, uid) + self.node(0x4200C2, 8, sealed) + self.node(0x42003D, 8, iv)
        elif operation == 0x20:
            data, iv = self.find(tree, 0x4200C2), self.find(tree, 0x42003D)
            cipher = Cipher(algorithms.AES(stream(b"kmip-aes:" + uid.encode(errors="surrogateescape"), 32)), modes.CBC(iv)).decryptor()
            padded = cipher.update(data) + cipher.finalize()
            payload = self.text(0x420094, uid) + self.node(0x4200C2, 8, padded[: -padded[-1]])
        else:
            raise ValueError(f"KMIP operation {operation:#x}")
        item = self.node(0x42005C, 5, operation.to_bytes(4, "big")) + self.node(0x42007F, 5, bytes(4))
        batch = self.node(0x42000F, 1, item + self.node(0x42007C, 1, payload))
        version = self.node(0x420069, 1, self.node(0x42006A, 2, (1).to_bytes(4, "big")) + self.node(0x42006B, 2, bytes(4)))
        header = self.node(0x42007A, 1, version + self.node(0x420092, 9, bytes(8)) + self.node(0x42000D, 2, (1).to_bytes(4, "big")))
        return self.node(0x42007B, 1, header + batch)

    @staticmethod
    def node(tag, kind, value):
        padding = bytes(-len(value) % 8)
        return tag.to_bytes(3, "big") + bytes([kind]) + len(value).to_bytes(4, "big") + value + padding

    def text(self, tag, value):
        return self.node(tag, 7, value.encode(errors="surrogateescape"))

    def read(self, data):
        """A list of (tag, value); the value of a structure is such a list again."""
        out = []
        while data:
            tag, kind, length = int.from_bytes(data[:3], "big"), data[3], int.from_bytes(data[4:8], "big")
            value = data[8 : 8 + length]
            out.append((tag, self.read(value) if kind == 1 else value))
            data = data[8 + length + (-length % 8) :]
        return out

    def find(self, tree, wanted):
        for tag, value in tree:
            if tag == wanted:
                return value
            if isinstance(value, list):
                found = self.find(value, wanted)
                if found is not None:
                    return found
        return None
