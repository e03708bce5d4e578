import { isObject } from "#base/json.ts";

/** The format's own bound: what is more is no length at all. */
const FORMAT_BYTES_MAX = 100_000_000;
/** A hundred thousand tensors. Parsing the format's hundred megabytes would need more memory than a sidecar has. */
const HEADER_BYTES_MAX = 16 << 20;

/** Bits of one element, by the format's names. */
const DTYPE_BITS: Readonly<Record<string, number>> = {
  BOOL: 8,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  I64: 64,
  U64: 64,
  F64: 64,
  C64: 64,
};

/** Bytes of the header's JSON by the first 8 bytes of a file; a sentence when it cannot be one. */
export function headerLength(first8: Uint8Array, fileBytes: number): number | string {
  if (first8.length < 8)
    return "is shorter than the 8 bytes that every safetensors file begins with";
  const view = new DataView(first8.buffer, first8.byteOffset, 8);
  const length = view.getBigUint64(0, true);
  if (length > BigInt(FORMAT_BYTES_MAX)) {
    return "is not a safetensors file: its first 8 bytes are no header length";
  }
  if (Number(length) + 8 > fileBytes) {
    return `is truncated: its header alone needs ${length} bytes and the file has ${fileBytes}`;
  }
  if (length > BigInt(HEADER_BYTES_MAX)) {
    return `has a header of ${length} bytes, and no adapter needs more than ${HEADER_BYTES_MAX}`;
  }
  return Number(length);
}

/**
 * Checks a header as strictly as the reference implementation: known types, sizes that fit, tensors that
 * cover the file without gap or overlap. Returns the tensors' names, or a sentence that says what is wrong.
 */
export function checkHeader(json: string, dataBytes: number): string[] | string {
  let header: unknown;
  try {
    header = JSON.parse(json);
  } catch {
    return "is not a safetensors file: its header is not valid JSON";
  }
  if (!isObject(header)) return "is not a safetensors file: its header is not a JSON object";
  const spans: { name: string; begin: number; end: number }[] = [];
  for (const [name, tensor] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const span = spanOf(tensor);
    if (typeof span === "string") return `has an unsound header: tensor ${shown(name)} ${span}`;
    spans.push({ name, ...span });
  }
  spans.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  for (const { name, begin, end } of spans) {
    if (begin !== covered) {
      return `has an unsound header: tensor ${shown(name)} begins at byte ${begin}, not ${covered}`;
    }
    covered = end;
  }
  if (covered > dataBytes) {
    return `is truncated: its tensors need ${covered} bytes and ${dataBytes} are there`;
  }
  if (covered < dataBytes) {
    return `has ${dataBytes - covered} bytes that belong to no tensor`;
  }
  return spans.map((span) => span.name);
}

function spanOf(tensor: unknown): { begin: number; end: number } | string {
  if (!isObject(tensor)) return "is not described by an object";
  const { dtype, shape, data_offsets: offsets } = tensor;
  const bits = typeof dtype === "string" ? DTYPE_BITS[dtype] : undefined;
  if (bits === undefined) return "has no known dtype";
  if (!Array.isArray(shape) || !shape.every(isCount)) return "has no valid shape";
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    return "has no valid data_offsets";
  }
  const [begin, end] = offsets as [number, number];
  const elements = shape.reduce((product, n) => product * n, 1);
  if (!Number.isSafeInteger(elements) || end - begin !== (elements * bits) / 8) {
    return "has data_offsets that do not fit its dtype and shape";
  }
  return { begin, end };
}

const isCount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && Number(value) >= 0;

/** Names come from the file: a part of one is enough for a message. */
const shown = (name: string) => JSON.stringify(name.slice(0, 80));
