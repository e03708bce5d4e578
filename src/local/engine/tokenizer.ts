import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The parts of a Hugging Face `tokenizer.json` that byte-level BPE needs. */
type TokenizerFile = {
  added_tokens: { id: number; content: string; special: boolean }[];
  model: { type: string; vocab: Record<string, number>; merges: (string | [string, string])[] };
};

/** GPT-2's split of a text into words: contractions, letters, digits, other signs, white space. */
const WORDS = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** Words seen before keep their tokens, up to this many, so that a hostile client cannot fill the memory. */
const CACHED_WORDS_MAX = 4096;

/** A byte-level BPE tokenizer: any text has tokens, and tokens give back the very bytes. */
export type Tokenizer = {
  /** Special tokens written in the text (`<|im_end|>`) become their ids. */
  encode(text: string): number[];
  /** The bytes of one token; a special token's are those of its name. */
  bytesOf(id: number): Uint8Array;
  isSpecial(id: number): boolean;
  /** The id of a special token by its text. */
  specialId(text: string): number | undefined;
  /** Number of ids, the special ones included. */
  size: number;
  /** Length of the longest token in characters: bounds the text that `n` tokens can spell. */
  longestToken: number;
};

/** Reads `tokenizer.json` of a model folder. @throws Error when it is not byte-level BPE. */
export function readTokenizer(folder: string): Tokenizer {
  const file = JSON.parse(readFileSync(join(folder, "tokenizer.json"), "utf8")) as TokenizerFile;
  if (file.model.type !== "BPE") {
    throw new Error(
      `${folder}: tokenizer of type ${file.model.type} is not supported, only byte-level BPE`,
    );
  }
  const special = new Map(
    file.added_tokens.filter((token) => token.special).map((token) => [token.content, token.id]),
  );
  const encodeWord = bytePairEncoder(file);
  const bytes = tokenBytes(file, special);
  const ids = new Set(special.values());
  const splitter =
    special.size === 0
      ? undefined
      : new RegExp(`(${[...special.keys()].map(escapePattern).join("|")})`);
  return {
    encode(text) {
      const tokens: number[] = [];
      for (const part of splitter === undefined ? [text] : text.split(splitter)) {
        const id = special.get(part);
        if (id !== undefined) tokens.push(id);
        else for (const word of part.match(WORDS) ?? []) tokens.push(...encodeWord(word));
      }
      return tokens;
    },
    bytesOf: (id) => bytes[id] ?? new Uint8Array(0),
    isSpecial: (id) => ids.has(id),
    specialId: (text) => special.get(text),
    size: bytes.length,
    longestToken: bytes.reduce((longest, token) => Math.max(longest, token.length), 1),
  };
}

const escapePattern = (text: string) => text.replace(/[|\\{}()[\]^$+*?.]/g, "\\$&");

/**
 * Byte-level BPE writes every byte as one visible character: printable Latin-1 as itself, the other
 * bytes, in order, as the characters from U+0100 on.
 */
function byteAlphabet(): string[] {
  const isVisible = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) =>
    String.fromCharCode(isVisible(byte) ? byte : next++),
  );
}

function bytePairEncoder(file: TokenizerFile): (word: string) => number[] {
  const alphabet = byteAlphabet();
  const vocabulary = new Map(Object.entries(file.model.vocab));
  const ranks = new Map(
    file.model.merges.map((merge, rank) => [
      typeof merge === "string" ? merge : merge.join(" "),
      rank,
    ]),
  );
  const cache = new Map<string, number[]>();
  const encoder = new TextEncoder();
  return (word) => {
    const known = cache.get(word);
    if (known !== undefined) return known;
    const pieces = mergePairs(
      Array.from(encoder.encode(word), (byte) => alphabet[byte] as string),
      ranks,
    );
    const tokens = pieces.map((piece) => vocabulary.get(piece)).filter((id) => id !== undefined);
    if (cache.size < CACHED_WORDS_MAX) cache.set(word, tokens);
    return tokens;
  };
}

/**
 * Joins the neighbours with the lowest rank until no pair has one. The ranks of all pairs are kept
 * in an array and only the two beside a merge are looked up again: a prompt of one long word must
 * not hold up the server.
 */
function mergePairs(pieces: string[], ranks: Map<string, number>): string[] {
  const rankAt = (i: number) =>
    ranks.get(`${pieces[i]} ${pieces[i + 1]}`) ?? Number.POSITIVE_INFINITY;
  const pairs = pieces.slice(1).map((_, i) => rankAt(i));
  for (;;) {
    let best = Number.POSITIVE_INFINITY;
    let at = -1;
    for (let i = 0; i < pairs.length; i++) {
      const rank = pairs[i] as number;
      if (rank < best) {
        best = rank;
        at = i;
      }
    }
    if (at < 0) return pieces;
    pieces.splice(at, 2, `${pieces[at]}${pieces[at + 1]}`);
    pairs.splice(at, 1);
    if (at > 0) pairs[at - 1] = rankAt(at - 1);
    if (at < pairs.length) pairs[at] = rankAt(at);
  }
}

function tokenBytes(file: TokenizerFile, special: Map<string, number>): Uint8Array[] {
  const byteOf = new Map(byteAlphabet().map((char, byte) => [char, byte]));
  const bytes: Uint8Array[] = [];
  for (const [piece, id] of Object.entries(file.model.vocab)) {
    bytes[id] = Uint8Array.from(piece, (char) => byteOf.get(char) ?? 0x3f);
  }
  for (const [content, id] of special) bytes[id] = new TextEncoder().encode(content);
  return bytes;
}
