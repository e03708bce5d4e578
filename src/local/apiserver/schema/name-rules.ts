/** Rules for names, in the API server's words. Each returns what is wrong with the text, or nothing. */
export type NameRule = (text: string) => string[];

const LABEL_MAX = 63;
const SUBDOMAIN_MAX = 253;
const QUALIFIED_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/** Texts that match a regular expression as a whole; others are told the rule, with examples. */
export function matching(regex: string, rule: string, examples: readonly string[]): NameRule {
  const whole = new RegExp(`^${regex}$`);
  const shown = examples.map((example) => `'${example}'`).join(",  or ");
  const message = `${rule} (e.g. ${shown}, regex used for validation is '${regex}')`;
  return (text) => (whole.test(text) ? [] : [message]);
}

/** A rule for texts that may not be longer than `max`. */
export const atMost =
  (max: number, rule: NameRule): NameRule =>
  (text) => [
    ...(text.length > max ? [`must be no more than ${max} characters`] : []),
    ...rule(text),
  ];

/** RFC 1123 subdomain: the names of most kinds. */
export const subdomain = atMost(
  SUBDOMAIN_MAX,
  matching(
    "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character",
    ["example.com"],
  ),
);

/** RFC 1123 label. */
export const dnsLabel = atMost(
  LABEL_MAX,
  matching(
    "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character",
    ["my-name", "123-abc"],
  ),
);

/** RFC 1035 label: names of Services. */
export const dns1035Label = atMost(
  LABEL_MAX,
  matching(
    "[a-z]([-a-z0-9]*[a-z0-9])?",
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character",
    ["my-name", "abc-123"],
  ),
);

/** Anything that can stand in a URL's path: names of RBAC kinds. */
export const pathSegment: NameRule = (text) => {
  if (text === "." || text === "..") return [`may not be '${text}'`];
  return ["/", "%"]
    .filter((part) => text.includes(part))
    .map((part) => `may not contain '${part}'`);
};

/** Value of a label. */
export const labelValue = atMost(
  LABEL_MAX,
  matching(
    `(${QUALIFIED_NAME})?`,
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    ["MyValue", "my_value", "12345"],
  ),
);

const NAME_PART =
  "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const NAME_EXAMPLES = ["MyName", "my.name", "123-abc"];
const namePart = matching(QUALIFIED_NAME, `name part ${NAME_PART}`, NAME_EXAMPLES);
const wholeName = matching(QUALIFIED_NAME, `a qualified name ${NAME_PART}`, NAME_EXAMPLES);

/** Key of a label or annotation: a name, optionally with a DNS prefix and `/`. */
export const qualifiedName: NameRule = (text) => {
  const parts = text.split("/");
  if (parts.length > 2) {
    const [message = ""] = wholeName("");
    return [`${message} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`];
  }
  const name = parts.at(-1) ?? "";
  const errors: string[] = [];
  const prefix = parts.length === 2 ? parts[0] : undefined;
  if (prefix === "") errors.push("prefix part must be non-empty");
  else if (prefix !== undefined) {
    errors.push(...subdomain(prefix).map((message) => `prefix part ${message}`));
  }
  if (name === "") errors.push("name part must be non-empty");
  else if (name.length > LABEL_MAX) {
    errors.push(`name part must be no more than ${LABEL_MAX} characters`);
  }
  return [...errors, ...namePart(name)];
};
