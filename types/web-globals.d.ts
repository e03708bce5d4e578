/** The web-standard globals that the pure rooms may use; everything else does not exist for them. */
interface AbortSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: "abort", run: () => void, options?: { once?: boolean }): void;
  removeEventListener(type: "abort", run: () => void): void;
}
declare class DOMException extends Error {
  constructor(message: string, name: string);
}
declare class URL {
  static canParse(url: string, base?: string): boolean;
  constructor(url: string, base?: string);
  protocol: string;
  username: string;
  password: string;
  hostname: string;
  port: string;
  pathname: string;
  search: string;
  hash: string;
  toString(): string;
}
declare class TextEncoder {
  encode(text: string): Uint8Array;
}
declare function structuredClone<T>(value: T): T;
