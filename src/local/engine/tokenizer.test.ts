import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import fc from "fast-check";
import { TINY } from "#test/support/engine-for-tests.ts";
import { Detokenizer, decodeUtf8 } from "./detokenizer.ts";
import { readTokenizer } from "./tokenizer.ts";

const tokenizer = readTokenizer(join(TINY, "base"));
const RULES = { stop: [], includeStop: false, minTokens: 0, skipSpecialTokens: false };

/** Text that has no lone surrogates: those have no bytes. */
const anyText = fc.string({ unit: "binary" }).map((text) => text.toWellFormed());

describe("tokenizer", () => {
  test("tokens give back the very text", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const bytes = tokenizer.encode(text).flatMap((id) => [...tokenizer.bytesOf(id)]);
        assert.equal(decodeUtf8(Uint8Array.from(bytes)), text);
      }),
    );
  });

  test("special tokens in a text become their ids", () => {
    assert.deepEqual(tokenizer.encode("<|im_start|>a<|im_end|>"), [1, ...tokenizer.encode("a"), 2]);
  });

  test("a word of many thousand letters is encoded without quadratic cost", () => {
    const startedAt = process.cpuUsage();
    assert.ok(tokenizer.encode("a".repeat(16_000)).length > 0);
    const { user } = process.cpuUsage(startedAt);
    assert.ok(user < 2_000_000, `${user} µs`);
  });
});

describe("detokenizer", () => {
  test("the parts of a stream make up the text, without half characters", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const detokenizer = new Detokenizer(tokenizer, RULES);
        const parts = tokenizer.encode(text).map((id) => {
          detokenizer.push(id);
          return detokenizer.take(false);
        });
        const joined = parts.join("") + detokenizer.take(true);
        // A text that itself ends with replacement signs may be held back: they look unfinished.
        assert.equal(
          joined,
          text.replace(/\ufffd+$/, (signs) => joined.slice(text.length - signs.length)),
        );
      }),
    );
  });

  test("no part of a stop text is ever sent", () => {
    const texts = fc.array(fc.constantFrom("a", "b", "ab", "ba"), { minLength: 1, maxLength: 30 });
    const stops = fc.array(fc.constantFrom("aba", "bb", "abab"), { minLength: 1, maxLength: 2 });
    fc.assert(
      fc.property(texts, stops, (pieces, stop) => {
        const detokenizer = new Detokenizer(tokenizer, { ...RULES, stop });
        let sent = "";
        let reason: string | undefined;
        for (const id of pieces.flatMap((piece) => tokenizer.encode(piece))) {
          reason = detokenizer.push(id);
          sent += detokenizer.take(reason !== undefined);
          if (reason !== undefined) break;
        }
        if (reason === undefined) sent += detokenizer.take(true);
        const text = pieces.join("");
        assert.ok(text.startsWith(sent));
        assert.equal(
          stop.some((word) => sent.includes(word)),
          false,
          `${text} -> ${sent}`,
        );
        if (reason !== undefined) assert.ok(text.startsWith(sent + reason));
      }),
    );
  });
});
