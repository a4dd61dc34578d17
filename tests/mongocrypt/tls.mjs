// A TLS front for an HTTP service of the tests: the driver speaks to KMS over TLS alone.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';

// The test Python has this package for the emulator's sake.
const CERTIFICATE = `
import datetime, ipaddress, pathlib, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
folder = pathlib.Path(sys.argv[1])
key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
now = datetime.datetime.now(datetime.timezone.utc)
certificate = (
    x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
    .sign(key, hashes.SHA256())
)
pem = serialization.Encoding.PEM
(folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
(folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
`;

/** Resolves to `{ port, certificateFile, requests, intercept, stop() }`; `intercept` may answer a connection itself. */
export async function tlsFront(python, target) {
  const folder = mkdtempSync(join(tmpdir(), 'csfle-tls-'));
  execFileSync(python, ['-c', CERTIFICATE, folder]);
  const certificateFile = join(folder, 'certificate.pem');
  const { hostname, port } = new URL(target);
  const front = { port: 0, certificateFile, connections: 0, intercept: undefined, stop: undefined };
  const server = createServer({ cert: readFileSync(certificateFile), key: readFileSync(join(folder, 'key.pem')) }, (socket) => {
    front.connections += 1;
    socket.on('error', () => {});
    if (front.intercept?.(socket)) return;
    const upstream = connect({ host: hostname, port: Number(port) });
    upstream.on('error', () => socket.destroy());
    socket.pipe(upstream).pipe(socket);
  });
  await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  front.port = server.address().port;
  front.stop = async () => {
    await new Promise((resolve) => { server.close(resolve); });
    rmSync(folder, { recursive: true, force: true });
  };
  return front;
}
