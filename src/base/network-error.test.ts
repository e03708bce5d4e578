import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { describeError, networkWords } from "./network-error.ts";

test("a real refused connection is told in Kubernetes' words, with its address", async () => {
  const error = await new Promise<Error>((resolve) => {
    connect({ host: "127.0.0.1", port: 1 }).once("error", resolve);
  });
  assert.equal(describeError(error), "connection refused (127.0.0.1:1)");
  assert.equal(
    describeError(new TypeError("fetch failed", { cause: error })),
    "connection refused (127.0.0.1:1)",
  );
});

test("each code has its words", () => {
  const withCode = (code: string) => Object.assign(new Error("x"), { code });
  const expected = {
    ECONNRESET: "connection reset",
    UND_ERR_SOCKET: "connection reset",
    ETIMEDOUT: "timeout",
    UND_ERR_HEADERS_TIMEOUT: "timeout",
    EHOSTUNREACH: "no route to host",
    ENETUNREACH: "network is unreachable",
    EAI_AGAIN: "temporary failure in name resolution",
  };
  for (const [code, words] of Object.entries(expected)) {
    assert.equal(networkWords(withCode(code)), words);
  }
  assert.equal(networkWords(new DOMException("late", "TimeoutError")), "timeout");
  assert.equal(networkWords(withCode("ENOSPC")), undefined);
  assert.equal(describeError(new Error("plain")), "plain");
});
