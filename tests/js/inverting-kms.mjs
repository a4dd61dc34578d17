// KMS callbacks whose wrapping is inversion behind 40 fixed bytes.

export const invert = (bytes) => Uint8Array.from(bytes, (byte) => byte ^ 0xff);

/** Callbacks that count their calls and note in `asked` which ciphertexts they were given, in hexadecimal. */
export function invertingKms() {
  const kms = { encrypts: 0, decrypts: 0, asked: [] };
  kms.encrypt = ({ plaintext }) => {
    kms.encrypts += 1;
    return Buffer.concat([Buffer.alloc(40, 7), invert(plaintext)]);
  };
  kms.decrypt = ({ ciphertext }) => {
    kms.decrypts += 1;
    kms.asked.push(Buffer.from(ciphertext).toString('hex'));
    return invert(ciphertext.subarray(40));
  };
  return kms;
}
