/**
 * The few metric types that the engine shows, in the very text form of the Python client that vLLM
 * uses: floats with a point, sorted labels, a `_created` series beside each counter and histogram.
 * Scrapers and the sidecar's translation are tested against that form.
 */

export type Labels = Record<string, string | number>;

/** A family that can write itself; lines without line ends. */
export type Family = { lines(): string[] };

/** A number as Python's client prints it: `13869.0`, `1.7954e+09`. */
export function formatNumber(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  if (value === Number.NEGATIVE_INFINITY) return "-Inf";
  const text = Number.isInteger(value) && Math.abs(value) < 1e16 ? `${value}.0` : String(value);
  const point = text.indexOf(".");
  if (value <= 0 || point <= 6) return text;
  const digits = (text.slice(0, point) + text.slice(point + 1)).replace(/0+$/, "");
  const mantissa = digits.length === 1 ? digits : `${digits[0]}.${digits.slice(1)}`;
  return `${mantissa}e+${String(point - 1).padStart(2, "0")}`;
}

function formatLabels(labels: Labels): string {
  const entries = Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1));
  if (entries.length === 0) return "";
  const escaped = (value: string | number) =>
    String(value).replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
  return `{${entries.map(([name, value]) => `${name}="${escaped(value)}"`).join(",")}}`;
}

const head = (name: string, help: string, type: string): string[] => [
  `# HELP ${name} ${help}`,
  `# TYPE ${name} ${type}`,
];

/** A gauge whose labels list adapters gets new ones for ever: the oldest go. */
const SERIES_MAX = 1000;

type Series<T> = { labels: Labels; value: T; createdAt: number };

/** The series of one family, one for each set of label values; `createdAt` in seconds. */
class SeriesMap<T> {
  readonly #series = new Map<string, Series<T>>();
  readonly #initial: () => T;

  constructor(initial: () => T) {
    this.#initial = initial;
  }

  get(labels: Labels): Series<T> {
    const key = formatLabels(labels);
    const known = this.#series.get(key);
    if (known !== undefined) return known;
    const created = { labels, value: this.#initial(), createdAt: Date.now() / 1000 };
    this.#series.set(key, created);
    return created;
  }

  /** Forgets the series that were created first, until `countMax` are left. */
  trim(countMax: number): void {
    for (const key of this.#series.keys()) {
      if (this.#series.size <= countMax) return;
      this.#series.delete(key);
    }
  }

  all(): Series<T>[] {
    return [...this.#series.values()];
  }

  createdLines(name: string, help: string): string[] {
    if (this.#series.size === 0) return [];
    const lines = this.all().map(
      ({ labels, createdAt }) =>
        `${name}_created${formatLabels(labels)} ${formatNumber(createdAt)}`,
    );
    return [...head(`${name}_created`, help, "gauge"), ...lines];
  }
}

/** `name` without `_total`. */
export class Counter implements Family {
  readonly #name: string;
  readonly #help: string;
  readonly #series = new SeriesMap(() => 0);

  constructor(name: string, help: string) {
    this.#name = name;
    this.#help = help;
  }

  /** Adding 0 makes the series visible. */
  add(labels: Labels, value: number): this {
    this.#series.get(labels).value += value;
    return this;
  }

  lines(): string[] {
    const name = `${this.#name}_total`;
    const values = this.#series
      .all()
      .map(({ labels, value }) => `${name}${formatLabels(labels)} ${formatNumber(value)}`);
    return [
      ...head(name, this.#help, "counter"),
      ...values,
      ...this.#series.createdLines(this.#name, this.#help),
    ];
  }
}

export class Gauge implements Family {
  readonly #name: string;
  readonly #help: string;
  readonly #series = new SeriesMap(() => 0);

  constructor(name: string, help: string) {
    this.#name = name;
    this.#help = help;
  }

  set(labels: Labels, value: number): this {
    this.#series.get(labels).value = value;
    this.#series.trim(SERIES_MAX);
    return this;
  }

  lines(): string[] {
    const values = this.#series
      .all()
      .map(({ labels, value }) => `${this.#name}${formatLabels(labels)} ${formatNumber(value)}`);
    return [...head(this.#name, this.#help, "gauge"), ...values];
  }
}

export class Histogram implements Family {
  readonly #name: string;
  readonly #help: string;
  readonly #bounds: readonly number[];
  readonly #series: SeriesMap<{ counts: number[]; sum: number }>;

  constructor(name: string, help: string, bounds: readonly number[]) {
    this.#name = name;
    this.#help = help;
    this.#bounds = [...bounds, Number.POSITIVE_INFINITY];
    this.#series = new SeriesMap(() => ({ counts: this.#bounds.map(() => 0), sum: 0 }));
  }

  /** Makes the series visible before its first observation. */
  declare(labels: Labels): this {
    this.#series.get(labels);
    return this;
  }

  observe(labels: Labels, value: number): void {
    const { value: series } = this.#series.get(labels);
    const bucket = this.#bounds.findIndex((bound) => value <= bound);
    series.counts[bucket] = (series.counts[bucket] ?? 0) + 1;
    series.sum += value;
  }

  lines(): string[] {
    const lines = head(this.#name, this.#help, "histogram");
    for (const { labels, value } of this.#series.all()) {
      let total = 0;
      for (const [i, bound] of this.#bounds.entries()) {
        total += value.counts[i] as number;
        const bucket = formatLabels({ ...labels, le: formatNumber(bound) });
        lines.push(`${this.#name}_bucket${bucket} ${formatNumber(total)}`);
      }
      lines.push(`${this.#name}_count${formatLabels(labels)} ${formatNumber(total)}`);
      lines.push(`${this.#name}_sum${formatLabels(labels)} ${formatNumber(value.sum)}`);
    }
    return [...lines, ...this.#series.createdLines(this.#name, this.#help)];
  }
}

/** A count and a sum, no quantiles. */
export class Summary implements Family {
  readonly #name: string;
  readonly #help: string;
  readonly #series = new SeriesMap(() => ({ count: 0, sum: 0 }));

  constructor(name: string, help: string) {
    this.#name = name;
    this.#help = help;
  }

  observe(labels: Labels, value: number): void {
    const { value: series } = this.#series.get(labels);
    series.count++;
    series.sum += value;
  }

  lines(): string[] {
    const values = this.#series
      .all()
      .flatMap(({ labels, value }) => [
        `${this.#name}_count${formatLabels(labels)} ${formatNumber(value.count)}`,
        `${this.#name}_sum${formatLabels(labels)} ${formatNumber(value.sum)}`,
      ]);
    return [
      ...head(this.#name, this.#help, "summary"),
      ...values,
      ...this.#series.createdLines(this.#name, this.#help),
    ];
  }
}
