/** What to do about an error of the library, in the terms of the command. */

const REMEDIES: Readonly<Record<string, string>> = {
  KMS_ENDPOINT_NOT_ALLOWED:
    'Find out who wrote this key document: nothing was sent there. If the endpoint is yours, add --allow-endpoint <host[:port]>; csfle migrate also takes --from-key-arn with --from-endpoint.',
  KEY_VAULT_MASTER_KEY_NOT_TRUSTED:
    'Find out who wrote this key document: nothing was sent for it. If the master key is yours, it has to match --trusted-master-key and CSFLE_TRUSTED_MASTER_KEYS where they are given, and of csfle migrate --from or --to. If its endpoint is yours, add --allow-endpoint <host[:port]>, or --from-endpoint beside --from-key-arn.',
  KMS_PROVIDER_NOT_CONFIGURED:
    'Pass the local master key with --local-key-file, that of a provider with a name as local:new=<file>. Keys in AWS KMS need the package @aws-sdk/client-kms; for azure, gcp and kmip use the library.',
};

/** The remedy of a code in the terms of the command; that of the library where it fits as it is. */
export function remedyOf(code: string, remedy: string): string {
  return REMEDIES[code] ?? remedy;
}

/** The remedies that are of the command alone, each once. */
export function remediesOf(codes: Iterable<string | undefined>): readonly string[] {
  return [...new Set(codes)].flatMap((code) => (code !== undefined && REMEDIES[code] !== undefined ? [REMEDIES[code]] : []));
}
