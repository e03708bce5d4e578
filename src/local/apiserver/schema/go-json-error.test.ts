import assert from "node:assert/strict";
import { test } from "node:test";
import { goJsonError } from "./go-json-error.ts";

test("what is not JSON is described in Go's words", () => {
  const cases: [string, string][] = [
    ["", "unexpected end of JSON input"],
    ["{", "unexpected end of JSON input"],
    ['{"a', "unexpected end of JSON input"],
    ["{oops", "invalid character 'o' looking for beginning of object key string"],
    ["oops", "invalid character 'o' looking for beginning of value"],
    ['{"a" 1}', "invalid character '1' after object key"],
    ['{"a":1 "b":2}', "invalid character '\"' after object key:value pair"],
    ["[1 2]", "invalid character '2' after array element"],
    ["{} x", "invalid character 'x' after top-level value"],
    ["[tru]", "invalid character ']' in literal true (expecting 'e')"],
    ["[1.x]", "invalid character 'x' after decimal point in numeric literal"],
    ['["\\q"]', "invalid character 'q' in string escape code"],
    ['["\n"]', "invalid character '\\n' in string literal"],
    ["{'a':1}", "invalid character '\\'' looking for beginning of object key string"],
    ["[01]", "invalid character '1' after array element"],
  ];
  for (const [text, expected] of cases) assert.equal(goJsonError(text), expected, text);
});
