// Our side of the benchmark at the boundary: BSON bytes in, BSON bytes out, one machine per operation.

const STEP = { needKeys: 1, done: 3 };

export class Ours {
  #engine;
  #bson;
  #keyDocument;
  #keyId;
  #options = new Map();

  constructor(boundary, { bson, masterKey, keyDocument, keyId }) {
    this.#bson = bson;
    this.#keyDocument = keyDocument;
    this.#keyId = keyId;
    // The same minute after which the C library reads a key again.
    this.#engine = new boundary.Engine(60_000, 100);
    this.#engine.addLocalProvider('local', masterKey);
  }

  encrypt(message, algorithm) {
    return this.#run(this.#engine.encrypt(message, this.#encryptOptions(algorithm)));
  }

  decrypt(message) {
    return this.#run(this.#engine.decrypt(message));
  }

  decryptDocument(document) {
    return this.#run(this.#engine.decryptDocuments(document));
  }

  encryptDocument(document, rules) {
    return this.#run(this.#engine.encryptDocuments(document, rules));
  }

  /** The rules under which every named field is encrypted with the benchmark's key. */
  rules(fields, algorithm) {
    const rule = { algorithm, keyId: new this.#bson.Binary(this.#keyId, 4) };
    return this.#bson.serialize(Object.fromEntries(fields.map((field) => [field, rule])));
  }

  close() {
    this.#engine.free();
  }

  // Serialised once per algorithm, as the C side keeps its option binaries.
  #encryptOptions(algorithm) {
    let options = this.#options.get(algorithm);
    if (!options) {
      options = this.#bson.serialize({ algorithm, keyId: new this.#bson.Binary(this.#keyId, 4) });
      this.#options.set(algorithm, options);
    }
    return options;
  }

  #run(machine) {
    try {
      let step = machine.step(Date.now());
      if (step === STEP.needKeys) {
        machine.provideKeys(this.#keyDocument);
        step = machine.step(Date.now());
      }
      if (step !== STEP.done) throw new Error(`an operation with a local key stopped at step ${step}`);
      return machine.output();
    } finally {
      machine.free();
    }
  }
}
