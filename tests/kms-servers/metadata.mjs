// The metadata service of a virtual machine, where drivers get credentials without a secret: Azure's IMDS and Google's.
import http, { createServer } from 'node:http';
import { connect } from 'node:net';
import { listening } from '../listening.mjs';

const ADDRESS = '169.254.169.254';
const IMDS = '/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net';
const GOOGLE = '/computeMetadata/v1/instance/service-accounts/default/token';

/**
 * Starts it. `cloud` issues the tokens; `fail(status, body)` is for the next request.
 *
 * Google's module is led here by its own GCE_METADATA_HOST. The driver's address of Azure's service is fixed, so connections
 * of this process to that address are led here instead; driver and application stay as they are.
 */
export async function startMetadata(cloud) {
  const failures = [];
  const metadata = {
    requests: [],
    violations: [],
    /** Of the tokens to come. */
    lifetimeS: 3600,
    fail: (status, body) => failures.push([status, body]),
  };
  const server = createServer((request, response) => {
    const { method, url, headers } = request;
    metadata.requests.push(url);
    const complain = (text) => metadata.violations.push(`${method} ${url}: ${text}`);
    if (method !== 'GET') complain('method');
    const isAzure = url === IMDS;
    if (isAzure) {
      if (headers.metadata !== 'true' || headers.host !== ADDRESS) complain(JSON.stringify(headers));
    } else if (url !== GOOGLE || headers['metadata-flavor'] !== 'Google') complain(JSON.stringify(headers));
    const [status, body] = failures.shift() ?? [
      200,
      isAzure
        ? {
            access_token: cloud.azure.issueToken(metadata.lifetimeS),
            expires_in: String(metadata.lifetimeS),
            resource: 'https://vault.azure.net',
            token_type: 'Bearer',
          }
        : { access_token: cloud.gcp.issueToken(metadata.lifetimeS), expires_in: metadata.lifetimeS, token_type: 'Bearer' },
    ];
    response.writeHead(status, { 'Content-Type': 'application/json', 'Metadata-Flavor': 'Google' });
    response.end(typeof body === 'string' ? body : JSON.stringify(body));
  });
  await listening(server);
  const { port } = server.address();
  const agent = http.globalAgent;
  http.globalAgent = new (class extends http.Agent {
    createConnection(options, done) {
      return options.host === ADDRESS ? connect({ host: '127.0.0.1', port }) : super.createConnection(options, done);
    }
  })();
  process.env.GCE_METADATA_HOST = `127.0.0.1:${port}`;
  metadata.stop = async () => {
    http.globalAgent = agent;
    delete process.env.GCE_METADATA_HOST;
    server.closeAllConnections();
    await new Promise((resolve) => {
      server.close(resolve);
    });
  };
  return metadata;
}
