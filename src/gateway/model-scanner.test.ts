import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BadBody, type ModelField, ModelScanner } from "./model-scanner.ts";

function scan(body: Buffer | string, chunkBytes = Number.POSITIVE_INFINITY): ModelField {
  const bytes = Buffer.from(body as string);
  const scanner = new ModelScanner();
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    scanner.push(bytes.subarray(at, Math.min(bytes.length, at + chunkBytes)));
  }
  return scanner.finish();
}

test("only the top-level key counts, whatever it is nested beside and however it is written", () => {
  const bodies = [
    '{"model":"m"}',
    ' \r\n\t{ "a" : {"model":"x"} , "b":[{"model":"y"},"\\"model\\":\\"z\\""], "model" : "m" } ',
    '\ufeff{"model":"m","stream":true}',
    '{"a":"\\\\","model":"m"}',
    '{"a":"}{][,\\"","b":-1.5e3,"c":null,"model":"m"}',
    '{"mod\\u0065l":"\\u006d"}',
    '{"\\u006d\\u006f\\u0064\\u0065\\u006c":"m"}',
    `{"${"k".repeat(5000)}":1,"model":"m"}`,
    '{"Model":"x","model ":"y","model":"m"}',
  ];
  for (const body of bodies) {
    for (const chunkBytes of [1, 2, 3, 7, 1000])
      assert.equal(scan(body, chunkBytes).value, "m", body);
  }
});

test("the field is known before the rest of the body is there", () => {
  const scanner = new ModelScanner();
  scanner.push(Buffer.from('{"model":"sql-lora","messages":['));
  assert.deepEqual(scanner.found, { value: "sql-lora", start: 9, end: 19 });
});

test("what cannot be routed is refused with its reason", () => {
  const cases: [string, RegExp][] = [
    ["", /ends too early/],
    ["[]", /must be an object/],
    ['"model"', /must be an object/],
    ["model=x", /must be an object/],
    ["{}", /`model` is missing/],
    ['{"messages":[{"model":"x"}]}', /`model` is missing/],
    ['{"model":5}', /must be a string/],
    ['{"model":null}', /must be a string/],
    ['{"model":["x"]}', /must be a string/],
    ['{"model":""}', /is empty/],
    ['{"model":"a","model":"a"}', /twice/],
    ['{"model":"a","x":1,"mod\\u0065l":"b"}', /twice/],
    ['{"model":"a\nb"}', /not a valid string/],
    [`{"model":"${"x".repeat(5000)}"}`, /too long/],
    ['{"a" "model":"x"}', /colon is missing/],
    ['{"a":1 "model":"x"}', /comma is missing/],
    ['{a:1,"model":"x"}', /key is missing/],
    ['{"a":,"model":"x"}', /value is missing/],
    ['{"messages":"never ends', /ends too early/],
  ];
  for (const [body, expected] of cases) {
    for (const chunkBytes of [1, 1000]) {
      assert.throws(
        () => scan(body, chunkBytes),
        (error) => error instanceof BadBody && expected.test(error.message),
        body,
      );
    }
  }
});

test("property: of any JSON object, in any spelling and any chunks, it finds what JSON.parse finds", () => {
  const key = fc.oneof(
    fc.constant("model"),
    fc.string({ unit: "binary" }),
    fc.constant('mo"del\\'),
  );
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.constant({ model: "nested" }),
    fc.string(),
  );
  const entries = fc.uniqueArray(fc.tuple(key, value), {
    selector: ([name]) => name,
    maxLength: 6,
  });
  const spellOut = (text: string) =>
    `"${[...text].map((char) => (/[c-e]/.test(char) ? `\\u00${char.charCodeAt(0).toString(16)}` : JSON.stringify(char).slice(1, -1))).join("")}"`;
  fc.assert(
    fc.property(
      entries,
      fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 }),
      fc.boolean(),
      fc.constantFrom("", " ", "\n\t "),
      fc.integer({ min: 1, max: 40 }),
      (pairs, model, isEscaped, space, chunkBytes) => {
        const rest = pairs.filter(([name]) => name !== "model");
        const all = [...rest.slice(0, 3), ["model", model] as const, ...rest.slice(3)];
        const write = (text: string) => (isEscaped ? spellOut(text) : JSON.stringify(text));
        const members = all.map(
          ([name, item]) =>
            `${space}${write(name)}${space}:${space}${typeof item === "string" ? write(item) : JSON.stringify(item)}`,
        );
        const body = Buffer.from(`${space}{${members.join(`${space},`)}${space}}`);
        assert.deepEqual((JSON.parse(body.toString()) as { model: string }).model, model);
        const found = scan(body, chunkBytes);
        assert.equal(found.value, model);
        assert.equal(JSON.parse(body.subarray(found.start, found.end).toString()), model);
      },
    ),
    { numRuns: 500 },
  );
});

test("property: no bytes make it throw anything but BadBody", () => {
  const soup = fc.array(
    fc.constantFrom('"', "\\", "{", "}", "[", "]", ":", ",", "model", "1", " ", "é"),
  );
  fc.assert(
    fc.property(soup, fc.integer({ min: 1, max: 5 }), (parts, chunkBytes) => {
      try {
        scan(`{"model":"m"${parts.join("")}`, chunkBytes);
      } catch (error) {
        assert.ok(error instanceof BadBody);
      }
    }),
  );
});
