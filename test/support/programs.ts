import { spawnSync } from "node:child_process";
import { it, type TestContext } from "node:test";

/** Arguments with which a program shows that it is there. */
const PROBES = { kubectl: ["version", "--client"], go: ["version"] };
const answers = new Map<string, boolean>();

/**
 * Whether tests may count on a program that not every machine has. Where it is missing that is said once,
 * and what needs it is not tested; with CI=true its absence is a failure of the tests instead.
 */
export function canUse(program: keyof typeof PROBES): boolean {
  const known = answers.get(program);
  if (known !== undefined) return known;
  const isThere = spawnSync(program, PROBES[program], { stdio: "ignore" }).status === 0;
  const answer = isThere || process.env["CI"] === "true";
  if (!answer) console.log(`${program} is not on the PATH: what needs it was not tested`);
  answers.set(program, answer);
  return answer;
}

/** A test that needs kubectl, see `canUse`. */
export function itWithKubectl(name: string, test: (t: TestContext) => void | Promise<void>): void {
  if (canUse("kubectl")) it(name, (t) => test(t as TestContext));
}
