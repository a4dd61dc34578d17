// Makes a copy of csfle.wasm in which one exported function traps: its body becomes a single `unreachable`.
// Layout: WebAssembly core specification 1.0, section 5.5 (modules): sections of id, size and contents.

const EXPORT_SECTION = 7;
const IMPORT_SECTION = 2;
const CODE_SECTION = 10;
const TRAPPING_BODY = [3, 0x00, 0x00, 0x0b]; // size 3: no locals, unreachable, end

export function withTrap(wasm, exportName) {
  const sections = readSections(wasm);
  const index = exportedFunction(sections.get(EXPORT_SECTION).contents, exportName) - importedFunctions(sections.get(IMPORT_SECTION).contents);
  const code = sections.get(CODE_SECTION);
  const reader = new Reader(code.contents);
  const count = reader.number();
  const bodies = [];
  for (let at = 0; at < count; at += 1) {
    const start = reader.offset;
    const size = reader.number();
    reader.offset += size;
    bodies.push(at === index ? Uint8Array.from(TRAPPING_BODY) : code.contents.subarray(start, reader.offset));
  }
  const contents = Buffer.concat([leb128(count), ...bodies]);
  return Buffer.concat([wasm.subarray(0, code.start), Uint8Array.of(CODE_SECTION), leb128(contents.length), contents, wasm.subarray(code.end)]);
}

class Reader {
  offset = 0;
  constructor(bytes) {
    this.bytes = bytes;
  }
  byte() {
    return this.bytes[this.offset++];
  }
  number() {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  }
  name() {
    const length = this.number();
    this.offset += length;
    return Buffer.from(this.bytes.subarray(this.offset - length, this.offset)).toString();
  }
}

function leb128(value) {
  const bytes = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Uint8Array.from([...bytes, rest]);
    bytes.push((rest % 128) | 0x80);
  }
}

function readSections(wasm) {
  const reader = new Reader(wasm);
  reader.offset = 8; // magic and version
  const sections = new Map();
  while (reader.offset < wasm.length) {
    const start = reader.offset;
    const id = reader.byte();
    const size = reader.number();
    const contents = wasm.subarray(reader.offset, reader.offset + size);
    reader.offset += size;
    sections.set(id, { start, contents, end: reader.offset });
  }
  return sections;
}

function exportedFunction(contents, wanted) {
  const reader = new Reader(contents);
  for (let left = reader.number(); left > 0; left -= 1) {
    const name = reader.name();
    const kind = reader.byte();
    const index = reader.number();
    if (kind === 0 && name === wanted) return index;
  }
  throw new Error(`csfle.wasm exports no function ${wanted}`);
}

function importedFunctions(contents) {
  const reader = new Reader(contents);
  let functions = 0;
  for (let left = reader.number(); left > 0; left -= 1) {
    reader.name();
    reader.name();
    const kind = reader.byte();
    if (kind !== 0) throw new Error('only functions are imported so far: teach this reader the other kinds');
    reader.number();
    functions += 1;
  }
  return functions;
}
