/**
 * Paths of the fields that a JSON text sets more than once, each once, in the order of their second
 * occurrence: what `fieldValidation=Strict` refuses and `JSON.parse` hides.
 * `text` must be well-formed JSON; parse it first.
 */
export function duplicateFields(text: string): string[] {
  const duplicates = new Set<string>();
  const open: Container[] = [];
  // Strings with their escapes, and the punctuation; numbers, words and space say nothing here.
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]/g)) {
    const container = open.at(-1);
    if (token === "{") open.push({ path: pathOf(container), names: new Set(), isKey: true });
    else if (token === "[") open.push({ path: pathOf(container), names: undefined, index: 0 });
    else if (token === "}" || token === "]") open.pop();
    else if (container === undefined || token === ":") continue;
    else if (token === ",") nextMember(container);
    else if (container.names !== undefined && container.isKey) {
      const name = JSON.parse(token) as string;
      container.isKey = false;
      container.name = name;
      if (container.names.has(name)) duplicates.add(pathOf(container));
      container.names.add(name);
    }
  }
  return [...duplicates];
}

interface Container {
  path: string;
  /** Of an object: the names seen so far. */
  names: Set<string> | undefined;
  /** Of an object: whether the next string is a name. */
  isKey?: boolean;
  name?: string;
  /** Of a list: the current item. */
  index?: number;
}

function nextMember(container: Container): void {
  if (container.names === undefined) container.index = (container.index ?? 0) + 1;
  else container.isKey = true;
}

/** The path of the member that a container is at. */
function pathOf(container: Container | undefined): string {
  if (container === undefined) return "";
  const { path, names, name = "", index = 0 } = container;
  if (names === undefined) return `${path}[${index}]`;
  return path === "" ? name : `${path}.${name}`;
}
