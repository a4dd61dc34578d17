"""Answers over HTTP, good and bad."""
import base64
import json

from calls import answer
from reference import MATERIAL, b64, http
from samples import *


def answers():
    sealed = b"z" * 100
    good = json.dumps({"CiphertextBlob": b64(sealed)})
    length = len(good)

    def aws(name, *acts):
        return answer(f"aws: {name}", AWS, AWS_KEY, "wrap", MATERIAL, [*acts, "done"])

    def head(text):
        return f"HTTP/1.1 200 OK\r\n{text}\r\n{good}".encode()

    def plain(text):
        return text.replace("LENGTH", str(length)).encode()

    whole = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{good}"
    yield aws("good", whole.encode())
    for name, old, new in [
        ("no reason", "200 OK", "200"), ("empty reason", "200 OK", "200 "), ("HTTP/1.0", "1.1", "1.0"), ("HTTP/2", "HTTP/1.1", "HTTP/2"),
        ("lower case http", "HTTP", "http"), ("status of two digits", "200", "20"), ("status of four digits", "200", "2000"),
        ("status of letters", "200", "abc"), ("negative status", "200", "-20"), ("status with a leading zero", "200", "099"),
        ("header in lower case", "Content-Length", "content-length"), ("header in upper case", "Content-Length", "CONTENT-LENGTH"),
        ("no space after the colon", ": ", ":"), ("tab after the colon", ": ", ":\t"), ("spaces after the colon", ": ", ":    "),
        ("space before the colon", ":", " :"), ("line feeds alone", "\r\n", "\n"), ("carriage returns alone", "\r\n", "\r"),
        ("informational status", "200", "100"),
    ]:
        yield aws(name, whole.replace(old, new).encode())
    for value in ["", " ", "abc", "-1", "+5", "5x", "16777217", "99999999999", "18446744073709551616", "0x10", "0", "5 ", "5, 5", "0000000000000000000000005"]:
        yield aws(f"length {value!r}", head(f"Content-Length:{value}\r\n"))
    yield aws("length of the limit", head("Content-Length: 16777216\r\n"))
    yield aws("two lengths", head(f"Content-Length: 5\r\nContent-Length: {length}\r\n"))
    yield aws("no length", head(""))
    yield aws("no colon", head("foo\r\n"))
    yield aws("long header", plain("HTTP/1.1 200 OK\r\nX: " + "a" * 5000 + "\r\nContent-Length: LENGTH\r\n\r\n" + good))
    yield aws("folded header", plain("HTTP/1.1 200 OK\r\nX: a\r\n b: c\r\nContent-Length: LENGTH\r\n\r\n" + good))
    yield aws("more than announced", whole.encode() + b"EXTRA")
    yield aws("cut in the head", whole.encode()[:20])
    yield aws("cut in the body", whole.encode()[:-1])
    yield aws("nothing came")

    def chunked(text):
        return f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{text}".encode()

    end = "0\r\n\r\n"
    one = f"\r\n{good}\r\n{end}"
    yield aws("one chunk", chunked(f"{length:x}{one}"))
    yield aws("two chunks", chunked(f"a\r\n{good[:10]}\r\n{length - 10:X}\r\n{good[10:]}\r\n{end}"))
    for name, line in [
        ("extension", f"{length:x};a=b"), ("with 0x", f"0x{length:x}"), ("negative", "-1"), ("empty", ""), ("no hexadecimal", "zz"),
        ("huge", "FFFFFFFF"), ("over the limit", "1000001"), ("over 64 bits", "1" + "0" * 16), ("space before", f" {length:x}"),
        ("space after", f"{length:x} "),
    ]:
        yield aws(f"chunk length: {name}", chunked(line + one))
    yield aws("chunk without its end", chunked(f"{length:x}\r\n{good}XX{end}"))
    yield aws("trailer", chunked(f"{length:x}\r\n{good}\r\n0\r\nX: y\r\n\r\n"))
    yield aws("last chunk of several zeros", chunked(f"{length:x}\r\n{good}\r\n000\r\n\r\n"))
    yield aws("bytes after the last chunk", chunked(f"{length:x}{one}EXTRA"))
    yield aws("chunked with a length", head(f"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")[: -length] + f"{length:x}{one}".encode())
    yield aws("cut between chunks", chunked(f"a\r\n{good[:10]}\r\n"))
    for coding in ["gzip", "gzip, chunked", "identity", "Chunked"]:
        yield aws(f"coding {coding}", head(f"Transfer-Encoding: {coding}\r\n")[: -length] + f"{length:x}{one}".encode())
    yield aws("coding in lower case", head("transfer-encoding: chunked\r\n")[: -length] + f"{length:x}{one}".encode())

    # Statuses and bodies
    for status in [400, 403, 404, 501, 504, 505, 599]:
        yield aws(f"status {status}", http(status, '{"__type":"X"}'))
    yield aws("status 400 without body", http(400, ""))
    yield aws("throttled with status 400", http(400, '{"__type":"ThrottlingException"}'), "next", http(200, good))
    for status in [201, 204, 302]:
        yield aws(f"status {status}", http(status, "body"))
        yield aws(f"status {status} without body", http(status, ""))
    for name, body in [
        ("empty", ""), ("cut", '{"a":'), ("array", "[]"), ("no such field", '{"x": 1}'), ("number", '{"CiphertextBlob": 1}'),
        ("null", '{"CiphertextBlob": null}'), ("no base64", '{"CiphertextBlob": "!!!"}'), ("length of base64", '{"CiphertextBlob": "abc"}'),
        ("base64 without padding", json.dumps({"CiphertextBlob": b64(sealed).rstrip("=")})),
        ("base64 with line ends", json.dumps({"CiphertextBlob": b64(sealed)[:10] + "\n " + b64(sealed)[10:]})),
        ("URL-safe base64", json.dumps({"CiphertextBlob": base64.urlsafe_b64encode(b"\xff" * 99).decode()})),
        ("base64 after its end", json.dumps({"CiphertextBlob": b64(sealed) + "AAAA"})), ("stray bits", '{"CiphertextBlob": "AB=="}'),
        ("empty value", '{"CiphertextBlob": ""}'), ("too short", '{"CiphertextBlob": "eA=="}'),
        ("field twice", '{"CiphertextBlob": "%s", "CiphertextBlob": "eA=="}' % b64(sealed)),
        ("escaped name", '{"Ciphertext\\u0042lob": "%s"}' % b64(sealed)), ("nested", '{"a": %s}' % good), ("white space", f" \n{good}\n"),
    ]:
        yield aws(f"JSON: {name}", http(200, body))

    def unwrap(name, body):
        return answer(f"aws unwrap: {name}", AWS, AWS_KEY, "unwrap", sealed, [http(200, body), "done"])

    yield unwrap("good", {"Plaintext": b64(MATERIAL)})
    yield unwrap("95 bytes", {"Plaintext": b64(MATERIAL[:95])})
    yield unwrap("97 bytes", {"Plaintext": b64(MATERIAL + b"x")})
    yield unwrap("another name", {"plaintext": b64(MATERIAL)})

    def azure(name, *acts):
        return answer(f"azure: {name}", AZURE_TOKEN, AZURE_KEY, "wrap", MATERIAL, [*acts, "done"])

    def value(data):
        return {"value": data}

    ff = b"\xff" * 100
    for name, reply in [
        ("good", http(200, value(base64.urlsafe_b64encode(ff).decode()))), ("without padding", http(200, value(base64.urlsafe_b64encode(ff).decode().rstrip("=")))),
        ("standard base64", http(200, value(base64.b64encode(b"\xff" * 99).decode()))), ("empty body", http(200, "")), ("cut JSON", http(200, "{")),
        ("no such field", http(200, '{"x":1}')), ("number", http(200, '{"value":1}')), ("no base64", http(200, '{"value":"!!"}')), ("empty value", http(200, value(""))),
        ("status 400", http(400, '{"error": {"code": "BadParameter"}}')), ("status 404 without body", http(404, "")), ("status 501", http(501, "x")),
        ("status 204 without body", http(204, "")), ("a key with status 400", http(400, value(base64.urlsafe_b64encode(ff).decode()))),
    ]:
        yield azure(name, reply)

    def gcp(name, *acts):
        return answer(f"gcp: {name}", GCP_TOKEN, GCP_KEY, "wrap", MATERIAL, [*acts, "done"])

    yield gcp("good", http(200, {"ciphertext": b64(sealed)}))
    yield gcp("empty body", http(200, ""))
    yield gcp("no such field", http(200, "{}"))
    yield gcp("status 400", http(400, "x"))

    def token(name, reply):
        return answer(f"token: {name}", AZURE, AZURE_KEY, "wrap", MATERIAL, [reply, "done"])

    for name, reply in [
        ("empty body", http(200, "")), ("cut JSON", http(200, "{")), ("no token", http(200, '{"x": 1}')), ("token is a number", http(200, '{"access_token":1,"expires_in":30}')),
        ("no lifetime", http(200, '{"access_token":"a"}')), ("lifetime is text", http(200, '{"access_token":"a","expires_in":"36"}')),
        ("lifetime with a fraction", http(200, '{"access_token":"a","expires_in":36.0}')), ("lifetime null", http(200, '{"access_token":"a","expires_in":null}')),
        ("status 400", http(400, '{"error":"invalid_client"}')), ("good", http(200, '{"access_token":"a","expires_in":30}')),
        ("empty token", http(200, '{"access_token":"","expires_in":30}')), ("token with a line end", http(200, '{"access_token":"a\\r\\nX:y","expires_in":30}')),
    ]:
        yield token(name, reply)

    # Retries
    busy = [http(500, "b"), http(429, "b"), http(503, "b"), http(500, "b")]
    yield aws("busy four times", busy[0], "next", busy[1], "next", busy[2], "next", busy[3], "next")
    yield aws("busy three times", busy[0], "next", busy[1], "next", busy[2], "next", whole.encode(), "next")
    yield aws("unreachable four times", "fail", "next", "fail", "next", "fail", "next", "fail", "next")
    yield aws("busy and unreachable", busy[0], "next", "fail", "next", whole.encode()[:30], "fail", "next", whole.encode())
    yield aws("ended while it waits after an answer", busy[0])
    yield aws("ended while it waits after a failure", "fail")
    yield aws("ended after it was sent again", busy[0], "next")
    yield aws("failed after its answer", whole.encode(), "fail", "next")
    yield aws("failed after its error", http(400, "x"), "fail", "next")
    yield aws("fed more than asked for", "feed x")
    yield aws("fed more than asked for in the body", whole.encode()[:-1], "feed x")
    yield aws("fed after its answer", whole.encode(), "feed x")
    yield aws("fed nothing", "feed nothing")
    yield aws("fed while it waits", busy[0], "feed x", "next", whole.encode())
    for status in [408, 429, 500, 502, 503, 504, 509]:
        yield aws(f"status {status}, then good", http(status, "b"), "next", whole.encode())
        yield azure(f"status {status}, then good", http(status, "{}"), "next", http(200, value(base64.urlsafe_b64encode(ff).decode())))
        yield gcp(f"status {status}, then good", http(status, "b"), "next", http(200, {"ciphertext": b64(sealed)}))
    for status in [501, 599, 600, 999]:
        yield gcp(f"status {status}, then good", http(status, "b"), "next", http(200, {"ciphertext": b64(sealed)}))

    # Requests that cannot be built
    for name, providers in [
        ("no access key id", {"aws": {"accessKeyId": "", "secretAccessKey": "x"}}), ("no secret key", {"aws": {"accessKeyId": "x", "secretAccessKey": ""}}),
        ("neither", {"aws": {"accessKeyId": "", "secretAccessKey": ""}}),
    ]:
        yield answer(f"aws credentials: {name}", providers, AWS_KEY, "wrap", MATERIAL, [])
        yield answer(f"aws credentials to unwrap: {name}", providers, AWS_KEY, "unwrap", sealed, [])
    yield answer("aws: no region", AWS, {**AWS_KEY, "region": ""}, "wrap", MATERIAL, [])
    for field in ["projectId", "location", "keyRing", "keyName", "keyVersion"]:
        key = {**GCP_KEY, field: "a/b"}
        yield answer(f"gcp: slash in {field}", GCP_TOKEN, key, "wrap", MATERIAL, [])
        if field != "keyVersion":
            yield answer(f"gcp unwrap: slash in {field}", GCP_TOKEN, key, "unwrap", sealed, [])
