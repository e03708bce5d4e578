import { readFileSync } from "node:fs";
import { isObject } from "#base/json.ts";

/** A tensor, widened to float32 whatever its stored type was. */
export type Tensor = { shape: number[]; data: Float32Array };

/** The file is not sound safetensors; the message is the one of the reference implementation. */
export class SafetensorsError extends Error {
  override readonly name = "SafetensorsError";

  constructor(reason: string) {
    super(`Error while deserializing header: ${reason}`);
  }
}

/** The reference implementation's bound on the JSON header, in bytes. */
const HEADER_BYTES_MAX = 100_000_000;
const LENGTH_BYTES = 8;

/** Element sizes in bytes of every type the format knows; only the floating ones can be read. */
const ELEMENT_BYTES: Record<string, number> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  I64: 8,
  U64: 8,
  F64: 8,
};

type Entry = { name: string; dtype: string; shape: number[]; begin: number; end: number };

/** Reads a whole file. @throws SafetensorsError, or the system's error when it cannot be read. */
export function readSafetensors(path: string): Map<string, Tensor> {
  return parseSafetensors(readFileSync(path));
}

/**
 * Decodes a safetensors file: u64 header length, JSON header, tensor bytes. Strict, as the format
 * demands: the tensors must cover the data without gap or overlap, each of the size that its shape
 * and type say. @throws SafetensorsError
 */
export function parseSafetensors(file: Uint8Array): Map<string, Tensor> {
  const { entries, dataStart } = parseHeader(file);
  const tensors = new Map<string, Tensor>();
  for (const entry of entries) {
    const bytes = file.subarray(dataStart + entry.begin, dataStart + entry.end);
    tensors.set(entry.name, { shape: entry.shape, data: toFloat32(entry, bytes) });
  }
  return tensors;
}

function parseHeader(file: Uint8Array): { entries: Entry[]; dataStart: number } {
  if (file.byteLength < LENGTH_BYTES) throw new SafetensorsError("header too small");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(HEADER_BYTES_MAX)) throw new SafetensorsError("header too large");
  const dataStart = LENGTH_BYTES + Number(length);
  if (dataStart > file.byteLength) throw new SafetensorsError("invalid header length");
  const header = decodeHeader(file.subarray(LENGTH_BYTES, dataStart));
  const entries = Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, info]) => toEntry(name, info));
  checkMetadata(header["__metadata__"]);
  checkCoverage(entries, file.byteLength - dataStart);
  return { entries, dataStart };
}

function decodeHeader(bytes: Uint8Array): Record<string, unknown> {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new SafetensorsError("invalid UTF-8 in header");
  }
  if (!text.startsWith("{")) throw new SafetensorsError("invalid header start, must be `{`");
  try {
    const header: unknown = JSON.parse(text);
    if (isObject(header)) return header;
  } catch (error) {
    throw new SafetensorsError(`invalid JSON in header: ${(error as Error).message}`);
  }
  throw new SafetensorsError("invalid JSON in header");
}

function checkMetadata(metadata: unknown): void {
  if (metadata === undefined || metadata === null) return;
  if (isObject(metadata) && Object.values(metadata).every((value) => typeof value === "string")) {
    return;
  }
  throw new SafetensorsError("invalid JSON in header: __metadata__ must map strings to strings");
}

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

function toEntry(name: string, info: unknown): Entry {
  if (!isObject(info)) throw new SafetensorsError(`invalid JSON in header: tensor \`${name}\``);
  const { dtype, shape, data_offsets: offsets } = info;
  const size =
    typeof dtype === "string" && Object.hasOwn(ELEMENT_BYTES, dtype)
      ? ELEMENT_BYTES[dtype]
      : undefined;
  if (typeof dtype !== "string" || size === undefined) {
    throw new SafetensorsError(`invalid JSON in header: unknown dtype of tensor \`${name}\``);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw new SafetensorsError(`invalid JSON in header: shape of tensor \`${name}\``);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw new SafetensorsError(`invalid JSON in header: data_offsets of tensor \`${name}\``);
  }
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce((product, dimension) => product * dimension, size);
  if (!Number.isSafeInteger(bytes)) {
    throw new SafetensorsError("overflow computing buffer size from shape and/or element type");
  }
  if (end < begin) throw new SafetensorsError(`invalid offset for tensor \`${name}\``);
  if (end - begin !== bytes) {
    throw new SafetensorsError("invalid shape, data type, or offset for tensor");
  }
  return { name, dtype, shape: shape as number[], begin, end };
}

function checkCoverage(entries: Entry[], dataBytes: number): void {
  let covered = 0;
  for (const entry of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (entry.begin !== covered) {
      throw new SafetensorsError(`invalid offset for tensor \`${entry.name}\``);
    }
    covered = entry.end;
  }
  if (covered !== dataBytes) {
    throw new SafetensorsError("incomplete metadata, file not fully covered");
  }
}

function toFloat32(entry: Entry, bytes: Uint8Array): Float32Array {
  const count = entry.shape.reduce((product, dimension) => product * dimension, 1);
  // A copy of its own: the data may begin at any offset, and the file's buffer need not stay alive.
  // Not `slice`, which on a Buffer copies nothing.
  const copy = new Uint8Array(bytes);
  if (entry.dtype === "F32") return new Float32Array(copy.buffer, 0, count);
  if (entry.dtype === "F64") return Float32Array.from(new Float64Array(copy.buffer, 0, count));
  if (entry.dtype === "BF16") {
    // A bfloat16 is the upper half of the float32 with the same value.
    const halves = new Uint16Array(copy.buffer, 0, count);
    return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
  }
  if (entry.dtype === "F16") {
    return Float32Array.from(new Uint16Array(copy.buffer, 0, count), halfToNumber);
  }
  throw new SafetensorsError(
    `tensor \`${entry.name}\` has type ${entry.dtype}, not a floating one`,
  );
}

/** IEEE 754 binary16, given as its 16 bits. */
function halfToNumber(bits: number): number {
  const sign = bits >> 15 === 0 ? 1 : -1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
