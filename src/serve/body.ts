/** A request's body is longer than its limit. */
export class BodyTooLarge extends Error {
  override readonly name = "BodyTooLarge";
  readonly limitBytes: number;

  constructor(limitBytes: number) {
    super(`the body is longer than ${limitBytes} bytes`);
    this.limitBytes = limitBytes;
  }
}

/**
 * The whole body of a Node request (`IncomingMessage`) or a web request (`request.body`).
 * @throws BodyTooLarge as soon as more than `limitBytes` have come. The rest stays unread; a
 * refusal can still be answered.
 */
export async function readBody(
  body: AsyncIterable<Uint8Array> | null,
  limitBytes: number,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.byteLength;
    if (size > limitBytes) throw new BodyTooLarge(limitBytes);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}
