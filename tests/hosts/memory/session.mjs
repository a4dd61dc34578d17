// Runs machines at the boundary with a key vault in memory and a KMS that is one AES key of this process.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import * as bson from 'bson';
import { MemoryKeyVaultStore } from 'csfle-wasm';

const STEP = { needKeys: 1, needKms: 2, done: 3 };

export const document = (value) => bson.serialize(value);
export const read = (bytes) => bson.deserialize(bytes, { promoteValues: false });

export class Session {
  #vault = new MemoryKeyVaultStore();
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

  /** Puts key documents, given as bytes, in place of all there were. */
  async store(keyDocuments) {
    this.#vault = new MemoryKeyVaultStore();
    for (const key of keyDocuments) await this.#vault.insert(read(key));
  }

  async keys() {
    return this.#vault.find({});
  }

  /** Runs a machine to its end and frees it, also when it fails. `now` stands in for the clock. */
  async run(machine, now = undefined) {
    try {
      for (;;) {
        const step = machine.step(now ?? Date.now());
        if (step === STEP.done) return machine.output();
        if (step === STEP.needKeys) await this.#provideKeys(machine);
        else this.#answer(machine);
      }
    } finally {
      machine.free();
    }
  }

  /** Steps a machine until it asks for a KMS (or is done), looks at its requests, and leaves it there. */
  async runUntilKms(machine) {
    let step = machine.step(Date.now());
    if (step === STEP.needKeys) {
      await this.#provideKeys(machine);
      step = machine.step(Date.now());
    }
    if (step === STEP.needKms) for (const { input } of machine.kmsRequests()) input.fill(0);
    return step;
  }

  async #provideKeys(machine) {
    const found = await this.#vault.find(read(machine.filter()));
    machine.provideKeys(Buffer.concat(found.map(document)));
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
