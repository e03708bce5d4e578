/** Writes the parts of the protobuf encoding that we answer with; we never read any. */
export type Field = Uint8Array;

const encoder = new TextEncoder();
const LENGTH_DELIMITED = 2;
const VARINT = 0;

/** A message made of fields, or one that is not there at all. */
export function message(number: number, fields: readonly (Field | undefined)[]): Field {
  return delimited(number, concatenated(fields));
}

/** A text field; absent when there is no text. */
export function text(number: number, value: string | undefined): Field | undefined {
  return value === undefined || value === "" ? undefined : delimited(number, encoder.encode(value));
}

/** A boolean field; false is the same as absent. */
export function flag(number: number, value: boolean): Field | undefined {
  return value ? concatenated([varint((number << 3) | VARINT), varint(1)]) : undefined;
}

/** The bytes of several fields, one after the other. */
export function concatenated(fields: readonly (Field | undefined)[]): Uint8Array {
  const present = fields.filter((field) => field !== undefined);
  const result = new Uint8Array(present.reduce((size, field) => size + field.length, 0));
  let offset = 0;
  for (const field of present) {
    result.set(field, offset);
    offset += field.length;
  }
  return result;
}

function delimited(number: number, bytes: Uint8Array): Field {
  return concatenated([varint((number << 3) | LENGTH_DELIMITED), varint(bytes.length), bytes]);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7f) {
    bytes.push((rest & 0x7f) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  return Uint8Array.of(...bytes, rest);
}
