import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

/**
 * A thin binding to sax-wasm that finds the start tags of a document.
 *
 * The package's own wrapper is not used: it copies input to address 4 of the WASM memory, over the parser's stack,
 * so that a write of a mebibyte destroys it, and makes several objects for each event. This binding puts input
 * into pages that it adds to the memory itself, and keeps of each event only the offsets.
 *
 * Of sax-wasm's events only the start tags are used. Measured on 3.1.4 with accepted XML in one write: it finds every
 * start tag, and of it and its attributes the ends and lengths are exact, but the starts are a few bytes late where
 * a name begins with a multi-byte character; it loses end tags that hold a line feed, splits and drops text, decodes no
 * reference, and takes a carriage return for a part of a name. Therefore starts are computed from ends and lengths,
 * carriage returns are blanked in the copy that it reads, and everything between the start tags is read from the caller's bytes
 * (see tree.ts). The layout below is that of 3.1.4; test/xml/tree.test.ts holds the whole against another parser.
 */

interface SaxExports {
  memory: WebAssembly.Memory;
  parser(events: number): void;
  write(address: number, length: number): void;
  end(): void;
}

const EVENT_OPEN_TAG = 128;
const PAGE = 65536;
const CARRIAGE_RETURN = 13;
const SPACE = 32;

// Offsets in sax-wasm's structures, in 32-bit words.
const TAG = { nameLength: 2, attributes: 4, attributeCount: 5, selfClosing: 9, start: 28, end: 30 } as const;
const TEXT = { length: 4, start: 14, end: 16 } as const;
const ATTRIBUTE = { name: 0, value: 18, words: 42 } as const;

/**
 * Rows of the table of start tags. A tag: start (at most three bytes late), end (past `>`), length of the name, 1 when
 * empty (`/>`), number of attributes; then for each attribute: start and end of the name, start and end of the value between the quotes.
 */
export const TAG_WORDS = 5;
export const ATTRIBUTE_WORDS = 4;

let compiled: WebAssembly.Module | undefined;

function wasmModule(): WebAssembly.Module {
  const path = createRequire(import.meta.url).resolve('sax-wasm/lib/sax-wasm.wasm');
  return (compiled ??= new WebAssembly.Module(readFileSync(path)));
}

export class StartTags {
  /** The table of the last document; valid up to `length` words. */
  table = new Int32Array(1024);
  length = 0;
  #sax!: SaxExports;
  #words = new Uint32Array(0);
  #address = 0;
  #capacity = 0;

  constructor() {
    this.restart();
  }

  /** Fills the table from one whole document that the scanner accepted. */
  find(document: Uint8Array): void {
    this.length = 0;
    this.#reserve(document.length);
    const input = new Uint8Array(this.#sax.memory.buffer, this.#address, document.length);
    input.set(document);
    for (let i = input.indexOf(CARRIAGE_RETURN); i >= 0; i = input.indexOf(CARRIAGE_RETURN, i + 1)) input[i] = SPACE;
    this.#sax.write(this.#address, document.length);
    this.#sax.end();
  }

  /** A new instance: after a fault the old one is in an unknown state, and the next document must not pay for it. */
  restart(): void {
    const env = { event_listener: (_event: number, address: number) => this.#record(address) };
    // The exports are sax-wasm's own; their types are not part of its declarations.
    this.#sax = new WebAssembly.Instance(wasmModule(), { env }).exports as unknown as SaxExports;
    this.#sax.parser(EVENT_OPEN_TAG);
    this.#capacity = 0;
    this.#reserve(PAGE);
  }

  /** Pages that we add are ours: the parser's allocator uses only those that it added itself. */
  #reserve(bytes: number): void {
    if (bytes <= this.#capacity) return;
    const pages = Math.ceil(Math.max(bytes, this.#capacity * 2) / PAGE);
    this.#address = this.#sax.memory.grow(pages) * PAGE;
    this.#capacity = pages * PAGE;
  }

  #record(address: number): void {
    const memory = this.#sax.memory.buffer;
    if (this.#words.buffer !== memory) this.#words = new Uint32Array(memory);
    const words = this.#words;
    const tag = address >>> 2;
    const count = words[tag + TAG.attributeCount]!;
    const needed = this.length + TAG_WORDS + count * ATTRIBUTE_WORDS;
    if (needed > this.table.length) {
      const larger = new Int32Array(needed * 2);
      larger.set(this.table);
      this.table = larger;
    }
    const table = this.table;
    let at = this.length;
    table[at++] = words[tag + TAG.start]!;
    table[at++] = words[tag + TAG.end]!;
    table[at++] = words[tag + TAG.nameLength]!;
    table[at++] = words[tag + TAG.selfClosing]! & 0xff;
    table[at++] = count;
    let attribute = words[tag + TAG.attributes]! >>> 2;
    for (let i = 0; i < count; i++, attribute += ATTRIBUTE.words) {
      const nameEnd = words[attribute + ATTRIBUTE.name + TEXT.end]!;
      table[at++] = nameEnd - words[attribute + ATTRIBUTE.name + TEXT.length]!;
      table[at++] = nameEnd;
      table[at++] = words[attribute + ATTRIBUTE.value + TEXT.start]!;
      table[at++] = words[attribute + ATTRIBUTE.value + TEXT.end]!;
    }
    this.length = at;
  }
}
