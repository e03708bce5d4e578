/**
 * The user did something that cannot work: the message says what and how to mend it.
 * Shown without a stack; never retried until the input changes.
 */
export class UserError extends Error {
  override readonly name = "UserError";
}

/** The text of anything thrown, with the chain of causes that a person needs to act on it. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? "" : messageOf(error.cause);
  if (error instanceof AggregateError && error.message === "") {
    return error.errors.map(messageOf).join("; ");
  }
  if (cause === "" || error.message.includes(cause)) return error.message;
  return `${error.message}: ${cause}`;
}

/** The `code` of a Node or undici error, or of the first cause that has one. */
export function codeOf(error: unknown): string | undefined {
  let current: unknown = error;
  for (let depth = 0; depth < 5 && current instanceof Error; depth++) {
    const code = (current as { code?: unknown }).code;
    if (typeof code === "string") return code;
    current =
      current instanceof AggregateError && current.errors.length > 0
        ? current.errors[0]
        : current.cause;
  }
  return undefined;
}
