/** Lists: selectors, pages, and which state of things they show. */
import assert from "node:assert/strict";
import { it } from "node:test";
import { adapter, configMap, GROUP, pod, secret, service } from "./objects.ts";
import type { Target } from "./target.ts";

/** What a continue token says, which clients are not to know. */
interface Position {
  v: string;
  rv: number;
  start: string;
}

export function listTests(target: Target): void {
  const maps = async () => `/api/v1/namespaces/${await target.namespace()}/configmaps`;
  const adapters = async () => `${GROUP}/namespaces/${await target.namespace()}/modeladapters`;
  const encoded = encodeURIComponent;

  const LABELS: Readonly<Record<string, readonly string[]>> = {
    "a=1": ["one"],
    "a==1": ["one"],
    "a!=1": ["none", "three", "two"],
    "a in (1,2)": ["one", "two"],
    "a notin (1,2)": ["none", "three"],
    a: ["one", "three", "two"],
    "!a": ["none"],
    "a>1": ["three", "two"],
    "a<3": ["one", "two"],
    "a=1,b=x": ["one"],
    "a,b": ["one"],
    "example.com/c=": ["two"],
    "a in (,1)": ["one"],
    "": ["none", "one", "three", "two"],
  };

  it("label selectors", async () => {
    const path = await maps();
    await target.create(path, configMap("none"));
    await target.create(path, configMap("one", {}, { labels: { a: "1", b: "x" } }));
    await target.create(path, configMap("two", {}, { labels: { a: "2", "example.com/c": "" } }));
    await target.create(path, configMap("three", {}, { labels: { a: "3" } }));
    for (const [selector, names] of Object.entries(LABELS)) {
      const list = await target.get(`${path}?labelSelector=${encoded(selector)}`);
      assert.deepEqual(list.expect(200).names, names, selector);
    }
  });

  it("label selectors of custom objects", async () => {
    const path = await adapters();
    await target.create(path, adapter("one", {}, { labels: { a: "1" } }));
    await target.create(path, adapter("two", {}, { labels: { a: "2" } }));
    const list = await target.get(`${path}?labelSelector=${encoded("a in (2,3)")}`);
    assert.deepEqual(list.names, ["two"]);
  });

  for (const [selector, message] of [
    ["a in 1", "unable to parse requirement: found '1' expected: '('"],
    ["a=(", "unable to parse requirement: found '(', expected: identifier"],
    [
      "A_!=b",
      "unable to parse requirement: <nil>: Invalid value: \"A_\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
    ],
    [
      "a=-b",
      "unable to parse requirement: values[0][a]: Invalid value: \"-b\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
    ],
  ] as const) {
    it(`the invalid label selector ${selector}`, async () => {
      (await target.get(`${await maps()}?labelSelector=${encoded(selector)}`)).refused({
        code: 400,
        reason: "BadRequest",
        message,
      });
    });
  }

  it("field selectors that every kind has", async () => {
    for (const path of [await maps(), await adapters()]) {
      const make = path.startsWith(GROUP) ? adapter : configMap;
      await target.create(path, make("one"));
      await target.create(path, make("two"));
      const names = async (selector: string) =>
        (await target.get(`${path}?fieldSelector=${encoded(selector)}`)).expect(200).names;
      assert.deepEqual(await names("metadata.name=one"), ["one"]);
      assert.deepEqual(await names("metadata.name!=one"), ["two"]);
      assert.deepEqual(await names("metadata.name=one,metadata.name=two"), []);
      assert.deepEqual(await names(`metadata.namespace=${path.split("/").at(-2)}`), ["one", "two"]);
    }
  });

  it("field selectors of pods", async () => {
    const path = `/api/v1/namespaces/${await target.namespace()}/pods`;
    await target.create(path, pod("one", { nodeName: "n1", restartPolicy: "Never" }));
    await target.create(path, pod("two"));
    await target.patch(`${path}/one/status`, "merge", {
      status: { phase: "Running", podIP: "127.0.9.1", podIPs: [{ ip: "127.0.9.1" }] },
    });
    for (const [selector, names] of [
      ["spec.nodeName=n1", ["one"]],
      ["spec.nodeName=", ["two"]],
      ["spec.nodeName!=n1", ["two"]],
      ["status.phase=Running", ["one"]],
      ["status.podIP=127.0.9.1", ["one"]],
      ["spec.restartPolicy=Always", ["two"]],
      ["spec.schedulerName=default-scheduler", ["one", "two"]],
      ["spec.serviceAccountName=", ["one", "two"]],
      ["spec.hostNetwork=false", ["one", "two"]],
    ] as const) {
      const list = await target.get(`${path}?fieldSelector=${encoded(selector)}`);
      assert.deepEqual(list.expect(200).names, names, selector);
    }
  });

  it("field selectors of secrets, services and events", async () => {
    const namespace = await target.namespace();
    const core = `/api/v1/namespaces/${namespace}`;
    await target.create(`${core}/secrets`, secret("one"));
    await target.create(`${core}/services`, service("one", { clusterIP: "None" }));
    await target.create(`${core}/events`, {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: "one" },
      involvedObject: { kind: "Pod", namespace, name: "p", uid: "u" },
      reason: "Tested",
      type: "Warning",
      source: { component: "test" },
    });
    for (const [plural, selector] of [
      ["secrets", "type=Opaque"],
      ["services", "spec.clusterIP=None"],
      ["services", "spec.type=ClusterIP"],
      ["events", "involvedObject.kind=Pod"],
      ["events", "involvedObject.name=p,involvedObject.uid=u"],
      ["events", "reason=Tested"],
      ["events", "type=Warning"],
      ["events", "source=test"],
      ["events", "reportingComponent="],
    ]) {
      const list = await target.get(`${core}/${plural}?fieldSelector=${encoded(selector ?? "")}`);
      assert.deepEqual(list.expect(200).names, ["one"], `${plural} ${selector}`);
    }
    const modern = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
    const list = await target.get(`${modern}?fieldSelector=${encoded("regarding.kind=Pod")}`);
    assert.deepEqual(list.expect(200).names, ["one"]);
  });

  it("an unknown field", async () => {
    (await target.get(`${await maps()}?fieldSelector=data.a%3D1`)).refused({
      code: 400,
      reason: "BadRequest",
      message: '"data.a" is not a known field selector: only "metadata.name", "metadata.namespace"',
    });
    (await target.get(`${await adapters()}?fieldSelector=spec.baseModel%3D1`)).refused({
      code: 400,
      reason: "BadRequest",
      message: "field label not supported: spec.baseModel",
    });
    const pods = `/api/v1/namespaces/${await target.namespace()}/pods`;
    (await target.get(`${pods}?fieldSelector=spec.none%3D1`)).refused({
      code: 400,
      reason: "BadRequest",
      message: "field label not supported: spec.none",
    });
  });

  it("an invalid field selector", async () => {
    (await target.get(`${await maps()}?fieldSelector=oops`)).refused({
      code: 400,
      reason: "BadRequest",
      message: "invalid selector: 'oops'; can't understand 'oops'",
    });
  });

  it("the order is that of the names", async () => {
    const path = await maps();
    for (const name of ["b", "a", "a-b", "a.b", "c1", "c"])
      await target.create(path, configMap(name));
    assert.deepEqual((await target.get(path)).names, ["a", "a-b", "a.b", "b", "c", "c1"]);
  });

  it("pages", async () => {
    const path = await maps();
    for (const name of ["a", "b", "c", "d", "e"]) await target.create(path, configMap(name));
    const first = (await target.get(`${path}?limit=2`)).expect(200);
    assert.deepEqual(first.names, ["a", "b"]);
    assert.equal(first.at("metadata.remainingItemCount"), 3);
    const next = async (token: string) =>
      (await target.get(`${path}?limit=2&continue=${encoded(token)}`)).expect(200);
    // What happens in the meantime does not show.
    await target.create(path, configMap("bb"));
    await target.delete(`${path}/d`);
    const second = await next(first.textAt("metadata.continue"));
    assert.deepEqual(second.names, ["c", "d"]);
    assert.equal(second.resourceVersion, first.resourceVersion);
    assert.equal(second.at("metadata.remainingItemCount"), 1);
    const third = await next(second.textAt("metadata.continue"));
    assert.deepEqual(third.names, ["e"]);
    assert.equal(third.at("metadata.continue"), undefined);
    assert.equal(third.at("metadata.remainingItemCount"), undefined);
  });

  it("pages of custom objects", async () => {
    const path = await adapters();
    for (const name of ["a", "b", "c"]) await target.create(path, adapter(name));
    const first = (await target.get(`${path}?limit=2`)).expect(200);
    assert.deepEqual(first.names, ["a", "b"]);
    const token = encoded(first.textAt("metadata.continue"));
    assert.deepEqual((await target.get(`${path}?limit=2&continue=${token}`)).names, ["c"]);
  });

  it("pages of what a selector selects do not count what remains", async () => {
    const path = await maps();
    for (const name of ["a", "b", "c"])
      await target.create(path, configMap(name, {}, { labels: { x: "1" } }));
    const first = await target.get(`${path}?limit=2&labelSelector=x`);
    assert.deepEqual(first.names, ["a", "b"]);
    assert.equal(first.at("metadata.remainingItemCount"), undefined);
  });

  it("an expired continue token, and the one that goes on without consistency", async () => {
    // As old as only a definition's kind can be: see watches.
    const path = await adapters();
    for (const name of ["a", "b", "c"]) await target.create(path, adapter(name));
    const first = await target.get(`${path}?limit=1`);
    const position: Position = JSON.parse(
      Buffer.from(first.textAt("metadata.continue"), "base64url").toString(),
    );
    assert.equal(position.v, "meta.k8s.io/v1");
    assert.equal(String(position.rv), first.resourceVersion);
    await target.expire();
    const old = Buffer.from(JSON.stringify({ ...position, rv: 1 })).toString("base64url");
    const answer = await target.get(`${path}?limit=1&continue=${old}`);
    assert.equal(answer.expect(410).at("reason"), "Expired");
    assert.equal(
      answer.at("message"),
      "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    );
    const token = encoded(answer.textAt("metadata.continue"));
    const rest = await target.get(`${path}?continue=${token}`);
    assert.deepEqual(rest.expect(200).names, ["b", "c"]);
  });

  it("an invalid continue token", async () => {
    (await target.get(`${await maps()}?limit=1&continue=oops`)).refused({
      code: 400,
      reason: "BadRequest",
      message:
        "invalid continue token: continue key is not valid: invalid character '¢' looking for beginning of value",
    });
  });

  it("a continue token with a resourceVersion", async () => {
    const path = await maps();
    for (const name of ["a", "b"]) await target.create(path, configMap(name));
    const token = encoded((await target.get(`${path}?limit=1`)).textAt("metadata.continue"));
    (await target.get(`${path}?limit=1&continue=${token}&resourceVersion=5`)).refused({
      code: 400,
      reason: "BadRequest",
      message: "specifying resource version is not allowed when using continue",
    });
  });

  it("resourceVersion 0 and NotOlderThan show a state at least that new", async () => {
    const path = await maps();
    const made = await target.create(path, configMap("one"));
    const list = await target.get(
      `${path}?resourceVersion=${made.resourceVersion}&resourceVersionMatch=NotOlderThan`,
    );
    assert.deepEqual(list.expect(200).names, ["one"]);
    assert.ok(Number(list.resourceVersion) >= Number(made.resourceVersion));
    (await target.get(`${path}?resourceVersion=0`)).expect(200);
    const plain = await target.get(`${path}?resourceVersion=${made.resourceVersion}`);
    assert.deepEqual(plain.expect(200).names, ["one"]);
  });

  it("resourceVersionMatch Exact shows that state", async () => {
    const path = await maps();
    await target.create(path, configMap("one"));
    const two = await target.create(path, configMap("two"));
    await target.delete(`${path}/one`);
    const exact = `resourceVersion=${two.resourceVersion}&resourceVersionMatch=Exact`;
    const list = (await target.get(`${path}?${exact}`)).expect(200);
    assert.deepEqual(list.names, ["one", "two"]);
    assert.equal(list.resourceVersion, two.resourceVersion);
  });

  it("a list without items has an array", async () => {
    const list = await target.get(await maps());
    const { metadata, ...rest } = list.body;
    assert.deepEqual(rest, { kind: "ConfigMapList", apiVersion: "v1", items: [] });
    assert.deepEqual(Object.keys(Object(metadata)), ["resourceVersion"]);
  });

  const refusals: Readonly<Record<string, [string, string, string]>> = {
    "resourceVersionMatch=Exact": [
      "resourceVersionMatch",
      "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
      "FieldValueForbidden",
    ],
    "resourceVersion=5&resourceVersionMatch=Odd": [
      "resourceVersionMatch",
      'Unsupported value: "Odd": supported values: "Exact", "NotOlderThan", ""',
      "FieldValueNotSupported",
    ],
    "resourceVersion=0&resourceVersionMatch=Exact": [
      "resourceVersionMatch",
      'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
      "FieldValueForbidden",
    ],
    "sendInitialEvents=true": [
      "sendInitialEvents",
      "Forbidden: sendInitialEvents is forbidden for list",
      "FieldValueForbidden",
    ],
  };
  for (const [query, [field, message, reason]] of Object.entries(refusals)) {
    it(`refuses ${query}`, async () => {
      (await target.get(`${await maps()}?${query}`)).refused({
        code: 422,
        reason: "Invalid",
        message: `ListOptions.meta.k8s.io "" is invalid: ${field}: ${message}`,
        details: {
          group: "meta.k8s.io",
          kind: "ListOptions",
          causes: [{ reason, message, field }],
        },
      });
    });
  }

  it("an invalid resourceVersion", async () => {
    (await target.get(`${await maps()}?resourceVersion=x`)).refused({
      code: 400,
      reason: "BadRequest",
      message:
        'invalid resource version: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax',
    });
  });

  it("a resourceVersion from the future", async () => {
    const path = await maps();
    const answer = await target.get(`${path}?resourceVersion=900000000000`);
    const { message, ...rest } = answer.expect(504).body;
    assert.match(
      String(message),
      /^Timeout: Too large resource version: 900000000000, current: \d+$/,
    );
    assert.deepEqual(rest, {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      reason: "Timeout",
      details: {
        causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
        retryAfterSeconds: 1,
      },
      code: 504,
    });
  });

  it("get takes a resourceVersion too", async () => {
    const path = await maps();
    const made = await target.create(path, configMap("one"));
    (await target.get(`${path}/one?resourceVersion=0`)).expect(200);
    (await target.get(`${path}/one?resourceVersion=${made.resourceVersion}`)).expect(200);
  });
}
