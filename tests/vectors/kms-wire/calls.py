"""Whole calls, and single answers with what is said about them."""
import base64

from reference import MATERIAL, SIGNATURE, SIGNED, Refused, Run, b64, http, now_ms
from samples import *


def flow(name, providers, master_key, operation, data, replies):
    """A whole call: each message and its reply, and what comes of it."""
    SIGNED.clear()
    run = Run(providers, operation, master_key, data)
    vector = {
        "name": name, "providers": extended(providers), "masterKey": master_key, "operation": operation,
        "input": b64(data), "nowMs": 0, "exchanges": [],
    }
    for reply in replies:
        request = run.next()
        message = request.message()
        vector["nowMs"] = vector["nowMs"] or now_ms(message, SIGNED)
        vector["exchanges"].append({"endpoint": request.endpoint(), "message": b64(message), "reply": b64(reply)})
        assert request.read(reply) == b"" and request.status() is None, (name, request.status())
        assert run.next() is None
        run.done()
    assert run.is_ready(), name
    if SIGNED:
        (key, data), = SIGNED
        vector["signed"] = {"key": b64(key), "input": b64(data), "signature": b64(SIGNATURE)}
    if operation == "wrap":
        document = run.key_document()
        vector["result"] = b64(document["keyMaterial"])
        if made := document["masterKey"].get("keyId"):
            if made != master_key.get("keyId"):
                vector["kmipKeyId"] = made
    else:
        # The library keeps the key to itself; the replies hold this one.
        vector["result"] = b64(MATERIAL)
    return vector


def extended(value):
    """Extended JSON, as far as it is needed here."""
    if isinstance(value, dict):
        return {name: extended(inner) for name, inner in value.items()}
    if isinstance(value, bytes):
        return {"$binary": {"base64": b64(value), "subType": f"{getattr(value, 'subtype', 0):02x}"}}
    return value


def answer(name, providers, master_key, operation, data, acts):
    """What is said and asked for after each act: bytes read, a failure, another attempt, the end of the round."""
    vector = {
        "name": name, "providers": extended(providers), "masterKey": master_key, "operation": operation,
        "input": b64(data), "acts": [],
    }
    try:
        run = Run(providers, operation, master_key, data)
    except Refused as refused:
        return {**vector, "error": str(refused)}
    request = run.next()
    for act in acts:
        if isinstance(act, bytes):
            left = request.read(act)
            seen = {"read": b64(act), "left": len(left)}
        elif act == "fail":
            seen = {"fail": request.fail()}
        elif act == "next":
            seen = {"next": run.next() is not None}
        elif act == "done":
            try:
                run.done()
                seen = {"done": None}
            except Refused as refused:
                seen = {"done": str(refused)}
            request = run.next() if run.handle and not run.is_ready() else None
        elif act == "feed x":
            request.feed(b"x" * (request.needed() + 1))
            seen = {"overfeed": True}
        elif act == "feed nothing":
            request.feed(b"")
            seen = {"empty": True}
        if request is not None and "done" not in seen:
            seen |= {"needed": request.needed(), "status": request.status()}
        vector["acts"].append(seen)
        if "done" in seen and seen["done"]:
            break
    return vector


def flows():
    sealed = b"wrapped by a KMS " * 10
    plain = b64(MATERIAL)
    urlsafe = base64.urlsafe_b64encode
    aws_wrap = [http(200, {"CiphertextBlob": b64(sealed), "KeyId": "x"})]
    aws_unwrap = [http(200, {"Plaintext": plain})]
    for title, providers, key in [
        ("default endpoint", AWS, AWS_KEY),
        ("custom endpoint", AWS, {**AWS_KEY, "endpoint": "kms.example.com"}),
        ("custom endpoint with port", AWS, {**AWS_KEY, "endpoint": "https://kms.example.com:8443/path"}),
        ("session token", AWS_TOKEN, AWS_KEY),
        ("named provider", {"aws:eu_1": AWS["aws"]}, {**AWS_KEY, "provider": "aws:eu_1", "region": "eu-central-1"}),
        ("alias", AWS, {**AWS_KEY, "key": "alias/my-key"}),
    ]:
        yield flow(f"aws wrap, {title}", providers, key, "wrap", MATERIAL, aws_wrap)
        yield flow(f"aws unwrap, {title}", providers, key, "unwrap", sealed, aws_unwrap)
    token = http(200, {"token_type": "Bearer", "expires_in": 3599, "access_token": "fetched-token"})
    azure_wrap = http(200, {"kid": "x", "value": urlsafe(sealed).decode().rstrip("=")})
    azure_unwrap = http(200, {"kid": "x", "value": urlsafe(MATERIAL).decode()})
    sovereign = {"azure": {**AZURE["azure"], "identityPlatformEndpoint": "https://login.example.us:8443/x"}}
    for title, providers, key, first in [
        ("fetched token", AZURE, AZURE_KEY, [token]),
        ("given token", AZURE_TOKEN, AZURE_KEY, []),
        ("no version", AZURE_TOKEN, without(AZURE_KEY, "keyVersion"), []),
        ("other cloud", sovereign, {**AZURE_KEY, "keyVaultEndpoint": "example.vault.example.us:9443"}, [token]),
        ("named provider", {"azure:x": AZURE["azure"]}, {**AZURE_KEY, "provider": "azure:x"}, [token]),
    ]:
        yield flow(f"azure wrap, {title}", providers, key, "wrap", MATERIAL, [*first, azure_wrap])
        yield flow(f"azure unwrap, {title}", providers, key, "unwrap", sealed, [*first, azure_unwrap])
    gcp_wrap = http(200, {"name": "x", "ciphertext": b64(sealed)})
    gcp_unwrap = http(200, {"plaintext": plain})
    private = {"gcp": {**GCP["gcp"], "endpoint": "oauth.example.com:8443"}}
    for title, providers, key, first in [
        ("fetched token", GCP, GCP_KEY, [token]),
        ("given token", GCP_TOKEN, GCP_KEY, []),
        ("version", GCP_TOKEN, {**GCP_KEY, "keyVersion": "7"}, []),
        ("empty version", GCP_TOKEN, {**GCP_KEY, "keyVersion": ""}, []),
        ("other endpoints", private, {**GCP_KEY, "endpoint": "kms.example.com:9443"}, [token]),
        ("named provider", {"gcp:x": GCP["gcp"]}, {**GCP_KEY, "provider": "gcp:x"}, [token]),
    ]:
        yield flow(f"gcp wrap, {title}", providers, key, "wrap", MATERIAL, [*first, gcp_wrap])
        yield flow(f"gcp unwrap, {title}", providers, key, "unwrap", sealed, [*first, gcp_unwrap])
    for title, providers, key in [
        ("default endpoint", KMIP, KMIP_KEY),
        ("own endpoint", KMIP, {**KMIP_KEY, "endpoint": "kmip.example.com:5697"}),
        ("named provider", {"kmip:x": KMIP["kmip"]}, {**KMIP_KEY, "provider": "kmip:x"}),
    ]:
        known = {**key, "keyId": "uid-7-é"}
        made = flow(f"kmip wrap, {title}", providers, key, "wrap", MATERIAL, [REGISTERED, ACTIVATED, GOT])
        yield made
        yield flow(f"kmip wrap, known object, {title}", providers, known, "wrap", MATERIAL, [GOT])
        yield flow(f"kmip unwrap, {title}", providers, known, "unwrap", base64.b64decode(made["result"]), [GOT])
    known = {**DELEGATED, "keyId": "uid-12345678"}
    yield flow("kmip delegated wrap", KMIP, DELEGATED, "wrap", MATERIAL, [CREATED, ACTIVATED, ENCRYPTED])
    yield flow("kmip delegated wrap, known object", KMIP, known, "wrap", MATERIAL, [ENCRYPTED])
    yield flow("kmip delegated unwrap", KMIP, known, "unwrap", bytes(range(128)), [DECRYPTED])
