// The published tests' KMS accounts over TLS, under the names of the real services: the driver's `kmsConnectCallback` leads
// its connections here. The services check every header and signature; what their accounts hold is in ../accounts.mjs.
import { startAws } from '../../kms-servers/aws.mjs';
import { startAzure } from '../../kms-servers/azure.mjs';
import { makeCertificates } from '../../kms-servers/certificates.mjs';
import { connectBy } from '../../kms-servers/cloud.mjs';
import { startGcp } from '../../kms-servers/gcp.mjs';
import { account } from '../accounts.mjs';
import { LOCAL_MASTER_KEY } from '../published.mjs';
import { startKmipService } from './kmip.mjs';

const NAMES = ['*.us-east-1.amazonaws.com', '*.us-east-2.amazonaws.com', 'login.microsoftonline.com', '*.vault.azure.net', '*.googleapis.com', 'localhost'];
const AZURE_HOSTS = ['login.microsoftonline.com', 'drivers-3392-key-vault.vault.azure.net'];
const KMIP_ENDPOINT = 'localhost:5698';

/** Starts the services. `credentials` go into kmsProviders, `tlsOptions(ids)` and `kmsConnectCallback` to the driver. */
export async function startPublishedKms(python) {
  const certificates = makeCertificates(python, { server: { hosts: NAMES }, client: { usage: 'client' } });
  const certificate = certificates.file('server');
  const [aws, azure, gcp, kmip] = await Promise.all([
    startAws(certificate, { keys: account('aws') }),
    startAzure(certificate, { hosts: AZURE_HOSTS, keys: account('azure') }),
    startGcp(certificate, { keys: account('gcp') }),
    startKmipService(certificates),
  ]);
  const clouds = [aws, azure, gcp];
  const ports = new Map([...clouds.flatMap(({ hosts, service }) => hosts.map((host) => [`${host}:443`, service.port])), [KMIP_ENDPOINT, kmip.port]]);
  const ca = { tlsCAFile: certificates.caFile };
  return {
    credentials: credentialsOf(aws, azure, gcp),
    tlsOptions: (ids) => Object.fromEntries(ids.map((id) => [id, id.startsWith('kmip') ? { ...ca, tlsCertificateKeyFile: certificates.file('client') } : ca])),
    kmsConnectCallback: connectBy(ports),
    /** What was wrong with requests since it was last asked. */
    violations: () => [...clouds.map(({ service }) => service), kmip].flatMap((service) => service.violations.splice(0)),
    async stop() {
      await Promise.all([...clouds.map(({ service }) => service.stop()), kmip.stop()]);
      certificates.remove();
    },
  };
}

function credentialsOf(aws, azure, gcp) {
  const { sessionToken, ...temporary } = aws.addAccount({ isTemporary: true });
  return {
    local: { key: Buffer.from(LOCAL_MASTER_KEY) },
    aws: aws.kmsProvider,
    awsTemporary: { ...temporary, sessionToken },
    awsTemporaryNoSessionToken: temporary,
    azure: azure.kmsProvider,
    azureToken: { accessToken: azure.issueToken() },
    gcp: gcp.kmsProvider,
    gcpToken: { accessToken: gcp.issueToken() },
    kmip: { endpoint: KMIP_ENDPOINT },
  };
}
