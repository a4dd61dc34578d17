// What programs write against the declarations of mongodb-client-encryption. It is compiled, never run.
import binding, {
  cryptoCallbacks,
  type ExplicitEncryptionContextOptions,
  MongoCrypt,
  MongoCryptContext,
  type MongoCryptKMSRequest,
  type MongoCryptOptions,
} from 'csfle-wasm';

// As the driver does: properties of its own on every context.
declare module 'csfle-wasm' {
  interface MongoCryptContext {
    id: number;
    ns: string;
    document: Uint8Array;
  }
}

// Options are filled in one by one.
const options: MongoCryptOptions = { errorWrapper: (error: Error) => new RangeError(error.message, { cause: error }) };
options.kmsProviders = new Uint8Array(5);
options.bypassQueryAnalysis = true;
options.cryptSharedLibSearchPaths = ['$SYSTEM'];
options.cryptSharedLibSearchPaths.push('/usr/lib');
options.keyExpirationMS = 1;
options.logger = (level: number, message: string) => [level, message];
const given: ConstructorParameters<typeof MongoCrypt>[0] = options;
const crypt = new MongoCrypt(given);
const version: string = MongoCrypt.libmongocryptVersion;
// As default: all of it, as Node gives it to importers of CommonJS.
const same: typeof MongoCrypt = binding.MongoCrypt;
const shared: { version: bigint; versionStr: string } | null = crypt.cryptSharedLibVersionInfo;
const hooks: 'js' | 'native_openssl' | null = crypt.cryptoHooksProvider;
const { type, code, message = '' } = crypt.status;
const texts: [number, number, string] = [type, code, message];

const explicit: ExplicitEncryptionContextOptions = { expressionMode: false };
explicit.keyId = new Uint8Array(16);
explicit.contentionFactor = 1n;
explicit.textOptions = new Uint8Array(5);
const contexts: MongoCryptContext[] = [
  crypt.makeEncryptionContext('db', new Uint8Array(5)),
  crypt.makeExplicitEncryptionContext(new Uint8Array(5)),
  crypt.makeExplicitEncryptionContext(new Uint8Array(5), explicit),
  crypt.makeDecryptionContext(Buffer.alloc(5)),
  crypt.makeExplicitDecryptionContext(new Uint8Array(5)),
  crypt.makeDataKeyContext(new Uint8Array(5), { keyAltNames: [new Uint8Array(5)], keyMaterial: new Uint8Array(5) }),
  crypt.makeRewrapManyDataKeyContext(new Uint8Array(5)),
];

export function drive(context: MongoCryptContext): Buffer {
  context.id = 1;
  context.ns = 'db.c';
  context.document = new Uint8Array(5);
  const filter: Buffer = context.nextMongoOperation();
  context.addMongoOperationResponse(filter);
  context.finishMongoOperation();
  const request: MongoCryptKMSRequest | null = context.nextKMSRequest();
  if (request !== null && request.bytesNeeded > 0 && !request.fail()) request.addResponse(request.message);
  context.provideKMSProviders(filter);
  context.finishKMSRequests();
  const state: number = context.state;
  return state === 5 ? context.finalize() : Buffer.from(context.status.message ?? '');
}

// Stand-ins, as tests of programs have them.
const request: MongoCryptKMSRequest = {
  addResponse(_response: Uint8Array) {},
  fail: () => false,
  status: { type: 0, code: 0 },
  bytesNeeded: 0,
  uSleep: 0,
  kmsProvider: 'aws',
  endpoint: 'h:443',
  message: Buffer.alloc(0),
};
const standIn = new MongoCryptContext(
  {
    nextMongoOperation: () => Buffer.alloc(0),
    addMongoOperationResponse() {},
    finishMongoOperation() {},
    nextKMSRequest: () => request,
    provideKMSProviders() {},
    finishKMSRequests() {},
    finalize: () => Buffer.alloc(0),
    get status() {
      return { type: 0, code: 0 };
    },
    get state() {
      return 5;
    },
  },
  (error) => error,
);

class Observed extends MongoCrypt {
  override makeDecryptionContext(buffer: Uint8Array): MongoCryptContext {
    return super.makeDecryptionContext(buffer);
  }
}

const written: number | Error = cryptoCallbacks.aes256CbcEncryptHook(Buffer.alloc(32), Buffer.alloc(16), Buffer.alloc(16), Buffer.alloc(16));
const hook: (key: Buffer, input: Buffer, output: Buffer) => number | Error = cryptoCallbacks.signRsaSha256Hook;
export const used = [version, shared, hooks, texts, contexts, standIn, new Observed(options), written, hook, same];

// @ts-expect-error a wrapper is required
new MongoCrypt({ kmsProviders: new Uint8Array(5) });
// @ts-expect-error so is the mode
crypt.makeExplicitEncryptionContext(new Uint8Array(5), {});
// @ts-expect-error and so are options
crypt.makeDataKeyContext(new Uint8Array(5));
