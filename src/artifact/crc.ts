/** Checksums that object stores keep and Node does not compute. */

/** Polynomials, with their bits in reversed order. */
const CRC32C = 0x82f63b78;
const CRC64NVME = { high: 0x9a6c9329, low: 0xac4bc9b5 };

/** Bytes that are taken in one step. */
const SLICE = 8;

/** Table 0 takes one byte; table n takes a byte with n more behind it. */
let crc32cTables: Uint32Array[] | undefined;

function makeCrc32cTables(): Uint32Array[] {
  const first = new Uint32Array(256).map((_, byte) => {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ CRC32C : crc >>> 1;
    return crc;
  });
  const tables = [first];
  for (let i = 1; i < SLICE; i++) {
    const before = tables[i - 1] as Uint32Array;
    tables.push(before.map((crc) => (crc >>> 8) ^ (first[crc & 255] as number)));
  }
  return tables;
}

/** CRC-32C (Castagnoli) of `bytes` behind what `before` is the checksum of. */
export function crc32c(bytes: Uint8Array, before = 0): number {
  crc32cTables ??= makeCrc32cTables();
  const [t0, t1, t2, t3, t4, t5, t6, t7] = crc32cTables as [
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
  ];
  const at = (table: Uint32Array, index: number) => table[index] as number;
  const byte = (index: number) => bytes[index] as number;
  let crc = ~before;
  let i = 0;
  for (const end = bytes.length - (bytes.length % SLICE); i < end; i += SLICE) {
    crc ^= byte(i) | (byte(i + 1) << 8) | (byte(i + 2) << 16) | (byte(i + 3) << 24);
    crc =
      at(t7, crc & 255) ^
      at(t6, (crc >>> 8) & 255) ^
      at(t5, (crc >>> 16) & 255) ^
      at(t4, crc >>> 24) ^
      at(t3, byte(i + 4)) ^
      at(t2, byte(i + 5)) ^
      at(t1, byte(i + 6)) ^
      at(t0, byte(i + 7));
  }
  for (; i < bytes.length; i++) crc = (crc >>> 8) ^ at(t0, (crc ^ byte(i)) & 255);
  return ~crc >>> 0;
}

/** A number of 64 bits as two of 32: BigInt is far too slow for each byte of a file. */
export interface Crc64 {
  readonly high: number;
  readonly low: number;
}

let crc64Tables: { high: Uint32Array; low: Uint32Array } | undefined;

function makeCrc64Tables() {
  const tables = { high: new Uint32Array(256), low: new Uint32Array(256) };
  for (let byte = 0; byte < 256; byte++) {
    let high = 0;
    let low = byte;
    for (let bit = 0; bit < 8; bit++) {
      const isOdd = (low & 1) === 1;
      low = (low >>> 1) | (high << 31);
      high >>>= 1;
      if (isOdd) {
        low ^= CRC64NVME.low;
        high ^= CRC64NVME.high;
      }
    }
    tables.high[byte] = high;
    tables.low[byte] = low;
  }
  return tables;
}

/** CRC-64/NVME, which S3 gives to whatever was uploaded without another checksum. */
export function crc64nvme(bytes: Uint8Array, before: Crc64 = { high: 0, low: 0 }): Crc64 {
  crc64Tables ??= makeCrc64Tables();
  const { high: highs, low: lows } = crc64Tables;
  let high = ~before.high;
  let low = ~before.low;
  for (let i = 0; i < bytes.length; i++) {
    const index = (low ^ (bytes[i] as number)) & 255;
    low = ((low >>> 8) | (high << 24)) ^ (lows[index] as number);
    high = (high >>> 8) ^ (highs[index] as number);
  }
  return { high: ~high >>> 0, low: ~low >>> 0 };
}
