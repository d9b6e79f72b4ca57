// A compressed classifier in WebAssembly: fetched, unpacked, and run on one thread.

import { WordPiece } from "./wordpiece.mjs";

// The bytes at a URL, out of their gzip. Some hosts unpack such a file on its way: then there is nothing to do.
export async function fetchUnpacked(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} gives ${response.status}`);
  const data = new Uint8Array(await response.arrayBuffer());
  if (data[0] !== 0x1f || data[1] !== 0x8b) return data;
  const unpacked = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(unpacked).arrayBuffer());
}

// Compiles onnxruntime-web; `ort` is its module and `wasm` its bytes.
export function startEngine(ort, wasm) {
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = 1; // more need headers that a static host does not send
  return ort;
}

export class Classifier {
  // ort: from startEngine. graph: the ONNX file. vocabulary: its text. maxLength: in word pieces. externalData: files
  // that the graph reads constants from.
  static async create(ort, graph, vocabulary, maxLength, externalData = []) {
    const classifier = new Classifier();
    classifier.ort = ort;
    classifier.tokenizer = new WordPiece(vocabulary, maxLength);
    classifier.session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"], externalData });
    return classifier;
  }

  // Returns {logits, probabilities, pieces, cut, milliseconds}; the time is that of the tokenizer and the model.
  async classify(text) {
    const start = performance.now();
    const { ids, cut } = this.tokenizer.encode(text);
    const logits = await this.run(ids);
    const milliseconds = performance.now() - start;
    return { logits, probabilities: softmax(logits), pieces: ids.length, cut, milliseconds };
  }

  // The logits of one text, from the ids of its word pieces.
  async run(ids) {
    const row = (values) => new this.ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, ids.length]);
    const output = await this.session.run({
      input_ids: row(ids),
      attention_mask: row(ids.map(() => 1)),
      token_type_ids: row(ids.map(() => 0)),
    });
    return [...output.logits.data];
  }

  // The median time of one run over so many word pieces, in milliseconds. What they are makes no difference.
  async time(pieces, runs = 20) {
    const ids = Array.from({ length: pieces }, (_, i) => i % this.tokenizer.ids.size);
    const times = [];
    for (let i = 0; i < runs; i++) {
      const start = performance.now();
      await this.run(ids);
      times.push(performance.now() - start);
    }
    return times.sort((a, b) => a - b)[runs >> 1];
  }
}

function softmax(logits) {
  const most = Math.max(...logits);
  const odds = logits.map((logit) => Math.exp(logit - most));
  const sum = odds.reduce((a, b) => a + b);
  return odds.map((odd) => odd / sum);
}

// How a classifier agrees with the logits that Python has for some texts: how many labels are equal, for how many texts
// all logits are within 1e-5, and how far they are apart at most.
export async function compare(classifier, texts, expected) {
  let [equal, close, apart] = [0, 0, 0];
  for (const [i, text] of texts.entries()) {
    const { logits } = await classifier.classify(text);
    const most = Math.max(...logits.map((logit, j) => Math.abs(logit - expected[i][j])));
    if (argmax(logits) === argmax(expected[i])) equal += 1;
    if (most <= 1e-5) close += 1;
    apart = Math.max(apart, most);
  }
  return { equal, close, apart };
}

export function argmax(values) {
  return values.indexOf(Math.max(...values));
}
