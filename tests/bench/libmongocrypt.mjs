// MongoDB's C library called from this very process: the opponent of the benchmark. Debian builds it against OpenSSL,
// so its crypto is native (AES-NI and all), unlike the copy in the pymongocrypt wheel.
//
// The loop is kept as close to plain C as an FFI allows: inputs lie in C memory and are never copied again, option
// binaries are made once, and the result is fetched by one memcpy into a reused buffer.
import koffi from 'koffi';
import { installLibmongocrypt } from '../../js/dev/setup/debian.mjs';

/** `MONGOCRYPT_CTX_NEED_MONGO_KEYS`; every other state of a local key is success or a reported error. */
const NEED_KEYS = 3;

/** Opens the library that LIBMONGOCRYPT_PATH or CSFLE_LIBMONGOCRYPT names, else the one in its usual place (`npm run setup`). */
export async function openLibrary() {
  const named = process.env.LIBMONGOCRYPT_PATH || process.env.CSFLE_LIBMONGOCRYPT;
  if (named) return bind(named);
  return bind((await installLibmongocrypt({ found: () => {}, doing: (_what, _seconds, work) => work() })).libmongocrypt);
}

function bind(path) {
  // Loaded without RTLD_DEEPBIND, the library's OpenSSL calls resolve to the OpenSSL inside the node executable: the one
  // the official addon uses too, and the faster of the two here (by a tenth on whole documents).
  const library = koffi.load(path);
  const libc = koffi.load(process.platform === 'darwin' ? 'libSystem.dylib' : 'libc.so.6');
  const declare = (prototype) => library.func(prototype);
  return {
    version: declare('const char *mongocrypt_version(uint32_t *len)')(null),
    createCrypt: declare('void *mongocrypt_new(void)'),
    setKmsProviders: declare('bool mongocrypt_setopt_kms_providers(void *crypt, void *providers)'),
    initCrypt: declare('bool mongocrypt_init(void *crypt)'),
    cryptStatus: declare('bool mongocrypt_status(void *crypt, void *status)'),
    destroyCrypt: declare('void mongocrypt_destroy(void *crypt)'),
    createStatus: declare('void *mongocrypt_status_new(void)'),
    statusMessage: declare('const char *mongocrypt_status_message(void *status, uint32_t *len)'),
    destroyStatus: declare('void mongocrypt_status_destroy(void *status)'),
    createBinary: declare('void *mongocrypt_binary_new(void)'),
    createBinaryFrom: declare('void *mongocrypt_binary_new_from_data(void *bytes, uint32_t len)'),
    binaryData: declare('void *mongocrypt_binary_data(void *binary)'),
    binaryLength: declare('uint32_t mongocrypt_binary_len(void *binary)'),
    destroyBinary: declare('void mongocrypt_binary_destroy(void *binary)'),
    createContext: declare('void *mongocrypt_ctx_new(void *crypt)'),
    setKeyId: declare('bool mongocrypt_ctx_setopt_key_id(void *ctx, void *id)'),
    setAlgorithm: declare('bool mongocrypt_ctx_setopt_algorithm(void *ctx, const char *algorithm, int len)'),
    initExplicitEncrypt: declare('bool mongocrypt_ctx_explicit_encrypt_init(void *ctx, void *message)'),
    initExplicitDecrypt: declare('bool mongocrypt_ctx_explicit_decrypt_init(void *ctx, void *message)'),
    initDecrypt: declare('bool mongocrypt_ctx_decrypt_init(void *ctx, void *document)'),
    contextState: declare('int mongocrypt_ctx_state(void *ctx)'),
    contextStatus: declare('bool mongocrypt_ctx_status(void *ctx, void *status)'),
    feedKeys: declare('bool mongocrypt_ctx_mongo_feed(void *ctx, void *reply)'),
    keysDone: declare('bool mongocrypt_ctx_mongo_done(void *ctx)'),
    finalize: declare('bool mongocrypt_ctx_finalize(void *ctx, void *out)'),
    destroyContext: declare('void mongocrypt_ctx_destroy(void *ctx)'),
    copyOut: libc.func('void *memcpy(_Out_ uint8_t *target, void *source, size_t len)'),
    trivial: libc.func('int abs(int value)'),
  };
}

/** Memory outside the JavaScript heap, with the view that fills it. It lives as long as the process. */
function cMemory(length) {
  const pointer = koffi.alloc('uint8_t', length);
  return { pointer, length, bytes: new Uint8Array(koffi.view(pointer, length)) };
}

/** One `mongocrypt_t` with the local provider, and the three operations the benchmark compares. */
export class LibMongoCrypt {
  #c;
  #crypt;
  #keyDocument;
  #keyId;
  #result;
  #resultLength = 0;
  #out = Buffer.alloc(1 << 16);
  #scratch = cMemory(1 << 16);
  #scratchBinary;

  constructor(c, { kmsProviders, keyDocument, keyId }) {
    this.#c = c;
    this.#crypt = c.createCrypt();
    this.#keyDocument = this.input(keyDocument);
    this.#keyId = this.input(keyId);
    this.#result = c.createBinary();
    const providers = this.input(kmsProviders);
    const ok = c.setKmsProviders(this.#crypt, providers) && c.initCrypt(this.#crypt);
    c.destroyBinary(providers);
    if (!ok) this.#fail((status) => c.cryptStatus(this.#crypt, status));
  }

  /** Places bytes in C memory, once, and returns the `mongocrypt_binary_t` over them. */
  input(bytes) {
    const memory = cMemory(bytes.length);
    memory.bytes.set(bytes);
    return this.#c.createBinaryFrom(memory.pointer, bytes.length);
  }

  encrypt(message, algorithm) {
    const context = this.#c.createContext(this.#crypt);
    const ok = this.#c.setKeyId(context, this.#keyId) && this.#c.setAlgorithm(context, algorithm, -1) && this.#c.initExplicitEncrypt(context, message);
    return this.#finish(context, ok);
  }

  decrypt(message) {
    const context = this.#c.createContext(this.#crypt);
    return this.#finish(context, this.#c.initExplicitDecrypt(context, message));
  }

  decryptDocument(document) {
    const context = this.#c.createContext(this.#crypt);
    return this.#finish(context, this.#c.initDecrypt(context, document));
  }

  /**
   * Copies bytes that change from call to call into C memory, as a caller holding fresh BSON must.
   * The returned binary is valid until the next call.
   */
  transient(bytes) {
    if (bytes.length > this.#scratch.length) this.#scratch = cMemory(bytes.length * 2);
    this.#scratch.bytes.set(bytes);
    if (this.#scratchBinary) this.#c.destroyBinary(this.#scratchBinary);
    this.#scratchBinary = this.#c.createBinaryFrom(this.#scratch.pointer, bytes.length);
    return this.#scratchBinary;
  }

  /** The last result as a view that the next operation overwrites. */
  resultView() {
    return this.#out.subarray(0, this.#resultLength);
  }

  /** The last result as bytes of its own; the operations themselves reuse one buffer. */
  result() {
    return Buffer.from(this.#out.subarray(0, this.#resultLength));
  }

  close() {
    if (this.#scratchBinary) this.#c.destroyBinary(this.#scratchBinary);
    this.#c.destroyBinary(this.#result);
    this.#c.destroyBinary(this.#keyDocument);
    this.#c.destroyBinary(this.#keyId);
    this.#c.destroyCrypt(this.#crypt);
  }

  #finish(context, ok) {
    const c = this.#c;
    if (!ok) this.#failContext(context);
    // The library forgets a key 60 s after it was fed, so any operation may have to feed it again.
    if (c.contextState(context) === NEED_KEYS) {
      if (!c.feedKeys(context, this.#keyDocument) || !c.keysDone(context)) this.#failContext(context);
    }
    if (!c.finalize(context, this.#result)) this.#failContext(context);
    const length = c.binaryLength(this.#result);
    if (length > this.#out.length) this.#out = Buffer.alloc(length * 2);
    c.copyOut(this.#out, c.binaryData(this.#result), length);
    this.#resultLength = length;
    c.destroyContext(context);
    return length;
  }

  #failContext(context) {
    this.#fail((status) => this.#c.contextStatus(context, status));
  }

  #fail(readStatus) {
    const status = this.#c.createStatus();
    readStatus(status);
    const message = this.#c.statusMessage(status, null);
    this.#c.destroyStatus(status);
    throw new Error(`libmongocrypt: ${message}`);
  }
}
