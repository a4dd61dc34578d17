"""pymongo itself, with its own key vault access, KMS connections and value types, for pymongo.test.mjs.

Reads one JSON object from stdin: {uri, keyVault, kmsProviders, caFile, steps: [...]} and prints the results of the steps.
Documents cross as base64 of BSON.
"""
import base64
import json
import sys

import bson
from bson.binary import Binary, UuidRepresentation
from bson.codec_options import CodecOptions
from pymongo import MongoClient
from pymongo.encryption import ClientEncryption
from pymongo.encryption_options import AutoEncryptionOpts

CODEC = CodecOptions(uuid_representation=UuidRepresentation.STANDARD, tz_aware=True)


def decode(text):
    return bson.decode(base64.b64decode(text), CODEC)


def encode(document):
    return base64.b64encode(bson.encode(document, codec_options=CODEC)).decode()


class Session:
    def __init__(self, request):
        self.request = request
        self.client = MongoClient(request["uri"])
        self.providers = decode(request["kmsProviders"])
        self.tls = {"aws": {"tlsCAFile": request["caFile"]}}
        self.encryption = ClientEncryption(
            self.providers, request["keyVault"], self.client, CODEC, kms_tls_options=self.tls
        )

    def step(self, step):
        return getattr(self, step["do"])(step)

    def createDataKey(self, step):
        key_id = self.encryption.create_data_key(
            step["provider"], master_key=decode(step["masterKey"]) if "masterKey" in step else None,
            key_alt_names=step.get("keyAltNames"),
        )
        return base64.b64encode(bytes(key_id)).decode()

    def encrypt(self, step):
        value = self.encryption.encrypt(decode(step["value"])["v"], step["algorithm"], key_alt_name=step["keyAltName"])
        return base64.b64encode(bytes(value)).decode()

    def decrypt(self, step):
        return encode({"v": self.encryption.decrypt(Binary(base64.b64decode(step["payload"]), 6))})

    def getKeyByAltName(self, step):
        return encode(self.encryption.get_key_by_alt_name(step["name"]))

    def rewrap(self, step):
        master_key = decode(step["masterKey"]) if "masterKey" in step else None
        result = self.encryption.rewrap_many_data_key({}, provider=step["provider"], master_key=master_key)
        return result.bulk_write_result.modified_count

    def find(self, step):
        """Every document, decrypted automatically on the way in."""
        options = AutoEncryptionOpts(
            self.providers, self.request["keyVault"], bypass_auto_encryption=True, kms_tls_options=self.tls
        )
        client = MongoClient(self.request["uri"], auto_encryption_opts=options)
        try:
            database, collection = step["namespace"].split(".", 1)
            found = client[database].get_collection(collection, codec_options=CODEC).find().sort("_id")
            return [encode(document) for document in found]
        finally:
            client.close()

    def close(self):
        self.encryption.close()
        self.client.close()


def certificate(folder):
    """A certificate for 127.0.0.1 that is its own authority; pymongo reaches a KMS by TLS only."""
    import datetime
    import ipaddress
    import os

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    built = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    with open(os.path.join(folder, "cert.pem"), "wb") as file:
        file.write(built.public_bytes(serialization.Encoding.PEM))
    with open(os.path.join(folder, "key.pem"), "wb") as file:
        file.write(key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ))


def main():
    if sys.argv[1:2] == ["certificate"]:
        certificate(sys.argv[2])
        return
    request = json.load(sys.stdin)
    session = Session(request)
    try:
        print(json.dumps([session.step(step) for step in request["steps"]]))
    finally:
        session.close()


main()
