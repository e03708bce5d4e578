/**
 * Products of weight matrices and vectors, the only hot code here. Every output is summed in the
 * same order whatever the batch, so a sequence gets the same tokens alone and among others. The
 * loops are unrolled by hand over rows and inputs: independent sums keep the processor busy, and a
 * weight that was read serves several inputs.
 */

/** `rows` x `columns` numbers, row by row; the output size is `rows`, the input size `columns`. */
export type Matrix = { rows: number; columns: number; data: Float32Array };

/** The items `from` (included) to `to` (excluded) of a batch. */
export type Span = { from: number; to: number };

/**
 * Inputs lie one behind the other in `x`, item by item, and outputs likewise in `y`; the items of
 * `span` are computed.
 */
export function multiply(matrix: Matrix, x: Float32Array, y: Float32Array, span: Span): void {
  let item = span.from;
  for (; item + 4 <= span.to; item += 4) multiplyFour(matrix, x, y, item);
  for (; item < span.to; item++) multiplyOne(matrix, x, y, item);
}

function multiplyOne(matrix: Matrix, x: Float32Array, y: Float32Array, item: number): void {
  const { rows, columns, data } = matrix;
  const from = item * columns;
  const to = item * rows;
  let row = 0;
  for (; row + 4 <= rows; row += 4) {
    const w0 = row * columns;
    const w1 = w0 + columns;
    const w2 = w1 + columns;
    const w3 = w2 + columns;
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    for (let i = 0; i < columns; i++) {
      const v = x[from + i] as number;
      a += (data[w0 + i] as number) * v;
      b += (data[w1 + i] as number) * v;
      c += (data[w2 + i] as number) * v;
      d += (data[w3 + i] as number) * v;
    }
    y[to + row] = a;
    y[to + row + 1] = b;
    y[to + row + 2] = c;
    y[to + row + 3] = d;
  }
  for (; row < rows; row++) y[to + row] = dot(data, row * columns, x, from, columns);
}

function multiplyFour(matrix: Matrix, x: Float32Array, y: Float32Array, item: number): void {
  const { rows, columns, data } = matrix;
  const x0 = item * columns;
  const x1 = x0 + columns;
  const x2 = x1 + columns;
  const x3 = x2 + columns;
  const to = item * rows;
  for (let row = 0; row + 2 <= rows; row += 2) {
    const w0 = row * columns;
    const w1 = w0 + columns;
    let a = 0;
    let b = 0;
    let c = 0;
    let d = 0;
    let e = 0;
    let f = 0;
    let g = 0;
    let h = 0;
    for (let i = 0; i < columns; i++) {
      const p = data[w0 + i] as number;
      const q = data[w1 + i] as number;
      const v0 = x[x0 + i] as number;
      const v1 = x[x1 + i] as number;
      const v2 = x[x2 + i] as number;
      const v3 = x[x3 + i] as number;
      a += p * v0;
      b += p * v1;
      c += p * v2;
      d += p * v3;
      e += q * v0;
      f += q * v1;
      g += q * v2;
      h += q * v3;
    }
    y[to + row] = a;
    y[to + rows + row] = b;
    y[to + 2 * rows + row] = c;
    y[to + 3 * rows + row] = d;
    y[to + row + 1] = e;
    y[to + rows + row + 1] = f;
    y[to + 2 * rows + row + 1] = g;
    y[to + 3 * rows + row + 1] = h;
  }
  if (rows % 2 === 1) {
    const last = (rows - 1) * columns;
    for (let k = 0; k < 4; k++) {
      y[to + k * rows + rows - 1] = dot(data, last, x, x0 + k * columns, columns);
    }
  }
}

/** The inner product of `length` numbers of `a` from `i` and of `b` from `j`. */
export function dot(
  a: Float32Array,
  i: number,
  b: Float32Array,
  j: number,
  length: number,
): number {
  let sum = 0;
  for (let k = 0; k < length; k++) sum += (a[i + k] as number) * (b[j + k] as number);
  return sum;
}
