"""Master keys, credentials and KMIP answers that the vectors are made of."""
from bson.binary import Binary

from reference import MATERIAL

AWS = {"aws": {"accessKeyId": "AKIDEXAMPLE", "secretAccessKey": "wJalrXUtnFEMI/K7MDENG"}}
AWS_TOKEN = {"aws": {**AWS["aws"], "sessionToken": "AQoD/YXdz+EPT=="}}
AWS_KEY = {"provider": "aws", "region": "us-east-1", "key": "arn:aws:kms:us-east-1:123456789012:key/1234-abcd"}
AZURE = {"azure": {"tenantId": "tenant-id", "clientId": "client-id", "clientSecret": "client~secret"}}
AZURE_TOKEN = {"azure": {"accessToken": "given-token"}}
AZURE_KEY = {"provider": "azure", "keyVaultEndpoint": "https://example.vault.azure.net/", "keyName": "key-name", "keyVersion": "0123"}
GCP = {"gcp": {"email": "someone@example.com", "privateKey": Binary(b"private key", 0)}}
GCP_TOKEN = {"gcp": {"accessToken": "given-token"}}
GCP_KEY = {"provider": "gcp", "projectId": "project-1", "location": "global", "keyRing": "ring_a", "keyName": "key~n.1"}
KMIP = {"kmip": {"endpoint": "localhost"}}
KMIP_KEY = {"provider": "kmip"}
DELEGATED = {"provider": "kmip", "delegated": True}


def without(document, field):
    return {name: value for name, value in document.items() if name != field}


# ---- KMIP answers

def node(tag, kind, value):
    return (0x420000 + tag).to_bytes(3, "big") + bytes([kind]) + len(value).to_bytes(4, "big") + value + bytes(-len(value) % 8)


def structure(tag, *items):
    return node(tag, 1, b"".join(items))


def enumeration(tag, value):
    return node(tag, 5, value.to_bytes(4, "big"))


def text(tag, value):
    return node(tag, 7, value.encode())


def item(tag, value):
    return node(tag, 8, value)


def kmip(operation, *payload, status=0, reason=None, message=None):
    items = [] if operation is None else [enumeration(0x5C, operation)]
    items += [] if status is None else [enumeration(0x7F, status)]
    items += [] if reason is None else [enumeration(0x7E, reason)]
    items += [] if message is None else [text(0x7D, message)]
    items += [structure(0x7C, *payload)] if payload else []
    version = structure(0x69, node(0x6A, 2, (1).to_bytes(4, "big")), node(0x6B, 2, bytes(4)))
    header = structure(0x7A, version, node(0x92, 9, bytes(8)), node(0x0D, 2, (1).to_bytes(4, "big")))
    return structure(0x7B, header, structure(0x0F, *items))


def secret(value):
    return structure(0x85, enumeration(0x86, 1), structure(0x40, enumeration(0x42, 1), structure(0x45, item(0x43, value))))


SECRET = bytes((i * 3 + 5) & 255 for i in range(96))
REGISTERED = kmip(0x03, text(0x94, "uid-1"))
ACTIVATED = kmip(0x12, text(0x94, "uid-1"))
GOT = kmip(0x0A, enumeration(0x57, 7), text(0x94, "uid-1"), secret(SECRET))
CREATED = kmip(0x01, enumeration(0x57, 2), text(0x94, "uid-1"))
ENCRYPTED = kmip(0x1F, text(0x94, "uid-1"), item(0xC2, b"c" * 112), item(0x3D, b"i" * 16))
DECRYPTED = kmip(0x20, text(0x94, "uid-1"), item(0xC2, MATERIAL))
