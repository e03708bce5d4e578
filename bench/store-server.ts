/**
 * A store for `bench/runtime.ts`, a process of its own: the same adapters by the protocols of S3, of
 * Google's storage, of the Hugging Face hub and as plain files, over http and https, from memory and
 * without asking who is there. Real servers are slower than the clients that are to be measured.
 *
 *   node bench/store-server.ts '{"large": 536870912, ...}'     adapters by the size of their tensor
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { createHasher, type DigestAlgorithm } from "#artifact/digest.ts";
import { adapterFiles } from "#test/support/adapters.ts";
import { newAuthority } from "../scripts/certificates.ts";

const WEIGHTS = "adapter_model.safetensors";
const CONFIG = "adapter_config.json";
const PIECE_BYTES = 1 << 20;
const BUCKET = "artifacts";
const COMMIT = "0123456789abcdef0123456789abcdef01234567";
/** Tensors are this, again and again. */
const PATTERN = patternOf(1 << 26);

function patternOf(bytes: number): Buffer {
  const words = new Uint32Array(bytes / 4);
  let word = 1;
  for (let i = 0; i < words.length; i++) {
    word = (Math.imul(word, 1664525) + 1013904223) >>> 0;
    words[i] = word;
  }
  return Buffer.from(words.buffer);
}

/** One file: a head of its own, and a tensor. */
class Content {
  readonly size: number;
  readonly #head: Buffer;
  readonly #digests = new Map<DigestAlgorithm, string>();

  constructor(head: Buffer, tensorBytes: number) {
    this.#head = head;
    this.size = head.length + tensorBytes;
  }

  *pieces(from: number, to: number): Generator<Buffer> {
    for (let at = from; at < to; ) {
      const isHead = at < this.#head.length;
      const source = isHead ? this.#head : PATTERN;
      const start = isHead ? at : (at - this.#head.length) % PATTERN.length;
      const piece = source.subarray(start, start + Math.min(PIECE_BYTES, to - at));
      yield piece;
      at += piece.length;
    }
  }

  digest(algorithm: DigestAlgorithm): string {
    const known = this.#digests.get(algorithm);
    if (known !== undefined) return known;
    const hasher = createHasher(algorithm);
    for (const piece of this.pieces(0, this.size)) hasher.update(piece);
    const hex = hasher.hex();
    this.#digests.set(algorithm, hex);
    return hex;
  }
}

function weightsOf(bytes: number): Content {
  const tensor = { dtype: "U8", shape: [bytes], data_offsets: [0, bytes] };
  const header = Buffer.from(JSON.stringify({ "base_model.model.lora_A.weight": tensor }));
  const length = Buffer.alloc(8);
  length.writeUInt32LE(header.length);
  return new Content(Buffer.concat([length, header]), bytes);
}

const config = new Content(adapterFiles("")[`/${CONFIG}`] ?? Buffer.alloc(0), 0);
const sizes: Record<string, number> = JSON.parse(process.argv[2] ?? "{}");
/** By `<adapter>/<file>`. */
const files = new Map<string, Content>(
  Object.entries(sizes).flatMap(([name, bytes]) => [
    [`${name}/${CONFIG}`, config] as const,
    [`${name}/${WEIGHTS}`, weightsOf(bytes)] as const,
  ]),
);
const ALGORITHMS = ["md5", "sha256", "crc32", "crc32c", "crc64nvme"] as const;
for (const file of files.values()) for (const algorithm of ALGORITHMS) file.digest(algorithm);

const base64 = (hex: string) => Buffer.from(hex, "hex").toString("base64");
const etagOf = (file: Content) => `"${file.digest("md5")}"`;

function answer(request: IncomingMessage, response: ServerResponse): unknown {
  const url = new URL(request.url ?? "/", "http://store");
  const path = decodeURIComponent(url.pathname);
  const [, first = ""] = path.split("/");
  if (first === BUCKET) return answerS3(path.slice(BUCKET.length + 2), url, request, response);
  if (first === "storage") return answerGcs(url, request, response);
  if (first === "api") return answerHub(path, response);
  const name = /^\/(?:files|bench)\/(.*)$/.exec(path)?.[1]?.replace(`resolve/${COMMIT}/`, "");
  const file = files.get(name ?? "");
  if (file === undefined) return response.writeHead(404).end();
  const linked = first === "bench" ? { "x-linked-etag": `"${file.digest("sha256")}"` } : {};
  sendFile(file, { etag: etagOf(file), ...linked }, request, response);
}

const below = (prefix: string) => [...files].filter(([name]) => name.startsWith(prefix));

function answerS3(key: string, url: URL, request: IncomingMessage, response: ServerResponse) {
  const file = files.get(key);
  if (file !== undefined) {
    // What S3 gives to uploads without a checksum; some clients bring another.
    const algorithm = key.startsWith("crc32-") ? "crc32" : "crc64nvme";
    const checksum = { [`x-amz-checksum-${algorithm}`]: base64(file.digest(algorithm)) };
    const isAsked = request.headers["x-amz-checksum-mode"] === "ENABLED";
    return sendFile(file, { etag: etagOf(file), ...(isAsked ? checksum : {}) }, request, response);
  }
  if (key !== "") return response.writeHead(404).end();
  const entries = below(url.searchParams.get("prefix") ?? "").map(
    ([name, { size }]) =>
      `<Contents><Key>${name}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;${files.get(name)?.digest("md5")}&quot;</ETag><Size>${size}</Size></Contents>`,
  );
  response.setHeader("content-type", "application/xml");
  response.end(
    `<?xml version="1.0"?><ListBucketResult><Name>${BUCKET}</Name><IsTruncated>false</IsTruncated>${entries.join("")}</ListBucketResult>`,
  );
}

function answerGcs(url: URL, request: IncomingMessage, response: ServerResponse) {
  const name = /\/o\/([^/]+)$/.exec(url.pathname)?.[1];
  const file = files.get(decodeURIComponent(name ?? ""));
  if (file !== undefined) return sendFile(file, { "x-goog-generation": "1" }, request, response);
  sendJson(response, {
    items: below(url.searchParams.get("prefix") ?? "").map(([name, file]) => ({
      name,
      size: String(file.size),
      generation: "1",
      md5Hash: base64(file.digest("md5")),
      crc32c: base64(file.digest("crc32c")),
    })),
  });
}

function answerHub(path: string, response: ServerResponse) {
  const [, , , owner, name] = path.split("/");
  if (!path.includes("/tree/")) return sendJson(response, { id: `${owner}/${name}`, sha: COMMIT });
  const entries = below(`${name}/`).map(([at, file]) => {
    const lfs = { oid: file.digest("sha256"), size: file.size, pointerSize: 134 };
    const common = { type: "file", path: at.slice(at.indexOf("/") + 1), size: file.size };
    return { ...common, oid: COMMIT, ...(at.endsWith(WEIGHTS) ? { lfs } : {}) };
  });
  sendJson(response, entries);
}

function sendJson(response: ServerResponse, body: unknown) {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(body));
}

function sendFile(
  file: Content,
  headers: Record<string, string>,
  request: IncomingMessage,
  response: ServerResponse,
) {
  const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const from = Number(match?.[1] ?? 0);
  const to = match?.[2] ? Math.min(Number(match[2]) + 1, file.size) : file.size;
  if (match !== null) response.setHeader("content-range", `bytes ${from}-${to - 1}/${file.size}`);
  response.setHeader("accept-ranges", "bytes");
  response.setHeader("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT");
  response.setHeader("content-length", to - from);
  response.writeHead(match === null ? 200 : 206, headers);
  if (request.method === "HEAD") return response.end();
  const pieces = file.pieces(from, to);
  const send = () => {
    for (let piece = pieces.next(); piece.done !== true; piece = pieces.next()) {
      if (!response.write(piece.value)) return response.once("drain", send);
    }
    response.end();
  };
  send();
}

const authority = await newAuthority("bench");
const pair = await authority.issue({ dns: ["localhost"], ip: ["127.0.0.1"] });
const servers = { http: createServer(answer), https: createTlsServer(pair, answer) };
const urls: Record<string, string> = {};
for (const [scheme, server] of Object.entries(servers)) {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  urls[scheme] = `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
console.log(JSON.stringify({ ...urls, ca: authority.ca }));
