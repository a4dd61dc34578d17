"""A throw-away authority and its certificates: `certificates.py FOLDER JSON`.

The JSON has for each name `hosts`, `usage` ("server" or "client") and `ends` (days from now); FOLDER/NAME.pem gets key and
certificate, FOLDER/ca.pem the authority's certificate.
"""
import datetime
import ipaddress
import json
import pathlib
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PEM = serialization.Encoding.PEM
USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
NOW = datetime.datetime.now(datetime.timezone.utc)
ISSUER = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {x509.random_serial_number()}")])


def general_name(host):
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def certificate(subject, key, issuer_key, ends, extensions):
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(ISSUER).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=2)).not_valid_after(NOW + datetime.timedelta(days=ends))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(PEM)


def main(folder, wanted):
    authority = ec.generate_private_key(ec.SECP256R1())
    (folder / "ca.pem").write_bytes(certificate(ISSUER, authority, authority, 1, [x509.BasicConstraints(ca=True, path_length=None)]))
    for name, options in wanted.items():
        key = ec.generate_private_key(ec.SECP256R1())
        extensions = [x509.ExtendedKeyUsage([USAGES[options.get("usage", "server")]])]
        if hosts := options.get("hosts"):
            extensions.append(x509.SubjectAlternativeName([general_name(host) for host in hosts]))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        private = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        (folder / f"{name}.pem").write_bytes(private + certificate(subject, key, authority, options.get("ends", 1), extensions))


main(pathlib.Path(sys.argv[1]), json.loads(sys.argv[2]))
