// All providers at once, each under its real name and port: the driver's `kmsConnectCallback` leads there, so that default
// endpoints are tried as they are and nothing leaves this machine.
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { startAws } from './aws.mjs';
import { startAzure } from './azure.mjs';
import { makeCertificates } from './certificates.mjs';
import { startGcp } from './gcp.mjs';
import { startKmip } from './kmip.mjs';

const NAMES = [
  '*.amazonaws.com',
  '*.us-east-1.amazonaws.com',
  '*.us-east-2.amazonaws.com',
  'login.microsoftonline.com',
  '*.vault.azure.net',
  '*.googleapis.com',
  '*.example.test',
  '127.0.0.1',
];
const starters = { aws: startAws, azure: startAzure, gcp: startGcp };
const DEFAULT_PORTS = { aws: 443, azure: 443, gcp: 443, kmip: 5696 };

/** A `kmsConnectCallback` that leads `host:port` to a port of this machine, and nowhere else. */
export const connectBy =
  (routes) =>
  ({ host, port }) =>
    new Promise((resolve, reject) => {
      const local = routes.get(`${host}:${port}`);
      if (local === undefined) {
        reject(Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), { code: 'ENOTFOUND' }));
        return;
      }
      const socket = connect({ host: '127.0.0.1', port: local }, () => resolve(socket));
      socket.once('error', reject);
    });

/**
 * Starts the services of `providers`.
 *
 * `options()` are those of a ClientEncryption for these providers and local keys; `masterKeys` has one for each provider;
 * `takeViolations()` the complaints since it was asked last; `routes` leads `host:port` to a port of this machine, and may be added to.
 */
export async function startCloud(python, providers) {
  const certificates = makeCertificates(python, {
    server: { hosts: NAMES },
    expired: { hosts: NAMES, ends: -1 },
    elsewhere: { hosts: ['elsewhere.example.com'] },
    kmip: { hosts: NAMES },
    'kmip-client': { usage: 'client' },
  });
  const started = {};
  for (const name of providers) {
    started[name] = await (name === 'kmip' ? startKmip(python, certificates) : starters[name](certificates.file('server')));
  }
  const routes = new Map();
  for (const name of providers) for (const host of started[name].hosts) routes.set(`${host}:${DEFAULT_PORTS[name]}`, started[name].service.port);
  const kmsConnectCallback = connectBy(routes);
  const tlsFor = (name) => ({ tlsCAFile: certificates.caFile, ...(name === 'kmip' && { tlsCertificateKeyFile: certificates.file('kmip-client') }) });
  const local = { key: randomBytes(96) };
  const of = (value) => Object.fromEntries(providers.map((name) => [name, value(name)]));
  return {
    ...started,
    certificates,
    routes,
    kmsConnectCallback,
    masterKeys: of((name) => started[name].masterKey),
    tlsOptions: of(tlsFor),
    options: (more = {}) => ({
      kmsProviders: { local, ...of((name) => started[name].kmsProvider), ...more.kmsProviders },
      tlsOptions: { ...of(tlsFor), ...more.tlsOptions },
      kmsConnectCallback,
    }),
    takeViolations: () => providers.flatMap((name) => started[name].service.violations.splice(0)),
    async stop() {
      for (const name of providers) await started[name].service.stop();
      certificates.remove();
    },
  };
}
