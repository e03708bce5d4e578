import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { PythonJsonError, parseJson, pythonRepr } from "./python-json.ts";

/** What CPython 3.11 says of these texts. */
const CASES: [string, string][] = [
  ["", "Expecting value: line 1 column 1 (char 0)"],
  ['{"r": 8,', "Expecting property name enclosed in double quotes: line 1 column 9 (char 8)"],
  ["{nope", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"],
  ['{"a" 1}', "Expecting ':' delimiter: line 1 column 6 (char 5)"],
  ['{"a": 1 "b": 2}', "Expecting ',' delimiter: line 1 column 9 (char 8)"],
  ["[1, 2", "Expecting ',' delimiter: line 1 column 6 (char 5)"],
  ["[1,]", "Expecting value: line 1 column 4 (char 3)"],
  ['{"a":\n  }', "Expecting value: line 2 column 3 (char 8)"],
  ['"abc', "Unterminated string starting at: line 1 column 1 (char 0)"],
  ['["é😀", x]', "Expecting value: line 1 column 8 (char 7)"],
  ['"a\nb"', "Invalid control character at: line 1 column 3 (char 2)"],
  ["{} {}", "Extra data: line 1 column 4 (char 3)"],
];

describe("JSON errors in Python's words", () => {
  for (const [text, message] of CASES) {
    test(JSON.stringify(text), () => assert.throws(() => parseJson(text), { message }));
  }

  test("every text is parsed as JSON.parse does it, or has an error with a place in it", () => {
    const texts = fc.oneof(
      fc.string(),
      fc.json(),
      fc.tuple(fc.json(), fc.nat(), fc.string({ maxLength: 2 })).map(([json, at, noise]) => {
        const place = at % (json.length + 1);
        return json.slice(0, place) + noise + json.slice(place + 1);
      }),
    );
    fc.assert(
      fc.property(texts, (text) => {
        try {
          assert.deepEqual(parseJson(text), JSON.parse(text));
        } catch (error) {
          assert.ok(error instanceof PythonJsonError, String(error));
          assert.ok(error.position <= [...text].length);
        }
      }),
      { numRuns: 300 },
    );
  });

  test("values look as Python prints them", () => {
    assert.equal(pythonRepr({ a: [1, true, null, "it's"] }), `{'a': [1, True, None, "it's"]}`);
    assert.equal(pythonRepr("a\n\\'\""), `'a\\n\\\\\\'"'`);
  });
});
