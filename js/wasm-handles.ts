/** What the handles of libmongocrypt's interface offer. js/wasm.ts holds them against what wasm-bindgen generated. */

/** One operation of libmongocrypt's interface. Times are milliseconds since the epoch; a request goes by its number. */
export interface MongoCryptContextHandle {
  state(): number;
  failure(): unknown;
  mongoOperation(nowMs: number): Uint8Array | undefined;
  feedMongo(reply: Uint8Array, nowMs: number): void;
  finishMongo(nowMs: number): void;
  provideKmsProviders(providers: Uint8Array, nowMs: number): void;
  /** `[PKCS#8 key, input]`; the key is a secret. */
  signatureWanted(): unknown[] | undefined;
  provideSignature(signature: Uint8Array): void;
  nextKmsRequest(): number | undefined;
  finishKms(nowMs: number): void;
  finalize(nowMs: number): Uint8Array | undefined;
  kmsProvider(request: number): string | undefined;
  kmsEndpoint(request: number): string | undefined;
  kmsMessage(request: number): Uint8Array | undefined;
  kmsBytesNeeded(request: number): number;
  kmsFeed(request: number, bytes: Uint8Array): void;
  kmsFail(request: number): boolean;
  kmsSleep(request: number, random: number): number;
  kmsFailure(request: number): unknown;
}

/** A library of libmongocrypt's interface, from which contexts are made. */
export interface MongoCryptHandle {
  encrypt(database: string, command: Uint8Array, nowMs: number): MongoCryptContextHandle;
  explicitEncrypt(
    value: Uint8Array,
    keyId: Uint8Array | undefined,
    keyAltName: Uint8Array | undefined,
    algorithm: string | undefined,
    hasContentionFactor: boolean,
    queryType: string | undefined,
    hasTextOptions: boolean,
    isExpression: boolean,
    nowMs: number,
  ): MongoCryptContextHandle;
  explicitDecrypt(value: Uint8Array, nowMs: number): MongoCryptContextHandle;
  decrypt(reply: Uint8Array, nowMs: number): MongoCryptContextHandle;
  createDataKey(masterKey: Uint8Array, keyAltNames: Uint8Array[], keyMaterial: Uint8Array | undefined, nowMs: number): MongoCryptContextHandle;
  rewrap(filter: Uint8Array, masterKey: Uint8Array | undefined, nowMs: number): MongoCryptContextHandle;
}

/** What a library is made from. */
export type MongoCryptArguments = [
  kmsProviders: Uint8Array | undefined,
  schemaMap: Uint8Array | undefined,
  encryptedFieldsMap: Uint8Array | undefined,
  bypassQueryAnalysis: boolean,
  keyExpirationMs: number,
  trustedMasterKeys: unknown[] | undefined,
];
