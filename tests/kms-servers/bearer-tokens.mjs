// The bearer tokens of a service: what it issued, and until when it takes them.
import { randomBytes } from 'node:crypto';

/** Gives `cloud` the counter `issued`, the setting `tokenLifetimeS`, and `issueToken()` for those who get one on another way. */
export function bearerTokens(cloud, prefix) {
  const ends = new Map();
  Object.assign(cloud, {
    tokenLifetimeS: 3600,
    issued: 0,
    issueToken(lifetimeS = cloud.tokenLifetimeS) {
      const token = `${prefix}.${randomBytes(24).toString('base64url')}`;
      ends.set(token, Date.now() + lifetimeS * 1000);
      cloud.issued += 1;
      return token;
    },
  });
  return {
    isKnown: (token) => ends.has(token),
    isGood: (token) => (ends.get(token) ?? 0) > Date.now(),
  };
}
