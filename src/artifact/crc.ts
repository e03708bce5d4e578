/** Checksums that object stores keep and Node does not compute, eight bytes in a step. */

/** Polynomials, with their bits in reversed order. */
const CRC32C = 0x82f63b78;
const CRC64NVME = { high: 0x9a6c9329, low: 0xac4bc9b5 };

/** Bytes that are taken in one step, as two words of a little-endian machine. */
const SLICE = 8;

/** A number of 64 bits as two of 32: BigInt is far too slow for each byte of a file. */
export interface Crc64 {
  readonly high: number;
  readonly low: number;
}

/** Table n, from 256 * n on, takes a byte that has n more behind it in the same step. */
interface Tables {
  readonly high: Int32Array;
  readonly low: Int32Array;
}

function makeTables(polynomial: Crc64): Tables {
  const high = new Int32Array(SLICE * 256);
  const low = new Int32Array(SLICE * 256);
  for (let byte = 0; byte < 256; byte++) {
    let [h, l] = [0, byte];
    for (let bit = 0; bit < 8; bit++) {
      const isOdd = (l & 1) === 1;
      l = (l >>> 1) | (h << 31);
      h >>>= 1;
      if (isOdd) {
        l ^= polynomial.low;
        h ^= polynomial.high;
      }
    }
    high[byte] = h;
    low[byte] = l;
  }
  for (let i = 256; i < SLICE * 256; i++) {
    const [h, l] = [at(high, i - 256), at(low, i - 256)];
    low[i] = ((l >>> 8) | (h << 24)) ^ at(low, l & 255);
    high[i] = (h >>> 8) ^ at(high, l & 255);
  }
  return { high, low };
}

let crc32cTable: Int32Array | undefined;
let crc64Tables: Tables | undefined;

/** CRC-32C (Castagnoli) of `bytes` behind what `before` is the checksum of. */
export function crc32c(bytes: Uint8Array, before = 0): number {
  crc32cTable ??= makeTables({ high: 0, low: CRC32C }).low;
  const { head, words, tail } = inWords(bytes);
  let crc = crc32Bytes(crc32cTable, head, ~before);
  crc = crc32Words(crc32cTable, words, crc);
  return ~crc32Bytes(crc32cTable, tail, crc) >>> 0;
}

const at = (table: Int32Array, index: number) => table[index] as number;

function crc32Bytes(table: Int32Array, bytes: Uint8Array, before: number): number {
  let crc = before;
  for (const byte of bytes) crc = (crc >>> 8) ^ at(table, (crc ^ byte) & 255);
  return crc;
}

function crc32Words(table: Int32Array, words: Int32Array, before: number): number {
  let crc = before;
  for (let i = 0; i < words.length; i += 2) {
    const a = crc ^ at(words, i);
    const b = at(words, i + 1);
    crc = at(table, 1792 + (a & 255)) ^ at(table, 1536 + ((a >>> 8) & 255));
    crc ^= at(table, 1280 + ((a >>> 16) & 255)) ^ at(table, 1024 + (a >>> 24));
    crc ^= at(table, 768 + (b & 255)) ^ at(table, 512 + ((b >>> 8) & 255));
    crc ^= at(table, 256 + ((b >>> 16) & 255)) ^ at(table, b >>> 24);
  }
  return crc;
}

/** CRC-64/NVME, which S3 gives to whatever was uploaded without another checksum. */
export function crc64nvme(bytes: Uint8Array, before: Crc64 = { high: 0, low: 0 }): Crc64 {
  crc64Tables ??= makeTables(CRC64NVME);
  const { head, words, tail } = inWords(bytes);
  let crc: Crc64 = { high: ~before.high, low: ~before.low };
  crc = crc64Bytes(crc64Tables, head, crc);
  crc = crc64Words(crc64Tables, words, crc);
  crc = crc64Bytes(crc64Tables, tail, crc);
  return { high: ~crc.high >>> 0, low: ~crc.low >>> 0 };
}

function crc64Bytes({ high: highs, low: lows }: Tables, bytes: Uint8Array, before: Crc64): Crc64 {
  let { high, low } = before;
  for (const byte of bytes) {
    const index = (low ^ byte) & 255;
    low = ((low >>> 8) | (high << 24)) ^ at(lows, index);
    high = (high >>> 8) ^ at(highs, index);
  }
  return { high, low };
}

function crc64Words({ high: highs, low: lows }: Tables, words: Int32Array, before: Crc64): Crc64 {
  let { high, low } = before;
  for (let i = 0; i < words.length; i += 2) {
    const a = low ^ at(words, i);
    const b = high ^ at(words, i + 1);
    const i0 = 1792 + (a & 255);
    const i1 = 1536 + ((a >>> 8) & 255);
    const i2 = 1280 + ((a >>> 16) & 255);
    const i3 = 1024 + (a >>> 24);
    const i4 = 768 + (b & 255);
    const i5 = 512 + ((b >>> 8) & 255);
    const i6 = 256 + ((b >>> 16) & 255);
    const i7 = b >>> 24;
    low = at(lows, i0) ^ at(lows, i1) ^ at(lows, i2) ^ at(lows, i3);
    low ^= at(lows, i4) ^ at(lows, i5) ^ at(lows, i6) ^ at(lows, i7);
    high = at(highs, i0) ^ at(highs, i1) ^ at(highs, i2) ^ at(highs, i3);
    high ^= at(highs, i4) ^ at(highs, i5) ^ at(highs, i6) ^ at(highs, i7);
  }
  return { high, low };
}

/** The bytes as pairs of words, which must lie where words may, and what is left before and behind them. */
function inWords(bytes: Uint8Array) {
  const start = Math.min(bytes.length, -bytes.byteOffset & 3);
  const pairs = Math.floor((bytes.length - start) / SLICE);
  const end = start + pairs * SLICE;
  return {
    head: bytes.subarray(0, start),
    words: new Int32Array(bytes.buffer, pairs === 0 ? 0 : bytes.byteOffset + start, pairs * 2),
    tail: bytes.subarray(end),
  };
}
