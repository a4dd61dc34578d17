"""`kmsProviders` documents, good and bad."""
import base64

import bson
from bson.binary import Binary

from reference import Engine, Refused, b64
from samples import *


def provider_documents():
    aws, azure, gcp = AWS["aws"], AZURE["azure"], GCP["gcp"]
    local = {"key": bytes(96)}

    def twice(first, second):
        body = b"".join(b"\x03" + name.encode() + b"\0" + bson.encode(value) for name, value in [first, second])
        return (len(body) + 5).to_bytes(4, "little") + body + b"\0"

    documents = {"empty": {}, "no BSON": b"\x05\0\0\0\x01", "no document": {"local": 1}, "nothing": b""}
    for kind in ["aws", "azure", "gcp", "kmip", "local"]:
        documents[f"{kind}, empty"] = {kind: {}}
        documents[f"{kind}, named and empty"] = {f"{kind}:n": {}}
    for name in ["foo", "aws:", "aws:a-b", "aws:a:b", "", "a", "loc", "loc:x", "AWS"]:
        documents[f"identifier {name!r}"] = {name: aws}
    for name, key in [
        ("binary", bytes(96)), ("binary of another subtype", Binary(bytes(96), 128)), ("old binary", Binary(bytes(96), 2)), ("95 bytes", bytes(95)), ("97 bytes", bytes(97)),
        ("text", b64(bytes(96))), ("text with line ends", "\n " + b64(bytes(96))), ("text without padding", b64(bytes(97)).rstrip("=")), ("text of 95 bytes", b64(bytes(95))),
        ("URL-safe text", base64.urlsafe_b64encode(b"\xff" * 96).decode()), ("no base64", "!!!"), ("empty text", ""), ("empty binary", b""), ("number", 1), ("null", None),
    ]:
        documents[f"local key: {name}"] = {"local": {"key": key}}
    documents["local, no key"] = {"local": {"x": 1}}
    documents["local, one field more"] = {"local": {**local, "x": 1}}
    documents["local, named, 95 bytes"] = {"local:n": {"key": bytes(95)}}
    for kind, fields, required in [
        ("aws", aws, ["accessKeyId", "secretAccessKey"]), ("azure", azure, ["tenantId", "clientId", "clientSecret"]), ("gcp", gcp, ["email", "privateKey"]),
    ]:
        documents[f"{kind}, good"] = {kind: fields}
        documents[f"{kind}, one field more"] = {kind: {**fields, "x": 1}}
        documents[f"{kind}, only an unknown field"] = {kind: {"x": 1}}
        for field in required:
            documents[f"{kind}, no {field}"] = {kind: without(fields, field)}
            documents[f"{kind}, {field} is a number"] = {kind: {**fields, field: 1}}
            documents[f"{kind}, {field} is null"] = {kind: {**fields, field: None}}
            if field != "privateKey":
                documents[f"{kind}, {field} is empty"] = {kind: {**fields, field: ""}}
    for token in ["x", "", None, 1]:
        documents[f"aws, session token {token!r}"] = {"aws": {**aws, "sessionToken": token}}
        for kind in ["azure", "gcp"]:
            documents[f"{kind}, access token {token!r}"] = {kind: {"accessToken": token}}
    for kind, fields in [("azure", azure), ("gcp", gcp)]:
        documents[f"{kind}, access token before the rest"] = {kind: {"accessToken": "t", **fields}}
        documents[f"{kind}, access token after the rest"] = {kind: {**fields, "accessToken": "t"}}
        documents[f"{kind}, access token and an unknown field"] = {kind: {"accessToken": "t", "x": 1}}
    documents["azure, access token and endpoint"] = {"azure": {"accessToken": "t", "identityPlatformEndpoint": "a.b"}}
    documents["gcp, access token and endpoint"] = {"gcp": {"accessToken": "t", "endpoint": "a.b"}}
    for kind, fields, field in [("azure", azure, "identityPlatformEndpoint"), ("gcp", gcp, "endpoint"), ("kmip", {}, "endpoint")]:
        for endpoint in ["a.b", "a.b:1", "https://a.b/c", "ab", "", "a.b\r\nX", "a.b:", 1, None]:
            documents[f"{kind}, endpoint {endpoint!r}"] = {kind: {**fields, field: endpoint}}
    documents["azure, bad endpoint and no tenant"] = {"azure": {"identityPlatformEndpoint": "ab"}}
    documents["gcp, bad endpoint and no email"] = {"gcp": {"endpoint": "ab"}}
    documents["kmip, no endpoint"] = {"kmip": {"x": 1}}
    documents["kmip, one field more"] = {"kmip": {"endpoint": "a.b", "x": 1}}
    for name, key in [("text", "AAAA"), ("no base64", "!"), ("empty text", ""), ("empty binary", b"")]:
        documents[f"gcp, private key: {name}"] = {"gcp": {**gcp, "privateKey": key}}
    for kind, fields in [("aws", aws), ("azure", azure), ("gcp", gcp), ("kmip", {"endpoint": "a.b"}), ("local", local)]:
        documents[f"{kind} twice"] = twice((kind, fields), (kind, fields))
        documents[f"{kind} twice by name"] = twice((f"{kind}:n", fields), (f"{kind}:n", fields))
        documents[f"{kind} with and without name"] = twice((kind, fields), (f"{kind}:n", fields))
    documents["aws twice, empty"] = twice(("aws", {}), ("aws", {}))
    documents["aws twice, once empty"] = twice(("aws", {}), ("aws", aws))
    for name, document in documents.items():
        data = document if isinstance(document, bytes) else bson.encode(document)
        try:
            Engine(data)
            error = None
        except Refused as refused:
            error = str(refused)
        yield {"name": name, "document": b64(data), "error": error}
