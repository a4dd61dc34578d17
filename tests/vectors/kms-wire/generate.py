"""Writes the vectors in this folder by asking libmongocrypt.

    pip install "pymongocrypt==1.21.2" cryptography pymongo
    python tests/vectors/kms-wire/generate.py

Every vector is what libmongocrypt 1.21.0 said, sent or complained about. Where csfle-wasm differs on purpose is not here
but in differences.json, each with its reason. The crypto hooks are pymongocrypt's, except two: a draw of n random bytes
is always (1, 8, 15, ...), and a signature is always (0, 1, 2, ... 255).
"""
import json
import pathlib

from pymongocrypt import __version__, libmongocrypt_version

from calls import flows
from http_answers import answers
from kmip_answers import kmip_answers
from provider_documents import provider_documents

HERE = pathlib.Path(__file__).parent


def write(name, vectors):
    vectors = list(vectors)
    names = [vector["name"] for vector in vectors]
    assert len(set(names)) == len(names), [name for name in names if names.count(name) > 1]
    origin = f"generate.py with libmongocrypt {libmongocrypt_version()} (pymongocrypt {__version__})"
    lines = ",\n".join(json.dumps(vector) for vector in vectors)
    (HERE / name).write_text(f'{{"origin": {json.dumps(origin)}, "vectors": [\n{lines}\n]}}\n')
    print(f"{name}: {len(vectors)}")


write("flows.json", flows())
write("answers.json", answers())
write("kmip-answers.json", kmip_answers())
write("providers.json", provider_documents())
