// Runs machines at the boundary with a key vault in a variable and a KMS that is one AES key of this process.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import * as bson from 'bson';

const STEP = { needKeys: 1, needKms: 2, done: 3 };

export const document = (value) => bson.serialize(value);
export const read = (bytes) => bson.deserialize(bytes, { promoteValues: false });

export class Session {
  /** Key documents as BSON bytes; every machine is handed all of them that the filter could mean. */
  vault = [];
  #kmsKey = randomBytes(32);
  #boundary;

  constructor(boundary) {
    this.#boundary = boundary;
  }

  /** An engine with one local provider, one local provider of another name, and a remote one. */
  engine(masterKey, otherMasterKey, keyExpirationMs = 60_000) {
    const engine = new this.#boundary.Engine(keyExpirationMs, 10);
    engine.addLocalProvider('local', masterKey);
    engine.addLocalProvider('local:other', otherMasterKey);
    engine.addRemoteProvider('aws');
    return engine;
  }

  /** Runs a machine to its end and frees it, also when it fails. */
  run(machine) {
    try {
      for (;;) {
        const step = machine.step(Date.now());
        if (step === STEP.done) return machine.output();
        if (step === STEP.needKeys) machine.provideKeys(Buffer.concat(this.vault));
        else this.#answer(machine);
      }
    } finally {
      machine.free();
    }
  }

  /** Steps a machine until it asks for a KMS (or is done), looks at its requests, and leaves it there. */
  runUntilKms(machine) {
    let step = machine.step(Date.now());
    if (step === STEP.needKeys) {
      machine.provideKeys(Buffer.concat(this.vault));
      step = machine.step(Date.now());
    }
    if (step === STEP.needKms) for (const { input } of machine.kmsRequests()) input.fill(0);
    return step;
  }

  #answer(machine) {
    for (const request of machine.kmsRequests()) {
      const reply = request.operation === 'wrap' ? this.#wrap(request.input) : this.#unwrap(request.input);
      if (request.operation === 'wrap') request.input.fill(0);
      machine.provideKms(request.id, reply);
      if (request.operation === 'unwrap') reply.fill(0);
    }
  }

  #wrap(plaintext) {
    const iv = randomBytes(12);
    const cipher = createCipheriv('aes-256-gcm', this.#kmsKey, iv);
    return Buffer.concat([iv, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  }

  #unwrap(wrapped) {
    const decipher = createDecipheriv('aes-256-gcm', this.#kmsKey, wrapped.subarray(0, 12));
    decipher.setAuthTag(wrapped.subarray(-16));
    return Buffer.concat([decipher.update(wrapped.subarray(12, -16)), decipher.final()]);
  }
}
