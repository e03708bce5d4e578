import assert from "node:assert/strict";
import { test } from "node:test";
import { BadBody } from "./model-scanner.ts";
import { boundaryOf, MultipartScanner } from "./multipart-scanner.ts";

async function formOf(fields: [string, string | Blob][]) {
  const form = new FormData();
  for (const [name, value] of fields) {
    if (typeof value === "string") form.append(name, value);
    else form.append(name, value, 'a; name="model".wav');
  }
  const request = new Request("http://x", { method: "POST", body: form });
  const boundary = boundaryOf(request.headers.get("content-type") ?? undefined);
  assert.ok(boundary !== undefined);
  return { boundary, body: Buffer.from(await request.arrayBuffer()) };
}

function scan(boundary: string, body: Buffer, chunkBytes: number) {
  const scanner = new MultipartScanner(boundary);
  for (let at = 0; at < body.length; at += chunkBytes) {
    scanner.push(body.subarray(at, Math.min(body.length, at + chunkBytes)));
  }
  return scanner.finish();
}

test("the field is found before or after a file, in any chunks, with its place", async () => {
  const file = new Blob([Buffer.alloc(50_000, '\r\n--x name="model"\r\n')]);
  for (const fields of [
    [
      ["model", "whisper"],
      ["file", file],
    ],
    [
      ["file", file],
      ["language", "en"],
      ["model", "whisper"],
      ["x", "model"],
    ],
  ] as [string, string | Blob][][]) {
    const { boundary, body } = await formOf(fields);
    for (const chunkBytes of [1, 3, 1000, 1_000_000]) {
      const found = scan(boundary, body, chunkBytes);
      assert.equal(found.value, "whisper");
      assert.equal(body.toString("utf8", found.start, found.end), "whisper");
    }
  }
});

test("a form without a model, or with two, is refused", async () => {
  const none = await formOf([
    ["modelx", "a"],
    ["prompt", "model"],
  ]);
  assert.throws(() => scan(none.boundary, none.body, 7), BadBody);
  const two = await formOf([
    ["model", "a"],
    ["model", "b"],
  ]);
  assert.throws(() => scan(two.boundary, two.body, 7), /twice/);
  const empty = await formOf([["model", ""]]);
  assert.throws(() => scan(empty.boundary, empty.body, 7), /empty/);
});

test("boundaries: plain, quoted, absent", () => {
  assert.equal(boundaryOf("multipart/form-data; boundary=abc"), "abc");
  assert.equal(boundaryOf('multipart/form-data; charset=utf-8; boundary="a b"'), "a b");
  assert.equal(boundaryOf("application/json"), undefined);
  assert.equal(boundaryOf("multipart/form-data"), undefined);
});
