// KMS messages byte for byte, but for what differs from second to second: the time of AWS's and Google's requests, and the
// signatures over it. Those are computed again here, with node:crypto, and must be right on both sides.
import { createHash, createHmac, verify } from 'node:crypto';
import { publicKey } from './world.mjs';

const hmac = (key, text) => createHmac('sha256', key).update(text).digest();
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const UNSIGNED = new Set(['connection', 'authorization']);

/** `{ text, wrong }`: the message with its time and signature masked, and what is wrong with those. `latin1` is a character a byte. */
export function masked(latin1, awsSecrets) {
  if (latin1.includes('\r\nX-Amz-Date:')) return maskedAws(latin1, awsSecrets);
  if (latin1.includes('&assertion=')) return maskedAssertion(latin1);
  return { text: latin1 };
}

function maskedAws(latin1, awsSecrets) {
  const [head, body] = latin1.split('\r\n\r\n');
  const headers = head
    .split('\r\n')
    .slice(1)
    .map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1)]);
  const header = (name) => headers.find(([known]) => known === name)?.[1];
  const time = header('x-amz-date');
  const form = /Credential=([^/]*)\/(\d{8})\/([^/]*)\/kms\/aws4_request, SignedHeaders=([^,]*), Signature=([0-9a-f]{64})$/;
  const [, id, day, region, names, signature] = form.exec(header('authorization')) ?? [];
  const signed = headers.filter(([name]) => !UNSIGNED.has(name)).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const canonical = [
    'POST',
    '/',
    '',
    ...signed.map(([name, value]) => `${name}:${value}`),
    '',
    signed.map(([name]) => name).join(';'),
    sha256(Buffer.from(body, 'latin1')),
  ].join('\n');
  const toSign = ['AWS4-HMAC-SHA256', time, `${day}/${region}/kms/aws4_request`, sha256(Buffer.from(canonical, 'latin1'))].join('\n');
  const key = [day, region, 'kms', 'aws4_request'].reduce(hmac, `AWS4${awsSecrets.get(Buffer.from(id ?? '', 'latin1').toString())}`);
  const problems = [
    signature !== hmac(key, toSign).toString('hex') && 'signature',
    names !== signed.map(([name]) => name).join(';') && 'list of signed headers',
    !time?.startsWith(day) && 'day',
    !isNow(instantOf(time)) && 'time',
  ].filter(Boolean);
  const text = latin1
    .replace(/X-Amz-Date:\d{8}T\d{6}Z/, 'X-Amz-Date:<time>')
    .replace(`/${day}/`, '/<day>/')
    .replace(/Signature=[0-9a-f]{64}/, 'Signature=<signature>');
  return { text, wrong: problems.join() };
}

const instantOf = (time = '') => Date.parse(time.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));

/** Within the length of any run of a batch. */
export const isNow = (instant) => Math.abs(Date.now() - instant) < 600_000;

function maskedAssertion(latin1) {
  const [before, assertion] = latin1.split('&assertion=');
  const [header, claims, signature] = assertion.split('.');
  const text = Buffer.from(claims, 'base64url').toString();
  const { iat, exp } = JSON.parse(text);
  const isSigned = verify('sha256', Buffer.from(`${header}.${claims}`), publicKey, Buffer.from(signature, 'base64url'));
  const problems = [!isSigned && 'signature', exp !== iat + 300 && 'end', !isNow(iat * 1000) && 'time'].filter(Boolean);
  const maskedClaims = text.replace(`"iat": ${iat}`, '"iat": <time>').replace(`"exp": ${exp}`, '"exp": <end>');
  return {
    text: `${before}&assertion=${header}.${maskedClaims}.<${signature.length} characters, padded with ${/=*$/.exec(signature)[0].length}>`,
    wrong: problems.join(),
  };
}
