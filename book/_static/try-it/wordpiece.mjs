// BERT's uncased tokenizer: a text to the ids of its word pieces, as the Python tokenizer of the model gives them.

const SPECIAL = /(\[PAD\]|\[UNK\]|\[CLS\]|\[SEP\]|\[MASK\])/; // written in a text, they are tokens there too
const SPACE = /\p{White_Space}/u;
const DROPPED = /(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}\uFFFD]/u;
const MARK = /\p{Mn}/u;
const PUNCTUATION = /[\p{P}$+<=>^`|~]/u; // beside Unicode's, the symbols of ASCII
const CJK =
  /[\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/u;
const LONGEST_WORD = 100; // characters; a longer one is unknown

export class WordPiece {
  // vocabulary: a piece a line, in the order of their ids. maxLength: of the result, [CLS] and [SEP] included.
  constructor(vocabulary, maxLength) {
    this.ids = new Map(vocabulary.trimEnd().split("\n").map((piece, id) => [piece, id]));
    this.maxLength = maxLength;
  }

  // Returns {ids, cut}: cut says whether the end of the text was left out.
  encode(text) {
    const pieces = [];
    text.split(SPECIAL).forEach((part, i) => {
      if (i % 2) pieces.push(this.ids.get(part));
      else for (const word of words(part)) pieces.push(...this.split(word));
    });
    const room = this.maxLength - 2;
    const ids = [this.ids.get("[CLS]"), ...pieces.slice(0, room), this.ids.get("[SEP]")];
    return { ids, cut: pieces.length > room };
  }

  // The longest piece that begins the word, then the longest that goes on from there; unknown if one is missing.
  split(word) {
    const characters = [...word];
    const unknown = [this.ids.get("[UNK]")];
    if (characters.length > LONGEST_WORD) return unknown;
    const pieces = [];
    for (let start = 0, end; start < characters.length; start = end) {
      let id;
      for (end = characters.length; end > start; end--) {
        id = this.ids.get((start ? "##" : "") + characters.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) return unknown;
      pieces.push(id);
    }
    return pieces;
  }
}

// Lower-case words without accents; a punctuation mark or a CJK character is a word of its own.
function words(text) {
  let spaced = "";
  for (const character of text) {
    if (DROPPED.test(character)) continue;
    if (SPACE.test(character)) spaced += " ";
    else spaced += CJK.test(character) ? ` ${character} ` : character;
  }
  let separated = "";
  for (const character of spaced.normalize("NFD")) {
    if (MARK.test(character)) continue;
    // One by one: a whole word would get another sigma at its end.
    for (const lower of character.toLowerCase()) separated += PUNCTUATION.test(lower) ? ` ${lower} ` : lower;
  }
  return separated.split(" ").filter(Boolean);
}
